"""Data sets beside each other: what two of them share, the decoder ceiling, tables and figures."""

import json
import os
import re
import shutil
import sys
import zlib
from types import SimpleNamespace

import cv2
import matplotlib.image
import numpy as np
import pytest
import yaml

from alkit import catalog, profiles
from alkit.boxes import default_boxes
from alkit.catalog import CatalogError, Entry
from alkit.cli import main
from alkit.frames import FrameSet
from alkit.profiles import DEMO
from alkit.strategies import selected
from alkit.studies import overlap, samples, survey
from alkit.studies.ceiling import ceiling, of_data_set
from alkit.studies.overlap import Member, Shared

needs_data = pytest.mark.skipif(
    "ALKIT_DATA" not in os.environ, reason="set ALKIT_DATA for the real samples"
)
HEIGHT, WIDTH = DEMO.image_size
ABOUT = {"title": "Toy", "license": "none", "citation": "nobody", "homepage": "https://example.org"}
BOX = [100, 100, 20, 50]


def picture(path):
    """Noise that no other path has."""
    rng = np.random.default_rng(zlib.crc32(str(path).encode()))
    cv2.imwrite(str(path), rng.integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8))


def coco(folder, name, frames, images="."):
    """Write a COCO json of (file name, sequence or None, raw frame, boxes), and its images."""
    (folder / images).mkdir(parents=True, exist_ok=True)
    records, boxes = [], []
    for k, (file, sequence, frame, found) in enumerate(frames):
        path = folder / images / f"{file}.png"
        if not path.exists():
            picture(path)
        time = {} if sequence is None else {"sequence": sequence, "frame": frame}
        records.append({"id": k, "file_name": path.name, "width": WIDTH, "height": HEIGHT} | time)
        boxes += [{"image_id": k, "category_id": 1, "bbox": box} for box in found]
    boxes = [box | {"id": k} for k, box in enumerate(boxes)]
    people = [{"id": 1, "name": "person"}]
    text = json.dumps({"images": records, "annotations": boxes, "categories": people})
    (folder / name).write_text(text)


def video(folder, name, *frames):
    """A COCO json of frames (sequence, raw number) with a box each."""
    coco(folder, name, [(f"{s}-{f}", s, f, [BOX]) for s, f in frames])


def mot(folder, *lines, length=20):
    """A MOTChallenge folder with boxes (frame, id) that are all the same size."""
    (folder / "gt").mkdir(parents=True)
    (folder / "img1").mkdir()
    for k in range(1, length + 1):
        picture(folder / "img1" / f"{k:06d}.jpg")
    info = {"name": folder.name, "imDir": "img1", "seqLength": length, "imWidth": WIDTH}
    info |= {"imHeight": HEIGHT, "imExt": ".jpg"}
    text = "\n".join(f"{key}={value}" for key, value in info.items())
    (folder / "seqinfo.ini").write_text(f"[Sequence]\n{text}\n")
    rows = [f"{frame},{identity},30,30,30,70,1,1,1" for frame, identity in lines]
    (folder / "gt" / "gt.txt").write_text("\n".join(rows))


def load(folder, **entries):
    """A catalog of entries, each a mapping of what differs from a COCO video of persons."""
    named = {}
    for name, fields in entries.items():
        own = {"reader": "coco", "root": str(folder), "kind": "video", "filter": "paper"} | fields
        named[name.replace("_", "-")] = ABOUT | own
    path = folder / "catalog.yaml"
    path.write_text(yaml.safe_dump({"datasets": named}, sort_keys=False))
    return catalog.load(path)


def json_of(name, **fields):
    return {"args": {"annotations": name}} | fields


def pair(entries) -> Shared:
    (found,) = overlap.pairs([survey.survey(entry, progress=False) for entry in entries.values()])
    return found


# --- one pass over the boxes


def test_a_survey_keeps_the_sizes_of_all_boxes_and_which_are_positives(tmp_path):
    boxes = [[[0, 0, 20, 50], [0, 0, 20, 49]], [], [[5, 5, 50, 60], [9, 9, 30, 80]]]
    coco(tmp_path, "a.json", [(str(k), None, 0, found) for k, found in enumerate(boxes)])
    entries = load(tmp_path, a=json_of("a.json", kind="stills"))
    found = survey.survey(entries["a"], progress=False)
    assert found.sizes.tolist() == [[50, 20], [49, 20], [60, 50], [80, 30]]
    assert found.kept.tolist() == [True, False, False, True]
    assert found.positives.tolist() == [1, 0, 1]
    assert found.counts["median_height"] == 65
    assert [boxes.ignore.tolist() for boxes in found.filtered().boxes] == [
        [False, True],
        [],
        [True, False],
    ]
    part = survey.survey(entries["a"], progress=False, frames=[1, 2])
    assert part.counts["images"] == 2
    assert part.args == {"frames": [1, 2]}


def test_a_survey_of_frames_without_boxes(tmp_path):
    matplotlib.image.imsave(tmp_path / "1.png", np.zeros((HEIGHT, WIDTH, 3)))
    entries = load(tmp_path, a={"reader": "mot"})
    found = survey.survey(entries["a"], progress=False)
    assert found.counts["instances"] is None
    assert len(found.sizes) == len(found.kept) == len(found.positives) == 0
    assert of_data_set(found, DEMO) is None
    assert survey.table_of_counts([found.entry], [found]).loc["instances", "a"] == "–"
    assert samples.samples(found).get_suptitle() == "Samples of a"
    assert "There are no labeled boxes." in samples.sizes([found]).data
    assert "wrong" not in survey.check_counts([found])


# --- sequences and time


def test_two_parts_of_a_video(tmp_path):
    """v: 60 and 75 are nearest; w and x have equal numbers, but are different videos."""
    video(tmp_path, "a.json", ("v", 0), ("v", 30), ("v", 60), ("u", 100), ("w", 500))
    video(tmp_path, "b.json", ("v", 91), ("v", 75), ("u", 140), ("x", 500))
    entries = load(tmp_path, a=json_of("a.json", step=30), b=json_of("b.json", step=2))
    found = pair(entries)
    assert found == Shared("a", "b", (), ("u", "v"), None, 15, None, True)
    assert overlap.sentence(found) == (
        "a and b share sequences: u, v; the nearest are 15 raw frames apart. A test on b "
        "measures memory, too"
    )


def test_two_videos_share_nothing(tmp_path):
    video(tmp_path, "a.json", ("v", 0), ("v", 1))
    video(tmp_path, "b.json", ("u", 0))
    found = pair(load(tmp_path, a=json_of("a.json"), b=json_of("b.json")))
    assert not found.anything
    assert overlap.sentence(found) == "a and b: no frame, picture, sequence or identity in common"


def test_a_frame_of_both_is_at_distance_zero(tmp_path):
    video(tmp_path, "a.json", ("v", 0), ("v", 7))
    video(tmp_path, "b.json", ("v", 7), ("v", 9))
    found = pair(load(tmp_path, a=json_of("a.json", step=7), b=json_of("b.json")))
    assert (found.frames, found.nearest) == (("v-7.png",), 0)
    assert "frames: v-7.png" in overlap.sentence(found)


def test_videos_of_one_name_in_two_folders_may_be_the_same(tmp_path):
    for folder, number in (("here", 10), ("there", 11)):
        video(tmp_path / folder, "a.json", ("v", number))
    here, there = (json_of("a.json", root=str(tmp_path / f)) for f in ("here", "there"))
    found = pair(load(tmp_path, a=here, b=there))
    assert (found.sequences, found.nearest, found.certain) == (("v",), 1, False)
    assert "if videos of one name in two folders are the same" in overlap.sentence(found)


@pytest.mark.parametrize("seed", range(5))
def test_the_distance_against_a_plain_loop(seed):
    rng = np.random.default_rng(seed)

    def part(name, step):
        n = int(rng.integers(1, 40))
        raw = rng.permutation(400)[:n]
        sequence = rng.choice(["a", "b", "c", name], n)
        frames = FrameSet(
            name, [f"{name}{k}" for k in range(n)], None, None, None, sequence, raw / step
        )
        entry = SimpleNamespace(name=name, step=step, frame_rate=None)
        return Member(entry, "one", name, frames, frozenset()), raw, sequence

    for _ in range(20):
        first, second = part("x", 30), part("y", 7)
        distances = [
            abs(int(a) - int(b))
            for a, s in zip(*first[1:], strict=True)
            for b, t in zip(*second[1:], strict=True)
            if s == t
        ]
        found = overlap.shared(first[0], second[0])
        assert found.nearest == (min(distances) if distances else None)


def test_seconds_where_the_entry_has_a_rate():
    class Timed(Entry):
        frame_rate: float | None = None

    def part(name, number, rate):
        entry = Timed(name=name, reader="coco", kind="video", frame_rate=rate, **ABOUT)
        frames = FrameSet(name, [name], None, None, None, np.array(["v"]), np.array([number]))
        return Member(entry, "one", 0, frames, frozenset())

    found = overlap.shared(part("a", 500.0, 7), part("b", 596.0, 7))
    assert found.seconds == pytest.approx(96 / 7)
    assert "the nearest are 96 raw frames = 13.7 s apart" in overlap.sentence(found)
    assert overlap.shared(part("a", 0.0, None), part("b", 1.0, None)).seconds is None


# --- stills


def test_stills_of_one_folder_share_frames_by_name(tmp_path):
    coco(tmp_path, "a.json", [("1", None, 0, []), ("2", None, 0, [])])
    coco(tmp_path, "b.json", [("2", None, 0, []), ("3", None, 0, [])])
    stills = {"kind": "stills"}
    found = pair(load(tmp_path, a=json_of("a.json", **stills), b=json_of("b.json", **stills)))
    assert found == Shared("a", "b", ("2.png",), (), None, None, None, True)


def test_stills_of_two_folders_may_have_equal_names(tmp_path):
    for images in ("train", "val"):
        coco(tmp_path, f"{images}.json", [("1", None, 0, [BOX])], images)
    entries = {
        images: {"args": {"annotations": f"{images}.json", "images": images}, "kind": "stills"}
        for images in ("train", "val")
    }
    assert not pair(load(tmp_path, **entries)).anything


# --- identities


def test_people_of_one_video_are_known_by_number(tmp_path):
    mot(tmp_path / "m", (1, 1), (2, 1), (2, 2), (3, 3), (8, 2), (9, 3), (9, 4))
    mot(tmp_path / "other", (1, 1), (2, 2), (3, 3))
    own = {"reader": "mot", "root": str(tmp_path / "m")}
    first, second = own | {"args": {"frames": [1, 3]}}, own | {"args": {"frames": [8, 20]}}
    found = pair(load(tmp_path, a=first, b=second))
    assert (found.sequences, found.identities, found.nearest) == (("m",), (2, 3), 5)
    found = pair(load(tmp_path, a=first, c={"reader": "mot", "root": str(tmp_path / "other")}))
    assert (found.sequences, found.identities) == ((), None)
    assert not found.anything


def test_identities_alone_warn():
    def part(name, *identities):
        entry = SimpleNamespace(name=name, step=1, frame_rate=None)
        frames = FrameSet(name, [name], None, None, None, np.array([name]), np.zeros(1))
        return Member(entry, "one", "one", frames, frozenset(identities))

    found = overlap.shared(part("a", 3, 5, 9), part("b", 5, 9, 2))
    assert found == Shared("a", "b", (), (), (5, 9), None, None, True)
    assert "identities: 5, 9." in overlap.sentence(found)
    assert not overlap.shared(part("a", 1), part("b", 2)).anything


def test_other_annotations_may_number_otherwise(tmp_path):
    video(tmp_path, "a.json", ("v", 0))
    video(tmp_path, "b.json", ("v", 0))
    entries = load(tmp_path, a=json_of("a.json"), b=json_of("b.json"))
    first, second = (overlap.origin(entry) for entry in entries.values())
    assert first[0] == second[0]
    assert first[1] != second[1]
    assert overlap.origin(entries["a"], sequences=["v"], frames=[0, 0]) == first


# --- data that is drawn


def street(domain, frames, **args):
    own = {"reader": "street", "root": None, "args": {"domain": domain, "frames": frames} | args}
    own["kind"] = "stills" if domain == "source" else "video"
    return own | {"filter": {"rule": "paper", "classes": ["pedestrian"]}, "image_size": [480, 640]}


def test_street_shares_only_within_a_domain_and_a_world(tmp_path):
    entries = load(
        tmp_path,
        source=street("source", 6),
        later=street("source", 4, first=4),
        after=street("source", 4, first=6),
        pool=street("pool", 60),
        smaller=street("pool", 50),
        test=street("test", 12),
        elsewhere=street("pool", 60, world=1),
    )
    surveys = [survey.survey(entry, progress=False) for entry in entries.values()]
    found = {(s.first, s.second): s for s in overlap.pairs(surveys) if s.anything}
    assert set(found) == {("source", "later"), ("later", "after"), ("pool", "smaller")}
    assert found["source", "later"].frames == ("source-000004", "source-000005")
    assert found["pool", "smaller"].sequences == ("pool-000",)
    assert found["pool", "smaller"].certain


# --- the decoder ceiling


def centered(height, width):
    return [WIDTH / 2 - width / 2, HEIGHT / 2 - height / 2, width, height]


@pytest.fixture
def shapes(tmp_path):
    """Four stills: two pedestrians like default boxes of the demo, one that is like none, one
    frame without."""
    like = [centered(*size) for size in default_boxes(DEMO)[[0, 2]]]
    boxes = [[like[0]], [centered(40, 8)], [like[1]], []]
    coco(tmp_path, "a.json", [(str(k), None, 0, found) for k, found in enumerate(boxes)])
    fields = {"kind": "stills", "filter": {"rule": "paper", "scale": 2}}
    return survey.survey(load(tmp_path, a=json_of("a.json", **fields))["a"], progress=False)


def test_the_decoder_ceiling_is_what_the_default_boxes_miss(shapes):
    assert of_data_set(shapes, DEMO) == (pytest.approx(1 / 3), 4)


def test_the_decoder_ceiling_of_a_sample(shapes):
    assert of_data_set(shapes, DEMO, most=2) == (0, 2)  # the first and the last frame


def test_the_decoder_ceiling_measures_heights_as_the_profile_does(shapes):
    """40 px of an image 240 px high are 80 of the paper's, which the filter keeps, though it would
    not at native pixels; the profile's own filter asks for 100."""
    native = Entry.model_validate(
        shapes.entry.model_dump()
        | {"filter": "paper", "filters": {"released": {"rule": "paper", "min_height": 100}}}
    )
    found = survey.survey(native, progress=False)
    assert found.counts["instances"] == 2
    assert of_data_set(found, DEMO)[0] == pytest.approx(1 / 3)
    released = profiles.profile("demo", {"box_filter": "released"})
    assert of_data_set(found, released)[0] == 0


@pytest.mark.parametrize("size", [(240, 320), (480, 640), (120, 160)])
def test_the_decoder_ceiling_is_that_of_the_opened_frames(tmp_path, size):
    entry = load(tmp_path, a=street("test", 12))["a"]
    numbers = profiles.profile("demo", {"image_size": size})
    found = survey.survey(entry, progress=False)
    wanted = ceiling(entry.open(numbers.image_size), numbers)
    assert of_data_set(found, numbers)[0] == wanted


def test_no_ceiling_without_pedestrians(tmp_path):
    coco(tmp_path, "a.json", [("1", None, 0, []), ("2", None, 0, [])])
    entry = load(tmp_path, a=json_of("a.json", kind="stills"))["a"]
    found = survey.survey(entry, progress=False)
    rate, decoded = of_data_set(found, DEMO)
    assert np.isnan(rate)
    assert decoded == 2


# --- the command


def run(monkeypatch, capsys, *words):
    monkeypatch.setattr(sys, "argv", ["alkit", *map(str, words)])
    with pytest.raises(SystemExit) as ended:
        main()
    said = capsys.readouterr()
    return ended.value.code, said.out, said.err


def test_the_command_puts_data_sets_beside_each_other_and_warns(tmp_path, monkeypatch, capsys):
    mot(tmp_path / "m", *((k, 1) for k in range(1, 8)), (9, 2), (20, 1), (20, 3))
    own = {"reader": "mot", "root": str(tmp_path / "m")}
    load(
        tmp_path, pool=own | {"args": {"frames": [1, 9]}}, test=own | {"args": {"frames": [15, 20]}}
    )
    words = ["data", "stats", "pool", "test", "--profile", "demo"]
    code, out, err = run(monkeypatch, capsys, *words, "--catalog", tmp_path / "catalog.yaml")
    assert code == 0
    rows = {re.split("  +", line)[0]: re.split("  +", line)[1:] for line in out.splitlines()}
    assert rows["images"] == ["9", "6"]
    assert rows["instances"] == ["8", "2"]
    assert rows["images with pedestrians"] == ["8", "1"]
    assert rows["identities"] == ["2", "2"]
    assert rows["image size"] == ["240 × 320"] * 2
    assert rows["decoder ceiling, demo"][0].endswith(" of 9 frames")
    assert err.count("warning:") == 1
    assert "warning: pool and test share sequences: m; identities: 1; the nearest are 6 raw" in err


def test_the_command_on_one_data_set_and_on_an_unknown_one(tmp_path, monkeypatch, capsys):
    video(tmp_path, "a.json", ("v", 0))
    load(tmp_path, a=json_of("a.json"))
    file = ["--catalog", tmp_path / "catalog.yaml", "--profile", "demo"]
    code, out, err = run(monkeypatch, capsys, "data", "stats", "a", *file)
    assert (code, "warning" in err, " and " in out) == (0, False, False)
    code, out, err = run(monkeypatch, capsys, "data", "stats", "a", "b", *file)
    assert code == 1
    assert "no data set 'b'" in err
    code, out, err = run(monkeypatch, capsys, "data", "stats", "a", *file[:2], "--profile", "x")
    assert code == 1
    assert "profile 'x' is unknown" in err


# --- an experiment


def leaks(entries, pool, test, labeled="source", **changes):
    experiment = {"pool": pool, "test": test, "labeled": labeled, "data": {}, "seeds": [0, 1]}
    return overlap.leaks(SimpleNamespace(**experiment | changes), entries)


def test_an_experiment_whose_test_set_leaks(tmp_path):
    mot(tmp_path / "m", (1, 1), (8, 1), (15, 2))
    own = {"reader": "mot", "root": str(tmp_path / "m")}
    entries = load(
        tmp_path,
        source=street("source", 4),
        pool=own | {"args": {"frames": [1, 9]}},
        test=own | {"args": {"frames": [12, 20]}},
        street=street("pool", 20),
        same=street("pool", 20, world=1),
    )
    (line,) = leaks(entries, "pool", "test")
    assert line.startswith("pool and test share sequences: m; the nearest are 3 raw")
    (line,) = leaks(entries, "pool", "test", data={"test": {"frames": [8, 9]}})
    assert "sequences: m; frames: m/000008, m/000009" in line
    (line,) = leaks(entries, "street", "test", labeled="pool")
    assert line.startswith("pool and test share")
    assert leaks(entries, "street", "test") == []
    assert leaks(entries, "street", "same") == []
    (line,) = leaks(entries, "street", "same", data={"same": {"world": 0}})
    assert line.startswith("street and same share sequences: pool-000; frames: pool-000/")
    assert leaks(entries, "street", "same", data={"street": {"world": "seed"}}, seeds=[1, 0])
    assert not leaks(entries, "street", "same", data={"street": {"world": "seed"}}, seeds=[0, 1])


def test_data_sets_that_cannot_share_are_not_opened(tmp_path, monkeypatch):
    coco(tmp_path, "a.json", [("1", None, 0, [BOX])])
    stills = json_of("a.json", kind="stills")
    entries = load(tmp_path, source=street("source", 4), pool=street("pool", 20), test=stills)
    monkeypatch.setattr(Entry, "open_unfiltered", None)
    assert leaks(entries, "pool", "test") == []
    with pytest.raises(TypeError):
        leaks(entries, "test", "test")


# --- the same picture twice


def test_a_test_set_of_copies_leaks_whatever_their_names(tmp_path):
    coco(tmp_path, "pool.json", [(name, None, 0, [BOX]) for name in "abcd"], "train")
    coco(tmp_path, "test.json", [(name, None, 0, [BOX]) for name in "ae"], "val")
    shutil.copy(tmp_path / "train" / "d.png", tmp_path / "val" / "a.png")  # the same bytes
    again = cv2.imread(str(tmp_path / "train" / "b.png"))  # the same pixels
    cv2.imwrite(str(tmp_path / "val" / "e.png"), again, [cv2.IMWRITE_PNG_COMPRESSION, 1])
    entries = load(
        tmp_path,
        source=street("source", 4),
        pool={"kind": "stills", "args": {"annotations": "pool.json", "images": "train"}},
        test={"kind": "stills", "args": {"annotations": "test.json", "images": "val"}},
    )
    (line,) = leaks(entries, "pool", "test")
    assert line.startswith("pool and test share pictures: d.png = a.png, b.png = e.png. A test on")
    assert survey.copies(entries["pool"].open()) == []


@pytest.mark.parametrize("suffix", ["jpg", "png", "bmp"])
def test_of_identical_pictures_one_is_chosen(tmp_path, suffix):
    for k in range(5):
        picture(tmp_path / f"p{k}.png")
        image = cv2.imread(str(tmp_path / f"p{k}.png"))
        for name in (f"p{k}", f"copy of {k}"):
            cv2.imwrite(str(tmp_path / f"{name}.{suffix}"), image)
        if suffix != "png":
            (tmp_path / f"p{k}.png").unlink()
    entry = catalog.Entry(name="pool", reader="folder", root=str(tmp_path))
    pool = entry.open()
    number = np.array([int(name.rpartition(".")[0][-1]) for name in pool.name])
    ranked = np.array([10.0 * n + pool.name[i].startswith("p") for i, n in enumerate(number)])
    first = selected(ranked, 3, pool, DEMO, [])
    assert [pool.name[i] for i in first.indices] == [f"p{k}.{suffix}" for k in (4, 3, 2)]
    second = selected(ranked, 3, pool, DEMO, first.indices)  # two pictures are left
    assert [pool.name[i] for i in second.indices] == [f"p{k}.{suffix}" for k in (1, 0)]
    assert len(survey.copies(pool)) == 5
    same = [line for line in survey.check(entry, progress=False) if not line.expected]
    assert any("several names" in line.what and "5 times" in line.found for line in same)


# --- the notebook's parts


def test_names_with_a_star_stand_for_many(tmp_path):
    entries = load(tmp_path, a_train={}, b_train={}, a_test={})
    assert [e.name for e in survey.matching(entries, "*-train, a-test")] == [
        "a-train",
        "b-train",
        "a-test",
    ]
    assert [e.name for e in survey.matching(entries, "a-* a-train")] == ["a-train", "a-test"]
    for unknown in ("c-*", "a-tset"):
        with pytest.raises(CatalogError):
            survey.matching(entries, unknown)


def texts(figure):
    return " ".join(
        text.get_text() for text in figure.findobj(lambda artist: hasattr(artist, "get_text"))
    ).replace("\n", " ")


@pytest.fixture
def three(tmp_path):
    """A data set as expected, one with a wrong count, and one that is not there."""
    video(tmp_path, "a.json", ("v", 0), ("v", 9))
    coco(tmp_path, "b.json", [("1", "v", 4, [BOX, [10, 10, 60, 60], [0, 0, 8, 20]])])
    entries = load(
        tmp_path,
        a=json_of("a.json", expect={"images": 2, "instances": 2}, image_size=[HEIGHT, WIDTH]),
        b=json_of("b.json", expect={"images": 1, "boxes": 9}),
        c=json_of("c.json", expect={"images": 1234}, kind="stills"),
    )
    return list(entries.values()), *survey.survey_present(list(entries.values()))


def test_a_data_set_that_is_not_there_is_named_and_expected(three):
    entries, surveys, absent = three
    assert [found.name for found in surveys] == ["a", "b"]
    assert list(absent) == ["c"]
    assert "c.json" in absent["c"]
    table = survey.table_of_counts(entries, surveys)
    assert table["a"].to_dict() == {
        "images": "2 (2 expected)",
        "instances": "2 (2 expected)",
        "images with pedestrians": "2",
        "sequences": "1",
        "identities": "0",
        "image size": "240 × 320 (240 × 320 expected)",
        "ignored": "0",
        "boxes": "2",
        "median height": "50",
        "labels": "person 2",
    }
    assert table.loc["boxes", "b"] == "3 (9 expected)"
    assert table.loc["images", "c"] == "– (1234 expected)"


def test_the_checked_line_sees_what_is_wrong(three):
    _, (a, b), _ = three
    assert "wrong" not in survey.check_counts([a])
    assert survey.check_counts([a, b]) == "data sets: wrong: b: boxes: 3, 9 expected"


def test_the_histograms_show_every_box_and_the_limits(three):
    _, (a, b), _ = three
    figure = samples.sizes([a, b])
    heights, shapes = figure.axes[2:4]  # of b
    labeled, kept = (sum(bar.get_height() for bar in bars) for bars in heights.containers)
    assert (labeled, kept) == (3, 1)
    assert sum(bar.get_height() for bar in shapes.containers[0]) == 3
    assert [line.get_xdata()[0] for line in heights.lines] == [50]
    assert [line.get_xdata()[0] for line in shapes.lines] == [0.2, 0.65]
    assert "labeled: 3" in texts(figure)
    assert "There are no labeled boxes." in samples.sizes([]).data


def test_limits_are_in_the_data_sets_own_pixels(tmp_path):
    video(tmp_path, "a.json", ("v", 0))
    found = load(tmp_path, a=json_of("a.json", filter={"rule": "paper", "scale": 0.5}))["a"]
    figure = samples.sizes([survey.survey(found, progress=False)])
    assert [line.get_xdata()[0] for line in figure.axes[0].lines] == [100]


def outlines(axes):
    """Colors and line styles of the boxes drawn, by their corner."""
    return [(round(p.get_x(), 3), p.get_edgecolor()[:3], p.get_linestyle()) for p in axes.patches]


def test_samples_show_what_the_boxes_are(tmp_path):
    mot(tmp_path / "m", (3, 1), length=4)
    row = "3,2,100,30,20,60,1,1,0.25\n3,3,200,30,30,30,0,1,1"
    with open(tmp_path / "m" / "gt" / "gt.txt", "a") as file:
        file.write("\n" + row)
    entry = load(tmp_path, a={"reader": "mot", "root": str(tmp_path / "m")})["a"]
    figure = samples.samples(survey.survey(entry, progress=False))
    shown = [axes for axes in figure.axes if axes.images]
    assert [axes.get_title(loc="left") for axes in shown] == ["m/000003"]
    from matplotlib.colors import to_rgb

    drawn = outlines(shown[0])
    assert (198.5, to_rgb(samples.FOUND)) in [found[:2] for found in drawn]
    for left in (28.5, 98.5):
        assert (left, to_rgb(samples.TRUTH)) in [found[:2] for found in drawn]
    # half as wide, about the middle of the box
    (dashed,) = [found for found in drawn if found[2] != "-" and found[2] != "solid"]
    assert dashed[:2] == (103.5, (1, 1, 1))
    assert "chosen among the 1 with a pedestrian" in texts(figure)


def test_samples_where_images_are_missing(tmp_path):
    coco(tmp_path, "a.json", [(str(k), None, 0, [BOX]) for k in range(9)])
    entry = load(tmp_path, a=json_of("a.json", kind="stills"))["a"]
    found = survey.survey(entry, progress=False)
    for k in range(9):
        if k != 8:
            (tmp_path / f"{k}.png").unlink()
    figure = samples.samples(found, count=3)
    assert [axes.get_title(loc="left") for axes in figure.axes if axes.images] == ["8.png"]
    assert "1 of 9 frames, evenly chosen among the 9 with a pedestrian" in texts(figure)
    (tmp_path / "8.png").unlink()
    assert "The images are not here." in samples.samples(found, count=3).data


# --- the real samples


@needs_data
def test_pets_pool_and_test_share_a_video_and_people():
    entries = catalog.load()
    pool, test = entries["pets09-pool"], entries["pets09-test"]
    (found,) = overlap.pairs([survey.survey(entry, progress=False) for entry in (pool, test)])
    people = {"pool": set(), "test": set()}
    for line in (pool.folder() / "gt" / "gt.txt").read_text().split():
        frame, identity = map(int, line.split(",")[:2])
        if frame <= 500 or frame >= 596:
            people["pool" if frame <= 500 else "test"].add(identity)
    assert found.identities == tuple(sorted(people["pool"] & people["test"]))
    assert found.identities
    assert (found.nearest, found.frames, found.sequences) == (96, (), ("PETS09-S2L1",))


@needs_data
def test_camvid_by_sequence_shares_nothing_but_its_own_split_does():
    entries = catalog.load()

    def both(first, second):
        surveys = [survey.survey(entries[name], progress=False) for name in (first, second)]
        return overlap.pairs(surveys)[0]

    for sequence in ("0001TP", "0006R0", "0016E5"):
        assert not both(f"camvid-not-{sequence}", f"camvid-{sequence}").anything
    found = both("camvid-train", "camvid-val")
    assert found.sequences == ("0016E5",)
    numbers = [
        [
            image["frame"]
            for image in json.loads((entries["camvid-all"].folder() / name).read_text())["images"]
            if image["sequence"] == "0016E5"
        ]
        for name in ("train.json", "val.json")
    ]
    assert found.nearest == min(abs(a - b) for a in numbers[0] for b in numbers[1])
