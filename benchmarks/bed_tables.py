"""Tables of results/bed.csv, the rows of `benchmarks.bed`, as Markdown.

    python -m benchmarks.bed_tables first|settings

Miss rates are at FPPI 1 on the bed's test set.
"""

import sys

import numpy as np
import pandas as pd

from benchmarks.bed import BASE, RESULTS

CHOSEN_ON = range(10)  # worlds


def rows() -> pd.DataFrame:
    """All rows, the names of units as they are."""
    return pd.read_csv(RESULTS, keep_default_na=False).assign(
        test=lambda t: pd.to_numeric(t["test"]), held_out=lambda t: pd.to_numeric(t["held_out"])
    )


def chosen_on(table: pd.DataFrame) -> pd.DataFrame:
    """The rows of worlds that numbers are chosen on."""
    return table[table["world"].isin(CHOSEN_ON)]


def markdown(table: pd.DataFrame) -> str:
    """A table with its index as the first column; numbers with three digits."""
    lines = [[table.index.name or "", *table.columns], ["---"] * (1 + table.shape[1])]
    for name, *values in table.itertuples():
        lines.append([name, *(f"{v:.3f}" if isinstance(v, float) else v for v in values)])
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)


def first() -> pd.DataFrame:
    """W_l of each setting: the mean over worlds and seeds of step 0, and how far its seed moves it:
    the standard deviation within a world, pooled, and the largest range."""
    table = chosen_on(rows())
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
    table = chosen_on(rows())
    table = table[(table["first"] == BASE) & (table["source_seed"] == 0)]
    start = table[table["setting"] == "W_l"].set_index("world")["test"]
    table = table[(table["setting"] != "W_l") & (table["draw"] == 0) & (table["seed"] == 0)]
    table = table.assign(gain=table["test"] - table["world"].map(start))
    wide = table.pivot_table(index="setting", columns=["images", "kind"], values="gain")
    wide.columns = [f"{kind} {images}" for images, kind in wide.columns]
    means = table.pivot_table(index="setting", columns="images", values="gain")
    means.columns = [f"mean {images}" for images in means.columns]
    count = table.groupby("setting").size().rename("trainings")
    by = [name for name in ("mean 48", "mean 16") if name in means]
    return pd.concat([count, means, wide], axis=1).sort_values(by)


TABLES = {"first": first, "settings": settings}

if __name__ == "__main__":
    for name in sys.argv[1:] or TABLES:
        print(f"{name}: {TABLES[name].__doc__}\n")
        print(markdown(TABLES[name]()), end="\n\n")
