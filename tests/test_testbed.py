"""The test bed's card: its numbers, against loops and by hand, and its figures."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
from firststeps import leave_json

from alkit.boxes import default_boxes
from alkit.catalog import load
from alkit.data.readers.street import SITUATIONS, describe
from alkit.detector import logit_shapes
from alkit.frames import Boxes, FrameSet
from alkit.loop import runs
from alkit.loop.jsonfile import read_json, write_json
from alkit.loop.settings import read_folds
from alkit.profiles import DEMO
from alkit.studies import testbed
from alkit.studies.ceiling import causes, perfect_logits

ROWS, COLUMNS = DEMO.image_size


@pytest.fixture(scope="module")
def run(toy_experiment):
    return runs.open_run(toy_experiment / "pretrain/seed_0")


@pytest.fixture(scope="module")
def frames(run):
    return testbed.frames_of(run)


@pytest.fixture(scope="module")
def ceilings(run, frames):
    return testbed.ceilings(run, frames)


def of_grays(grays, sequence=None):
    """Frames of one gray each."""
    images = [np.full((120, 160, 3), gray, np.uint8) for gray in grays]
    names = [str(i) for i in range(len(grays))]
    return FrameSet("gray", names, images.__getitem__, (120, 160), sequence=sequence)


def labeled(*frames):
    """Frames with the given lists of boxes [left, top, width, height]."""
    boxes = [Boxes(np.reshape(ltwh, (-1, 4)), ["pedestrian"] * len(ltwh)) for ltwh in frames]
    image = np.zeros((ROWS, COLUMNS, 3), np.uint8)
    return FrameSet("made", list("abcdefgh")[: len(boxes)], lambda i: image, DEMO.image_size, boxes)


def centered(y, x, height, width):
    return [x - width / 2, y - height / 2, width, height]


# --- redundancy and rare situations


def test_differences_of_consecutive_frames_stay_within_a_sequence():
    sequence = np.array(["a", "a", "a", "b", "b"])
    consecutive, random = testbed.redundancy(of_grays([10, 13, 100, 101, 99], sequence))
    np.testing.assert_array_equal(consecutive, [np.nan, 3, 87, np.nan, 2])
    assert set(random) <= {3.0, 90.0, 91.0, 89.0, 87.0, 88.0, 86.0, 1.0, 2.0}
    consecutive, _ = testbed.redundancy(of_grays([10, 13, 100]))
    np.testing.assert_array_equal(consecutive, [np.nan, 3, 87])


def test_a_random_sample_misses_a_rare_situation():
    tags = np.zeros(300, SITUATIONS)
    tags["night"][:80] = True
    tags["crowd"][60:90] = True
    tags["rain"][100:150] = True
    tags["pedestrians"][140:160] = 1
    tags["close"][:] = True
    table = testbed.rare(tags, np.repeat(["a", "b", "c"], 100))
    assert table["frames"].to_dict() == {
        "night crowd": 20,
        "rain, with people": 10,
        "children": 0,
        "close to the camera": 300,
    }
    assert table["sequences"].tolist() == [1, 1, 0, 3]
    missed = table["missed by 3 random frames"]
    chance = 1.0  # drawn one after the other
    for drawn in range(3):
        chance *= (280 - drawn) / (300 - drawn)
    assert missed["night crowd"] == pytest.approx(chance, abs=5e-4)
    assert missed["children"] == 1
    assert missed["close to the camera"] == 0


# --- the decoder ceiling


def test_perfect_logits_are_those_that_step_1_stores():
    boxes = Boxes(
        [centered(120, 160, 72.5, 40), [0, 0, 60, 120]], ["pedestrian"] * 2, [False, True]
    )
    logits = perfect_logits(boxes, DEMO)
    coarse, fine = logit_shapes(DEMO.image_size)[0], logit_shapes(DEMO.image_size)[4]
    assert logits["logits_stride8"].shape == (1, 4, *coarse)
    assert logits["logits_stride4"].shape == (1, *fine)
    positive = logits["logits_stride8"][0] > 0
    assert positive.any(axis=(1, 2)).tolist() == [False, False, True, False]
    assert not (logits["logits_stride4"] > 0).any()  # what is ignored is no pedestrian


def test_a_pedestrian_like_a_default_box_is_found():
    frames = labeled(*([centered(120, 160, *size)] for size in default_boxes(DEMO)), [])
    assert causes(frames, DEMO) == {"shape": 0, "alone": 0, "together": 0}


def test_a_pedestrian_unlike_any_default_box_is_missed():
    slim = centered(120, 160, 40, 8)  # the best IoU is 0.42, with 27.5 × 15.5
    frames = labeled([slim], [centered(120, 160, 40, 25)])
    assert causes(frames, DEMO) == {"shape": 0.5, "alone": 0.5, "together": 0.5}


def test_a_neighbor_clears_the_patch_of_the_one_before():
    large, small = default_boxes(DEMO)[[1, 4]]
    pair = [centered(120, 160, *large), centered(120, 162, *small)]
    found = causes(labeled(pair, [centered(120, 160, *large)]), DEMO)
    assert found["shape"] == found["alone"] == 0
    assert found["together"] == pytest.approx(1 / 3)


def test_there_is_no_ceiling_without_pedestrians():
    assert np.isnan(list(causes(labeled([], []), DEMO).values())).all()


def test_the_causes_of_a_ceiling_add_up(ceilings):
    assert ceilings.index.tolist() == ["street-source", "street-test"]
    assert (ceilings["shape"] <= ceilings["alone"] + 1e-9).all()
    assert ceilings.to_numpy().min() >= 0
    assert ceilings.to_numpy().max() <= 1


# --- the data sets of a run


def test_the_data_sets_are_surveyed_with_the_arguments_of_the_run(run, frames):
    found = {one.name: one.counts["images"] for one in testbed.surveys(run, frames)}
    assert found == {"street-source": 8, "street-pool": 40, "street-test": 10}


def test_the_situations_are_those_of_the_pools_frames(run, frames):
    tags = testbed.situations(run)
    people = [(~boxes.ignore).sum() for boxes in frames["pool"].boxes]
    assert len(tags) == 40
    assert np.corrcoef(tags["pedestrians"], people)[0, 1] > 0.7


def test_what_a_choice_covers(run, frames, monkeypatch):
    monkeypatch.setattr(testbed, "CHOSEN", 4)
    pool, tags = frames["pool"], testbed.situations(run)
    pool = pool.with_boxes(
        lambda own, i: replace(own, ignore=own.ignore | (i < 20))
    )  # nobody there
    table = testbed.coverage(run, frames | {"pool": pool})
    people, kinds = set(), set()
    for i in range(40):
        people |= {int(k) for k in pool.boxes[i].identity[~pool.boxes[i].ignore]}
        light = "rain" if tags["rain"][i] else "night" if tags["night"][i] else "day"
        kinds |= {(light, name) for name, is_in in testbed.RARE.items() if is_in(tags)[i]}
        kinds.add((light, "none"))
    counts = {"clips": len({*pool.sequence}), "people": len(people), "situations": len(kinds)}
    assert table.loc["pool", "all"].to_dict() == counts
    even = {int(k) for i in (0, 13, 26, 39) for k in pool.boxes[i].identity[~pool.boxes[i].ignore]}
    assert table.loc[("pool", "people"), "evenly spaced"] == len(even)
    assert (table["evenly spaced"] <= table["at best"]).all()
    assert (table["random"] <= table["at best"]).all()
    assert (table["at best"] <= table["all"]).all()


def test_the_card_of_a_bed_of_two_worlds(toy_copy):
    """The pool's situations are those of each world's own pool, in the order of its frames."""
    settings = json.loads((toy_copy / "experiment.json").read_text())
    del settings["data"]["street-pool"]
    settings["data"]["street-bed-pool"] = {"frames": 30, "world": 5}
    write_json(toy_copy / "experiment.json", settings | {"pool": "street-bed-pool"})
    bed = runs.open_run(toy_copy / "pretrain/seed_0")
    tags, own = testbed.situations(bed), testbed.frames_of(bed)
    worlds = [describe(domain="pool", frames=30, world=world) for world in (5, 1005)]
    assert (tags == np.concatenate(worlds)).all()
    assert len(own["pool"]) == len(tags) == 60
    assert testbed.check(bed, own).startswith("street: boxes inside images")
    assert testbed.coverage(bed, own).loc[("pool", "clips"), "all"] == 2


def test_other_data_than_street_is_refused(toy_copy):
    settings = json.loads((toy_copy / "experiment.json").read_text())
    del settings["data"]["street-test"]
    write_json(toy_copy / "experiment.json", settings | {"test": "pets09-test"})
    with pytest.raises(ValueError, match=r"pets09-test.* not drawn by"):
        testbed.frames_of(runs.open_run(toy_copy / "pretrain/seed_0"))


# --- miss rates


@pytest.fixture
def folds(toy_experiment, tmp_path):
    """Two complete folds; after the last cycle of one many frames are labeled, of one few."""
    for name, images, rate in (("whole", 40, 0.5), ("few", 1, 0.75)):
        shutil.copytree(toy_experiment, tmp_path / name)
        for file in (tmp_path / name).glob("*/seed_0/cycle_02/evaluation.json"):
            own = read_json(file)
            own["labeled"]["images"] = images
            leave_json(file, own | {"miss_rate_at_1": rate})
    write_json(tmp_path / "folds.json", ["whole", "few"])
    return tmp_path


def test_miss_rates_of_the_ceiling_of_w_l_and_of_each_strategy(run, ceilings, folds):
    table = testbed.miss_rates(run, "runs/none", ceilings)
    assert table["what"].tolist() == ["decoder ceiling"] * 2 + ["W_l"] * 2
    assert table["data"].tolist() == ["street-source", "street-test"] * 2
    table = testbed.miss_rates(run, str(folds), ceilings)
    assert dict(zip(table["what"][4:], table["miss rate"][4:], strict=True)) == {
        "labeled frames: 1, divergence": 0.75,
        "labeled frames: 1, guided-random": 0.75,
        "labeled frames: 40, divergence": 0.5,
        "labeled frames: 40, guided-random": 0.5,
    }


def test_an_unfinished_fold_or_another_w_l_has_no_row(run, ceilings, folds):
    file = folds / "few/pretrain/seed_0/evaluation.json"
    own = read_json(file)
    leave_json(file, own | {"miss_rate_at_1": own["miss_rate_at_1"] + 0.01})
    assert len(testbed.miss_rates(run, str(folds), ceilings)) == 6
    for record in (folds / "whole").glob("*/seed_0/cycle_*/7_evaluate.json"):
        record.unlink()
    assert len(testbed.miss_rates(run, str(folds), ceilings)) == 4


def test_the_bed_is_of_another_town_for_each_seed_and_all_of_it_can_be_labeled():
    folds, catalog = read_folds(runs.ROOT / testbed.HEADROOM), load(runs.ROOT / "data_catalog.yaml")
    for fold in folds.values():
        assert all(given == {"world": "seed"} for given in fold.data.values())
        assert {*fold.data} == {fold.labeled, fold.held_out, fold.pool, fold.test}
    whole, choices = folds["whole-pool"], folds["choices"]
    assert whole.budget == catalog[whole.pool].expect["images"] == 2000
    assert choices.cycles * choices.budget <= 0.05 * whole.budget


# --- the checked line


def test_the_check_sees_what_is_wrong(run, frames):
    assert testbed.check(run, frames).startswith("street: boxes inside images")

    def check(pool):
        return testbed.check(run, frames | {"pool": pool})

    pool = frames["pool"]
    moved = pool.with_boxes(lambda boxes, _: replace(boxes, ltwh=boxes.ltwh + 100))
    assert "not inside the image" in check(moved)
    flat = pool.with_boxes(lambda boxes, _: replace(boxes, ltwh=boxes.ltwh * (1, 1, 1, 0)))
    assert "is empty or" in check(flat)
    brighter = replace(pool, read=lambda i: pool.images(i) | np.uint8(1))
    assert "differs when it is drawn again" in check(brighter)


# --- figures


def texts(figure):
    return [text.get_text() for text in figure.findobj(lambda artist: hasattr(artist, "get_text"))]


def test_the_figures_say_what_the_numbers_are(frames):
    consecutive, _ = testbed.redundancy(frames["pool"])
    near = np.mean(consecutive[~np.isnan(consecutive)] < testbed.NEAR)
    caption = "".join(texts(testbed.draw_redundancy(frames["pool"]))).replace("\n", " ")
    assert f"{near:.0%} of the frames" in caption


def test_rare_frames_are_shown_with_the_name_of_their_situation(frames):
    tags = np.zeros(40, SITUATIONS)
    pool = frames["pool"]
    assert "The pool has none of the rare situations." in testbed.rare_sheet(pool, tags).data
    tags["children"][[7, 30]] = True
    shown = texts(testbed.rare_sheet(pool, tags))
    assert {f"children: {pool.name[7]}", f"children: {pool.name[30]}"} <= set(shown)
