"""Labels by people: a run that waits for them, the answers, who draws them, and the page's Python
side."""

import json
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import warnings
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import yaml
from answering import (
    IGNORE,
    PERSON,
    PROPOSALS,
    RIDER,
    SETTINGS,
    SIZES,
    TRUTH,
    contents,
    create,
    edit,
    finish,
    position_of,
    with_oracle,
    write_catalog,
    write_images,
)
from firststeps import leave_json

from alkit import cli
from alkit.labeling import exchange, session
from alkit.labeling.session import Held, Session
from alkit.loop import answers, branches, cluster, experiment, planning, records, status, steps
from alkit.loop.answers import Answer, LabelsWanted, wanted
from alkit.loop.jsonfile import read_json
from alkit.loop.runs import open_run
from alkit.loop.task import task
from alkit.pages.labeling import ask
from alkit.pages.labeling.page import Canvas

BOX = {"bbox": [5, 6, 20, 50], "label": PERSON}
# Forks a process for each line read; it keeps answers in a loop until it is killed.
KEEPER = """
import os, sys
from alkit.loop.task import task
from alkit.labeling.session import Session
from alkit.loop.runs import open_run

run = open_run(sys.argv[1])
print("ready", flush=True)
for _ in sys.stdin:
    pid = os.fork()
    if pid:
        os.waitpid(pid, 0)
        print("over", flush=True)
        continue
    drawing = Session(task(run, 1))
    print("process", os.getpid(), flush=True)
    k = 0
    while True:
        k += 1
        boxes = [{"bbox": [i % 7, i // 7, 9, 10 + k / 100], "label": "person"} for i in range(400)]
        drawing.keep(int(sys.argv[2]), boxes, False)
        print("kept", k, flush=True)
"""


@pytest.fixture
def run(asked):
    """A run that waits for labels, for a test to change."""
    return open_run(asked / "divergence/seed_0")


@pytest.fixture
def own(run):
    """What is to be labeled in it."""
    return task(run, 1)


@pytest.fixture
def drawing(own):
    """Somebody who labels it."""
    with_whom = Session(own)
    yield with_whom
    with_whom.close()


@pytest.fixture
def clock(monkeypatch):
    """The session's clock, to be set."""
    now = SimpleNamespace(seconds=1000.0)
    monkeypatch.setattr(session, "time", SimpleNamespace(monotonic=lambda: now.seconds))
    return now


@pytest.fixture
def alkit(monkeypatch, capsys):
    """The command in this process: exit status, what it prints, what it complains about."""

    def call(*words):
        monkeypatch.setattr(sys, "argv", ["alkit", *map(str, words)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            cli.main()
        return (ended.value.code or 0, *capsys.readouterr())

    return call


def answer_all(own, boxes=(), seconds=None):
    """All frames finished, with the same boxes."""
    found = {p: Answer(list(boxes), True, seconds) for p in own.positions}
    answers.write(own, found, "a test")


def change(file, **changes):
    file.write_text(json.dumps(read_json(file) | changes))


# ---- a run that waits ----------------------------------------------------------------------------


def test_a_pool_that_nobody_has_labeled(alkit, tmp_path):
    """Images alone: the run waits with exit status 3, for each strategy by itself, and goes on."""
    write_images(tmp_path, [(120, 160)] * 7)
    catalog = write_catalog(tmp_path, reader="mot")
    file, out = tmp_path / "asked.yaml", tmp_path / "out"
    file.write_text(yaml.safe_dump(SETTINGS | {"budget": 2}))
    command = ["run", file, "--out", out, "--catalog", catalog, "--no-notebooks"]
    code, first, complaints = alkit(*command)
    assert code == 3, complaints
    assert "Traceback" not in complaints
    folders = [out / name / "seed_0" for name in SETTINGS["strategies"]]
    for folder in folders:
        assert f"{folder}, cycle 1, waits for labels: 0 of 2 frames are finished" in first
        assert f"`alkit labels export {folder} --cycle 1 --format FORMAT`" in first
    assert "The same `alkit run` then goes on" in first
    waiting = status.table(out).query("cycle == 1 and state == 'complete'")
    assert len(waiting) == 5  # steps 1 to 4, and random's step 4
    assert open_run(folders[0]).frames("pool").boxes is None

    for folder, others in ((folders[0], folders[1:]), (folders[1], [])):
        given = tmp_path / folder.parent.name
        done = alkit("labels", "export", folder, "--cycle", 1, "--format", "coco", "--to", given)
        assert done[0] == 0, done
        names = [
            image["file_name"]
            for image in read_json(given / "annotations/instances_default.json")["images"]
        ]
        truth = [None] * 7
        for name in names:
            truth[position_of(name)] = [(PERSON, [5, 6, 20, 50]), (IGNORE, [50, 6, 20, 50])]
        refused = alkit("labels", "import", folder, given, "--cycle", 1)
        assert refused[0] == 1
        assert refused[2].startswith(f"alkit: {given}: nothing was imported:\n  frame ")
        finish(given, "coco", truth)
        taken = alkit("labels", "import", folder, given, "--cycle", 1)
        said = "2 frames; boxes: 2 person, 2 ignore. `alkit run` goes on with them\n"
        assert taken[:2] == (0, said)
        code, printed, _ = alkit(*command)
        assert code == (3 if others else 0)
        assert [str(f) for f in folders if f"{f}, cycle 1, waits" in printed] == list(
            map(str, others)
        )
        assert records.read(open_run(folder), 1, "7_evaluate") is not None
    assert set(status.table(out)["state"]) == {"complete"}
    assert f"{2 * 45 / 3600:.3f}" in printed  # labeling hours, 45 seconds a frame
    assert alkit(*command)[0] == 0


@pytest.mark.parametrize("labels", ["import", "interactive"])
def test_both_words_ask_people(asked, labels):
    change(asked / "experiment.json", labels=labels)
    with pytest.raises(LabelsWanted) as waits:
        experiment.run(asked, notebooks=False)
    assert str(waits.value).count("waits for labels: 0 of 5 frames are finished") == 2


def test_status_says_how_far_people_have_come(asked, own):
    answers.write(own, {own.positions[0]: Answer([], True)}, "a test")
    said = status.format_status(asked)
    assert "divergence/seed_0 cycle 1 5_label: waiting: labels by people: 1 of 5 frames are" in said
    assert "guided-random/seed_0 cycle 1 5_label: waiting: labels by people: 0 of 5" in said


def test_waiting_changes_nothing(asked):
    before = contents(asked)
    with pytest.raises(LabelsWanted):
        experiment.run(asked, notebooks=False)
    assert contents(asked) == {**before, "ledger.csv": (asked / "ledger.csv").read_bytes()}


def test_half_the_frames_are_not_enough(own, drawing):
    drawing.keep(own.positions[0], [], True)
    drawing.keep(own.positions[1], [BOX], False)
    assert "waits for labels: 1 of 5 frames are finished" in wanted(own.run, 1)
    with pytest.raises(LabelsWanted, match="1 of 5"):
        steps.label(own.run, 1)
    assert records.read(own.run, 1, "5_label") is None


def test_a_pool_without_boxes_is_nothing_that_is_missing(tmp_path):
    write_images(tmp_path, [(120, 160)] * 6)
    catalog = write_catalog(tmp_path, reader="mot")
    missing = "pool crossing: it has no boxes; let people label it with `labels: import`"
    for labels, said in (("oracle", [missing]), ("import", [])):
        out = create(tmp_path, catalog, name=labels, labels=labels)
        assert planning.count_images(open_run(out / "pretrain/seed_0"))[1] == said
    with pytest.raises(ValueError, match="has no boxes; let people label it with `labels: impo"):
        experiment.run(tmp_path / "oracle", notebooks=False)


def test_waiting_on_workers(workers, alone, asked, monkeypatch):
    """Side by side a lane that waits ends alone; what it leaves is what one process leaves."""
    monkeypatch.setenv(cluster.SCHEDULER, workers)
    answer_all(task(open_run(asked / "guided-random/seed_0"), 1), [BOX])
    with pytest.raises(LabelsWanted) as waits:
        experiment.run(asked, notebooks=False)
    assert str(waits.value).count("waits for labels") == 1
    assert "divergence/seed_0, cycle 1, waits" in str(waits.value)
    assert records.read(open_run(asked / "guided-random/seed_0"), 1, "7_evaluate") is not None
    answer_all(task(open_run(asked / "divergence/seed_0"), 1), [BOX])
    experiment.run(asked, notebooks=False)
    assert set(status.table(asked)["state"]) == {"complete"}


# ---- step 5 --------------------------------------------------------------------------------------


def test_step_5_is_stale_when_the_answers_change(asked, own):
    for name in SETTINGS["strategies"]:
        answer_all(task(open_run(asked / name / "seed_0"), 1), [BOX])
    steps.label(own.run, 1)
    assert steps.label.state(own.run, 1)[0] == "complete"
    answer_all(own, [BOX, BOX | {"bbox": [50, 6, 20, 50]}])
    kind, why = steps.label.state(own.run, 1)
    assert (kind, why) == ("stale", "input answers changed")
    with pytest.raises(records.StaleStep, match="5_label is stale: input answers changed"):
        experiment.run(asked, notebooks=False)
    experiment.run(asked, notebooks=False, redo=True)
    assert len(own.run.labels(1)["annotations"]) == 10


def test_answers_that_are_gone_are_waited_for_again(asked, own):
    answer_all(own, [BOX])
    steps.label(own.run, 1)
    answers.path_of(own.run, 1).unlink()
    with pytest.raises(LabelsWanted, match="divergence/seed_0, cycle 1, waits for labels: 0 of 5"):
        experiment.run(asked, notebooks=False, redo=True)


def test_the_time_spent(own):
    """A frame of unknown time counts `label_seconds`."""
    first, *others = own.positions
    found = {first: Answer([BOX], True, 10.0)} | {p: Answer([], True, None) for p in others}
    answers.write(own, found, "a test")
    info = steps.label(own.run, 1).labels(1)["info"]
    assert info == {"source": "a test", "labeling_seconds": 10 + 4 * 45, "frames_timed": 1}


def test_the_ledger_counts_the_hours(asked):
    for name, seconds in (("divergence", 7.2), ("guided-random", 72)):
        answer_all(task(open_run(asked / name / "seed_0"), 1), [BOX], seconds)
    experiment.run(asked, notebooks=False)
    ledger = experiment.ledger(asked).query("cycle == 1").set_index("strategy")
    assert ledger["labeling hours"].to_dict() == {"divergence": 0.01, "guided-random": 0.1}
    assert set(ledger["pedestrians chosen"]) == {5}


def test_a_branch_takes_the_answers_along(asked, tmp_path):
    catalog = read_json(asked / "experiment.json")["catalog"]
    once = {"name": "two", "cycles": 2, "budget": 2, "strategies": ["guided-random"]}
    out = create(tmp_path, catalog, **once)
    run = open_run(out / "guided-random/seed_0")
    for cycle in (1, 2):
        with pytest.raises(LabelsWanted, match=f"cycle {cycle}, waits for labels: 0 of 2"):
            experiment.run(out, notebooks=False)
        answer_all(task(run, cycle), [BOX])
    experiment.run(out, notebooks=False)
    first, second = (answers.path_of(run, cycle) for cycle in (1, 2))
    change(second, frames=read_json(first)["frames"] | read_json(second)["frames"])
    first.unlink()  # as when a frame was chosen in another cycle before all was made again
    folder = branches.branch(run.folder, 2, {"epochs": 2}, tmp_path / "branch")
    states = status.table(folder).query("cycle < 2")
    assert set(states["state"]) == {"complete"}
    branched = open_run(folder / "guided-random/seed_0")
    assert branched.labels(1) == run.labels(1)
    assert answers.read(task(branched, 1)) == answers.read(task(run, 1))


# ---- answers -------------------------------------------------------------------------------------


def test_answers_come_back(own, drawing):
    first, second = own.positions[:2]
    drawing.keep(first, [BOX, {"bbox": [1.5, 2.25, 3, 4], "label": RIDER}], True)
    drawing.keep(second, [], False)
    found = answers.read(own)
    assert [box["bbox"] for box in found[first].boxes] == [[5, 6, 20, 50], [1.5, 2.25, 3, 4]]
    assert [box["label"] for box in found[first].boxes] == [PERSON, RIDER]
    assert (found[first].looked_at, found[second].looked_at) == (True, False)
    stored = read_json(answers.path_of(own.run, 1))
    assert (stored["run"], stored["cycle"]) == ("divergence/seed_0", 1)


FRAME = {"boxes": [BOX], "looked_at": True, "seconds": 1.5}
STORED = {"run": "", "cycle": 1, "source": "", "frames": {"1": FRAME}}


@pytest.mark.parametrize(
    "content",
    [
        {},
        STORED | {"frames": []},
        STORED | {"frames": {"1": FRAME | {"size": [120]}}},
        STORED | {"frames": {"1": FRAME | {"looked_at": "yes"}}},
        STORED | {"frames": {"1": FRAME | {"seconds": "long"}}},
        STORED | {"frames": {"1": FRAME | {"boxes": [None]}}},
        STORED | {"frames": {"1": FRAME | {"boxes": [BOX | {"bbox": [1, 2, "3", 4]}]}}},
    ],
)
def test_damaged_answers_are_refused_with_where(own, content):
    path = answers.path_of(own.run, 1)
    for text in ("", "{", json.dumps(content)):
        path.write_text(text)
        for read in (lambda: answers.read(own), lambda: wanted(own.run, 1), lambda: Session(own)):
            with pytest.raises(ValueError, match=rf"{path}: damaged; move it away"):
                read()
    path.unlink()
    Session(own).close()  # nothing holds it


def test_answers_edited_by_hand_are_checked(own):
    answer_all(own, [BOX | {"bbox": [5, 5, 900, 40]}])
    with pytest.raises(ValueError, match=r"frame \d <.*box 1 \[5, 5, 900, 40\] reaches out of the"):
        steps.label(own.run, 1)


# ---- answers that hold ---------------------------------------------------------------------------


def elsewhere(asked, folder, change=lambda content: None, picture=None):
    """What is to be labeled when the experiment's pool lies in another folder, its json written
    anew and changed, and `picture` in the place of the first chosen frame."""
    file = asked / "experiment.json"
    pool = folder / "crossing"
    shutil.copytree(Path(read_json(file)["catalog"]).parent / "crossing", pool)
    content = read_json(pool / "boxes.json")
    change(content)
    (pool / "boxes.json").write_text(json.dumps(content, indent=3, sort_keys=True))
    catalog = write_catalog(folder, reader="coco", args={"annotations": "boxes.json"})
    file.write_text(json.dumps(read_json(file) | {"catalog": str(catalog)}))
    now = task(open_run(asked / "divergence/seed_0"), 1)
    if picture is not None:
        cv2.imwrite(str(pool / now.chosen[0]["name"]), picture)
    return now


def test_answers_hold_when_all_is_made_again(asked, own, tmp_path):
    """The pool's file says something else about boxes, for which nobody asks it."""
    tasks = [task(open_run(asked / name / "seed_0"), 1) for name in SETTINGS["strategies"]]
    for k, one in enumerate(tasks):
        answer_all(one, [BOX | {"bbox": [5 + k, 6, 20, 50]}])
    experiment.run(asked, notebooks=False)
    before = [one.run.labels(1)["annotations"] for one in tasks]
    changed = elsewhere(asked, tmp_path / "b", lambda content: content["annotations"].pop())
    with pytest.raises(records.StaleStep, match="is stale: input X_"):
        experiment.run(asked, notebooks=False)
    assert answers.read(changed) == answers.read(own)
    experiment.run(asked, notebooks=False, redo=True)
    assert [open_run(one.run.folder).labels(1)["annotations"] for one in tasks] == before


def test_answers_go_by_the_frames_names(asked, own, tmp_path):
    """A frame more shifts the positions, and others are chosen in another order."""
    found = {p: Answer([BOX | {"bbox": [5, 6, 20, 50 + p]}], True, 1.5) for p in own.positions}
    answers.write(own, found, "a test")
    by_name = {own.chosen[k]["name"]: found[p].boxes for k, p in enumerate(own.positions)}

    def add(content):
        first = content["images"][0]
        shutil.copy(pool / first["file_name"], pool / "new.png")
        content["images"].insert(0, first | {"id": 99, "file_name": "new.png"})

    pool = tmp_path / "b/crossing"
    now = elsewhere(asked, tmp_path / "b", add)
    with pytest.raises(ValueError, match=r"is not where it was in crossing .*redo` chooses anew"):
        Session(now)
    file = own.run.artifact(1, "4_select", "selection.json")
    chosen = read_json(file)["chosen"][:0:-1]
    new = chosen[0] | {"position": 0, "name": "new.png"}
    others = [c | {"position": c["position"] + 1} for c in chosen]
    leave_json(file, read_json(file) | {"chosen": [*others, new]})
    now = task(open_run(now.run.folder), 1)
    assert now.positions == [p + 1 for p in own.positions[:0:-1]] + [0]
    kept = answers.read(now)
    assert {now.chosen[k]["name"]: kept[p].boxes for k, p in enumerate(now.positions[:-1])} == {
        name: boxes for name, boxes in by_name.items() if name != own.chosen[0]["name"]
    }
    assert "4 of 5 frames are finished" in wanted(now.run, 1)
    drawing = Session(now)  # what it does not choose stays in the file
    drawing.keep(0, [], True)
    drawing.close()
    frames = read_json(answers.path_of(now.run, 1))["frames"]
    assert {name: frames[name]["boxes"] for name in by_name} == by_name


def test_frames_that_people_of_another_cycle_labeled(own):
    answer_all(own, [BOX])
    before, other = answers.read(own), answers.path_of(own.run, 2)
    given = answers.answers_digest(own.run, 1)
    other.parent.mkdir(exist_ok=True)
    answers.path_of(own.run, 1).rename(other)
    stored = other.read_bytes()
    assert answers.read(own) == before
    assert answers.answers_digest(own.run, 1) == given
    drawing = Session(own)
    drawing.keep(own.positions[0], [], True)  # the cycle's own word counts
    drawing.close()
    assert answers.read(own)[own.positions[0]].boxes == []
    assert answers.read(own)[own.positions[1]] == before[own.positions[1]]
    assert other.read_bytes() == stored


def test_an_answer_elsewhere_makes_nothing_stale(own):
    answer_all(own, [BOX])
    steps.label(own.run, 1)
    file = answers.path_of(own.run, 1)
    content = read_json(file)
    content["frames"]["other.png"] = {"boxes": [BOX], "looked_at": True, "seconds": None}
    file.write_text(json.dumps(content, sort_keys=True))
    assert steps.label.state(own.run, 1).kind == "complete"


def test_answers_of_before_are_read_and_kept(own):
    """By position, each with its name, and without a size."""
    names = {c["position"]: c["name"] for c in own.chosen} | {77: "gone.png"}
    frames = {
        str(p): {"name": name, "looked_at": True, "seconds": 1.5, "boxes": [BOX]}
        for p, name in names.items()
    }
    about = {"task": "0a" * 32, "run": "divergence/seed_0", "cycle": 1, "source": "interactive"}
    answers.path_of(own.run, 1).write_text(json.dumps(about | {"frames": frames}))
    assert answers.read(own) == {p: Answer([BOX], True, 1.5) for p in own.positions}
    drawing = Session(own)
    drawing.keep(own.positions[0], [], True)
    drawing.close()
    frames = read_json(answers.path_of(own.run, 1))["frames"]
    assert frames[names.pop(own.positions[0])]["boxes"] == []
    assert [frames[name]["boxes"] for name in names.values()] == [[BOX]] * 5
    assert len(steps.label(own.run, 1).labels(1)["annotations"]) == 4


def test_other_pixels_under_a_name_are_said(asked, own, tmp_path):
    drawing = Session(own)
    for position in own.positions:
        drawing.keep(position, [BOX], True)
    drawing.close()
    first = own.positions[0]
    now = elsewhere(asked, tmp_path / "b", picture=np.zeros((*SIZES[first], 3), np.uint8))
    drawing = Session(now)
    drawing.keep(own.positions[1], [BOX], True)  # which says nothing about the first
    drawing.close()
    with pytest.warns(UserWarning, match=rf"1 of 5 .*other pixels.*: {first} <script>"):
        found = answers.labels(now.run, 1, 35.0)
    assert len(found["annotations"]) == 5
    drawing = Session(now)
    drawing.keep(first, [BOX], True)  # somebody saw it
    drawing.close()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        answers.labels(now.run, 1, 35.0)


@pytest.mark.parametrize("format_", ["coco", "cvat", "yolo"])
def test_another_size_is_refused_and_can_be_taken_over(asked, own, tmp_path, format_):
    """The image is twice as wide and high; the others' answers stay as they are."""
    answer_all(own, [BOX], 2.5)
    first, name = own.positions[0], own.chosen[0]["name"]
    height, width = SIZES[first]

    def resize(content):
        next(i for i in content["images"] if i["file_name"] == name).update(
            height=2 * height, width=2 * width
        )

    picture = np.zeros((2 * height, 2 * width, 3), np.uint8)
    now, file = elsewhere(asked, tmp_path / "b", resize, picture), answers.path_of(own.run, 1)
    before = file.read_bytes()
    said = rf"frame {first} .*labeled at \({height}, {width}\).* has \({2 * height}, {2 * width}"
    for attempt in (lambda: Session(now), lambda: steps.label(now.run, 1)):
        with pytest.raises(ValueError, match=f"{said}.*alkit labels export .*labels import"):
            attempt()
    folder = exchange.export(now, format_, tmp_path / "given")
    with pytest.raises(ValueError, match="--replace takes those of given"):
        exchange.take(now, folder, all_looked_at=True)
    assert file.read_bytes() == before
    if format_ == "coco":  # the others cannot say of a frame with boxes that nobody looked
        with pytest.raises(ValueError, match=f"imported:\n.*position {first}.*looked at[^\n]*$"):
            exchange.take(now, folder, replace=True)
    exchange.take(now, folder, all_looked_at=True, replace=True)
    kept = answers.read(now)
    boxes = [answer.boxes[0]["bbox"] for answer in kept.values()]
    assert boxes[0] == pytest.approx([10, 12, 40, 100], abs=0.01)
    np.testing.assert_allclose(boxes[1:], [BOX["bbox"]] * 4, atol=0.02)
    assert file.with_name("answers.replaced_1.json").read_bytes() == before
    assert len(steps.label(now.run, 1).labels(1)["annotations"]) == 5


@pytest.mark.parametrize("format_", [*exchange.FORMATS])
def test_answers_can_be_exported_when_the_pool_is_gone(own, tmp_path, format_):
    answer_all(own, [BOX])
    root, away = Path(own.run.entry("pool").root), tmp_path / "away"
    root.rename(away)
    try:
        with pytest.warns(UserWarning, match=r"5 answers are written without images: .*nothing at"):
            folder = exchange.export(task(own.run, 1), format_, tmp_path / "given")
    finally:
        away.rename(root)
    answers.path_of(own.run, 1).unlink()
    exchange.take(own, folder, all_looked_at=True)
    boxes = [answer.boxes[0]["bbox"] for answer in answers.read(own).values()]
    np.testing.assert_allclose(boxes, [BOX["bbox"]] * 5, atol=0.02)


def test_taking_answers_anew_keeps_those_of_other_frames(own, tmp_path):
    answer_all(own, [BOX])
    file = answers.path_of(own.run, 1)
    other = {"boxes": [BOX], "looked_at": True, "seconds": None, "size": [9, 9], "pixels": "0a"}
    change(file, frames=read_json(file)["frames"] | {"other.png": other})
    given = exchange.export(own, "coco", tmp_path / "given")
    with pytest.raises(ValueError, match="answers for 5 of these frames already; --replace"):
        exchange.take(own, given)
    exchange.take(own, given, replace=True)
    assert read_json(file)["frames"]["other.png"] == other


def test_boxes_are_in_the_images_own_pixels(own):
    assert {p: own.factor(p) for p in own.positions} == {
        p: min(96 / SIZES[p][0], 128 / SIZES[p][1]) for p in own.positions
    }
    answer_all(own, [BOX])
    found = steps.label(own.run, 1).labels(1)
    for image, a in zip(found["images"], found["annotations"], strict=True):
        factor = own.factor(image["position"])
        assert a["bbox"] == pytest.approx([5 * factor, 6 * factor, 20 * factor, 50 * factor])
        assert (image["height"], image["width"]) == (96, 128)


def test_proposals_are_those_of_a_good_score(asked, own):
    found = {p: [b["bbox"] for b in own.proposals[p]] for p in own.positions}
    assert found == {p: PROPOSALS[p] for p in own.positions}
    file = asked / "pretrain/seed_0/evaluation.json"
    leave_json(file, read_json(file) | {"score_at_1": None})
    assert set(map(len, task(open_run(own.run.folder), 1).proposals.values())) == {0}
    random_ = task(open_run(asked / "guided-random/seed_0"), 1)
    assert set(map(len, random_.proposals.values())) == {0}


def test_proposals_without_a_test_set(asked, own, monkeypatch):
    """Those from 0.5, or from the score of FPPI 1 on held-out frames of X_l's domain."""
    for file in asked.glob("pretrain/seed_0/*evalu*"):
        file.unlink()
    change(asked / "experiment.json", test=None, data={})
    found = task(open_run(own.run.folder), 1).proposals
    assert {p: [b["bbox"] for b in found[p]] for p in own.positions} == {
        p: PROPOSALS[p] for p in own.positions
    }
    monkeypatch.setattr(type(own.run), "held_out", lambda _: {"score_at_1": 0.8})
    found = task(open_run(own.run.folder), 1).proposals
    assert {p for p in own.positions if found[p]} == {0}


def test_proposals_without_the_step_that_they_need(asked, own):
    records.record_path(own.run, 0, "7_evaluate").unlink()
    (asked / "pretrain/seed_0/evaluation.json").unlink()
    with pytest.raises(FileNotFoundError, match=r"Step 7_evaluate of cycle 0 has not run.*alkit"):
        _ = own.proposals
    answer_all(own, [BOX])  # who answers otherwise needs none
    assert len(steps.label(own.run, 1).labels(1)["annotations"]) == 5


# ---- who draws -----------------------------------------------------------------------------------


def test_one_at_a_time(own, drawing):
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        with pytest.raises(Held) as held:
            Session(own)
    said = str(held.value)
    assert f"on {socket.gethostname()} (process {os.getpid()}, drawing labels, since 20" in said
    assert "One at a time can label a cycle: end that session, or label another" in said
    assert len(os.listdir("/proc/self/fd")) <= before
    drawing.close()
    drawing.close()  # harmless
    Session(own).close()
    assert len(os.listdir("/proc/self/fd")) == before - 1


def test_another_run_can_be_labeled_meanwhile(asked, own, drawing):
    other = Session(task(open_run(asked / "guided-random/seed_0"), 1))
    assert other.task.run.folder != drawing.task.run.folder
    other.close()
    with pytest.raises(Held):  # its end frees nobody else's answers
        Session(own)


@pytest.fixture
def keeper(own):
    """Starts a process that keeps answers in a loop: its id, and what it says."""
    helper = subprocess.Popen(
        [sys.executable, "-c", KEEPER, str(own.run.folder), str(full_frame(own))],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        bufsize=1,
    )
    assert helper.stdout.readline() == "ready\n"

    def start():
        helper.stdin.write("go\n")
        said = helper.stdout.readline().split()
        assert said[0] == "process"
        return int(said[1]), helper.stdout

    yield start
    helper.stdin.close()
    helper.wait(60)
    helper.stdout.close()


def full_frame(own) -> int:
    return next(p for p in own.positions if len(TRUTH[p]) == 6)


def test_killed_at_any_moment_what_was_kept_is_there(own, keeper):
    """The lock goes with the process, and the file is the last one kept or the one after it."""
    chance = random.Random(0)
    for _ in range(5):
        process, said = keeper()
        for _ in range(chance.randrange(1, 4)):
            assert said.readline().startswith("kept")
        with pytest.raises(Held, match=rf"\(process {process}, drawing labels"):
            Session(own)
        time.sleep(chance.random() * 0.01)
        os.kill(process, signal.SIGKILL)
        while not free(own):
            time.sleep(0.01)
        last = 0
        while (line := said.readline()) != "over\n":
            last = int(line.split()[1])
        boxes = answers.read(own)[full_frame(own)].boxes
        heights = {box["bbox"][3] for box in boxes}
        assert len(boxes) == 400
        assert len(heights) == 1
        (height,) = heights
        assert round((height - 10) * 100) >= last


def free(own) -> bool:
    try:
        Session(own).close()
    except Held:
        return False
    return True


def test_what_is_kept_is_on_disk(own, drawing):
    for k, position in enumerate(own.positions):
        drawing.keep(position, [BOX] * (k % 2), True)
        assert len(answers.read(own)) == k + 1
        assert answers.read(own) == {p: stored(own, p, a) for p, a in drawing.answers.items()}
    assert answers.progress(own.run, 1) == (5, 5)


def stored(own, position, answer):
    about = {"size": own.sizes[position], "pixels": own.pixels(position)}
    return replace(answer, seconds=round(answer.seconds, 1), **about)


def test_a_write_that_fails_leaves_what_was_there(own, drawing, monkeypatch):
    drawing.keep(own.positions[0], [BOX], True)
    before = contents(own.run.out)

    def full(*_):
        raise OSError("No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError, match="No space left"):
        drawing.keep(own.positions[0], [], True)
    partial = "divergence/seed_0/cycle_01/answers.json.partial"
    assert {k: v for k, v in contents(own.run.out).items() if k != partial} == before
    assert drawing.answers[own.positions[0]].boxes != []


@pytest.mark.parametrize(
    ("boxes", "message"),
    [
        (None, "expected a list of boxes, got"),
        ([None], "box 1: .*None"),
        ([{"bbox": [5, 6, 20, 50]}], "box 1: label: Field required"),
        ([{"label": PERSON}], "box 1: bbox: Field required"),
        ([BOX | {"label": ["person"]}], "box 1: label: "),
        ([BOX | {"label": "car"}], "box 1: class 'car' is unknown; the classes are person, rider"),
        ([BOX | {"bbox": [5, 6, 20]}], r"box 1: bbox\.3: Field required"),
        ([BOX | {"bbox": [5, 6, "20", 50]}], r"box 1: bbox\.2: .*'20'"),
        ([BOX | {"bbox": [5, 6, True, 50]}], r"box 1: bbox\.2: .*True"),
        ([BOX | {"bbox": [5, 6, 10**400, 50]}], r"box 1: bbox\.2: "),
        ([BOX | {"bbox": [5, 6, float("nan"), 50]}], r"box 1: bbox\.2: .*finite"),
        ([BOX | {"bbox": [5, 6, 20, -50]}], r"box 1: bbox\.3: .*-50"),
        ([BOX | {"bbox": [5, 6, 0, 50]}], "has no area in the 160×120 image"),
        ([BOX | {"bbox": [5, 6, 999, 50]}], r"box 1 \[5, 6, 999, 50\] reaches out of the 160×120"),
        ([BOX | {"bbox": [-0.9, 6, 0.5, 50]}], "has no area in the 160×120 image"),
        (
            [BOX | {"bbox": [5, 6, 0.9, 0.7]}],
            r"box 1 \[5, 6, 0.9, 0.7\] is under one pixel in the 1",
        ),
        ([BOX, BOX | {"bbox": [0.2, 0.1, 0.5, 0.6]}], "box 2 .* is under one .*Is it in pixels"),
        ([BOX | {"bbox": [0, 0, 1, 1]}], "box 1 .*Is it in pixels, not in shares"),
        ([BOX, BOX], "box 2 stands there twice"),
    ],
)
def test_boxes_that_are_wrong_are_not_kept(own, drawing, boxes, message):
    position = next(p for p in own.positions if SIZES[p] == (120, 160))
    drawing.keep(position, [BOX], True)
    before, kept = contents(own.run.out), dict(drawing.answers)
    with pytest.raises(ValueError, match=message):
        drawing.keep(position, boxes, True)
    assert contents(own.run.out) == before
    assert drawing.answers == kept


def test_only_chosen_frames_can_be_kept(own, drawing):
    (other,) = set(range(6)) - set(own.positions)
    with pytest.raises(ValueError, match=f"position {other} is none of the chosen frames"):
        drawing.keep(other, [], True)
    assert not answers.path_of(own.run, 1).exists()


def test_seconds_are_summed_and_pauses_cut(own, clock):
    drawing = Session(own)
    first, second = own.positions[:2]
    for at, position in ((1005, first), (1012, first), (2000, first), (2003, second)):
        clock.seconds = at
        drawing.keep(position, [BOX], True)
    clock.seconds = 2500
    drawing.begin()  # another frame comes up
    clock.seconds = 2504
    drawing.keep(second, [], True)
    seconds = {p: answer.seconds for p, answer in answers.read(own).items()}
    assert session.IDLE_SECONDS == 60
    assert seconds == {first: 5 + 7 + 60, second: 3 + 4}
    drawing.close()
    clock.seconds = 9000
    drawing = Session(own)  # its time goes on where it was
    clock.seconds = 9010
    drawing.keep(second, [], True)
    assert answers.read(own)[second].seconds == 17
    drawing.close()


def test_an_unknown_time_stays_unknown(own, clock):
    """A box corrected after an import says nothing about the time before."""
    answer_all(own, [BOX])
    drawing = Session(own)
    clock.seconds += 3
    drawing.keep(own.positions[0], [], True)
    drawing.close()
    assert steps.label(own.run, 1).labels(1)["info"]["labeling_seconds"] == 5 * 45


def test_a_new_frame_starts_from_the_proposals(own, drawing):
    for position in own.positions:
        answer = drawing.answer(position)
        assert [box["bbox"] for box in answer.boxes] == PROPOSALS[position]
        assert (answer.looked_at, answer.seconds) == (False, 0.0)


def test_an_oracles_experiment_asks_nobody(asked, own, tmp_path):
    folder = exchange.export(own, "coco", tmp_path / "given")
    finish(folder, "coco", TRUTH)
    oracle = task(open_run(with_oracle(asked, tmp_path / "oracle") / "divergence/seed_0"), 1)
    before = contents(oracle.run.out)
    for attempt in (lambda: Session(oracle), lambda: exchange.take(oracle, folder)):
        with pytest.raises(ValueError, match="of this experiment are the oracle's"):
            attempt()
    assert contents(oracle.run.out) == before


@pytest.mark.parametrize(("length_scale", "ignored"), [(0.1, 0), (10, 1)])
def test_boxes_are_measured_at_the_runs_scale(own, length_scale, ignored):
    """As the oracle's are: 50 pixels of the paper's images are 5 of the run's, or 500."""
    answer_all(own, [BOX])
    file = own.run.out / "experiment.json"
    settings = read_json(file)
    settings["set"] |= {"length_scale": length_scale}
    file.write_text(json.dumps(settings))
    run = open_run(own.run.folder)
    found = answers.labels(run, 1, 35.0)["annotations"]
    assert [a["ignore"] for a in found] == [ignored] * len(own.positions)
    oracle = run.frames("pool").boxes[own.positions[0]]
    assert oracle.ignore.all() == bool(ignored)


def test_labels_in_use_are_left_alone(own, drawing):
    """Also by somebody who began before the run went on."""
    answer_all(own, [BOX])
    steps.label(own.run, 1)
    before = contents(own.run.out)
    with pytest.raises(ValueError, match="step 5 is complete, its labels are in use"):
        drawing.keep(own.positions[0], [], True)
    drawing.close()
    with pytest.raises(ValueError, match="step 5 is complete, its labels are in use"):
        Session(own)
    assert contents(own.run.out) == before


# ---- the command ---------------------------------------------------------------------------------


def test_nothing_to_label_before_step_4(alkit, run, tmp_path):
    for words in (["export", "--format", "coco"], ["import", tmp_path], ["draw"]):
        code, _, said = alkit("labels", words[0], run.folder, *words[1:], "--cycle", 2)
        assert code == 1
        assert re.match(r"alkit: .*Step 4_select of cycle 2 has not run", said)


def test_an_export_goes_to_the_cycles_folder(alkit, run):
    code, printed, _ = alkit("labels", "export", run.folder, "--cycle", 1, "--format", "yolo")
    assert code == 0
    assert printed.strip() == str(run.cycle(1) / "to_label_yolo")
    again = alkit("labels", "export", run.folder, "--cycle", 1, "--format", "yolo")
    assert again[0] == 1
    assert "the folder is not empty; choose another one with --to" in again[2]


def test_a_page_is_not_served_while_somebody_draws(alkit, run, drawing):
    code, _, said = alkit("labels", "draw", run.folder, "--cycle", 1)
    assert code == 1
    assert f"(process {os.getpid()}, drawing labels, since" in said


def test_looked_at_all_and_replace(alkit, run, own, tmp_path):
    given = exchange.export(own, "coco", tmp_path / "given")
    command = ["labels", "import", run.folder, given, "--cycle", 1]
    assert alkit(*command)[0] == 1
    code, printed, _ = alkit(*command, "--looked-at-all")
    count = sum(len(PROPOSALS[p]) for p in own.positions)
    assert code == 0
    assert printed == f"5 frames; boxes: {count} person. `alkit run` goes on with them\n"
    assert "--replace takes those of given" in alkit(*command, "--looked-at-all")[2]
    edit(given / "annotations/instances_default.json", rename)
    code, printed, _ = alkit(*command, "--looked-at-all", "--replace")
    assert code == 0
    *renamed, _ = printed.splitlines()
    assert len(renamed) == 5
    assert all(line.startswith("0a1b2c3d__00000") for line in renamed)


def rename(data):
    for image in data["images"]:
        image["file_name"] = f"0a1b2c3d__{image['file_name']}"


# ---- the notebook of step 5 ----------------------------------------------------------------------


def test_the_notebook_imports_a_file_and_then_asks_no_more(run, own, tmp_path):
    folder = str(run.folder)
    assert "0 of 5 frames are finished" in ask(folder, 1)  # what the experiment says: import
    assert ask(folder, 1, save=False) == "save is False: nothing is drawn or imported."
    given = exchange.export(own, "coco", tmp_path / "given")
    finish(given, "coco", {p: [(PERSON, [10, 20, 20, 50])] for p in own.positions})
    edit(given / "annotations/instances_default.json", rename)
    said, *renamed = ask(folder, 1, "import", str(given)).splitlines()
    assert said == "Imported: 5 frames."
    assert len(renamed) == 5
    assert ask(folder, 1) == "All chosen frames are finished."
    assert ask(folder, 1, "interactive") == "All chosen frames are finished."
    steps.label(folder, 1)
    assert ask(folder, 1, "interactive") == "The labels of this cycle are complete."


def test_the_notebook_shows_the_page_where_labels_are_drawn(run):
    page = ask(str(run.folder), 1, "interactive")
    again = ask(str(run.folder), 1, "interactive")  # in one kernel the newer page takes over
    assert isinstance(page, Canvas)
    assert isinstance(again, Canvas)
    again._session.close()


def test_a_source_that_does_not_go_with_the_experiment_is_refused(run, toy_experiment):
    with pytest.raises(ValueError, match=r"source: .*interactiv.*interactive"):
        ask(str(run.folder), 1, "interactiv")
    with pytest.raises(ValueError, match=r"source is 'oracle', but .* says `labels: import`"):
        ask(str(run.folder), 1, "oracle")
    known = str(toy_experiment / "divergence/seed_0")
    with pytest.raises(ValueError, match=r"source is 'import', but .* says `labels: oracle`"):
        ask(known, 1, "import")
    assert "The oracle knows" in ask(known, 1)


# ---- the page's Python side ----------------------------------------------------------------------


@pytest.fixture
def canvas(drawing):
    """The page without a browser."""
    return Canvas(drawing)


def test_the_page_shows_the_first_frame_that_is_not_finished(own, drawing, canvas):
    frame = canvas.frame
    assert frame["position"] == own.positions[0]
    assert (frame["height"], frame["width"]) == SIZES[own.positions[0]]
    assert frame["name"] == f"{own.positions[0]} <script>alert(1)&.png"
    assert [box["bbox"] for box in frame["boxes"]] == PROPOSALS[own.positions[0]]
    assert frame["image"].startswith("data:image/jpeg;base64,/9j/")
    assert canvas.classes == list(own.classes)
    drawing.keep(own.positions[0], [], True)
    assert Canvas(drawing).frame["position"] == own.positions[1]


def test_what_the_page_says_is_kept(own, canvas):
    first, second = own.positions[:2]
    canvas._handle_msg({"n": 1, "kind": "keep", "position": first, "boxes": [BOX]})
    assert canvas.reply == {"n": 1, "problem": ""}
    assert answers.read(own)[first].looked_at is False
    assert canvas.frame["position"] == first
    canvas._handle_msg({"n": 2, "kind": "finish", "position": first, "boxes": [BOX]})
    assert canvas.reply == {"n": 2, "problem": ""}
    assert answers.read(own)[first].looked_at is True
    assert canvas.done == [True, False, False, False, False]
    assert canvas.frame["position"] == second
    message = {"n": 3, "kind": "keep", "position": first, "boxes": [], "looked_at": True}
    canvas._handle_msg(message)  # sent before the next frame came up
    assert answers.read(own)[first].boxes == []
    assert canvas.frame["position"] == second


def test_no_frame_is_left_before_it_is_saved(own, canvas, monkeypatch):
    first = canvas.frame["position"]

    def full(*_):
        raise OSError("the disk is full")

    with monkeypatch.context() as patched:
        patched.setattr(answers, "write", full)
        message = {"kind": "keep", "n": 1, "position": first, "boxes": [], "looked_at": False}
        canvas._handle_msg(message)
        assert canvas.reply == {"n": 1, "problem": "the disk is full"}
        canvas._handle_msg({"kind": "open", "n": 2, "index": 1})
        assert "another frame is opened when this one is saved" in canvas.reply["problem"]
        assert canvas.frame["position"] == first
    canvas._handle_msg({"kind": "keep", "n": 3, "position": first, "boxes": [], "looked_at": False})
    canvas._handle_msg({"kind": "open", "n": 4, "index": 1})
    assert canvas.reply == {"n": 4, "problem": ""}
    assert canvas.frame["index"] == 1


def test_a_frame_that_is_only_looked_at_takes_time_too(own, canvas, clock):
    first = canvas.frame["position"]
    canvas._session.begin()
    clock.seconds += 7
    canvas._handle_msg({"kind": "open", "n": 1, "index": 1})
    kept = answers.read(own)[first]
    assert (kept.seconds, kept.looked_at) == (7, False)
    assert [b["bbox"] for b in kept.boxes] == PROPOSALS[first]


def test_the_next_frame_is_one_that_is_not_finished(own, canvas):
    def finish_at(index):
        canvas._handle_msg({"n": 1, "kind": "open", "index": index})
        assert canvas.frame["index"] == index
        position = own.positions[index]
        canvas._handle_msg({"n": 2, "kind": "finish", "position": position, "boxes": []})
        return canvas.frame["index"]

    assert finish_at(1) == 2
    assert finish_at(2) == 3
    assert finish_at(4) == 0  # none after it
    assert finish_at(0) == 3
    assert finish_at(3) == 4  # all are finished: simply the next
    assert all(canvas.done)
    canvas._handle_msg({"n": 9, "kind": "open", "index": 99})
    assert canvas.frame["index"] == 4
    canvas._handle_msg({"n": 9, "kind": "open", "index": -1})
    assert canvas.frame["index"] == 0


@pytest.mark.parametrize(
    ("message", "problem"),
    [
        ({}, "the page's message lacks 'kind'"),
        ({"kind": "delete", "position": 0, "boxes": []}, "the page's message is of kind 'delete'"),
        ({"kind": "open"}, "the page's message lacks 'index'"),
        ({"kind": "open", "index": "first"}, "invalid literal for int"),
        ({"kind": "open", "index": float("inf")}, "cannot convert float infinity"),
        ({"kind": "keep", "boxes": []}, "the page's message lacks 'position'"),
        ({"kind": "keep", "position": None, "boxes": []}, "NoneType"),
        ({"kind": "finish", "position": 99, "boxes": []}, "position 99 is none of the chosen fra"),
        ({"kind": "finish", "position": "OWN"}, "the page's message lacks 'boxes'"),
        (
            {"kind": "finish", "position": "OWN", "boxes": None},
            "expected a list of boxes, got None",
        ),
        ({"kind": "finish", "position": "OWN", "boxes": [{}]}, "box 1: bbox: Field required"),
        ({"kind": "finish", "position": "OWN", "boxes": [BOX | {"label": "<b>"}]}, "class '<b>' i"),
    ],
)
def test_a_wrong_message_changes_nothing(own, canvas, message, problem):
    if message.get("position") == "OWN":
        message = message | {"position": own.positions[0]}
    before, frame = contents(own.run.out), canvas.frame
    canvas._handle_msg({"n": 7, **message})
    assert canvas.reply["n"] == 7
    assert problem in canvas.reply["problem"]
    assert contents(own.run.out) == before
    assert canvas.frame == frame
    assert not any(canvas.done)
