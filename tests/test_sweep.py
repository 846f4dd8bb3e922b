"""Whole sweeps on Dask workers, real processes: equal to one process, side by side, stopped."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import Counter

import psutil
import pytest
import torch
import yaml
from jupyter_client.channels import HBChannel
from safetensors import safe_open

from alkit.loop import cluster, experiment, kernels, lanes, records, runs, status, steps
from alkit.loop.runs import Run, open_run
from alkit.loop.settings import read_experiment

pytestmark = pytest.mark.usefixtures("one_thread")  # what a worker has

TIMEOUT = 240
HASTY_PLUGIN = '''
"""In the workers: a checkpoint after every epoch, and a line in the log for every report."""
import os
from alkit.loop import progress
from alkit import training

if os.getpid() != {pid}:
    progress.LOG_SECONDS = training.CHECKPOINT_SECONDS = 0
'''


def wait_until(is_time):
    deadline = time.monotonic() + TIMEOUT
    while not is_time():
        assert time.monotonic() < deadline, "it never came to that"
        time.sleep(0.01)


def made(tmp_path, name, settings, **changes):
    """A new experiment, whose settings are those of the toy experiment with changes."""
    file = tmp_path / f"{name}.yaml"
    file.write_text(yaml.safe_dump(settings | changes))
    return runs.create(tmp_path / name, read_experiment(file), runs.ROOT / "data_catalog.yaml")


def results(out) -> dict:
    """All that an experiment left, bit for bit, whichever of its runs holds what several share."""
    found = {"ledger": (out / "ledger.csv").read_bytes()}
    for task in experiment.tasks(out):
        run, cycle, name = task.run, task.cycle, task.step.name
        record = records.read(run, cycle, name)
        kept = {k: record[k] for k in ("key", "inputs", "parameters", "code", "artefacts")}
        files = [run.artefact(cycle, name, artefact) for artefact in task.step.artefacts]
        kept["bytes"] = [file.read_bytes() for file in files if file.is_file()]
        if name == "1_predict":
            kept["logits"] = {k: v.values.tobytes() for k, v in run.logits(cycle).items()}
        if name == "2_score":
            kept["scores"] = run.scores(cycle).values.tobytes()
        found[str(task)] = kept
    return found


def holders(out) -> Counter:
    """How often each step was done, not taken over, by its key."""
    found = records.all_records(out)
    return Counter(record["key"] for _, record in found if not record.get("reused"))


# ---- equal to one process ------------------------------------------------------------------------


def test_a_sweep_on_workers_leaves_what_one_process_leaves(
    workers, alone, toy_settings, tmp_path, monkeypatch
):
    """And of steps made from the same, one is done: the first cycle's steps 1 to 3."""
    sweep = {"strategies": ["divergence", "no-rules"], "seeds": [0, 1], "held_out": None}
    single = made(tmp_path, "single", toy_settings | sweep)
    experiment.run(single, notebooks=False)
    together = made(tmp_path, "together", toy_settings | sweep)
    monkeypatch.setenv(cluster.SCHEDULER, workers)
    experiment.run(together, notebooks=False)
    assert results(together) == results(single)
    assert set(holders(together).values()) == {1}
    first = {step.name for step in (steps.predict, steps.score, steps.aggregate)}
    for seed in (0, 1):
        both = [Run(together / name / f"seed_{seed}") for name in sweep["strategies"]]
        reused = {name: [records.read(r, 1, name).get("reused") for r in both] for name in first}
        assert all(bool(a) != bool(b) for a, b in reused.values())


def test_a_sweep_of_notebooks_on_workers(alone, toy_settings, tmp_path):
    sweep = {"strategies": ["divergence", "guided-random"], "cycles": 1}
    single = made(tmp_path, "single", toy_settings | sweep)
    experiment.run(single, notebooks=False)
    command = [sys.executable, "-m", "alkit.cli", "run", tmp_path / "single.yaml"]
    together = tmp_path / "together"
    done = subprocess.run(
        [*map(str, command), "--out", str(together), "--scheduler", "local:2"],
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
    )
    assert done.returncode == 0, done.stderr
    assert results(together) == results(single)
    for task in experiment.tasks(together):
        assert (task.run.cycle(task.cycle) / f"{task.step.name}.ipynb").exists()
    assert "13 of 13 steps complete" in done.stdout


def test_training_is_done_by_a_worker_and_its_record_says_in_which_environment(
    workers, alone, toy_copy, monkeypatch
):
    run = open_run(toy_copy / "guided-random/seed_0")
    before = run.weights(1).read_bytes()
    for name in ("6_retrain", "7_evaluate"):
        records.record_path(run, 1, name).unlink()
    torch.set_num_threads(2)  # here, not there
    monkeypatch.setenv(cluster.SCHEDULER, workers)
    monkeypatch.setattr(type(steps.retrain), "perform", None)  # here, not there
    steps.retrain(run, 1)
    steps.evaluate(run, 1)
    assert run.weights(1).read_bytes() == before
    for name in ("6_retrain", "7_evaluate"):
        assert records.read(run, 1, name)["environment"]["threads"] == 1


def test_a_warning_on_a_worker_is_heard_here(workers, alone, toy_copy, monkeypatch):
    run = open_run(toy_copy / "guided-random/seed_0")
    labels = run.labels(1)
    run.artefact(1, "5_label", "labels.json").write_text(json.dumps(labels | {"annotations": []}))
    records.record_path(run, 1, "6_retrain").unlink()
    monkeypatch.setenv(cluster.SCHEDULER, workers)
    with pytest.warns(UserWarning, match="none of the 3 labelled frames holds a pedestrian"):
        steps.retrain(run, 1)


# ---- side by side --------------------------------------------------------------------------------


class Stage:
    """What `lanes` would do, played: which tasks are under way at a time, and in what order."""

    def __init__(self, monkeypatch, act=lambda stage, task: None):
        self.begun, self.ended, self.now, self.most = [], [], set(), 0
        self.act, self.lock = act, threading.Lock()
        monkeypatch.setattr(lanes, "_do", lambda task, kernels, last: self.play(task))

    def play(self, task):
        with self.lock:
            self.begun.append(str(task))
            self.now.add(str(task))
            self.most = max(self.most, len(self.now))
        try:
            self.act(self, task)
        finally:
            with self.lock:
                self.now.remove(str(task))
        self.ended.append(str(task))


def play(out, address, seeds=(0, 1)):
    """All tasks of an experiment with these seeds, played."""
    settings = json.loads((out / "experiment.json").read_text())
    (out / "experiment.json").write_text(json.dumps(settings | {"seeds": list(seeds)}))
    planned = experiment.tasks(out)
    with experiment.tqdm(total=len(planned), disable=True) as bar:
        lanes.side_by_side(planned, lambda *_: False, None, bar, address)
    return [str(task) for task in planned]


@pytest.fixture
def keys(monkeypatch):
    """Every task has a key of its own."""
    monkeypatch.setattr(lanes, "_key", str)


def test_as_many_runs_side_by_side_as_there_are_workers(workers, keys, toy_copy, monkeypatch):
    meeting = threading.Barrier(2, timeout=TIMEOUT)

    def meet(stage, task):
        if task.step in (steps.pretrain, steps.label):  # of two runs, one waits for the other
            meeting.wait()

    stage = Stage(monkeypatch, meet)
    planned = play(toy_copy, workers)
    assert sorted(stage.ended) == sorted(planned)
    assert stage.most == 2
    for seed in (0, 1):
        w_l = stage.ended.index(f"pretrain/seed_{seed} cycle 0 0_pretrain")
        for name in ("pretrain", "divergence", "guided-random"):
            own = [task for task in planned if task.startswith(f"{name}/seed_{seed} ")]
            begun = [task for task in stage.begun if task in own]
            assert begun == own  # a run's own order
            if name != "pretrain":
                assert own[0] not in stage.ended[:w_l]


def test_of_equal_tasks_one_at_a_time_is_done(workers, toy_copy, monkeypatch):
    """Of all steps of one name, here."""
    monkeypatch.setattr(lanes, "_key", lambda task: task.step.name)
    together = []

    def look(stage, task):
        time.sleep(0.01)
        together.append([other for other in stage.now if other.endswith(task.step.name)])

    Stage(monkeypatch, look)
    play(toy_copy, workers)
    assert {len(equal) for equal in together} == {1}


def test_after_a_failure_nothing_begins_and_what_is_under_way_is_finished(
    workers, keys, toy_copy, monkeypatch
):
    other_runs, heard, said = threading.Event(), threading.Event(), []

    def hear(text, file):
        said.append(text)
        heard.set()

    monkeypatch.setattr(experiment.tqdm, "write", staticmethod(hear))

    def fail(stage, task):
        if str(task) == "pretrain/seed_1 cycle 0 0_pretrain":
            assert other_runs.wait(TIMEOUT)
            raise lanes.StepFailed("no seed 1 today")
        other_runs.set()
        assert heard.wait(TIMEOUT)

    stage = Stage(monkeypatch, fail)
    with pytest.raises(lanes.StepFailed, match="no seed 1 today"):
        play(toy_copy, workers)
    assert stage.ended == ["pretrain/seed_0 cycle 0 0_pretrain"]
    assert set(stage.begun) == {f"pretrain/seed_{seed} cycle 0 0_pretrain" for seed in (0, 1)}
    (text,) = said
    assert text.startswith("no seed 1 today\nThe steps under way are finished first")


def test_stale_steps_in_a_sweep(workers, alone, toy_copy, monkeypatch):
    settings = json.loads((toy_copy / "experiment.json").read_text())
    settings["set"]["epochs"] = 1
    (toy_copy / "experiment.json").write_text(json.dumps(settings))
    monkeypatch.setenv(cluster.SCHEDULER, workers)
    with pytest.raises(records.StaleStep, match="6_retrain is stale: epochs was 2, is 1"):
        experiment.run(toy_copy, notebooks=False)
    experiment.run(toy_copy, notebooks=False, redo=True)
    assert set(status.table(toy_copy)["state"]) == {"complete"}
    for name in ("divergence", "guided-random"):
        assert len(open_run(toy_copy / name / "seed_0").losses(2)) == 1


# ---- faults --------------------------------------------------------------------------------------


@pytest.fixture
def long_training(toy_settings, tmp_path):
    """An experiment whose one strategy needs no predictions, and trains for a long time."""
    (tmp_path / "hasty.py").write_text(HASTY_PLUGIN.format(pid=os.getpid()))
    changes = {
        "strategies": ["guided-random"],
        "plugins": [str(tmp_path / "hasty.py")],
        "cycles": 1,
        "set": toy_settings["set"] | {"epochs": 60},
    }
    return made(tmp_path, "long", toy_settings, **changes)


def training_log(out) -> list:
    """How many iterations of step 6 are done, report by report."""
    file = out / "guided-random/seed_0/cycle_01/6_retrain.log"
    lines = file.read_text().splitlines() if file.exists() else []
    return [json.loads(line)["done"] for line in lines if line.endswith("}")]


def epochs_kept(out) -> int:
    """How many epochs the checkpoint of step 6 holds."""
    with contextlib.suppress(FileNotFoundError):
        with safe_open(out / "guided-random/seed_0/cycle_01/checkpoint.safetensors", "pt") as file:
            return len(json.loads(file.metadata()["losses"]))
    return 0


def executing(dask_worker):
    """What runs in this process now; another may evaluate the first weights beside a training."""
    return os.getpid(), [task.key for task in dask_worker.state.executing]


def test_a_worker_killed_in_training_and_another_that_goes_on(
    workers, alone, long_training, tmp_path, monkeypatch
):
    undisturbed = tmp_path / "undisturbed"
    shutil.copytree(long_training, undisturbed)
    experiment.run(undisturbed, notebooks=False)

    monkeypatch.setenv(cluster.SCHEDULER, workers)
    sweep = threading.Thread(target=experiment.run, args=(long_training,), kwargs={"notebooks": 0})
    sweep.start()
    wait_until(lambda: epochs_kept(long_training) >= 5)
    with contextlib.closing(cluster._connect(workers)) as client:
        processes = client.run(executing).values()
    (killed,) = [pid for pid, keys in processes if any(key.startswith("6_retrain") for key in keys)]
    os.kill(killed, signal.SIGKILL)
    sweep.join(TIMEOUT)
    done = training_log(long_training)
    total = done[-1]
    assert done.count(1) == 1, "the training began again from the start"
    assert total <= len(done) < total * 1.2
    assert results(long_training) == results(undisturbed)


@pytest.mark.parametrize("notebooks", ["--notebooks", "--no-notebooks"])
def test_an_interrupt_stops_kernels_and_workers(notebooks, long_training, tmp_path):
    """Ctrl-C of a terminal reaches every process in the foreground."""
    settings = yaml.safe_load((tmp_path / "long.yaml").read_text())
    settings["set"]["epochs"] = 100_000
    out = made(tmp_path, "endless", settings)
    command = [sys.executable, "-m", "alkit.cli", "run", tmp_path / "endless.yaml", "--out", out]
    command = [*map(str, command), "--scheduler", "local:2", notebooks]
    process = subprocess.Popen(
        command, start_new_session=True, stderr=subprocess.PIPE, text=True,
        # a shell's background jobs ignore it, and so would what these tests start there
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )  # fmt: skip
    try:
        wait_until(lambda: epochs_kept(out) >= 2 or process.poll() is not None)
        started = psutil.Process(process.pid).children(recursive=True)
        os.killpg(process.pid, signal.SIGINT)
        said = process.communicate(timeout=60)[1]
    finally:
        process.kill()
    assert process.returncode != 0
    assert "Traceback" not in said
    assert len(started) >= (4 if notebooks == "--notebooks" else 3)
    psutil.wait_procs(started, timeout=20)
    assert not [p for p in started if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]
    assert epochs_kept(out) >= 2
    assert records.read(Run(out / "guided-random/seed_0"), 1, "6_retrain") is None


def test_a_worker_stops_training_for_a_run_that_was_killed(workers, long_training, tmp_path):
    """Else it would train beside whoever does the step next."""
    settings = yaml.safe_load((tmp_path / "long.yaml").read_text())
    settings["set"]["epochs"] = 100_000
    out = made(tmp_path, "endless", settings)
    command = [sys.executable, "-m", "alkit.cli", "run", tmp_path / "endless.yaml", "--out", out]
    command = [*map(str, command), "--scheduler", workers, "--no-notebooks"]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    try:
        wait_until(lambda: epochs_kept(out) >= 2 or process.poll() is not None)
    finally:
        process.kill()
        process.wait()
    with contextlib.closing(cluster._connect(workers)) as client:
        wait_until(lambda: not any(tasks for _, tasks in client.run(executing).values()))
        # a worker whose task was dropped is free for another
        assert client.submit(sum, [1, 2]).result(timeout=TIMEOUT) == 3
    reports = len(training_log(out))
    time.sleep(0.5)
    assert len(training_log(out)) == reports
    assert epochs_kept(out) >= 2


def test_a_lost_scheduler_ends_the_sweep_with_a_word(alone, long_training, tmp_path, monkeypatch):
    code = (
        "import os, time\nfrom alkit.loop import cluster\n"
        "if __name__ == '__main__':\n"
        "    with cluster.scheduler('local:1'):\n"
        "        print(os.environ['ALKIT_SCHEDULER'], flush=True)\n"
        "        time.sleep(600)\n"
    )
    own = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    ended = []

    def sweep():
        try:
            experiment.run(long_training, notebooks=False)
        except Exception as error:
            ended.append(error)

    try:
        address = own.stdout.readline().strip()
        monkeypatch.setenv(cluster.SCHEDULER, address)
        thread = threading.Thread(target=sweep)
        thread.start()
        wait_until(lambda: epochs_kept(long_training) >= 2)
    finally:
        own.kill()
        own.wait()
    thread.join(TIMEOUT)
    (error,) = ended
    assert isinstance(error, lanes.StepFailed)
    assert "guided-random/seed_0 cycle 1 6_retrain failed" in str(error)
    assert f"the Dask scheduler at {address} was lost in step 6_retrain; 0 of 1 tasks" in str(error)
    assert not experiment.locked(long_training)


def test_no_scheduler_there(alone, toy_copy, monkeypatch):
    monkeypatch.setattr(cluster, "CONNECT_SECONDS", 0.5)
    monkeypatch.setenv(cluster.SCHEDULER, "tcp://127.0.0.1:9")
    with pytest.raises(RuntimeError, match=r"no Dask scheduler answers at 'tcp://127.0.0.1:9'"):
        experiment.run(toy_copy, notebooks=False)


def test_files_that_stay_out_of_sight_are_an_error(workers, alone, toy_copy, monkeypatch):
    run = open_run(toy_copy / "guided-random/seed_0")
    records.record_path(run, 1, "6_retrain").unlink()
    monkeypatch.setattr(cluster, "VISIBLE_SECONDS", 0)
    monkeypatch.setattr(records, "artefact_digest", lambda path: "an old file's")
    monkeypatch.setenv(cluster.SCHEDULER, workers)
    with pytest.raises(RuntimeError, match="2 files of step 6_retrain are not to be seen here"):
        steps.retrain(run, 1)
    assert records.read(run, 1, "6_retrain") is None


# ---- kernels -------------------------------------------------------------------------------------


def test_kernels_leave_nothing_behind(toy_copy):
    """Sockets and a thread of each would come to the system's limit in a sweep."""
    run = open_run(toy_copy / "guided-random/seed_0")
    for name in ("4_select", "5_label"):
        records.record_path(run, 1, name).unlink()
    planned = [task for task in experiment.tasks(toy_copy) if task.run.folder == run.folder][:2]
    ahead = kernels.KernelAhead(lanes.NOTEBOOKS)
    before = psutil.Process().num_fds()
    with experiment.tqdm(total=2, disable=True) as bar:
        lanes.one_by_one(planned, lambda *_: False, ahead, bar)
    ahead.close()
    assert records.read(run, 1, "5_label")
    assert not [thread for thread in threading.enumerate() if isinstance(thread, HBChannel)]
    assert psutil.Process().num_fds() - before < 8
    assert not ahead.taken
