"""Many workers on paper: by hand."""

import pytest

from alkit.loop import scaling
from alkit.loop.scaling import Work


@pytest.mark.parametrize(
    ("workers", "most"),  # frames of the worker with most; shards of 32, 32, 32 and 4
    [(1, 100), (2, 64), (3, 36), (4, 32), (64, 32)],
)
def test_whole_shards_go_to_workers(workers, most):
    assert Work(200.0, 100).on(workers) == pytest.approx(2 * most, rel=1e-12)


def test_few_frames_and_other_steps_are_not_divided():
    assert Work(10.0, 5).on(64) == Work(10.0, 32).on(64) == Work(10.0).on(64) == 10.0
    assert Work(10.0, 64).on(64) == 5.0
    assert Work(0.0, 0).on(64) == 0.0  # nobody is left to predict


def test_a_sweep_by_hand():
    def run(seconds):
        return lambda workers: seconds + 60 / workers

    # 3 runs on 7 workers: two each, one is left over
    assert scaling.sweep([run(1), run(5), run(2)], 7) == 35
    # 4 runs on 2 workers: 61 and then 62, beside 65 and then 64
    assert scaling.sweep([run(1), run(5), run(2), run(4)], 2) == 129
    assert scaling.sweep([run(1)] * 3, 1) == 183


def test_the_first_cycle_by_hand():
    # 96 frames: three shards a step, so three workers are enough; 32 · (2 + 1 + 0.5) seconds
    works = [Work(192.0, 96, 1120.0), Work(96.0, 96, 2240.0), Work(48.0, 96)]
    table = scaling.first_cycle({"mine": works}, workers=64)
    assert table.loc["mine"].to_dict() == {
        "seconds": 112.0,
        "frames/s": 96 / 112,
        "bytes/s": 30.0,
        "tasks/s": 9 / 112,
    }
    assert scaling.first_cycle({"mine": works}, workers=2)["seconds"]["mine"] == 224.0


def test_the_whole_experiment_by_hand():
    """One W_l, and two runs of 64 frames; the second shares the first one's prediction where they
    are done one after the other."""
    pretrained = [[Work(100.0)]]
    run = [Work(640.0, 64), Work(50.0)]
    once = [*pretrained[0], *run, Work(50.0)]
    table = scaling.whole(once, pretrained, [run, run], workers=4)
    assert list(table.index) == ["one after the other", "side by side, 2 of 4 each"]
    first, second = (table.loc[name].to_dict() for name in table.index)
    # 100 + 320 + 50 + 50; three wait in 200 of them, and two in the 320
    assert first == {
        "time": 520.0, "cost": 2080.0, "working": 840.0, "alone": 600.0, "otherwise": 640.0,
    }  # fmt: skip
    # 100, where three wait; then 320 + 50 in both runs, where one waits in the 50
    assert second == {
        "time": 470.0, "cost": 1880.0, "working": 1480.0, "alone": 400.0, "otherwise": 0.0,
    }  # fmt: skip
