"""The profile `released`, chosen with one word, through all steps of a cycle."""

import numpy as np
import pytest

from alkit import profiles
from alkit.loop import checks, experiment, runs, steps
from alkit.loop.settings import checked, read_experiment
from alkit.pages.explorer.cycle import Cycle
from alkit.studies import fidelity

RECORDED = (
    "optimizer",
    "learning_rate",
    "protocol",
    "default_boxes",
    "loss_mean",
    "whole_pixels",
    "augmentation",
    "resizing",
    "score_labeled",
    "decode_score",
    "plateaus",
)


@pytest.fixture(scope="module")
def released(toy_yaml, tmp_path_factory):
    """A complete experiment with `profile: released` at toy size; the budget needs filling up."""
    path = tmp_path_factory.mktemp("released")
    settings = read_experiment(toy_yaml).model_dump(mode="json") | {
        "profile": "released",
        "set": {
            "image_size": [64, 96],
            "width": 0.25,
            "pretrain_iterations": 12,
            "epochs": 1,
        },
        "strategies": ["divergence"],
        "data": {
            "street-source": {"frames": 8},
            "street-pool": {"frames": 104},
            "street-test": {"frames": 10},
        },
        "budget": 14,
        "cycles": 2,
    }
    out = runs.create(path / "out", checked(settings, "here"), runs.ROOT / "data_catalog.yaml")
    experiment.run(out, notebooks=False)
    return out


def test_the_loop_runs_and_fills_up_in_later_passes(released):
    run = runs.Run(released / "divergence/seed_0")
    chosen = run.selection(1)
    assert len(chosen["chosen"]) == 14
    assert 0 < chosen["relaxed"] < 14
    assert checks.selection(run, 1).startswith("selection: within the budget")
    assert run.evaluation(1)["protocol"] == "released"
    assert run.logits(1).sizes["view"] == 1  # no double evaluation


def test_step_4_smooths_labeled_frames_across_videos_with_zeros_beyond_the_ends(released):
    run = runs.Run(released / "divergence/seed_0")
    pool = run.frames("pool")
    assert len(set(pool.sequence)) > 1
    weights = np.exp(-(np.arange(-5, 6) ** 2) / 18)
    for cycle in (1, 2):
        table = run.image_scores(cycle)
        # all frames have a score, those that were labeled before too
        assert table["position"].tolist() == list(range(len(pool)))
        expected = np.convolve(table["z"], weights / weights.sum(), "same")
        ranked = np.array(run.selection(cycle)["ranked_by"], float)
        np.testing.assert_allclose(ranked, expected, rtol=1e-9)
    chosen = [[f["position"] for f in run.selection(k)["chosen"]] for k in (1, 2)]
    assert not set(chosen[0]) & set(chosen[1])
    labeled = np.array(chosen[0])
    assert all(np.abs(labeled - p).min() > 2 for p in chosen[1])  # rule 2 by positions


def test_w_l_takes_so_many_iterations(released):
    losses = runs.Run(released / "divergence/seed_0").losses(0)
    frames = runs.Run(released / "pretrain/seed_0").frames("labeled")
    assert len(losses) == -(-12 // len(frames))
    assert checks.training(runs.Run(released / "pretrain/seed_0"), 0).startswith("training: ")


def test_the_explorer_names_the_frame_that_kept_another_out_across_videos(released):
    opened = Cycle(runs.Run(released / "divergence/seed_0"), 1)
    for position in np.flatnonzero(opened.table["order"].to_numpy() == 0):
        sentence = opened.reason(int(position))
        assert "frame" in sentence or "budget" in sentence


def test_where_later_passes_find_nobody_the_explorer_still_names_who_kept_a_frame_out(
    toy_settings, tmp_path
):
    numbers = {"image_size": [96, 128], "exclude_now": 2, "fill": True, "pretrain_epochs": 1}
    settings = toy_settings | {
        "set": numbers | {"epochs": 1},
        "strategies": ["guided-random"],
        "cycles": 1,
        "budget": 30,
    }
    out = runs.create(tmp_path / "o", checked(settings, "here"), runs.ROOT / "data_catalog.yaml")
    experiment.run(out, notebooks=False)
    opened = Cycle(runs.Run(out / "guided-random/seed_0"), 1)
    assert opened.selection["relaxed"] == 0
    assert opened.selection["counts"]["EXCLUDED_LATER"] > 0
    for position in np.flatnonzero(opened.table["order"].to_numpy() == 0):
        assert "frame" in opened.reason(int(position))


def test_each_step_records_the_released_numbers(released):
    run = runs.Run(released / "divergence/seed_0")
    numbers = profiles.RELEASED.model_dump(mode="json")
    recorded = {}
    for step in steps.CYCLE:
        record = runs.read_json(run.cycle(1) / f"{step.name}.json")
        recorded |= record["parameters"]
    differing = set(recorded) & {n for names in fidelity.ROWS.values() for n in names}
    assert len(differing) == len(fidelity.ROWS)
    for name in (*differing, *RECORDED):
        assert recorded[name] == numbers[name], name


def test_x_l_keeps_its_aspect_and_the_profile_names_the_filter(toy_yaml, tmp_path):
    def run_of(profile):
        settings = read_experiment(toy_yaml).model_dump(mode="json") | {
            "labeled": "citypersons-train",
            "held_out": None,
            "data": {},
            "set": {},
            "profile": profile,
        }
        out = tmp_path / profile
        runs.create(out, checked(settings, "here"), runs.ROOT / "data_catalog.yaml")
        return runs.Run(out / "pretrain/seed_0")

    released, paper = run_of("released"), run_of("paper")
    assert released.image_size("labeled") == (480, 960)
    assert released.image_size("pool") == (480, 640)
    assert released.entry("labeled").filter.min_height == 45
    assert "rider" in released.entry("labeled").filter.classes
    assert paper.entry("labeled").filter.min_height == 50
    assert "rider" not in paper.entry("labeled").filter.classes
    assert paper.entry("pool").filter == paper.catalog["street-pool"].filter


def test_x_l_is_without_empty_images_unless_the_profile_keeps_them(toy_settings, tmp_path):
    def x_l(profile):
        settings = toy_settings | {"profile": profile, "set": {}, "held_out": None}
        settings["data"] = {"street-source": {"frames": 40}}
        out = tmp_path / profile
        runs.create(out, checked(settings, "here"), runs.ROOT / "data_catalog.yaml")
        return runs.Run(out / "pretrain/seed_0").frames("labeled")

    paper, demo = x_l("paper"), x_l("demo")
    assert len(demo) == 40
    assert len(paper) < 40
    assert len(paper.with_pedestrians()) == len(paper)
