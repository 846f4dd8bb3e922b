"""A complete experiment at toy size, made once for all tests that read one."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch: tests share two cores

import shutil
from pathlib import Path

import pytest
import yaml
from answering import make_asked
from torchthreads import torch_threads

from alkit.loop import cluster, experiment, planning, runs
from alkit.loop.settings import read_experiment

TOY = """
name: toy
labeled: street-source
pool: street-pool
test: street-test
held_out: street-source
data:
  street-source: {frames: 8}
  street-pool: {frames: 40, domain: test, world: 2}  # of the test's kind: half show a pedestrian
  street-test: {frames: 10}
profile: demo
set:
  image_size: [96, 128]
  pretrain_epochs: 2
  epochs: 2
  # The demo's other numbers may change; what is chosen here should not.
  initialization: xavier
  pretrain_learning_rate: null
  pretrain_final_learning_rate: null
  learning_rate: 1.0e-3
  final_learning_rate: 1.0e-4
  averaged: 0
strategies: [divergence, guided-random]
seeds: [0]
cycles: 2
budget: 3
"""


@pytest.fixture(scope="session")
def toy_yaml(tmp_path_factory):
    """An experiment file: two strategies, two cycles, three of 40 frames a cycle."""
    path = tmp_path_factory.mktemp("experiments") / "toy.yaml"
    path.write_text(TOY)
    return path


@pytest.fixture(scope="session")
def toy_experiment(toy_yaml, tmp_path_factory):
    """The folder of the complete toy experiment. Read it; copy it to change it."""
    settings = read_experiment(toy_yaml)
    catalog = runs.ROOT / "data_catalog.yaml"
    out = runs.create(tmp_path_factory.mktemp("runs") / "toy", settings, catalog)
    experiment.run(out, notebooks=False)
    return out


@pytest.fixture
def toy_settings():
    """The settings of the toy experiment, for a test to change."""
    return yaml.safe_load(TOY)


@pytest.fixture
def toy_copy(toy_experiment, tmp_path):
    """A copy of the complete toy experiment, for a test to change."""
    out = tmp_path / "toy"
    shutil.copytree(toy_experiment, out)
    return out


@pytest.fixture(scope="session")
def asked_experiment(tmp_path_factory):
    """The folder of an experiment that waits for people's labels. Copy it to change it."""
    return make_asked(tmp_path_factory.mktemp("asked"))


@pytest.fixture
def asked(asked_experiment, tmp_path):
    """A copy of the waiting experiment, for a test to change."""
    return Path(shutil.copytree(asked_experiment, tmp_path / "asked"))


@pytest.fixture(scope="module")
def workers():
    """The address of two worker processes of one thread each."""
    with cluster.scheduler("local:2"):
        yield os.environ[cluster.SCHEDULER]


@pytest.fixture
def alone(workers, monkeypatch):
    """No scheduler, until the test names one."""
    monkeypatch.delenv(cluster.SCHEDULER, raising=False)


@pytest.fixture
def fixed_costs(monkeypatch):
    """Unit costs of a plan of one second each, unmeasured."""

    def costs(experiment, scores, *_):
        one = dict.fromkeys(("predict", "train", "aggregate", "kernel"), 1.0)
        return one | {"score": dict.fromkeys(scores, 1.0), "weights": 10}

    monkeypatch.setattr(planning, "measure", costs)


@pytest.fixture
def one_thread():
    """What a worker has, for the single process that it is compared with."""
    with torch_threads(1):
        yield


@pytest.fixture
def two_threads():
    """What a process on two cores has."""
    with torch_threads(2):
        yield


def pytest_collection_modifyitems(items):
    """Files that take long come first, so that none of them is left to one process at the end."""
    long = ["test_experiment", "test_sweep", "test_cluster", "test_stores_elsewhere"]
    long += ["test_labeling", "test_notebooks", "test_paper_experiments", "test_report"]
    long += ["test_project", "test_benchmarks"]
    order = {name: k for k, name in enumerate(long)}
    items.sort(key=lambda item: order.get(item.path.stem, len(long)))
