"""The catalog and its data sets: entries, opening, checking, fetching, fingerprints."""

import hashlib
import http.server
import json
import os
import shutil
import threading
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import yaml

from alkit import catalog
from alkit.catalog import CatalogError
from alkit.data import download
from alkit.studies import overlap, survey

needs_data = pytest.mark.skipif(
    "ALKIT_DATA" not in os.environ, reason="set ALKIT_DATA for the real samples"
)
ENTRY = {
    "title": "Toy",
    "reader": "coco",
    "root": "toy",
    "args": {"annotations": "labels.json"},
    "filter": {"rule": "paper", "classes": ["person"]},
    "kind": "stills",
    "license": "none",
    "citation": "nobody",
    "homepage": "https://example.org/toy",
}


def picture(k):
    return np.random.default_rng(k).integers(0, 256, (120, 160, 3), dtype=np.uint8)


@pytest.fixture
def toy(tmp_path, monkeypatch):
    """A COCO data set of three images of 160×120 under $ALKIT_DATA."""
    monkeypatch.setenv("ALKIT_DATA", str(tmp_path))
    root = tmp_path / "toy"
    root.mkdir()
    for k in range(3):
        cv2.imwrite(str(root / f"{k}.jpg"), picture(k))
    boxes = [(0, [0, 0, 20, 60]), (0, [50, 10, 10, 30]), (1, [0, 0, 100, 100]), (1, [9, 9, 20, 50])]
    labels = {
        "images": [
            {"id": k, "file_name": f"{k}.jpg", "width": 160, "height": 120} for k in range(3)
        ],
        "annotations": [
            {"id": i, "image_id": k, "category_id": 1, "bbox": box}
            for i, (k, box) in enumerate(boxes)
        ]
        + [{"id": 99, "image_id": 2, "category_id": 2, "bbox": [0, 0, 20, 60]}],
        "categories": [{"id": 1, "name": "person"}, {"id": 2, "name": "car"}],
    }
    (root / "labels.json").write_text(json.dumps(labels))
    return root


def write(folder, entries):
    path = folder / "catalog.yaml"
    path.write_text(yaml.safe_dump({"datasets": entries}))
    return path


def entry(folder, **fields):
    return catalog.load(write(folder, {"toy": ENTRY | fields}))["toy"]


# ---- the project's own catalog -------------------------------------------------------------------


def test_every_entry_of_the_project_validates():
    names = set(catalog.load())
    wanted = {"street-source", "street-pool", "street-test", "pets09-s2l1", "pets09-pool"}
    wanted |= {"pets09-test", "camvid-all", "camvid-train", "camvid-val"}
    wanted |= {
        f"{d}-{s}" for d in ("citypersons", "bdd100k", "coco-person") for s in ("train", "val")
    }
    wanted |= {"caltech-train", "caltech-test"}
    for sequence in ("0001TP", "0006R0", "0016E5"):
        wanted |= {f"camvid-{sequence}", f"camvid-not-{sequence}"}
    assert wanted <= names


def test_the_numbers_of_table_1_are_expected():
    entries = catalog.load()
    known = {
        "citypersons-train": (2975, 1835, 7740),
        "caltech-train": (51363, 10523, 20062),
        "bdd100k-train": (69836, 17632, 56473),
    }
    for name, numbers in known.items():
        expect = entries[name].expect
        assert tuple(map(expect.get, ("images", "images_with_pedestrians", "instances"))) == numbers


def test_default_path_works_from_any_folder_of_the_project(tmp_path, monkeypatch):
    (tmp_path / "notebooks/deep").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "notebooks/deep")
    with pytest.raises(FileNotFoundError, match=r"no such catalog file.*alkit init"):
        catalog.load()
    write(tmp_path, {"mine": ENTRY}).rename(tmp_path / "data_catalog.yaml")
    assert list(catalog.load()) == ["mine"]
    with pytest.raises(FileNotFoundError, match=r"nowhere\.yaml"):
        catalog.load("nowhere.yaml")


@needs_data
@pytest.mark.parametrize(
    "name",
    [
        "pets09-s2l1",
        "pets09-pool",
        "pets09-test",
        "camvid-all",
        "camvid-train",
        "camvid-val",
        "camvid-0001TP",
        "camvid-not-0001TP",
        "camvid-0006R0",
        "camvid-not-0006R0",
        "camvid-0016E5",
        "camvid-not-0016E5",
        "coco-person-train",
        "coco-person-val",
    ],
)
def test_real_samples_are_as_expected(name):
    """All images of the whole sets are decoded; of their parts only the records are counted."""
    dataset = catalog.load()[name]
    if name in ("camvid-all", "coco-person-train", "coco-person-val"):
        findings = survey.check(dataset, progress=False)
        assert len(findings) >= 3
        assert [finding for finding in findings if not finding.ok] == []
    else:
        counts = survey.survey(dataset).counts
        assert {key: counts[key] for key in dataset.expect} == dataset.expect


@needs_data
def test_camvid_filter_against_a_plain_loop():
    """The instances of the catalog, and the same ones at half the paper's scale."""
    dataset = catalog.load()["camvid-all"]
    found = json.loads((dataset.folder() / "all.json").read_text())
    kept = [
        (a["image_id"], a["id"])
        for a in found["annotations"]
        if a["category_id"] == 1
        and a["bbox"][3] * 4 / 3 >= 50
        and 0.2 <= a["bbox"][2] / a["bbox"][3] <= 0.65
    ]
    assert dataset.expect["instances"] == len(kept)
    assert dataset.expect["images_with_pedestrians"] == len({image for image, _ in kept})
    half = dataset.open(image_size=(240, 320))
    assert sum(int((~boxes.ignore).sum()) for boxes in half.boxes) == len(kept)
    assert sum(len(boxes) for boxes in half.boxes) == len(found["annotations"])


# ---- validation ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"tittle": "x"}, "tittle: Extra inputs"),
        ({"kind": "movie"}, r"kind: .*got 'movie'"),
        ({"reader": "lidar"}, r"reader: .*'mot' .*got 'lidar'"),
        ({"step": 0}, r"step: .*got 0"),
        ({"image_size": [480]}, "image_size"),
        ({"filter": "papers"}, r"filter: rule: unknown name 'papers' \(did you mean paper"),
        (
            {"filter": {"rule": "paper", "min_hight": 3}},
            "filter.min_hight: Extra inputs",
        ),
        ({"filter": {"min_height": 3}}, "filter.classes: Field required"),
        ({"filter": {"rule": "paper", "aspect": [1, 0]}}, "aspect"),
        ({"expect": {"imgs": 3}}, r"expect.imgs.*: .*'images'"),
        ({"expect": {"images": -3}}, r"expect.images: .*got -3"),
        ({"files": [{"path": "a", "url": "http://x"}]}, "no sha256"),
        ({"files": [{"path": "../a"}]}, "leads out"),
        ({"files": [{"path": "a", "sha256": "123"}]}, r"files.0.sha256"),
    ],
)
def test_a_wrong_entry_names_file_entry_and_field(tmp_path, fields, said):
    with pytest.raises(CatalogError, match=r"catalog\.yaml: datasets\.toy\.?.*" + said):
        entry(tmp_path, **fields)


def test_a_missing_field_is_named(tmp_path):
    path = write(tmp_path, {"toy": {k: v for k, v in ENTRY.items() if k != "reader"}})
    with pytest.raises(CatalogError, match=r"datasets\.toy: expected `reader`, or `join`"):
        catalog.load(path)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("datasets: {a: [", "not valid YAML"),
        ("- a", "valid dictionary"),
        ("datasets: {}\nother: 1", "other: Extra inputs"),
        ("datasets: 5", r"datasets: .*got 5"),
        ("datasets: {a: 5}", r"datasets\.a: .*got 5"),
        ("datasets:\n  a: {title: x}\n  b: {}\n  a: {title: y}\n", "line 4: a .*line 2"),
    ],
)
def test_a_wrong_file_is_refused(tmp_path, text, said):
    (tmp_path / "c.yaml").write_text(text)
    with pytest.raises(CatalogError, match=r"c\.yaml: .*" + said):
        catalog.load(tmp_path / "c.yaml")


def test_an_unknown_name_is_told_its_neighbors():
    with pytest.raises(CatalogError) as caught:
        catalog.load()["pets09-s2l"]
    assert "no data set 'pets09-s2l' in " in str(caught.value)
    assert "nearest names: pets09-s2l1" in str(caught.value)


# ---- opening -------------------------------------------------------------------------------------


def test_open_reads_filters_and_names(toy, tmp_path):
    frames = entry(tmp_path, filter={"classes": ["person"], "min_height": 50}).open()
    assert frames.dataset == "toy"
    assert frames.image_size == (120, 160)
    assert [boxes.ignore.tolist() for boxes in frames.boxes] == [[False, True], [False, False], []]


def test_the_filter_measures_at_the_papers_scale(toy, tmp_path):
    """60, 30, 100 and 50 px in images 120 px high; the third is too wide."""

    def positives(frames):
        return [(~boxes.ignore).sum() for boxes in frames.boxes]

    dataset = entry(tmp_path, filter={"rule": "paper", "classes": ["person"], "scale": 1})
    assert positives(dataset.open()) == [1, 1, 0]
    assert positives(dataset.open(image_size=(120, 160))) == [2, 1, 0]
    small = dataset.open(image_size=(60, 80))
    assert positives(small) == [2, 1, 0]  # 30 px high is 120 px at 480
    assert small.images(0).shape == (60, 80, 3)
    assert small.boxes[0].ltwh[0].tolist() == [0, 0, 10, 30]
    strict = entry(tmp_path, filter={"rule": "paper", "classes": ["person"], "min_height": 121})
    assert positives(strict.open(image_size=(60, 80))) == [1, 1, 0]


def test_args_replace_the_entrys(toy, tmp_path):
    one = entry(tmp_path, args={"annotations": "labels.json", "frames": [0, 0]})
    assert len(one.open()) == 1
    assert len(one.open(frames=[1, 2])) == 2
    with pytest.raises(CatalogError, match=r"toy: args: frame: Unexpected keyword"):
        entry(tmp_path).open(frame=[1, 2])
    with pytest.raises(CatalogError, match=r"toy: args: frames\.1: Field required"):
        entry(tmp_path).open(frames=[1])
    assert len(entry(tmp_path, args={}).open()) == 3  # the only json
    (toy / "more.json").write_text("{}")
    with pytest.raises(ValueError, match=r"toy: expected args: .*labels\.json.*more\.json"):
        entry(tmp_path, args={}).open()


def test_a_reader_that_draws_gets_the_size_and_needs_no_root(tmp_path, monkeypatch):
    monkeypatch.delenv("ALKIT_DATA", raising=False)
    asked = []

    def read(root=None, *, domain, world=0, image_size=(48, 64)):
        asked.append((root, domain, world, image_size))
        return catalog.FrameSet(
            "drawn", ["0"], lambda i: np.zeros((*image_size, 3), np.uint8), image_size
        )

    module = SimpleNamespace(read=read)
    monkeypatch.setattr(catalog.Entry, "reader_module", lambda self: module)
    fields = {"root": None, "args": {"domain": "pool"}, "reader": "street"}
    drawn = entry(tmp_path, **fields, image_size=[96, 128])
    assert drawn.open().images(0).shape == (96, 128, 3)
    assert drawn.open(image_size=(30, 40), world=5).images(0).shape == (30, 40, 3)
    assert asked == [(None, "pool", 0, (96, 128)), (None, "pool", 5, (30, 40))]
    before = catalog.fingerprint(drawn)
    assert catalog.fingerprint(drawn, {"world": 5}) != before
    monkeypatch.setitem(catalog.GENERATORS, "street", "another")
    assert catalog.fingerprint(drawn) != before


@pytest.mark.parametrize("project", [".", "a/project"])
def test_where_the_data_lies(toy, tmp_path, monkeypatch, project):
    (tmp_path / project).mkdir(parents=True, exist_ok=True)
    (tmp_path / project / "data_catalog.yaml").touch()
    monkeypatch.setenv("ALKIT_DATA", os.path.relpath(tmp_path, tmp_path / project))
    monkeypatch.chdir("/")  # a relative folder counts from the project, wherever one works
    assert entry(tmp_path / project).folder() == toy
    monkeypatch.delenv("ALKIT_DATA")
    with pytest.raises(CatalogError, match=r"toy: it lies in 'toy' under \$ALKIT_DATA"):
        entry(tmp_path).open()
    assert len(entry(tmp_path, root=str(toy)).open()) == 3
    with pytest.raises(CatalogError, match=r"nothing at .*gone.*data fetch toy.*example\.org/toy"):
        entry(tmp_path, root=str(tmp_path / "gone")).open()
    with pytest.raises(CatalogError, match=r"toy: reader coco needs .root."):
        entry(tmp_path, root=None).open()


def test_kind_decides_about_time(toy, tmp_path):
    with pytest.raises(CatalogError, match="kind video, but its frames have no sequence"):
        entry(tmp_path, kind="video").open()
    labels = json.loads((toy / "labels.json").read_text())
    for image in labels["images"]:
        image |= {"sequence": "s", "frame": 10 * image["id"]}
    (toy / "labels.json").write_text(json.dumps(labels))
    assert entry(tmp_path, kind="video", step=10).open().frame.tolist() == [0, 1, 2]
    assert entry(tmp_path, kind="stills").open().frame is None


# ---- check and stats -----------------------------------------------------------------------------


def test_stats(toy, tmp_path):
    counts = survey.survey(entry(tmp_path, filter={"classes": ["person"], "min_height": 50})).counts
    assert counts == {
        "images": 3,
        "sequences": None,
        "image_size": (120, 160),
        "images_with_pedestrians": 2,
        "instances": 3,
        "ignored": 1,
        "boxes": 4,
        "identities": 0,
        "median_height": 60,
        "labels": {"person": 4, "car": 1},
    }


def test_check_compares_and_names_bad_files(toy, tmp_path):
    expect = {"images": 3, "instances": 9, "boxes": 4}
    findings = survey.check(entry(tmp_path, expect=expect, image_size=[120, 160]), progress=False)
    assert {f.what: f.ok for f in findings} == {
        "unreadable images": True,
        "images": True,
        "instances": False,
        "boxes": True,
        "image_size": True,
        "boxes outside of their image": True,
    }
    assert next(f for f in findings if f.what == "instances")[1:3] == (9, 2)

    wrong = survey.check(entry(tmp_path, filter={"rule": "paper", "classes": ["Person"]}), False)
    assert [line.ok for line in wrong if line.expected is not None] == [True, True, False]
    assert "'person' 4" in wrong[2].found

    labels = json.loads((toy / "labels.json").read_text())
    labels["annotations"][0]["bbox"][0] = 160  # one pixel behind the right border
    (toy / "elsewhere.json").write_text(json.dumps(labels))
    other = survey.check(entry(tmp_path, args={"annotations": "elsewhere.json"}), progress=False)
    assert ["[160" in str(line.found) for line in other if not line.ok] == [True]

    broken = toy / "1.jpg"
    broken.write_bytes(broken.read_bytes()[:-200])
    findings = survey.check(entry(tmp_path), progress=False)
    assert findings[0] == ("unreadable images", 0, 1)
    assert findings[1].what == "image 1.jpg"
    assert "1.jpg: the image cannot be read whole" in findings[1].found


# ---- fingerprints --------------------------------------------------------------------------------


def test_fingerprint_changes_with_the_data_only(toy, tmp_path):
    first = catalog.fingerprint(entry(tmp_path))
    assert len(first) == 64
    assert catalog.fingerprint(entry(tmp_path, title="Other", license="other")) == first
    assert catalog.fingerprint(entry(tmp_path, orientation="stored")) == first  # as assumed
    assert catalog.fingerprint(entry(tmp_path, kind=None)) == first
    os.utime(toy / "0.jpg", (1, 1))
    moved = toy.rename(tmp_path / "moved")
    assert catalog.fingerprint(entry(tmp_path, root="moved")) == first
    moved.rename(toy)
    different = {
        catalog.fingerprint(entry(tmp_path, filter="paper")),
        catalog.fingerprint(entry(tmp_path, step=2)),
        catalog.fingerprint(entry(tmp_path), {"frames": [0, 1]}),
    }
    labels = json.loads((toy / "labels.json").read_text())
    labels["annotations"].reverse()  # the order of lists counts
    (toy / "labels.json").write_text(json.dumps(labels))
    different.add(catalog.fingerprint(entry(tmp_path)))
    with open(toy / "0.jpg", "ab") as file:
        file.write(b"\0")
    different.add(catalog.fingerprint(entry(tmp_path)))
    assert len(different - {first}) == 5


# ---- fetching ------------------------------------------------------------------------------------

CONTENT = b"box, box, box\n" * 50_000


@pytest.fixture
def server():
    """A server of CONTENT: at /whole as it is, at /cut with the connection closed midway."""
    requests = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            requests.append(self.path)
            if self.path not in ("/whole", "/cut"):
                self.send_error(404)
                return
            self.send_response(200)
            self.send_header("Content-Length", str(len(CONTENT)))
            self.end_headers()
            self.wfile.write(CONTENT if self.path == "/whole" else CONTENT[: len(CONTENT) // 2])

        def log_message(self, *_):
            pass

    httpd = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=httpd.serve_forever, daemon=True)
    thread.start()
    yield SimpleNamespace(url=f"http://127.0.0.1:{httpd.server_port}", requests=requests)
    httpd.shutdown()
    thread.join()
    httpd.server_close()


@pytest.fixture
def fetching(tmp_path, monkeypatch):
    """An entry with the given files, and the folder that they go to."""
    monkeypatch.setenv("ALKIT_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    folder = tmp_path / "data" / "toy"
    return (lambda *files: entry(tmp_path, files=list(files))), folder


def remote(server, path, sha256=None):
    url = f"{server.url}/{path}"
    return {
        "path": "sub/f.txt",
        "url": url,
        "sha256": sha256 or hashlib.sha256(CONTENT).hexdigest(),
    }


def fetch(entry):
    return download.fetch(entry.files, entry.folder(), entry.homepage, progress=False)


def files_in(folder):
    return sorted(str(f.relative_to(folder)) for f in folder.rglob("*") if f.is_file())


def test_fetch_downloads_once(server, fetching):
    make, folder = fetching
    toy = make(remote(server, "whole"))
    assert fetch(toy) == [folder / "sub" / "f.txt"]
    assert (folder / "sub" / "f.txt").read_bytes() == CONTENT
    assert files_in(folder) == ["sub/f.txt"]
    fetch(toy)
    assert server.requests == ["/whole"]


@pytest.mark.parametrize(
    ("path", "sha256", "said"),
    [
        ("cut", None, "download of .*/cut failed"),
        ("whole", "0" * 64, "hash"),
        ("none", None, "404"),
    ],
)
def test_a_failed_download_leaves_nothing(server, fetching, path, sha256, said):
    make, folder = fetching
    with pytest.raises(ValueError, match=f"(?s){said}"):
        fetch(make(remote(server, path, sha256)))
    assert files_in(folder) == []
    fetch(make(remote(server, "whole")))
    assert files_in(folder) == ["sub/f.txt"]


def test_a_file_that_is_another_is_left_as_it_is(server, fetching):
    make, folder = fetching
    (folder / "sub").mkdir(parents=True)
    (folder / "sub" / "f.txt").write_bytes(b"mine")
    with pytest.raises(ValueError, match=r"f\.txt has the checksum .*Delete it to download it"):
        fetch(make(remote(server, "whole")))
    assert (folder / "sub" / "f.txt").read_bytes() == b"mine"


def test_files_behind_a_registration_are_explained(server, fetching):
    make, folder = fetching
    asked = {"path": "images", "note": "the big archive"}
    with pytest.raises(ValueError, match=r"example\.org/toy .*toy/images \(the big archive\)"):
        fetch(make(asked, remote(server, "whole")))
    assert files_in(folder) == ["sub/f.txt"]  # what can be had is there
    (folder / "images").mkdir()
    assert len(fetch(make(asked, remote(server, "whole")))) == 2


# ---- join ----------------------------------------------------------------------------------------

JOIN = {"title": "Both", "join": ["toy", "large"]}


def joined_catalog(folder, **changes):
    """The toy, and a copy of it with another filter and scale; and what joins them."""
    shutil.copytree(folder / "toy", folder / "large", dirs_exist_ok=True)
    small = {"rule": "paper", "classes": ["person"], "min_height": 55, "aspect": None}
    entries = {
        "toy": ENTRY,
        "large": ENTRY | {"root": "large", "filter": small | {"scale": 0.5}, "license": "another"},
        "video": {
            "reader": "street",
            "image_size": [48, 64],
            "args": {"domain": "pool", "frames": 4},
        },
        "both": JOIN,
    }
    return catalog.load(write(folder, entries | changes))


def test_a_join_keeps_its_parts_apart(toy, tmp_path):
    entries = joined_catalog(tmp_path)
    both, parts = entries["both"], [entries["toy"], entries["large"]]
    frames, each = both.open(), [part.open() for part in parts]
    assert frames.dataset == "both"
    assert [*frames.name] == [f"{p}/{k}.jpg" for p in ("toy", "large") for k in range(3)]
    for i in range(6):
        np.testing.assert_array_equal(frames.images(i), each[i // 3].images(i % 3))
        expected = each[i // 3].boxes[i % 3]
        np.testing.assert_array_equal(frames.boxes[i].ltwh, expected.ltwh)
        np.testing.assert_array_equal(frames.boxes[i].ignore, expected.ignore)
    # by hand: 60 px high passes only the first filter, and none passes the second at half the scale
    assert [(~own.ignore).sum() for own in frames.boxes] == [1, 1, 0, 0, 0, 0]
    assert [(~own.ignore).sum() for own in frames.take([3, 0]).boxes] == [0, 1]
    some = both.filtered(both.open_unfiltered().take([4, 3, 0]))  # each by its part's filter
    assert [(~own.ignore).sum() for own in some.boxes] == [0, 0, 1]
    resized = both.open((60, 80), scale=2)
    assert [(~own.ignore).sum() for own in resized.boxes] == [1, 1, 0, 1, 1, 0]
    assert (both.license, both.citation, both.kind) == ("", "nobody", "stills")
    assert survey.survey(both).counts["instances"] == 2
    assert all(
        finding.ok
        for finding in survey.check(
            joined_catalog(tmp_path, both=JOIN | {"expect": {"images": 6}})["both"]
        )
    )


def test_a_join_of_stills_and_videos(toy, tmp_path):
    frames = joined_catalog(tmp_path, both={"join": ["toy", "video"]})["both"].open()
    assert frames.image_size is None
    assert frames.sequence.tolist()[:3] == ["0.jpg", "1.jpg", "2.jpg"]  # each alone
    assert {*frames.sequence[3:]} == {"pool-000"}
    assert frames.images(0).shape != frames.images(3).shape


def test_parts_of_one_name_stay_two_videos_and_two_crowds(tmp_path):
    world = {"reader": "street", "image_size": [96, 128], "args": {"domain": "test", "frames": 12}}
    further = world | {"args": world["args"] | {"world_offset": 1000}}
    both = {"join": ["one", "two"]}
    entries = catalog.load(write(tmp_path, {"one": world, "two": further, "both": both}))
    frames = entries["both"].open(world=3)
    alone = [entries["one"].open(world=3), entries["one"].open(world=1003)]
    for i in (0, 11, 12, 23):
        np.testing.assert_array_equal(frames.images(i), alone[i // 12].images(i % 12))
    assert {name.split("/")[0] for name in frames.sequence} == {"one", "two"}
    people = [{*boxes.identity.tolist()} for boxes in frames.boxes]
    halves = set().union(*people[:12]), set().union(*people[12:])
    assert halves[0].isdisjoint(halves[1])
    assert halves[0] == {i for boxes in alone[0].boxes for i in boxes.identity.tolist()}
    places = [overlap.origin(*of)[0] for of in ((entries["two"],), (entries["one"],))]
    assert places[0] != places[1]
    assert overlap.origin(entries["two"], world=3) == overlap.origin(entries["one"], world=1003)
    same = alone[0].boxes[5].identity, frames.boxes[5].identity
    np.testing.assert_array_equal(*same)


def test_a_joins_data_have_changed_when_a_parts_have(toy, tmp_path):
    both = joined_catalog(tmp_path)["both"]
    before = catalog.fingerprint(both)
    assert catalog.fingerprint(joined_catalog(tmp_path)["both"]) == before
    other = joined_catalog(tmp_path, both=JOIN | {"join": ["large", "toy"]})["both"]
    assert catalog.fingerprint(other) != before
    cv2.imwrite(str(toy / "1.jpg"), picture(9))
    assert catalog.fingerprint(both) != before


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ({"join": ["toy", "tois"]}, "both: join: there is no data set 'tois'.*nearest names: toy"),
        ({"join": ["toy", "both"]}, "both: join: both is a join itself"),
        ({"join": ["toy", "again"]}, "both: join: again is a join itself"),
        ({"join": ["toy", "toy"]}, "both: the data set 'toy' comes twice"),
        ({"join": ["toy", "copy"]}, "both: the image '.*0.jpg' comes twice"),
        ({"join": ["toy", "away"]}, "away: there is nothing at .*elsewhere"),
        ({"join": ["toy"], "filter": "paper"}, r"both: filter: of the data sets that are joined"),
        ({"join": ["toy"], "reader": "mot"}, r"both: reader: of the data sets that are joined"),
        ({"title": "nothing"}, "both: expected `reader`, or `join`"),
    ],
)
def test_what_is_wrong_with_a_join_is_said(toy, tmp_path, entry, said):
    others = {
        "again": JOIN | {"join": ["both"]},
        "copy": ENTRY,
        "away": ENTRY | {"root": "elsewhere"},
    }
    with pytest.raises(ValueError, match=said):
        joined_catalog(tmp_path, both=entry, **others)["both"].open()


def test_an_argument_that_a_part_does_not_know_names_the_part(toy, tmp_path):
    both = joined_catalog(tmp_path, both={"join": ["video", "toy"]})["both"]
    with pytest.raises(CatalogError, match="toy: args: world"):
        both.open(world=3)
