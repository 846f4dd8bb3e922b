"""Interactive curves of an experiment for the report: HoloViews drawn by Bokeh."""

from pathlib import Path

from alkit.pages.views.drawing import BLACK, COLOURS, LOWEST
from alkit.pages.views.results import GRID, at_grid, collect, spread

SIZE = {"responsive": True, "min_height": 380, "fontscale": 1.1, "show_grid": True}


def plots(out: Path, ledger) -> tuple[str, dict]:
    """The script that draws an experiment's plots, and the HTML elements to place, by title:
    miss rate against FPPI in a tab for each cycle, miss rate at FPPI 1, pedestrians by cycle."""
    import holoviews as hv
    from bokeh.embed import components
    from bokeh.models import TabPanel, Tabs

    hv.renderer("bokeh")
    results = collect(out)
    names = dict.fromkeys(strategy for strategy, _ in results if strategy != "W_l")
    colours = dict(zip(names, COLOURS * 9, strict=False))
    tabs = []
    for cycle in sorted({cycle for _, cycle in results}):
        figure = hv.render(_curves(hv, results, cycle, colours), backend="bokeh")
        tabs.append(TabPanel(child=figure, title=f"cycle {cycle}" if cycle else "W_l"))
    figures = {
        "Miss rate against false positives per image": Tabs(
            tabs=tabs, active=len(tabs) - 1, sizing_mode="stretch_width"
        )
    }
    if names:
        for column, title, label, legend in (
            ("miss rate at FPPI 1", "Miss rate at FPPI 1", "miss rate", "bottom_left"),
            ("labeled pedestrians", "Pedestrians labelled so far", "pedestrians", "top_left"),
        ):
            overlay = _by_cycle(hv, ledger, column, label, colours, legend)
            figures[title] = hv.render(overlay, backend="bokeh")
    return components(figures)


def _band(hv, x, low, high, dimensions, colour):
    """From the lowest to the highest seed."""
    band = hv.Area((x, low, high), dimensions[0], [dimensions[1], f"{dimensions[1]} to"])
    return band.opts(color=colour, alpha=0.15, line_alpha=0)


def _curves(hv, results, cycle, colours):
    """All strategies' curves of a cycle beside W_l's."""
    dimensions = ("false positives per image (FPPI)", "miss rate")
    overlay = []
    for name in ("W_l", *colours):
        found = results.get((name, 0 if name == "W_l" else cycle))
        if not found:
            continue
        colour = colours.get(name, BLACK)
        mean, low, high = spread([at_grid(result) for result in found])
        dash = "dashed" if name == "W_l" else "solid"
        label = name if len(found) == 1 else f"{name}, mean of {len(found)} seeds"
        curve = hv.Curve((GRID, mean), *dimensions, label=label)
        curve = curve.opts(color=colour, line_dash=dash, line_width=2, tools=["hover"])
        overlay += [_band(hv, GRID, low, high, dimensions, colour)] if len(found) > 1 else []
        overlay.append(curve.opts(interpolation="steps-post"))
    overlay.append(hv.VLine(1).opts(color="#999999", line_dash="dotted", line_width=1))
    return hv.Overlay(overlay).opts(
        hv.opts.Overlay(
            **SIZE,
            logx=True,
            logy=True,
            xlim=(LOWEST["fppi"], 10),
            ylim=(LOWEST["miss rate"], 1.05),
            yticks=[0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.64, 0.8, 1],
            legend_position="bottom_left",
            click_policy="hide",
        )
    )


def _by_cycle(hv, ledger, column, label, colours, legend):
    """A column of the ledger by cycle, mean over seeds, from W_l on."""
    overlay = []
    for name, colour in colours.items():
        own = ledger[ledger["strategy"].isin([name, "W_l"])].groupby("cycle")[column]
        by_cycle = own.agg(["mean", "min", "max"]).reset_index()
        x, mean = by_cycle["cycle"], by_cycle["mean"]
        if ledger["seed"].nunique() > 1:
            low, high = by_cycle["min"], by_cycle["max"]
            overlay.append(_band(hv, x, low, high, ("cycle", label), colour))
        curve = hv.Curve((x, mean), "cycle", label, label=name)
        overlay.append(curve.opts(color=colour, line_width=2))
        points = hv.Scatter((x, mean), "cycle", label, label=name)
        overlay.append(points.opts(color=colour, size=7, tools=["hover"]))
    ticks = sorted(ledger["cycle"].unique().tolist())
    return hv.Overlay(overlay).opts(
        hv.opts.Overlay(
            **SIZE,
            xticks=ticks,
            padding=0.04,
            ylim=(0, None),
            legend_position=legend,
            click_policy="hide",
        )
    )
