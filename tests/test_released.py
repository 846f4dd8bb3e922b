"""The profile `released`, chosen with one word, through all steps of a cycle."""

import pytest

from alkit import checks, experiment, fidelity, profiles, runs, steps
from alkit.settings import checked, read_experiment


@pytest.fixture(scope="module")
def released(toy_yaml, tmp_path_factory):
    """A complete experiment with `profile: released` at toy size; the budget needs filling up."""
    path = tmp_path_factory.mktemp("released")
    settings = read_experiment(toy_yaml).model_dump(mode="json") | {
        "profile": "released",
        "set": {
            "image_size": [96, 128], "width": 0.25, "pretrain_epochs": 1, "epochs": 1,
            "mc_passes": 2,
        },
        "strategies": ["divergence", "mc-dropout"],
        "data": {"street-source": {"frames": 8}, "street-pool": {"frames": 104}},
        "budget": 90,
        "cycles": 1,
    }  # fmt: skip
    out = runs.create(path / "out", checked(settings, "here"), runs.ROOT / "data_catalog.yaml")
    experiment.run(out, notebooks=False)
    return out


def test_the_loop_runs_and_fills_up_without_rule_1(released):
    run = runs.Run(released / "divergence/seed_0")
    chosen = run.selection(1)
    assert len(chosen["chosen"]) == 90
    assert 0 < chosen["without_rule_1"] < 90
    assert checks.selection(run, 1).startswith("selection: within the budget")
    assert run.evaluation(1)["protocol"] == "released"
    assert run.logits(1).sizes["view"] == 1  # no double evaluation


def test_step_4_smooths_across_videos(released):
    run = runs.Run(released / "divergence/seed_0")
    pool = run.frames("pool")
    z = run.image_scores(1)["z"].to_numpy()
    ranked = run.selection(1)["ranked_by"]
    assert len(set(pool.sequence)) > 1
    border = next(i for i in range(1, len(z)) if pool.sequence[i] != pool.sequence[i - 1])
    weights = {j: 2.718281828459045 ** (-(j**2) / 18) for j in range(-5, 6)}
    near = [j for j in weights if 0 <= border + j < len(z)]
    expected = sum(weights[j] * z[border + j] for j in near) / sum(weights[j] for j in near)
    assert ranked[border] == pytest.approx(expected, rel=1e-9)


def test_each_step_records_the_released_numbers(released):
    run = runs.Run(released / "divergence/seed_0")
    numbers = profiles.RELEASED.model_dump(mode="json")
    recorded = {}
    for step in steps.CYCLE:
        record = runs.read_json(run.cycle(1) / f"{step.name}.json")
        recorded |= record["parameters"]
    differing = set(recorded) & {n for names in fidelity.ROWS.values() for n in names}
    assert len(differing) == len(fidelity.ROWS)
    for name in (*differing, "optimiser", "learning_rate", "protocol", "default_boxes"):
        assert recorded[name] == numbers[name], name


def test_x_l_keeps_its_aspect_and_the_profile_names_the_filter(toy_yaml, tmp_path):
    def run_of(profile):
        settings = read_experiment(toy_yaml).model_dump(mode="json") | {
            "labeled": "citypersons-train", "held_out": None, "data": {}, "set": {},
            "profile": profile,
        }  # fmt: skip
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
