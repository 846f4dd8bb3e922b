"""Stores under a URL, an S3 server's (moto) among them: equal to the run folder's, interrupted,
deleted and made again, branched; and every way in which a URL can be wrong."""

import json
import os
import shutil
import sys

import fsspec
import numpy as np
import pytest
from firststeps import NAMES, results

from alkit.loop import branches, cluster, experiment, records, runs, storage, store
from alkit.loop.runs import Run
from alkit.loop.settings import checked
from alkit.pages.explorer.cycle import Cycle

CATALOG = runs.ROOT / "data_catalog.yaml"
SHARD = 8  # frames: 40 are five shards
TIMEOUT = 240


@pytest.fixture(scope="module")
def s3():
    """An S3 server in the environment, with the bucket `maps`; the address of the server."""
    reason = "S3 wants: pip install s3fs 'moto[server]'"
    pytest.importorskip("s3fs", reason=reason)
    moto = pytest.importorskip("moto.server", reason=reason)
    server = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    address = "http://{}:{}".format(*server.get_host_and_port())
    with pytest.MonkeyPatch.context() as patch:
        for name in [n for n in os.environ if n.startswith(("AWS_", "FSSPEC_"))]:
            patch.delenv(name)
        patch.setenv("AWS_ENDPOINT_URL", address)
        patch.setenv("AWS_ACCESS_KEY_ID", "testing")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        patch.setenv("AWS_CONFIG_FILE", os.devnull)
        patch.setenv("AWS_SHARED_CREDENTIALS_FILE", os.devnull)
        fsspec.get_filesystem_class("s3").clear_instance_cache()
        fsspec.filesystem("s3").mkdir("maps")
        yield address
        fsspec.get_filesystem_class("s3").clear_instance_cache()
    server.stop()


@pytest.fixture(params=["file", "s3"])
def url(request, tmp_path):
    """A URL of each kind."""
    if request.param == "s3":
        request.getfixturevalue("s3")
        return f"s3://maps/{tmp_path.name}"
    return f"{request.param}://{tmp_path}/elsewhere"


@pytest.fixture
def bucket(s3, tmp_path):
    return f"s3://maps/{tmp_path.name}"


@pytest.fixture(autouse=True)
def small_shards(monkeypatch):
    monkeypatch.setattr(store, "SHARD_FRAMES", SHARD)


@pytest.fixture
def trained(toy_copy):
    """The toy experiment without its steps 1 to 3: where others find W_l and cycle 1's selection,
    if their predictions and scores are the same."""
    run = first_run(toy_copy)
    for cycle in (1, 2):
        for name in NAMES:
            records.record_path(run, cycle, name).unlink()
        for path in run.cycle(cycle).glob("*.zarr"):
            shutil.rmtree(path)
    return toy_copy


@pytest.fixture
def created(trained, toy_settings, tmp_path):
    """Make an experiment of one cycle whose stores lie at a URL."""

    def create(url, out="out", **changes):
        settings = toy_settings | {"strategies": ["divergence"], "cycles": 1, "store": url}
        settings = checked(settings | changes, "a test")
        return runs.create(tmp_path / out, settings, CATALOG, [trained])

    return create


def objects(url: str) -> dict:
    """Sizes of all that lies under a URL, by the path below it."""
    files, path = fsspec.url_to_fs(url)
    files.invalidate_cache()
    found = files.find(path, detail=True)
    return {name.removeprefix(f"{path}/"): file["size"] for name, file in found.items()}


def first_run(out) -> Run:
    return Run(out / "divergence/seed_0")


# ---- equal to the run folder's -------------------------------------------------------------------


def test_stores_at_a_url_are_equal_to_those_in_the_run_folder(url, created, toy_experiment):
    out = created(url)
    experiment.run(out, notebooks=False)
    assert results(first_run(out)) == results(first_run(toy_experiment))
    assert not list(out.rglob("*.zarr"))
    own = {tuple(name.split("/")[:5]) for name in objects(url)}
    stores_at = json.loads((out / "experiment.json").read_text())["stores_at"]
    assert stores_at.startswith(f"{url}/toy-")
    cycle = (stores_at.removeprefix(f"{url}/"), "divergence", "seed_0", "cycle_01")
    assert own == {(*cycle, "logits.zarr"), (*cycle, "scores.zarr")}
    # the keys do not depend on the place: the selection was found in the other experiment
    assert records.read(first_run(out), 1, "4_select")["reused"]
    there, here = (Cycle(first_run(folder), 1) for folder in (out, toy_experiment))
    position = here.selection["chosen"][0]["position"]
    for name in ("scores", "probabilities"):
        np.testing.assert_array_equal(getattr(there, name)(position), getattr(here, name)(position))


def test_workers_write_to_s3_what_one_process_writes_to_the_run_folder(
    bucket, created, toy_experiment
):
    out = created(bucket)
    with cluster.scheduler("local:2"):
        experiment.run(out, notebooks=False)
    assert results(first_run(out)) == results(first_run(toy_experiment))
    shards = [name for name in objects(bucket) if "scores.zarr/score_root/c/" in name]
    assert len(shards) == 2  # of 32 frames, as in another process


# ---- interrupted ---------------------------------------------------------------------------------


def unplugged(monkeypatch, after: int):
    """Let writing fail once `after` shards are written; the list of blocks that are written."""
    written, write = [], store.write_shard

    def failing(place, key, block, arrays):
        if len(written) == after:
            raise OSError("unplugged")
        write(place, key, block, arrays)
        written.append(block.start)

    monkeypatch.setattr(store, "write_shard", failing)
    return written


def test_an_interrupted_step_goes_on(bucket, created, toy_experiment, monkeypatch):
    out, after = created(bucket), 5 + 2  # shards: in step 2
    with monkeypatch.context() as patch:
        unplugged(patch, after)
        with pytest.raises(experiment.StepFailed, match="unplugged"):
            experiment.run(out, notebooks=False)
    written = unplugged(monkeypatch, after=100)
    experiment.run(out, notebooks=False)
    assert written == [*range(0, 40, SHARD), *range(0, 40, SHARD)][after:]
    assert results(first_run(out)) == results(first_run(toy_experiment))


# ---- deleted, branched ---------------------------------------------------------------------------


def test_clean_deletes_the_objects_and_a_run_makes_them_again(bucket, created):
    out = created(bucket)
    experiment.run(out, notebooks=False)
    run = first_run(out)
    before = results(run)
    listed = branches.clean(out)
    assert listed.endswith(
        f"{sum(objects(bucket).values()) / 1e6:10.1f} MB  can be deleted, with --delete, and made "
        "again"
    )
    assert f"{records.place_of(run.cycle(1), 'logits.zarr')}" in listed
    assert objects(bucket)
    branches.clean(out, delete=True)
    assert not objects(bucket)
    with pytest.raises(FileNotFoundError, match=r"scores.zarr: not there. Step 2_score of cycle 1"):
        run.scores(1)
    experiment.run(out, notebooks=False)  # nobody reads them
    assert not objects(bucket)
    records.record_path(run, 1, "3_aggregate").unlink()
    experiment.run(out, notebooks=False)
    assert results(run) == before


def test_a_branch_refers_to_the_old_runs_stores(created, tmp_path):
    bucket = f"file://{tmp_path}/elsewhere"
    out = created(bucket)
    experiment.run(out, notebooks=False)
    run = first_run(out)
    logits, maps = (records.place_of(run.cycle(1), f"{n}.zarr") for n in ("logits", "scores"))
    wide = branches.branch(run.folder, 1, {"radius": 20}, tmp_path / "wide")
    experiment.run(wide, notebooks=False)
    new = first_run(wide)
    assert new.artifact(1, "1_predict", "logits.zarr") == logits
    own = new.artifact(1, "2_score", "scores.zarr")
    assert own == records.place_of(new.cycle(1), "scores.zarr")
    assert str(own).startswith(str(storage.under(f"{bucket}/wide-")))
    assert (new.scores(1).values != run.scores(1).values).any()
    branches.clean(out, delete=True)
    assert (store.made_from(logits) is None, store.made_from(maps) is None) == (False, True)
    shutil.rmtree(wide)
    branches.clean(out, delete=True)
    assert store.made_from(logits) is None


# ---- not mixed -----------------------------------------------------------------------------------


def test_experiments_of_one_name_and_url_have_stores_of_their_own(url, created):
    one, two = (Run(created(url, out) / "divergence/seed_0") for out in ("one", "two"))
    places_of = [records.place_of(run.cycle(1), "logits.zarr") for run in (one, two)]
    assert places_of[0] != places_of[1]
    again = Run(created(url, "one", cycles=2) / "divergence/seed_0")
    assert records.place_of(again.cycle(1), "logits.zarr") == places_of[0]


def test_a_store_made_from_something_else_is_not_read(created, toy_experiment, tmp_path):
    """As of a copy of the run folder, whose steps were done again with other numbers."""
    out = created(f"file://{tmp_path}/elsewhere")
    experiment.run(out, notebooks=False)
    run = first_run(out)
    place = records.place_of(run.cycle(1), "scores.zarr")
    store.create(place, [0], {"score_root": (("y", "x"), (2, 2), np.uint8)}, "other key")
    shown = {"score_root": np.ones((1, 2, 2), np.uint8)}
    store.write_shard(place, "other key", slice(0, 1), shown)
    store.finish(place, "other key")
    assert store.made_from(place) == "other key"
    with pytest.raises(FileNotFoundError, match=r"scores.zarr: not there"):
        run.scores(1)
    records.record_path(run, 1, "3_aggregate").unlink()
    experiment.run(out, notebooks=False)
    assert results(run) == results(first_run(toy_experiment))


def test_another_store_for_an_experiment_with_complete_steps_is_refused(created, tmp_path):
    created(f"file://{tmp_path}/a")
    out = created(f"file://{tmp_path}/b")  # nothing is complete yet
    assert json.loads((out / "experiment.json").read_text())["store"] == f"file://{tmp_path}/b"
    experiment.run(out, strategies=["random"], notebooks=False)
    for other in (f"file://{tmp_path}/a", None):
        with pytest.raises(ValueError, match=f"store: 'file://{tmp_path}/b' there, "):
            created(other)
    created(f"file://{tmp_path}/b", cycles=2)


def test_what_is_left_of_a_store_that_was_being_deleted_is_not_taken_for_one(url):
    place = storage.under(url, "a.zarr")
    layout = {"score_root": (("y", "x"), (6, 5), np.uint8)}
    group = store.create(place, np.arange(20), layout, "key")
    for block in store.shards(group):
        shown = {"score_root": np.ones((block.stop - block.start, 6, 5))}
        store.write_shard(place, "key", block, shown)
    store.finish(place, "key")
    assert store.made_from(place) == "key"
    files, path = fsspec.url_to_fs(url)
    files.rm(f"{path}/a.zarr/zarr.json")  # what goes first
    assert store.made_from(place) is None
    again = store.create(place, np.arange(20), layout, "key")
    assert len(store.shards(again)) == 3
    assert not again["score_root"][:].any()


# ---- wrong URLs ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (
            "maps/here",
            "store: expected a URL as s3://bucket/prefix or file:///folder, got 'maps/he",
        ),
        ("s3://", "store: expected a URL as .*, got 's3://'"),
        ("file://maps", "store: expected a URL as .*, got 'file://maps'"),
        (3, r"store: Input should be a valid string \(got 3\)"),
    ],
)
def test_a_wrong_url_is_an_error_of_the_settings(toy_settings, wrong, message):
    with pytest.raises(ValueError, match=f"a test: {message}"):
        checked(toy_settings | {"store": wrong}, "a test")


def test_a_password_in_a_url_is_refused_and_not_repeated(toy_settings):
    with pytest.raises(ValueError, match="credentials come from the environment") as error:
        checked(toy_settings | {"store": "s3://me:hush@maps/prefix"}, "a test")
    assert "hush" not in str(error.value)


def nothing_was_done(out):
    return not list(out.glob("*/seed_*"))


def test_an_unknown_protocol_stops_the_run_at_once(created):
    out = created("s33://maps/prefix")
    with pytest.raises(RuntimeError, match=r"s33://maps/prefix/toy-\w+: .*Protocol not known: s33"):
        experiment.run(out, notebooks=False)
    assert nothing_was_done(out)


def test_a_bucket_that_is_not_there_stops_the_run_at_once(s3, created):
    out = created("s3://nowhere/prefix")
    with pytest.raises(RuntimeError, match=r"s3://nowhere/prefix/toy-\w+: .*bucket does not exist"):
        experiment.run(out, notebooks=False)
    assert nothing_was_done(out)


def test_wrong_credentials_stop_the_run_at_once(bucket, s3, created):
    import requests

    out = created(bucket)
    requests.post(
        f"{s3}/moto-api/reset-auth", data=b"0", timeout=10
    )  # from now on it looks at them
    try:
        with pytest.raises(RuntimeError, match=r"PermissionError: .*AWS_SECRET_ACCESS_KEY"):
            experiment.run(out, notebooks=False)
    finally:
        requests.post(f"{s3}/moto-api/reset-auth", data=b"Infinity", timeout=10)
    assert nothing_was_done(out)


def test_a_folder_that_cannot_be_written_stops_the_run_at_once(created, tmp_path):
    (tmp_path / "file").write_text("in the way")
    out = created(f"file://{tmp_path}/file/folder")
    with pytest.raises(OSError, match="file"):
        experiment.run(out, notebooks=False)
    assert nothing_was_done(out)


def test_a_missing_package_says_what_to_install(created, monkeypatch):
    monkeypatch.delitem(sys.modules["fsspec.registry"]._registry, "s3", raising=False)
    monkeypatch.setitem(sys.modules, "s3fs", None)
    out = created("s3://maps/prefix")
    with pytest.raises(RuntimeError, match=r"Install s3fs .*installed \(s3fs for s3://"):
        experiment.run(out, notebooks=False)
    assert nothing_was_done(out)
