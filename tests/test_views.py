"""Figures: what they show is right, and they cope with runs that have next to nothing to show."""

import base64

import numpy as np
import pytest
from IPython.display import Markdown
from matplotlib.colors import to_hex

from alkit.frames import Boxes
from alkit.loop import checks, experiment, runs
from alkit.loop.settings import read_experiment
from alkit.pages import drawing, figures, matching
from alkit.text import evenly, number

STILLS = """
name: stills
labeled: street-source
pool: street-source
test: street-test
data: {street-source: {frames: 8}, street-test: {frames: 3}}
profile: demo
set: {image_size: [96, 128], pretrain_epochs: 1, epochs: 1, decode_threshold: 0.99}
strategies: [divergence, random]
cycles: 1
budget: 7
"""


@pytest.fixture(scope="module")
def stills(tmp_path_factory):
    """Stills, nearly all of them labeled, a detector that finds nothing, no held-out frames."""
    path = tmp_path_factory.mktemp("stills")
    (path / "stills.yaml").write_text(STILLS)
    settings = read_experiment(path / "stills.yaml")
    out = runs.create(path / "out", settings, runs.ROOT / "data_catalog.yaml")
    experiment.run(out, notebooks=False)
    return out


def drawn(figure):
    """The colors of boxes on photographs."""
    rectangles = [p for axes in figure.axes for p in axes.patches if axes.images]
    return {to_hex(p.get_edgecolor()) for p in rectangles} - {to_hex("0.1")}  # their shadows


def explained(figure):
    keys = [key for legend in figure.legends for key in legend.get_patches()]
    return {to_hex(key.get_facecolor()) for key in keys}


def texts(figure):
    return [text.get_text() for text in figure.findobj(lambda artist: hasattr(artist, "get_text"))]


def test_every_figure_of_a_run_with_little_to_show(stills):
    scored = runs.open_run(stills / "divergence/seed_0")
    chance = runs.open_run(stills / "random/seed_0")
    first = runs.open_run(stills / "pretrain/seed_0")
    shown = [
        figures.training(first, 0),
        figures.held_out(first),
        figures.detections(first),
        figures.predictions(scored, 1),
        figures.score_maps(scored, 1),
        figures.image_scores(scored, 1),
        figures.image_score_ladder(scored, 1),
        figures.curves(first, 0),
        figures.mistakes(first, 0),
    ]
    for run in (scored, chance):
        for view in (
            figures.selection,
            figures.chosen_frames,
            figures.labels,
            figures.label_counts,
            figures.training,
            figures.curves,
            figures.mistakes,
        ):
            shown.append(view(run, 1))
    said = [one for one in shown if isinstance(one, Markdown)]
    assert shown[1:3] == said[:2]  # no held-out frames, so no empty figures
    for figure in shown:
        if figure in said:
            continue
        ((kind, data),) = figure._repr_mimebundle_().items()
        assert kind in ("image/png", "image/jpeg")
        assert 1000 < len(base64.b64decode(data)) < 500_000
        assert figure.get_suptitle()
        assert all(axes.has_data() for axes in figure.axes if axes.axison)
        assert drawn(figure) <= explained(figure)
    assert set().union(*(drawn(figure) for figure in shown if figure not in said))
    assert "W_l: 1.00" in texts(shown[7])
    assert checks.selection(chance, 1).endswith("temporal rules kept")


def test_frames_of_nearly_one_score_show_different_numbers(stills, toy_experiment, monkeypatch):
    def nearly_one(run, cycle):
        table = own(run, cycle)
        return table.assign(z=np.linspace(9.31e-4, 9.38e-4, len(table)))

    own = runs.Run.image_scores
    monkeypatch.setattr(runs.Run, "image_scores", nearly_one)
    figure = figures.image_score_ladder(runs.open_run(toy_experiment / "divergence/seed_0"), 1)
    assert len({axes.get_title(loc="left").partition("z = ")[2] for axes in figure.axes}) == 6


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0.00093812, "0.000938"),
        (0.02, "0.0200"),
        (0.99951, "1.00"),
        (12.345, "12.3"),
        (99.96, "100"),
        (999.7, "1000"),
        (51363.0, "51363"),
        (-0.5, "-0.500"),
        (0, "0.00"),
        (np.float32(9.384e-6), "9.38e-06"),
        (None, "undefined"),
        (np.nan, "undefined"),
    ],
)
def test_numbers_have_three_significant_digits(value, shown):
    assert number(value) == shown


def test_photographs_are_jpeg_and_drawings_png():
    figure = drawing.picture(1, "title", "caption")
    assert set(figure._repr_mimebundle_()) == {"image/png"}
    drawing.photograph(figure.subplots(), np.zeros((4, 6, 3), np.uint8))
    assert set(figure._repr_mimebundle_()) == {"image/jpeg"}


def test_boxes_are_drawn_where_they_are():
    axes = drawing.picture(1, "").subplots()
    drawing.boxes(axes, [[10, 20, 30, 40]], "hit", "red", texts=["0.5"])
    # a box starts at the corner of its first pixel, whose center is at a whole number
    assert {patch.get_bbox().bounds for patch in axes.patches} == {(9.5, 19.5, 30, 40)}
    assert [text.get_text() for text in axes.texts] == ["0.5"]


def test_an_untrained_detector_is_not_drawn_in_full():
    axes = drawing.picture(1, "").subplots()
    drawing.boxes(axes, np.ones((1000, 4)), "hit", "red", dashed=True)
    assert len(axes.patches) == drawing.MOST_BOXES


def test_a_timeline_breaks_between_sequences():
    axes = drawing.picture(1, "").subplots()
    drawing.timeline(axes, [1, 2, np.nan, 4, 5], np.array(["a", "a", "a", "b", "b"]))
    x, y = axes.lines[0].get_data()
    np.testing.assert_array_equal(y, [1, 2, np.nan, np.nan, 4, 5])
    np.testing.assert_array_equal(x, [0, 1, 2, np.nan, 3, 4])
    assert [text.get_text() for text in axes.texts] == ["a", "b"]


def test_a_curve_starts_at_miss_rate_1():
    some = {"fppi": [0.0, 0.1, 0.1, 0.2], "miss_rate": [0.8, 0.8, 0.6, 0.5], "miss_rate_at_1": 0.5}
    none = {"fppi": [], "miss_rate": [], "miss_rate_at_1": None}
    (axes,) = drawing.miss_rates("", "", [("some", some, {}), ("none", none, {})]).axes
    x, y = axes.lines[-2].get_data()
    np.testing.assert_allclose(x, [0.001, 0.001, 0.1, 0.1, 0.2])
    np.testing.assert_allclose(y, [1, 0.8, 0.8, 0.6, 0.5])
    np.testing.assert_array_equal(axes.lines[-1].get_ydata(), [1])
    assert [text.get_text() for text in axes.legend_.texts] == ["some: 0.500", "none: undefined"]


def test_a_score_map_colors_what_is_high():
    image = np.full((4, 8, 3), 100, np.uint8)
    scores = np.zeros((4, 8), np.float32)
    scores[:, 4:] = 1.0
    drawn = drawing.under_scores(image, scores, 1.0)
    assert np.ptp(drawn[:, :4], axis=2).max() <= 1  # gray where the score is 0
    assert drawn[0, 6, 0] > drawn[0, 6, 2] + 50  # the bright end of the map is yellow


def test_mistakes_are_those_of_the_protocol():
    boxes = Boxes(
        [[0, 0, 10, 20], [40, 0, 10, 20], [80, 0, 20, 40], [80, 60, 20, 40]],
        ["pedestrian"] * 4,
        [False, False, True, False],
    )
    found = [
        {"bbox": [0, 1, 10, 20], "score": 0.5},  # a second one on the first box
        {"bbox": [0, 0, 10, 20], "score": 0.9},
        {"bbox": [82, 5, 10, 20], "score": 0.8},  # inside the box to ignore
        {"bbox": [40, 0, 10, 20], "score": 0.7},
    ]
    matched = matching.match({0: found}, {0: boxes}, 0).set_index("kind")[matching.LTWH]
    np.testing.assert_array_equal(matched.loc[[matching.MISSED]], [[80, 60, 20, 40]])
    np.testing.assert_array_equal(matched.loc[[matching.FALSE]], [found[0]["bbox"]])
    hits = [found[1]["bbox"], found[3]["bbox"]]
    np.testing.assert_array_equal(matched.loc[matching.HIT], hits)
    matched = matching.match({0: []}, {0: boxes}, 0)
    assert (matched["kind"] == matching.MISSED).sum() == 3


def test_frames_of_high_confidence_come_from_different_sequences():
    def detection(position, score):
        return {"image_id": position + 1, "score": score}

    found = [detection(0, 0.9), detection(1, 0.8), detection(4, 0.3), detection(4, 0.2)]
    found = matching.by_image(found)
    sequence = np.array(["a", "a", "a", "b", "b", "c"])
    positions = np.array([0, 1, 3, 4, 5])
    assert figures.confident(found, positions, sequence, 2) == [0, 3]
    assert figures.confident(found, positions, sequence, 4) == [0, 3, 4]
    assert figures.confident({}, positions, sequence, 2) == [0, 2]
    assert figures.confident({}, positions[:0], None, 2) == []


@pytest.mark.parametrize(("n", "count", "wanted"), [(5, 3, [0, 2, 4]), (2, 9, [0, 1]), (0, 3, [])])
def test_evenly(n, count, wanted):
    assert evenly(n, count) == wanted
