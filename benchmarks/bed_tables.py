"""Tables of results/bed.csv, the rows of `benchmarks.bed`, as Markdown.

    python -m benchmarks.bed_tables first|settings|pool|curve|gap|controls|variance|rates

Miss rates are at FPPI 1 on the bed's test set.
"""

import sys

import numpy as np
import pandas as pd

from benchmarks.bed import BASE, CHOSEN, LONGER, RATES, RESULTS, STRATEGIES

CHOSEN_ON, RESULTS_ON = range(10), range(100, 120)  # worlds


def rows() -> pd.DataFrame:
    """All rows, the names of units as they are."""
    return pd.read_csv(RESULTS, keep_default_na=False).assign(
        test=lambda t: pd.to_numeric(t["test"]), held_out=lambda t: pd.to_numeric(t["held_out"])
    )


def of(numbers, table: pd.DataFrame) -> pd.DataFrame:
    """The rows of some worlds, and what each gains on its own W_l: `gain`, negative is better."""
    table = table[table["world"].isin(numbers)]
    own = ["world", "first", "source_seed"]
    start = table[table["setting"] == "W_l"].set_index(own)["test"].rename("start")
    table = table.join(start, on=own)
    return table.assign(gain=table["test"] - table["start"])


def chosen(table: pd.DataFrame) -> pd.DataFrame:
    """The rows of the frozen W_l, its first seed."""
    return table[(table["first"] == BASE) & (table["source_seed"] == 0)]


def markdown(table: pd.DataFrame) -> str:
    """A table with its index as the first column; numbers with three digits."""
    lines = [[table.index.name or "", *table.columns], ["---"] * (1 + table.shape[1])]
    for name, *values in table.itertuples():
        said = ("–" if pd.isna(v) else f"{v:.3f}" if isinstance(v, float) else v for v in values)
        lines.append([name, *said])
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)


def first() -> pd.DataFrame:
    """W_l of each setting: the mean over worlds and seeds of step 0, and how far its seed moves it:
    the standard deviation within a world, pooled, and the largest range."""
    table = of(CHOSEN_ON, rows())
    table = table[table["setting"] == "W_l"]
    lines = []
    for name, own in table.groupby("first", sort=False):
        of_world = own.groupby("world")
        several = own[of_world["test"].transform("size") > 1].groupby("world")
        lines.append(
            {
                "W_l": name,
                "trainings": len(own),
                "test": own["test"].mean(),
                "held-out": own["held_out"].mean(),
                "sd of the seed, test": np.sqrt(several["test"].var().mean()),
                "sd, held-out": np.sqrt(several["held_out"].var().mean()),
                "largest range": (several["test"].max() - several["test"].min()).max(),
            }
        )
    return pd.DataFrame(lines).set_index("W_l")


def settings() -> pd.DataFrame:
    """Each setting of retraining: the difference to W_l, mean over worlds and kinds of sets, at 16
    and 48 frames; and by kind at 48. Negative is better."""
    table = of(CHOSEN_ON, rows())
    table = table[(table["source_seed"] == 0) & table["images"].isin([16, 48])]
    table = table[(table["draw"] == 0) & (table["seed"] == 0)]
    table = table[table["kind"].isin(["uniform", "random", "divergence"])]
    table = table.assign(setting=table["first"] + ": " + table["setting"])
    wide = table.pivot_table(index="setting", columns=["images", "kind"], values="gain")
    wide.columns = [f"{kind} {images}" for images, kind in wide.columns]
    means = table.pivot_table(index="setting", columns="images", values="gain")
    means.columns = [f"mean {images}" for images in means.columns]
    groups = table.groupby("setting")
    count = groups.size().rename("trainings")
    worlds = groups["world"].unique().map(lambda own: " ".join(map(str, sorted(own))))
    by = [name for name in ("mean 48", "mean 16") if name in means]
    return pd.concat([worlds, count, means, wide], axis=1).sort_values(by)


def curve() -> pd.DataFrame:
    """Miss rate by the number of labeled frames, mean over worlds and two draws of the frames: W_l
    at 0, the whole pool at the end."""
    table = chosen(of(RESULTS_ON, rows()))
    table = table[(table["seed"] == 0) & table["setting"].isin(["W_l", CHOSEN])]
    whole = {world for world, own in table.groupby("world") if {"random", "all"} <= {*own["kind"]}}
    table = table[table["world"].isin(whole)]
    ends = table[table["kind"].isin(["", "all"])]
    both = [table, *(ends.assign(kind=kind) for kind in ("uniform", "random"))]
    table = pd.concat(both)
    table = table[table["kind"].isin(["uniform", "random"])]
    wide = table.pivot_table(index="images", columns="kind", values="test")
    people = table.pivot_table(index="images", columns="kind", values="pedestrians")
    own = people.add_prefix("pedestrians, ")
    return wide.join(wide.diff().add_prefix("change, ")).join(own).rename_axis("images")


def pool() -> pd.DataFrame:
    """As `gap`, on the worlds for choosing: what the bed leaves to be gained after 48 frames."""
    return gap(CHOSEN_ON)


def gap(numbers=RESULTS_ON) -> pd.DataFrame:
    """By world: W_l, 48 evenly spaced frames (mean of two draws), the whole pool in as many steps
    and in more, how far the better of these lies below 48 frames, and the share of the gap from W_l
    to it that 48 frames close."""
    table = chosen(of(numbers, rows()))
    table = table[table["seed"] == 0]

    def mean(setting, kind, images=None):
        own = table[(table["setting"] == setting) & (table["kind"] == kind)]
        own = own if images is None else own[own["images"] == images]
        return own.groupby("world")["test"].mean()

    columns = {
        "W_l": mean("W_l", ""),
        "uniform, 48": mean(CHOSEN, "uniform", 48),
        "whole pool": mean(CHOSEN, "all"),
        "whole pool, longer": mean(LONGER, "all"),
    }
    wide = pd.DataFrame(columns).dropna()
    wide.loc["mean"] = wide.mean()
    best = wide[["whole pool", "whole pool, longer"]].min(axis=1)
    wide["left"] = wide["uniform, 48"] - best
    wide["closed"] = (wide["W_l"] - wide["uniform, 48"]) / (wide["W_l"] - best)
    return wide.rename_axis("world")


def controls() -> pd.DataFrame:
    """Frames without people and X_l alone beside evenly spaced frames: the gain on W_l, the shares
    of the boxes that were missed and are found, and found and are missed, and the FPPI where Θ
    misses as many as W_l at FPPI 1; mean over worlds, and in how many trainings Θ is better."""
    table = chosen(of(RESULTS_ON, rows()))
    table = table[(table["setting"] == CHOSEN) & (table["seed"] == 0)]
    table = table[table["kind"].isin(["nobody", "X_l", "all"]) | (table["images"] == 48)]
    table = table[table["world"].isin(table.loc[table["kind"] == "nobody", "world"])]
    for name in ("recovered", "lost", "fppi_there"):
        table = table.assign(**{name: pd.to_numeric(table[name])})
    groups = table.groupby("kind")
    means = groups[["gain", "recovered", "lost"]].mean()
    means["median FPPI there"] = groups["fppi_there"].median()
    means["better"] = groups["gain"].agg(lambda own: f"{(own < 0).sum()} of {len(own)}")
    return means.sort_values("gain").rename_axis("labeled")


def variance() -> pd.DataFrame:
    """Where the miss rate after 48 evenly spaced frames comes from: the standard deviation of each
    part, pooled over the worlds, of the miss rate and of the gain on W_l. The clips' is the
    jackknife's over the test's clips, at the threshold of FPPI 1."""
    table = of(RESULTS_ON, rows())
    table = table[(table["first"] == BASE) & (table["setting"] == CHOSEN)]
    table = table[(table["kind"] == "uniform") & (table["images"] == 48)]
    parts = {
        "draw of the frames": table[(table["seed"] == 0) & (table["source_seed"] == 0)],
        "W_l: seed of step 0": table[(table["seed"] == 0) & (table["draw"] == 0)],
        "seed of retraining": table[(table["draw"] == 0) & (table["source_seed"] == 0)],
    }
    lines = {}
    for name, own in parts.items():
        own = own[own.groupby("world")["test"].transform("size") > 1]
        lines[name] = {
            value: np.sqrt(own.groupby("world")[value].var().mean()) for value in ("test", "gain")
        } | {"worlds": own["world"].nunique(), "trainings": len(own)}
    of_world = table.groupby("world")[["test", "gain"]].mean()
    count = {"worlds": len(of_world), "trainings": len(table)}
    lines["world, the parts above in it"] = of_world.std().to_dict() | count
    clips = np.sqrt(table["clips"].map(jackknife).astype(float).mean())
    lines["clips of the test"] = {"test": clips, "gain": np.nan} | count
    return pd.DataFrame(lines).T.astype({"worlds": int, "trainings": int}).rename_axis("part")


def jackknife(clips: str) -> float:
    """The variance of the share of found boxes by leaving one clip of "found/all …" out."""
    found, every = np.array([pair.split("/") for pair in clips.split()], int).T
    left = (found.sum() - found) / (every.sum() - every)
    n = len(left)
    return (n - 1) / n * ((left - left.mean()) ** 2).sum()


def rates() -> pd.DataFrame:
    """The gain of five strategies' 48 frames on W_l at three learning rates, mean over worlds, and
    at each strategy's own best rate of the three; the places in each column."""
    table = chosen(of(CHOSEN_ON, rows()))
    table = table[table["setting"].isin(RATES) & table["kind"].isin(STRATEGIES)]
    table = table[(table["images"] == 48) & (table["draw"] == 0) & (table["seed"] == 0)]
    wide = table.pivot_table(index="kind", columns="setting", values="gain").reindex(columns=RATES)
    wide["own best"] = wide.min(axis=1)
    places = wide.rank(method="min").astype("Int64").add_prefix("place, ")
    return wide.join(places).sort_values("own best").rename_axis("strategy")


TABLES = {f.__name__: f for f in (first, settings, pool, curve, gap, controls, variance, rates)}

if __name__ == "__main__":
    for name in sys.argv[1:] or TABLES:
        print(f"{name}: {TABLES[name].__doc__}\n")
        print(markdown(TABLES[name]()), end="\n\n")
