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

from alkit.loop import cluster, experiment, notebooks, records, runs, status, steps
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
        kept = {k: record[k] for k in ("key", "inputs", "parameters", "code", "artifacts")}
        files = [run.artifact(cycle, name, artifact) for artifact in task.step.artifacts]
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
    sweep = {"strategies": ["divergence", "no-rules"], "cycles": 1, "held_out": None}
    single = made(tmp_path, "single", toy_settings | sweep)
    experiment.run(single, notebooks=False)
    together = made(tmp_path, "together", toy_settings | sweep)
    monkeypatch.setenv(cluster.SCHEDULER, workers)
    experiment.run(together, notebooks=False)
    assert results(together) == results(single)
    assert set(holders(together).values()) == {1}
    first = {step.name for step in (steps.predict, steps.score, steps.aggregate)}
    both = [Run(together / name / "seed_0") for name in sweep["strategies"]]
    reused = {name: [records.read(r, 1, name).get("reused") for r in both] for name in first}
    assert all(bool(a) != bool(b) for a, b in reused.values())


def test_notebooks_of_two_runs_on_two_workers(workers, alone, toy_copy, monkeypatch):
    before = results(toy_copy)
    undone = {"divergence": ["6_retrain", "7_evaluate"], "guided-random": ["7_evaluate"]}
    for strategy, names in undone.items():
        for name in names:
            records.record_path(Run(toy_copy / strategy / "seed_0"), 2, name).unlink()
    monkeypatch.setenv(cluster.SCHEDULER, workers)
    experiment.run(toy_copy)
    assert results(toy_copy) == before
    for strategy, names in undone.items():
        folder = toy_copy / strategy / "seed_0/cycle_02"
        assert sorted(path.stem for path in folder.glob("*.ipynb")) == names


def test_training_is_done_by_a_worker(workers, alone, toy_copy, monkeypatch):
    run = open_run(toy_copy / "guided-random/seed_0")
    before = run.weights(1).read_bytes()
    for name in ("6_retrain", "7_evaluate"):
        records.record_path(run, 1, name).unlink()
    torch.set_num_threads(2)  # here, not there
    monkeypatch.setenv(cluster.SCHEDULER, workers)
    experiment.run(toy_copy, notebooks=False)
    assert run.weights(1).read_bytes() == before
    for name in ("6_retrain", "7_evaluate"):
        assert records.read(run, 1, name)["environment"]["threads"] == 1


def test_a_run_that_fails_stops_no_other(workers, alone, toy_copy, monkeypatch, capsys):
    settings = json.loads((toy_copy / "experiment.json").read_text())
    settings |= {"seeds": [0, 1], "cycles": 1}
    (toy_copy / "experiment.json").write_text(json.dumps(settings))
    monkeypatch.setenv(cluster.SCHEDULER, workers)
    in_the_way = Run(toy_copy / "divergence/seed_1").cycle(1) / "losses.json"
    in_the_way.mkdir(parents=True)
    with pytest.raises(experiment.StepFailed, match=r"divergence/seed_1 cycle 1 6_retrain failed"):
        experiment.run(toy_copy, notebooks=False)
    states = status.table(toy_copy).query("run != 'divergence/seed_1'")
    assert set(states["state"]) == {"complete"}
    assert "6_retrain failed" in capsys.readouterr().err


def test_a_worker_with_other_code_refuses(workers, alone, toy_copy, monkeypatch):
    before = results(toy_copy)
    monkeypatch.setattr(experiment, "fingerprint", lambda run: "other code")
    monkeypatch.setenv(cluster.SCHEDULER, workers)
    with pytest.raises(RuntimeError, match=r"would make the steps of .* from something else"):
        experiment.run(toy_copy, notebooks=False)
    assert results(toy_copy) == before


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


def at_work(dask_worker):
    """The process of a worker, and the tasks in it that somebody waits for or that still go on."""
    return os.getpid(), list(dask_worker.active_threads.values())


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
        (killed,) = [pid for pid, tasks in client.run(at_work).values() if tasks]
    os.kill(killed, signal.SIGKILL)
    sweep.join(TIMEOUT)
    done = training_log(long_training)
    total = done[-1]
    assert done.count(1) == 1, "the training began again from the start"
    assert total <= len(done) < total * 1.2
    assert results(long_training) == results(undisturbed)


def test_an_interrupt_stops_kernels_and_workers(long_training, tmp_path):
    """Ctrl-C of a terminal reaches every process in the foreground."""
    settings = yaml.safe_load((tmp_path / "long.yaml").read_text())
    settings["set"]["epochs"] = 100_000
    out = made(tmp_path, "endless", settings)
    for step in (steps.pretrain, steps.evaluate):
        step(out / "pretrain/seed_0", 0)
    for step in (steps.choose, steps.label):
        step(out / "guided-random/seed_0", 1)
    command = [sys.executable, "-m", "alkit.cli", "run", tmp_path / "endless.yaml", "--out", out]
    command = [*map(str, command), "--scheduler", "local:1"]
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
    assert len(started) >= 4
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
        wait_until(lambda: not any(tasks for _, tasks in client.run(at_work).values()))
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
    assert isinstance(error, RuntimeError)
    assert f"the Dask scheduler at {address} was lost" in str(error)
    assert not runs.locked(long_training)


def test_no_scheduler_there(alone, toy_copy, monkeypatch):
    monkeypatch.setattr(cluster, "CONNECT_SECONDS", 0.5)
    monkeypatch.setenv(cluster.SCHEDULER, "tcp://127.0.0.1:9")
    with pytest.raises(RuntimeError, match=r"answers at 'tcp://127.0.0.1:9'.* --scheduler local:N"):
        experiment.run(toy_copy, notebooks=False)


# ---- kernels -------------------------------------------------------------------------------------


def test_kernels_leave_nothing_behind(toy_copy, monkeypatch):
    """Sockets and a thread of each would come to the system's limit in a sweep."""
    monkeypatch.setattr(notebooks, "PRELOAD", "[]")  # the last one is not used
    run = open_run(toy_copy / "guided-random/seed_0")
    for name in ("4_select", "5_label"):
        records.record_path(run, 1, name).unlink()
    before, children = psutil.Process().num_fds(), psutil.Process().children()
    with notebooks.Notebooks() as kernels:
        for name in ("4_select", "5_label"):
            given = {"run": str(run.folder), "cycle": 1}
            kernels.execute(name, given, run.cycle(1), last=False, root=runs.ROOT)
    assert records.read(run, 1, "5_label")
    assert not [thread for thread in threading.enumerate() if isinstance(thread, HBChannel)]
    assert psutil.Process().num_fds() - before < 8
    assert psutil.Process().children() == children
