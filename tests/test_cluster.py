"""Steps 1 and 2 on Dask workers, real processes: equal to one process, killed, lost, refused."""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import Counter

import numpy as np
import pytest
import torch
from distributed import LocalCluster
from firststeps import NAMES, grown, results
from torchthreads import torch_threads

from alkit import prediction, scores
from alkit.cli import main
from alkit.frames import FrameSet
from alkit.loop import cluster, experiment, progress, records, runs, steps, store
from alkit.loop.runs import Run, open_run

pytestmark = pytest.mark.usefixtures("one_thread")  # what a worker has

SHARD = 8  # frames: 40 are five shards; workers take the size from the store
TIMEOUT = 240
SLOW_PLUGIN = '''
"""Entropy, so slow that a test can interrupt it; notes which process computes."""
import os
import time
from pathlib import Path
from alkit.scores import entropy
from alkit.strategies import Strategy

def slow(p):
    with open(Path(__file__).with_name("calls"), "a") as file:
        file.write(f"{os.getpid()}\\n")
    time.sleep(0.1)
    return entropy(p)

scores = {"slow": slow}
strategies = {"slow": Strategy("slow")}
'''


@pytest.fixture(autouse=True)
def small_shards(monkeypatch):
    monkeypatch.setattr(store, "SHARD_FRAMES", SHARD)


def forget(run: Run, names=NAMES):
    """Take the steps of cycle 1 back, with their artifacts."""
    for name in names:
        records.record_path(run, 1, name).unlink(missing_ok=True)
        for artifact in steps.STEPS[name].artifacts:
            path = run.cycle(1) / artifact
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)


def predict_score_aggregate(run: Run):
    for step in (steps.predict, steps.score, steps.aggregate):
        step(run, 1)


def wait_until(is_time):
    deadline = time.monotonic() + TIMEOUT
    while not is_time():
        assert time.monotonic() < deadline, "it never came to that"
        time.sleep(0.01)


# ---- equal to one process ------------------------------------------------------------------------


def test_workers_give_what_one_process_gives(workers, alone, toy_copy, monkeypatch):
    run = open_run(toy_copy / "divergence/seed_0")
    single = results(run)  # of the whole toy experiment, in shards of 32
    forget(run)
    monkeypatch.setenv(cluster.SCHEDULER, workers)
    monkeypatch.setattr(progress, "LOG_SECONDS", 0)
    predict_score_aggregate(run)
    assert results(run) == single
    log = (run.cycle(1) / "1_predict.log").read_text().splitlines()
    assert [json.loads(line)["done"] for line in log[-5:]] == [8, 16, 24, 32, 40]
    assert not (run.cycle(1) / "pool_detections").exists()


def test_a_shard_is_written_while_the_next_one_is_computed(alone, toy_copy, monkeypatch):
    run = open_run(toy_copy / "divergence/seed_0")
    single = results(run)
    forget(run)
    computing, write, waited = threading.Event(), store.write_shard, []
    predict = prediction.predict

    def predicted(*arguments):
        if frames_read["n"] >= SHARD:
            computing.set()  # the second shard's first frame
        frames_read["n"] += 1
        return predict(*arguments)

    def written(place, key, block, arrays):
        if block.start == 0 and not waited:
            waited.append(computing.wait(60))
        write(place, key, block, arrays)

    frames_read = Counter()
    monkeypatch.setattr(prediction, "predict", predicted)
    monkeypatch.setattr(store, "write_shard", written)
    predict_score_aggregate(run)
    assert waited == [True]
    assert results(run) == single


@pytest.mark.parametrize("threads", [1, 3])
def test_a_frame_that_cannot_be_read_loses_no_shard_before_its_own(
    alone, toy_copy, monkeypatch, threads
):
    run = open_run(toy_copy / "divergence/seed_0")
    forget(run)
    images, pool = FrameSet.images, len(run.frames("pool"))

    def broken(frames, i):
        if len(frames) == pool and i == 2 * SHARD:
            raise ValueError(f"frame {i} is broken")
        return images(frames, i)

    monkeypatch.setattr(FrameSet, "images", broken)
    with torch_threads(threads), pytest.raises(ValueError, match="frame 16 is broken"):
        steps.predict(run, 1)
    done = store.reopen(run.cycle(1) / "logits.zarr", steps.predict.plan(run, 1).key)["done"][:]
    assert done.tolist() == [True] * 2 * SHARD + [False] * (pool - 2 * SHARD)


def test_the_number_of_threads_changes_no_bit(alone, toy_copy):
    run = open_run(toy_copy / "divergence/seed_0")
    single = results(run)  # of one thread
    forget(run)
    with torch_threads(3):
        predict_score_aggregate(run)
        assert torch.get_num_threads() == 3
    assert results(run) == single


def test_mc_dropout_draws_the_same_numbers_on_threads_and_workers(
    workers, alone, toy_copy, monkeypatch
):
    run = grown(toy_copy, strategies=["divergence", "mc-dropout"])
    predict_score_aggregate(run)
    single = results(run)
    forget(run, ["2_score", "3_aggregate"])
    with torch_threads(3):
        steps.score(run, 1)
        steps.aggregate(run, 1)
    assert results(run) == single
    forget(run, ["2_score", "3_aggregate"])
    monkeypatch.setenv(cluster.SCHEDULER, workers)
    predict_score_aggregate(run)
    assert results(run) == single


def test_the_work_is_done_by_the_workers_with_one_thread_each(workers, alone, monkeypatch):
    """Also where the environment says otherwise, and in a worker that replaces another."""
    client = cluster._connect(workers)
    try:
        threads = client.run(torch.get_num_threads)
    finally:
        client.close()
    assert list(threads.values()) == [1, 1]
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    with cluster.scheduler("local:1"):
        client = cluster._connect(os.environ[cluster.SCHEDULER])
        try:
            assert list(client.run(torch.get_num_threads).values()) == [1]
        finally:
            client.close()


ALONE_PLUGIN = '''
"""Entropy that cannot be computed twice at a time."""
import threading
import time
from alkit.scores import entropy
from alkit.strategies import Strategy

busy = threading.Lock()

def alone(p):
    assert busy.acquire(blocking=False), "called by two threads at once"
    time.sleep(0.02)
    busy.release()
    return entropy(p)

scores = {"alone": alone}
strategies = {"alone": Strategy("alone")}
'''


def test_a_plugin_is_called_by_one_thread_at_a_time(toy_copy, tmp_path, two_threads):
    (tmp_path / "plugin.py").write_text(ALONE_PLUGIN)
    run = grown(toy_copy, strategies=["divergence", "alone"], plugins=[str(tmp_path / "plugin.py")])
    predict_score_aggregate(run)  # in which the plugin asserts it
    assert len(run.scores(1)) == len(run.frames("pool"))


# ---- faults --------------------------------------------------------------------------------------


@pytest.fixture
def slow_run(toy_copy, tmp_path):
    """A run whose score takes its time, with step 1 complete."""
    (tmp_path / "slow.py").write_text(SLOW_PLUGIN)
    plugin = str(tmp_path / "slow.py")
    run = grown(toy_copy, strategies=["divergence", "slow"], plugins=[plugin])
    steps.predict(run, 1)
    return run


def calls(tmp_path) -> Counter:
    """How many score maps each process has begun."""
    path = tmp_path / "calls"
    return Counter(path.read_text().split() if path.exists() else [])


def expected_scores(run: Run) -> bytes:
    """Score maps of all frames, one after the other, without a plugin, shards or a store."""
    logits, numbers = run.logits(1), run.numbers(1)
    maps = [
        prediction.pixel_scores(scores.entropy, coarse, fine, numbers)
        for coarse, fine in zip(
            logits[prediction.COARSE].values, logits[prediction.FINE].values, strict=True
        )
    ]
    # of a plugin's map the highest score is the highest number in the store
    stored = [store.dequantize(store.quantize(s, s.max()), s.max()) for s in maps]
    return np.stack(stored).tobytes()


def in_background(step, run):
    """Start a step in a thread; its end, None or an error, is appended to the list."""
    ended = []

    def work():
        try:
            step(run, 1)
            ended.append(None)
        except Exception as error:
            ended.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    return thread, ended


def test_a_killed_worker_loses_its_shard_alone(workers, alone, slow_run, tmp_path, monkeypatch):
    monkeypatch.setenv(cluster.SCHEDULER, workers)
    thread, ended = in_background(steps.score, slow_run)
    done = slow_run.cycle(1) / "scores.zarr/done/c"

    def in_the_middle():
        """A worker amid a shard, when the first shards are done."""
        if not (done.exists() and any(done.iterdir())):
            return None
        return next((pid for pid, n in calls(tmp_path).items() if 3 <= n % SHARD <= 5), None)

    wait_until(in_the_middle)
    killed = in_the_middle()
    os.kill(int(killed), signal.SIGKILL)
    thread.join(TIMEOUT)
    assert ended == [None]
    begun = calls(tmp_path)
    assert str(os.getpid()) not in begun
    assert begun[killed] % SHARD, "the worker was killed between two shards"
    # every frame once, but for those of the shard that the killed worker had begun
    assert begun.total() == 40 + begun[killed] % SHARD
    assert slow_run.scores(1).values.tobytes() == expected_scores(slow_run)


def test_a_lost_scheduler_ends_the_run_and_the_next_goes_on(
    workers, alone, slow_run, tmp_path, monkeypatch
):
    own = subprocess.Popen(
        [
            sys.executable, "-c",
            "import os, time\nfrom alkit.loop import cluster\n"
            "if __name__ == '__main__':\n"
            "    with cluster.scheduler('local:1'):\n"
            "        print(os.environ['ALKIT_SCHEDULER'], flush=True)\n"
            "        time.sleep(600)\n",
        ],
        stdout=subprocess.PIPE,
        text=True,
    )  # fmt: skip
    try:
        address = own.stdout.readline().strip()
        monkeypatch.setenv(cluster.SCHEDULER, address)
        thread, ended = in_background(steps.score, slow_run)
        done = slow_run.cycle(1) / "scores.zarr/done/c"
        wait_until(lambda: done.exists() and any(done.iterdir()))
    finally:
        own.kill()
        own.wait()
    thread.join(TIMEOUT)
    (error,) = ended
    assert isinstance(error, RuntimeError)
    assert f"the Dask scheduler at {address} was lost in step 2_score" in str(error)
    assert "of 5 tasks came back" in str(error)
    assert records.read(slow_run, 1, "2_score") is None

    before = calls(tmp_path).total()
    left = len(store.shards(store.reopen(slow_run.cycle(1) / "scores.zarr", _key(slow_run))))
    assert 0 < left < 5
    monkeypatch.setenv(cluster.SCHEDULER, workers)
    steps.score(slow_run, 1)
    assert calls(tmp_path).total() - before == left * SHARD
    assert slow_run.scores(1).values.tobytes() == expected_scores(slow_run)


def _key(run):
    return steps.score.plan(run, 1).key


def test_no_scheduler_there(workers, alone, toy_copy, monkeypatch):
    monkeypatch.setattr(cluster, "CONNECT_SECONDS", 0.5)
    run = open_run(toy_copy / "divergence/seed_0")
    forget(run)
    monkeypatch.setenv(cluster.SCHEDULER, "tcp://127.0.0.1:9")
    with pytest.raises(RuntimeError, match=r"answers at 'tcp://127.0.0.1:9'.* --scheduler local:N"):
        steps.predict(run, 1)
    assert records.read(run, 1, "1_predict") is None
    for wrong in ("local:", "local:0", "local:two", "local:-1"):
        with pytest.raises(ValueError, match="local:N with N processes, 1 or more"):
            with cluster.scheduler(wrong):
                pass


def test_a_worker_that_cannot_import_alkit_is_named_and_lives():
    lacks = "import sys\nsys.modules['alkit'] = None\n"
    with LocalCluster(n_workers=1, preload=lacks, dashboard_address=":0") as c:
        (worker,) = c.scheduler.workers
        taken = cluster.outcomes(c.scheduler_address, "the test", give_out_nothing)
        with pytest.raises(RuntimeError, match=f"{worker}': ModuleNotFoundError"):
            next(taken)
        assert [*c.scheduler.workers] == [worker]


def give_out_nothing(client):
    return client.map(cluster.check_same, [""], [""], ["nothing"])


def test_no_worker_is_said_again_until_one_comes(monkeypatch, tmp_path, capsys):
    """At the start, and when the last one has died."""
    monkeypatch.setattr(cluster, "SAID_SECONDS", 0.1)
    (flag := tmp_path / "flag").touch()
    kill = f"import os\nif os.path.exists({str(flag)!r}):\n os.remove({str(flag)!r})\n os._exit(1)"
    said, given = [], []

    def is_said_twice():
        said.append(capsys.readouterr().err)
        return "".join(said).count("the test waits for a worker") >= 2

    with LocalCluster(n_workers=0, threads_per_worker=1, dashboard_address=":0") as c:
        taken = cluster.outcomes(
            c.scheduler_address, "the test", lambda client: [client.submit(exec, kill)]
        )
        thread = threading.Thread(target=lambda: given.extend(taken))
        thread.start()
        for what_comes in (lambda: c.scale(1), thread.join):
            wait_until(is_said_twice)
            said.clear()
            what_comes()
            wait_until(lambda: not flag.exists())
    assert given == [(0, None)]


def test_an_error_on_a_worker_is_the_steps_error(workers, alone, toy_copy, tmp_path, monkeypatch):
    (tmp_path / "broken.py").write_text(
        "from alkit.strategies import Strategy\n"
        "def broken(p):\n    raise ArithmeticError('no score today')\n"
        "scores = {'broken': broken}\nstrategies = {'broken': Strategy('broken')}\n"
    )
    plugin = str(tmp_path / "broken.py")
    run = grown(toy_copy, strategies=["divergence", "broken"], plugins=[plugin])
    steps.predict(run, 1)
    monkeypatch.setenv(cluster.SCHEDULER, workers)
    with pytest.raises(ValueError, match=r"broken\.py, line 3: ArithmeticError: no score today"):
        steps.score(run, 1)
    assert records.read(run, 1, "2_score") is None


def test_a_worker_with_another_plan_refuses(workers, alone, toy_copy, monkeypatch):
    """Its alkit, data or settings differ from the driver's; nothing is written."""
    run = open_run(toy_copy / "divergence/seed_0")
    forget(run)
    real = steps.predict.plan(run, 1)
    other = records.Plan(real.step, real.inputs, real.parameters, real.code | {"boxes": "edited"})
    monkeypatch.setattr(type(steps.predict), "plan", lambda *_: other)
    monkeypatch.setenv(cluster.SCHEDULER, workers)
    with pytest.raises(RuntimeError, match=r"would make step 1_predict .* from something else"):
        steps.predict(run, 1)
    group = store.reopen(run.cycle(1) / "logits.zarr", other.key)
    assert not group["done"][:].any()


def test_a_folder_that_workers_do_not_see(tmp_path):
    folder = str(tmp_path / "divergence/seed_0")
    said = "does not find the run folder, which has to be on a file"
    with pytest.raises(RuntimeError, match=said):
        cluster.do_shard(steps.predict, folder, 1, "key", "call", slice(0, 8))


def test_a_store_that_was_replaced_meanwhile_is_not_written_to(alone, toy_copy):
    """A worker that its scheduler lost may still compute when the next run has begun."""
    run = open_run(toy_copy / "divergence/seed_0")
    forget(run)
    predict = steps.predict
    positions = np.arange(40)
    arrays = {"logits_stride8": (("y",), (1,), np.float16)}
    path = run.cycle(1) / "logits.zarr"
    store.create(path, positions, arrays, "old")
    opened = predict.open_shards(predict.job(run, 1, "old", None))
    store.create(path, positions, arrays, "new")
    with pytest.raises(RuntimeError, match="was replaced by one made from something else"):
        [write() for write in cluster.shards(opened, [slice(0, SHARD)], lambda: None)]
    assert not store.reopen(path, "new")["done"][:].any()


def test_shards_that_stay_out_of_sight_are_an_error(alone, toy_copy, monkeypatch):
    """Workers with a disk of their own write what this process never sees."""
    run = open_run(toy_copy / "divergence/seed_0")
    forget(run)
    monkeypatch.setattr(cluster, "VISIBLE_SECONDS", 0)
    monkeypatch.setenv(cluster.SCHEDULER, "a cluster")
    monkeypatch.setattr(cluster, "outcomes", lambda *_: [])
    with pytest.raises(RuntimeError, match="5 shards of step 1_predict are not to be seen"):
        steps.predict(run, 1)
    assert records.read(run, 1, "1_predict") is None


def test_detections_outlive_a_kill_between_their_collection_and_the_record(alone, toy_copy):
    run = open_run(toy_copy / "divergence/seed_0")
    before = run.detections(1, "pool")
    forget(run)
    steps.predict(run, 1)
    records.record_path(run, 1, "1_predict").unlink()  # as if killed before it was written
    steps.predict(run, 1)
    assert before
    assert run.detections(1, "pool") == before


# ---- the command ---------------------------------------------------------------------------------


def test_the_command_hands_the_workers_to_the_kernels(toy_copy, toy_yaml, monkeypatch, capsys):
    run = open_run(toy_copy / "divergence/seed_0")
    single = results(run)
    forget(run, ["2_score"])
    log = run.cycle(1) / "2_score.log"
    log.unlink()
    command = ["alkit", "run", toy_yaml, "--out", toy_copy, "--scheduler", "local:1"]
    monkeypatch.setattr(sys, "argv", [*map(str, command)])
    with pytest.raises(SystemExit) as ended:
        main()
    assert not ended.value.code, capsys.readouterr().err
    assert results(run) == single
    # a worker reports whole shards, of 32 frames in another process; this one every frame
    assert json.loads(log.read_text().splitlines()[0])["done"] == 32
    assert (run.cycle(1) / "2_score.ipynb").exists()


def test_a_second_run_on_a_folder_is_refused_with_workers_too(workers, toy_copy, monkeypatch):
    run = open_run(toy_copy / "divergence/seed_0")
    forget(run)
    monkeypatch.setenv(cluster.SCHEDULER, workers)
    with runs.lock(toy_copy), pytest.raises(RuntimeError, match="works in this folder"):
        experiment.run(toy_copy, notebooks=False)
    assert not (run.cycle(1) / "logits.zarr").exists()
