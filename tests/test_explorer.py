"""The explorer without a browser: what it reads, matches, says and computes again."""

import math
import re
import shutil
from itertools import pairwise
from types import SimpleNamespace
from urllib.parse import parse_qsl

import numpy as np
import pandas as pd
import pytest
from bokeh.events import Tap
from hypothesis import given, settings
from hypothesis import strategies as st

from alkit import aggregation, scores
from alkit.evaluation import evaluate
from alkit.frames import Boxes
from alkit.loop.runs import Run
from alkit.pages import matching
from alkit.pages.explorer import galleries, plots, trial
from alkit.pages.explorer.cycle import Cycle, Unavailable, cycles_of, runs_of
from alkit.pages.explorer.page import Explorer, page
from alkit.selection import Reason
from alkit.text import number


@pytest.fixture(scope="module")
def opened(toy_experiment):
    """The second cycle of a complete run: 37 frames are scored, 3 were labeled before."""
    return Cycle(Run(toy_experiment / "divergence/seed_0"), 2)


@pytest.fixture(scope="module")
def explorer(toy_experiment):
    return Explorer(Run(toy_experiment / "divergence/seed_0"), 2, {})


# --- reading


def test_the_table_says_what_the_steps_wrote(opened):
    run, table = opened.run, opened.table
    of_step_3, selection = run.image_scores(2).set_index("position"), run.selection(2)
    assert len(table) == len(run.frames("pool")) == 40
    for position, row in table.iterrows():
        if position in of_step_3.index:
            assert row["z"] == of_step_3.loc[position, "z"]
            assert row["name"] == of_step_3.loc[position, "name"]
        else:
            assert math.isnan(row["z"])
            assert row["reason"] == Reason.LABELED
            assert opened.labeled[position] == 1
    chosen = table[table["order"] > 0].sort_values("order")
    assert chosen.index.tolist() == [frame["position"] for frame in selection["chosen"]]


def test_ranks_are_those_of_a_sort_by_hand(opened):
    ranked = enumerate(opened.selection["ranked_by"])
    values = [(v, -p) for p, v in ranked if v is not None and p not in opened.labeled]
    order = [-p for _, p in sorted(values, reverse=True)]
    assert [int(opened.table["rank"][p]) for p in order] == list(range(1, 38))
    assert all(opened.table["rank"][p] == 0 for p in opened.labeled)


def test_arrays_are_those_of_the_stores(opened):
    run = opened.run
    maps = run.scores(2)
    for k, position in enumerate(maps["position"].values.tolist()):
        assert opened.positions[k] == position
    position = int(maps["position"].values[7])
    np.testing.assert_array_equal(opened.scores(position), maps.isel(frame=7).values)
    again = opened.scores(position, run.numbers(2).pixels(run.numbers(2).radius))
    assert np.abs(again - opened.scores(position)).max() < 0.01  # the store's quantization
    region = run.numbers(2).pixels(run.numbers(2).region)
    slow = slow_maxima(opened.scores(position), region)
    half = {"rtol": 2**-11, "atol": 2**-25}  # half a step of float16, of its smallest numbers too
    np.testing.assert_allclose(opened.region_maxima[7], slow, **half)
    assert opened.highest == pytest.approx(float(maps.max()), rel=1e-3)


def slow_maxima(s, region):
    height, width = s.shape

    def highest(top, left):
        rows, columns = (
            range(top, min(top + region, height)),
            range(left, min(left + region, width)),
        )
        return max(s[y, x] for y in rows for x in columns)

    columns = range(0, width, region)
    return [[highest(top, left) for left in columns] for top in range(0, height, region)]


def test_detections_of_a_frame_are_those_that_step_1_wrote(toy_experiment):
    run = Run(toy_experiment / "divergence/seed_0")
    written = {}
    for d in run.detections(2, "pool"):
        written.setdefault(d["image_id"] - 1, []).append(d)
    fresh = Cycle(run, 2)
    for position in range(40):
        predicted = position not in fresh.labeled
        assert fresh.detections[position] == (written.get(position, []) if predicted else None)
    assert sum(map(len, written.values())) > 0


def test_a_frame_labeled_before_has_an_image_and_a_reason_but_no_map(opened):
    position = next(iter(opened.labeled))
    assert opened.pool.images(position).shape == (96, 128, 3)
    with pytest.raises(Unavailable, match=r"labeled in cycle 1: it is no longer predicted"):
        opened.scores(position)


def test_a_strategy_without_predictions_has_no_maps(toy_experiment):
    opened = Cycle(Run(toy_experiment / "guided-random/seed_0"), 1)
    with pytest.raises(Unavailable, match=r"guided-random needs no predictions"):
        opened.probabilities(0)
    assert set(opened.detections.values()) == {None}
    assert opened.highest is None


def test_a_cleaned_run_says_what_is_missing_and_shows_the_rest(toy_copy):
    run = Run(toy_copy / "divergence/seed_0")
    shutil.rmtree(run.cycle(2) / "scores.zarr")
    shutil.rmtree(run.cycle(2) / "logits.zarr")
    shown = Explorer(run, 2, {})
    assert "no maps:" in shown.view.words.value
    assert "alkit run" in shown.view.words.value
    assert len(shown.gallery.html.split("<figure")) > 1  # the pictures, without maps
    position = shown.controls.position.value
    assert opened_image(shown) == Cycle(run, 2).pool.images(position).tobytes()


def opened_image(shown):
    rgba = shown.view.image.data_source.data["image"][0].view(np.uint8)
    return rgba.reshape(*shown.view.size, 4)[..., :3].tobytes()


def test_half_written_maps_are_not_shown(toy_copy):
    import zarr

    run = Run(toy_copy / "divergence/seed_0")
    group = zarr.open_group(run.cycle(2) / "scores.zarr", mode="r+")
    group.attrs["unfinished"] = True
    with pytest.raises(Unavailable, match=r"no maps: .*scores.zarr: not there"):
        Cycle(run, 2).scores(int(Cycle(run, 2).selection["chosen"][0]["position"]))


def test_a_run_that_has_chosen_nothing_is_refused(toy_copy):
    for path in toy_copy.glob("*/seed_0/cycle_*/4_select.json"):
        path.unlink()
    with pytest.raises(ValueError, match=r"no cycle of any run has chosen frames yet"):
        page(Run(toy_copy / "divergence/seed_0"))


def test_runs_and_cycles_are_those_with_chosen_frames(toy_copy):
    run = Run(toy_copy / "divergence/seed_0")
    assert cycles_of(run) == [1, 2]
    assert list(runs_of(run)) == ["divergence, seed 0", "guided-random, seed 0"]
    (run.cycle(2) / "4_select.json").unlink()
    assert cycles_of(run) == [1]


# --- matching

boxes = st.tuples(st.integers(0, 60), st.integers(0, 40), st.integers(4, 30), st.integers(8, 50))


@given(
    truth=st.lists(st.tuples(boxes, st.booleans()), max_size=5),
    found=st.lists(st.tuples(boxes, st.integers(0, 9)), max_size=6),
)
@settings(max_examples=60, deadline=None)
def test_matched_frames_agree_with_the_evaluation(truth, found):
    """Hits, false detections and misses of frames are those that the evaluation counts."""
    known = {3: Boxes([b for b, _ in truth], ["pedestrian"] * len(truth), [i for _, i in truth])}
    detections = {3: [{"bbox": list(b), "score": s / 10} for b, s in found]}
    matched = matching.match(detections, known, 0.2)
    kept = [d for d in detections[3] if d["score"] >= 0.2]
    coco = {
        "images": [{"id": 1}],
        "categories": [{"id": 1, "name": "pedestrian"}],
        "annotations": [
            {"id": k + 1, "image_id": 1, "category_id": 1, "bbox": list(b), "ignore": int(i)}
            for k, (b, i) in enumerate(truth)
        ],
    }
    result = evaluate(coco, [{"image_id": 1, "category_id": 1, **d} for d in kept])
    real = sum(not i for _, i in truth)
    false = int(result.fppi[-1]) if len(result.fppi) else 0
    missed = round(result.miss_rate[-1] * real) if len(result.fppi) and real else real
    assert (matched["kind"] == matching.FALSE).sum() == false
    assert (matched["kind"] == matching.MISSED).sum() == missed
    assert (matched["kind"] == matching.IGNORED).sum() == len(truth) - real
    assert matched["score"].count() == len(kept)


def test_in_frames_that_were_not_predicted_nobody_missed_anything():
    boxes = {4: Boxes([[0, 0, 9, 20], [30, 0, 9, 20]], ["pedestrian"] * 2, [False, True])}
    labels = matching.match({4: None}, boxes, 0)
    assert labels["kind"].tolist() == [matching.UNSEEN, matching.IGNORED]


def test_where_people_label_the_hidden_boxes_stay_hidden(toy_copy):
    file = toy_copy / "experiment.json"
    file.write_text(file.read_text().replace('"labels": "oracle"', '"labels": "interactive"'))
    opened = Cycle(Run(toy_copy / "divergence/seed_0"), 2)
    known = {p for p in range(40) if opened.boxes(p) is not None}
    given = [i["position"] for cycle in (1, 2) for i in opened.run.labels(cycle)["images"]]
    assert known == set(given)


def test_boxes_that_cannot_be_read_are_said():
    def work(position):
        raise OSError("the disk is gone")

    found = trial.Slices(work, [0, 1])
    found.go_on(60)
    assert found.error == "OSError: the disk is gone"
    assert not found.left
    assert not found.results


def test_frames_that_nobody_labeled_have_neither_hits_nor_false_detections():
    found = matching.match({0: [{"bbox": [0, 0, 9, 20], "score": 1.0}]}, {0: None}, 0)
    assert found["kind"].tolist() == [matching.UNKNOWN]
    assert found["score"].tolist() == [1.0]


@given(
    values=st.lists(st.integers(0, 50), min_size=24, max_size=24),
    at=st.lists(st.tuples(st.sampled_from([2, 5, 9]), st.integers(0, 39), st.integers(0, 29))),
    most=st.integers(1, 30),
)
@settings(max_examples=60, deadline=None)
def test_tiles_are_the_highest_that_hold_what_is_asked_for(values, at, most):
    """Three frames (one at a position that has no maps: 5), regions of 10 in 20 × 40 pixels."""
    maxima = np.array(values, np.float32).reshape(3, 2, 4) / 7
    positions = np.array([2, 7, 9])
    edges = aggregation.region_edges(20, 10), aggregation.region_edges(40, 10)
    centered = [[p, x - 2.0, y - 3.0, 4.0, 6.0] for p, x, y in at]
    held = pd.DataFrame(centered, columns=["position", *matching.LTWH])
    slow = set()
    for p, x, y in at:
        if p in (2, 9) and y < 20:
            slow.add((p, y // 10, x // 10))
    every = {(p, r, c) for p in (2, 7, 9) for r in range(2) for c in range(4)}
    for boxes, wanted in ((held, slow), (None, every)):
        found = galleries.highest_regions(maxima, positions, *edges, boxes, most)
        found = [(score, int(positions[k]), row, column) for score, k, row, column in found]
        value = {k: maxima[[2, 7, 9].index(k[0]), k[1], k[2]] for k in wanted}
        assert {f[1:] for f in found} <= wanted
        best = sorted(value.values(), reverse=True)[:most]
        assert [f[0] for f in found] == pytest.approx(best)


def test_blind_spots_are_the_most_missed_and_the_lowest_scored(monkeypatch):
    kinds = [matching.MISSED] * 6 + [matching.FOUND]
    labels = pd.DataFrame({"position": [4, 4, 1, 2, 2, 3, 0], "kind": kinds})
    monkeypatch.setattr(galleries, "item", lambda cycle, position, *_: position)
    cycle = SimpleNamespace(table=pd.DataFrame({"z": [0.1, 0.5, 0.3, np.nan, 0.2]}))
    shown, said = galleries.blind_spots(cycle, labels, 0.5)
    assert shown == [4, 2, 1]
    assert said.startswith("3 frames with missed pedestrians")


# --- reasons


def test_reasons_name_the_frame_that_kept_one_out(opened):
    table, sequence = opened.table, opened.table["sequence"]
    frames = opened.table["frame"]
    for reason, others, word in (
        (Reason.EXCLUDED_NOW, table.index[table["order"] > 0].tolist(), "rule 1"),
        (Reason.EXCLUDED_LATER, list(opened.labeled), "rule 2"),
    ):
        for position in table.index[table["reason"] == reason]:
            same = [p for p in others if sequence[p] == sequence[position]]
            distance = min(abs(frames[p] - frames[position]) for p in same)
            said = opened.reason(position)
            assert f"passed over by {word}: {distance:g} frame" in said
            assert any(table["name"][p] in said for p in same)
    for k, record in enumerate(opened.selection["chosen"], 1):
        assert opened.reason(record["position"]).startswith(f"chosen {k}. of 3")


def test_the_nearest_labeled_frames_come_in_order(opened):
    position = opened.selection["chosen"][0]["position"]
    found = opened.near(position, list(opened.labeled))
    frames = opened.table["frame"]
    assert [d for _, d in found] == sorted(abs(frames[p] - frames[position]) for p, _ in found)
    assert {p for p, _ in found} <= set(opened.labeled)


# --- trying other numbers


def test_the_run_s_own_numbers_give_the_run_s_own_choice(opened):
    position = opened.selection["chosen"][1]["position"]
    said = trial.sentence(opened, position, opened.table["z"].to_numpy(), *opened.tried[2:])
    assert f"rank {opened.table['rank'][position]} of 37 frames: chosen. 3 of the run's 3" in said


def test_a_trial_computes_every_frame(opened):
    trials = trial.Trials(opened)
    position, wanted = int(opened.positions[-1]), (4, 12, 15, 2)
    said = trials.outcome(position, wanted)
    s = opened.scores(position, 4)
    z = trials.scores.results[position]
    assert z == pytest.approx(np.mean(slow_maxima(s, 12)), rel=1e-6)
    assert f"z {number(z)} nats" in said
    trials.scores.go_on(1e-9)
    assert trials.scores.left
    trials.scores.go_on(60)
    assert trials.scores.error == ""
    assert sorted(trials.scores.results) == opened.positions.tolist()
    assert "of 37 frames" in trials.outcome(position, wanted)
    part = np.full(40, np.nan)
    part[opened.positions[30:]] = [trials.scores.results[p] for p in opened.positions[30:]]
    said = trial.sentence(opened, position, part, 15, 2)
    assert "of the 7 frames computed so far of 37" in said


def test_without_a_score_other_rules_alone_can_be_tried(toy_experiment):
    run = Run(toy_experiment / "guided-random/seed_0")
    shown = Explorer(run, 2, {"later": "0", "now": "0"})
    c, opened = shown.controls, shown.cycle
    assert (c.radius.disabled, c.region.disabled) == (True, True)
    assert (c.now.disabled, c.later.disabled) == (False, False)
    free = {p: opened.selection["ranked_by"][p] for p in opened.positions.tolist()}
    best = sorted(free, key=free.get)[::-1]  # no frame keeps another out
    kept = len({*best[:3]} & {*opened.chosen})
    for rank, name in ((1, "chosen"), (3, "chosen"), (4, "ranked below")):
        shown.go_to(best[rank - 1])
        said = shown.trial_words.value
        assert f"rank {rank} of 37 frames: {name}. {kept} of the run" in said
        assert "nats" not in said
    shown.go_to(next(iter(opened.labeled)))
    assert "not ranked in this cycle" in shown.trial_words.value
    shown.go_to(best[0])
    c.radius.value += 1
    for change in (shown._say_trial, shown._restore):
        change()
        assert "Radius and region are fixed" in shown.trial_words.value


# --- the page's Python side


def test_widgets_change_what_is_shown(explorer):
    c, opened = explorer.controls, explorer.cycle
    position = int(opened.positions[5])
    explorer.go_to(position)
    assert opened.table["name"][position] in explorer.view.words.value
    assert opened_image(explorer) == opened.pool.images(position).tobytes()
    p, score = opened.probabilities(position), opened.scores(position)
    data = explorer.view.map.data_source.data
    np.testing.assert_allclose(data["map"][0], score)
    np.testing.assert_allclose(data["p3"][0], p[2])
    c.layer.value = "Θ⁴"
    np.testing.assert_allclose(explorer.view.map.data_source.data["map"][0], p[3])
    assert explorer.view.mapper.high == 1.0
    c.layer.value = "regions"
    drawn = explorer.view.map.data_source.data["map"][0]
    region = opened.numbers.pixels(opened.numbers.region)
    np.testing.assert_allclose(drawn[::region, ::region], slow_maxima(score, region))
    assert drawn.shape == (96, 128)
    assert drawn[-1, -1] == drawn[90, 126]
    c.layer.value = "score"
    c.beside.value = "divergence, seed 0, cycle 1"
    other = Cycle(opened.run, 1)
    np.testing.assert_allclose(
        explorer.beside.map.data_source.data["map"][0], other.scores(position)
    )
    assert explorer.beside.ranges == explorer.view.ranges
    c.beside.value = "nothing"


def test_every_color_of_a_box_is_explained(explorer):
    (legend,) = explorer.layout.select(lambda part: "alkit-legend" in part.css_classes)
    for kind, color in matching.COLORS.items():
        assert re.search(f"{color}[^/]*</span>&nbsp;{kind}", legend.value)


def test_lengths_are_said_in_pixels_here_and_at_the_profile_s_size(explorer):
    c = explorer.controls
    c.radius.value, c.region.value = 3, 6
    explorer._say_trial()
    said = explorer.trial_words.value
    assert "radius: 15 at 480 rows, 3 px here" in said
    assert "region: 30 at 480 rows, 6 px here" in said
    explorer._restore()
    assert "radius: 9 at 480 rows, 2 px here" in explorer.trial_words.value


def test_a_click_on_the_timeline_goes_to_its_frame(explorer):
    figure = explorer.timeline.figure
    figure._trigger_event(Tap(figure, x=11.3))
    assert explorer.controls.position.value == 11
    assert explorer.timeline.here.location == 11


def test_default_boxes_stand_around_the_click(explorer):
    class Click:
        x, y = 40.0, 50.0

    explorer._tapped(Click)
    data, numbers = explorer.view.defaults.data_source.data, explorer.cycle.run.numbers(2)
    height, width = np.array(numbers.default_boxes).T * numbers.scale
    left, right, top, bottom = (np.array(data[side]) for side in plots.SIDES)
    np.testing.assert_allclose(right - left, width)
    np.testing.assert_allclose((bottom + top) / 2, 50)
    np.testing.assert_allclose(bottom - top, height)


def test_a_link_brings_back_what_it_was_taken_from(toy_experiment, explorer):
    c = explorer.controls
    explorer.go_to(17)
    c.layer.value, c.palette.value, c.opacity.value, c.radius.value = "entropy", "turbo", 0.25, 5
    link = c.link(explorer.cycle)
    again = page(Run(toy_experiment / "divergence/seed_0"), at=link)
    assert again is not None
    other = Explorer(Run(toy_experiment / "divergence/seed_0"), 0, dict(parse_qsl(link[1:])))
    assert other.controls.link(other.cycle) == link
    assert (other.controls.position.value, other.controls.radius.value) == (17, 5)
    assert other.cycle.number == 2
    c.restore_numbers(explorer.cycle)


@pytest.mark.parametrize(
    ("link", "message"),
    [
        ("cycle=9", "cycle: .*'9'.*1, 2"),
        ("run=divergance,+seed+0", "run: .*divergance.*divergence, seed 0"),
        ("frame=nowhere", "the link's frame 'nowhere' is not in the pool"),
        ("layer=scores", "layer: .*score"),
        ("radius=wide", "could not convert string to float: 'wide'"),
        ("radius=inf", "radius: inf is not in 0"),
        ("beside=Mars", "beside: .*Mars"),
        ("limit=nan", "limit: nan is not in 0"),
        ("frme=a", "the link: .*frme.*frame"),
        ("garbage", "bad query field: 'garbage'"),
        ("http://127.0.0.1:5006/?cycle=9", "cycle: .*'9'"),
    ],
)
def test_links_to_what_is_not_there_are_refused(toy_experiment, link, message):
    with pytest.raises(ValueError, match=message):
        page(Run(toy_experiment / "divergence/seed_0"), at=link)


def test_galleries_hold_what_they_say(explorer):
    opened = explorer.cycle
    items, said = galleries.ranked(opened, "chosen", 1, 0.5)
    assert [i["position"] for i in items] == [f["position"] for f in opened.selection["chosen"]]
    assert "3 were chosen" in said
    passed, _ = galleries.ranked(opened, galleries.PASSED, 1, 0.5)
    last = max(opened.table["rank"][f["position"]] for f in opened.selection["chosen"])
    assert len(passed) == min(galleries.SHOWN, last - 3)
    both, _ = galleries.ranked(opened, galleries.HIGHEST, 1, 0.5, most=4)
    assert [opened.table["rank"][i["position"]] for i in both] == [1, 2, 3, 4][: len(both)]
    tiles, _ = galleries.tiles(opened, "tiles")
    assert float(tiles[0]["mark"].split()[0]) == pytest.approx(opened.highest, abs=1e-3)
    assert tiles[0]["image"].startswith("data:image/jpeg;base64,")


def test_counts_of_known_pedestrians(explorer):
    for _ in range(600):
        explorer._tick()
    truth = explorer.cycle.run.frames("pool").boxes
    counts = np.array([(~own.ignore).sum() for own in truth])
    shown = explorer.timeline._counts.data
    np.testing.assert_array_equal(shown["x"], np.flatnonzero(counts))
    np.testing.assert_array_equal(shown["n"], counts[counts > 0])


@pytest.mark.parametrize("layer", ["score", "regions", "none"])
def test_pictures_as_files(explorer, layer):
    explorer.controls.layer.value = layer
    assert explorer._file("png").read().startswith(b"\x89PNG")
    assert explorer._file("svg").read().startswith(b"<?xml")
    explorer.controls.layer.value = "score"


def test_layers_are_what_their_names_say(explorer):
    opened, c = explorer.cycle, explorer.controls
    position, radius = opened.selection["chosen"][0]["position"], c.radius.value
    p, s = opened.probabilities(position), opened.scores(position)
    wanted = {"score": s, "divergence": scores.divergence(p, radius), "entropy": scores.entropy(p)}
    for name, values in (wanted | dict(zip(plots.LEVELS, p, strict=True))).items():
        c.layer.value = name
        np.testing.assert_array_equal(plots.maps(c, opened, position, radius)[2], values)
    c.layer.value = "score"
    words = opened.description(position, "<script>")
    assert "&lt;script&gt;" in words
    assert "<script>" not in words


@pytest.mark.parametrize("size", [1, 20, 30, 31, 480, 640])
@pytest.mark.parametrize("grid", aggregation.GRIDS)
def test_region_edges_bound_what_the_maxima_are_of(size, grid):
    """A single high pixel lies in the region between its edges."""
    region = 30
    edges = aggregation.region_edges(size, region, grid)
    for pixel in {0, size // 2, size - 1}:
        s = np.zeros((size, 1))
        s[pixel] = 1
        maxima = aggregation.region_maxima(s, region, grid)[:, 0]
        assert len(maxima) == len(edges) - 1
        inside = [bool(a <= pixel < b) for a, b in pairwise(edges)]
        assert (maxima == 1).tolist() == inside
