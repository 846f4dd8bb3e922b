"""Paper against released code: complete, right on made-up scores, true to the steps."""

import numpy as np
import pytest

from alkit.frames import FrameSet
from alkit.loop import runs
from alkit.profiles import PAPER, RELEASED, Profile, profile
from alkit.strategies import ranked_by
from alkit.studies import fidelity

NUMBERS = profile("demo", {"exclude_now": 3})


def video(n, sequences=2):
    image = np.zeros((8, 8, 3), np.uint8)
    return FrameSet(
        "made up",
        [f"f{i}" for i in range(n)],
        lambda i: image,
        sequence=np.sort(np.arange(n) % sequences).astype(str),
        frame=np.arange(n, dtype=float) % (n // sequences),
    )


def test_every_difference_of_the_profiles_has_a_row_or_is_listed():
    differing = {
        name for name in Profile.model_fields if getattr(PAPER, name) != getattr(RELEASED, name)
    }
    assert fidelity.SHOWN | set(fidelity.listed().index) == differing
    assert fidelity.SHOWN < differing


def test_a_row_changes_its_numbers_alone_and_the_last_changes_all():
    found = fidelity.variants(NUMBERS)
    base = found[fidelity.BASE]
    assert base.image_size == NUMBERS.image_size
    assert (base.radius, base.exclude_now, base.half_pixel) == (9, 3, True)
    for row, names in fidelity.ROWS.items():
        changed = {n for n in Profile.model_fields if getattr(found[row], n) != getattr(base, n)}
        assert changed == set(names)
    together = found[fidelity.ALL]
    assert together.exclude_now == (3, 2)  # −15 … +14 on a pool of every 5th frame
    for name in ("radius", "region_grid", "double_evaluation", "half_pixel", "fill"):
        assert getattr(together, name) == getattr(RELEASED, name)


def test_agreement_by_hand():
    first, second = np.array([4, 2, 9, 1]), np.array([2, 4, 7, 9])
    assert fidelity.agreement(first, second, 2) == 1.0
    assert fidelity.agreement(first, second, 3) == pytest.approx(2 / 3)
    assert fidelity.agreement(first, second, 1) == 0.0
    assert np.isnan(fidelity.agreement(first, second, 5))


def test_rankings_and_table_on_made_up_scores():
    frames = video(40)
    rng = np.random.default_rng(0)
    z = rng.random(40)
    reversed_ = "window 9×9 instead of 19×19"
    filled = "filled up in three passes"
    names = (fidelity.BASE, reversed_, filled, "rule 1: one frame less after")
    scores = {name: z for name in names} | {reversed_: 1 - z}
    found = fidelity.rankings(scores, frames, NUMBERS, budget=40)
    table = fidelity.table(found)
    assert table.loc[fidelity.BASE].dropna().eq(1).all()
    assert table.loc[reversed_, ("tau", "")] == pytest.approx(-1)
    # 20 frames a video, 3 on either side blocked: never more than 5 of a video, at least 3
    count = len(found[fidelity.BASE].chosen)
    assert 6 <= count <= 10
    # the rest within the budget, but none within 1 frame of another: the demo's exclude_later is 2
    assert count < len(found[filled].chosen) <= 14
    assert np.array_equal(found[filled].chosen[:count], found["paper"].chosen)
    gone, new = fidelity.changes(found, reversed_, 5)
    assert len(gone) == len(new) == 5 - round(5 * table.loc[reversed_, ("chosen", 5)])
    assert not set(gone) & set(found[reversed_].chosen[:5])
    assert set(new) <= set(found[reversed_].chosen[:5])
    assert fidelity.check(found).startswith("fidelity: every variant")
    found[fidelity.BASE].z[3] = np.nan
    assert "wrong" in fidelity.check(found)


def test_smoothing_across_videos_sees_no_border():
    frames = video(20)
    z = np.zeros(20)
    z[9] = 1.0  # the last frame of the first video
    across = "Eq. (6) and rules across videos"
    found = fidelity.rankings({fidelity.BASE: z, across: z}, frames, NUMBERS)
    assert found[fidelity.BASE].ranked_by[10] == 0
    weights = np.exp(-(np.arange(-5, 6) ** 2) / 18)
    assert found[across].ranked_by[10] == pytest.approx(weights[4] / weights.sum())


def test_each_frame_gets_the_next_ones_score():
    frames, name = video(6, sequences=1), "each frame with the next one's score"
    z = np.array([3.0, 0, 0, 9, 1, 2])
    weights = np.exp(-(np.arange(-5, 6) ** 2) / 18)
    found = fidelity.rankings({fidelity.BASE: z, name: z}, frames, NUMBERS)
    moved = np.array([0, 0, 9, 1, 2, 3.0])  # the last has the first's
    expected = [
        np.average(moved, weights=weights[5 - t : 11 - t]) for t in range(6)
    ]  # Eq. (6) over the six frames that exist
    np.testing.assert_allclose(found[name].ranked_by, expected)
    # a frame without a score neither gives nor takes one
    numbers = NUMBERS.model_copy(update={"score_of_next": True})
    z[2] = np.nan
    ranked = ranked_by(z, frames, numbers, smoothing=False)
    np.testing.assert_array_equal(ranked, [0, 9, np.nan, 1, 2, 3])


def test_in_a_second_cycle_the_released_code_still_scores_the_labeled_frames():
    frames = video(120, sequences=2)
    z = np.random.default_rng(1).random(120)
    names = (fidelity.BASE, *fidelity.SECOND_ROWS)
    found = fidelity.rankings(dict.fromkeys(names, z), frames, NUMBERS, budget=20)
    labeled = found[fidelity.BASE].chosen
    own, scored = (found[name] for name in fidelity.SECOND_ROWS)
    assert np.flatnonzero(np.isnan(own.ranked_by)).tolist() == sorted(labeled.tolist())
    assert np.isfinite(scored.ranked_by).all()
    np.testing.assert_array_equal(scored.ranked_by, found[fidelity.BASE].ranked_by)
    for ranking in (own, scored):
        assert not set(ranking.chosen) & set(labeled)
    assert fidelity.check(found).startswith("fidelity: every variant")


def test_the_papers_row_is_what_the_steps_compute(toy_experiment):
    run = runs.Run(toy_experiment / "divergence/seed_0")
    frames = run.frames("pool").unlabeled().take(range(6))
    numbers = run.experiment.numbers
    z = fidelity.image_scores(run.weights(0), frames, numbers, mc=True, progress=False)
    stored = run.image_scores(1)["z"].to_numpy()[:6]
    # the stored maps are quantized: at most half a step, 0.7 % of a score of 0.01 nats
    np.testing.assert_allclose(z[fidelity.BASE], stored, rtol=0.02, atol=5e-5)
    assert list(z) == list(fidelity.variants(numbers))
    # rows that act on the maps change them; rows that act later do not
    for row in list(fidelity.ROWS)[:5]:
        assert (z[row] != z[fidelity.BASE]).all(), row
    assert (z["filled up in three passes"] == z[fidelity.BASE]).all()
    # of one map each: the sum is the mean times the pixels, and the highest 90 % have more
    assert (z["sum over all pixels"] > z["mean of the highest 90 % of the pixels"]).all()
    first, control, *_ = (z[name] for name in fidelity.MC_ROWS)
    assert (first != control).all()


def test_figures_draw_what_changes():
    frames = video(40)
    rng = np.random.default_rng(0)
    scores = {name: rng.random(40) for name in fidelity.variants(NUMBERS)}
    found = fidelity.rankings(scores, frames, NUMBERS)
    sheet = fidelity.changed(frames, found, fidelity.ALL, 5)
    gone, new = fidelity.changes(found, fidelity.ALL, 5)
    assert sum(bool(axes.images) for axes in sheet.axes) == len(gone) + len(new)
    same = fidelity.changed(frames, {n: found["paper"] for n in found}, fidelity.ALL, 5)
    assert "same images" in same.data
