"""The labeling page in a real browser: as a served page, and in JupyterLab."""

import json
import os
import signal
import subprocess
import sys

import cv2
import papermill.iorw
import papermill.parameterize
import pytest
import yaml
from driving import every, jupyter, one, run_all, serving, text, until
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.keys import Keys

from alkit.loop import experiment, runs
from alkit.loop.answers import LabelsWanted
from alkit.loop.jsonfile import read_json
from alkit.loop.runs import Run
from alkit.loop.settings import checked
from alkit.loop.task import Task

CANVAS = "svg[role=img]"
SCRIPT = "<img src=x onerror='window.broken=1'>"  # a name that would run if it were HTML


def answers(run, cycle=1):
    path = Run(run).cycle(cycle) / "answers.json"
    return read_json(path)["frames"] if path.exists() else {}


def saved(browser):
    until(lambda: text(browser, ".status") == "saved", says="nothing says that it is saved")


def title(browser):
    return text(browser, ".title")


def on_screen(browser, x, y):
    """Offsets of an image's pixel from the middle of the canvas, on the screen."""
    script = """
      const svg = arguments[0], r = svg.getBoundingClientRect();
      const p = new DOMPoint(arguments[1], arguments[2]).matrixTransform(svg.getScreenCTM());
      return [p.x - r.x - r.width / 2, p.y - r.y - r.height / 2];"""
    return browser.execute_script(script, one(browser, CANVAS), x, y)


def drag(browser, first, last):
    """Press at a pixel of the image, move to another one, release."""
    (x0, y0), (x1, y1) = on_screen(browser, *first), on_screen(browser, *last)
    actions = ActionChains(browser, duration=50)
    actions.move_to_element_with_offset(one(browser, CANVAS), x0, y0).click_and_hold()
    actions.move_by_offset((x1 - x0) / 2, (y1 - y0) / 2)
    actions.move_to_element_with_offset(one(browser, CANVAS), x1, y1).release().perform()


def press(browser, *keys):
    ActionChains(browser).send_keys(*keys).perform()


def close_to(box, wanted, within=3):
    return all(abs(a - b) <= within for a, b in zip(box["bbox"], wanted, strict=True))


def test_a_box_is_drawn_kept_and_found_again_after_a_kill(browser, to_label, keep_screenshot):
    task = Task(Run(to_label), 1)
    first = task.names[task.positions[0]]
    with serving("labels", "draw", to_label, "--cycle", 1, "--port", 0) as (process, address):
        browser.get(address)
        one(browser, CANVAS)
        begun = len(every(browser, "rect[data-box]"))
        assert begun == len(task.proposals[task.positions[0]])  # it starts from the proposals
        drag(browser, (255, 195), (325, 305))
        saved(browser)
        own = answers(to_label)[first]
        assert not own["looked_at"]
        assert close_to(own["boxes"][-1], [255, 195, 70, 110])
        assert own["boxes"][-1]["label"] == "pedestrian"
        keep_screenshot("labeling", one(browser, ".page"))

        os.kill(process.pid, signal.SIGKILL)
        drag(browser, (100, 100), (200, 330))
        until(lambda: "NOT SAVED" in text(browser, ".status"), says="the page says all is well")
        assert len(answers(to_label)[first]["boxes"]) == begun + 1

    with serving("labels", "draw", to_label, "--cycle", 1, "--port", 0) as (_, address):
        browser.get(address)
        until(lambda: len(every(browser, "rect[data-box]")) == begun + 1, says="the box is lost")
        # move it by dragging its middle, resize it by a corner
        drag(browser, (290, 250), (260, 260))
        saved(browser)
        assert close_to(answers(to_label)[first]["boxes"][-1], [225, 205, 70, 110])
        drag(browser, (295, 315), (325, 375))
        saved(browser)
        assert close_to(answers(to_label)[first]["boxes"][-1], [225, 205, 100, 170])
        # a box to ignore, undone; then deleted, undone
        press(browser, "i")
        until(lambda: answers(to_label)[first]["boxes"][-1]["label"] == "ignore")
        ActionChains(browser).key_down(Keys.CONTROL).send_keys("z").key_up(Keys.CONTROL).perform()
        until(lambda: answers(to_label)[first]["boxes"][-1]["label"] == "pedestrian")
        press(browser, Keys.DELETE)
        until(lambda: len(answers(to_label)[first]["boxes"]) == begun)
        undo = next(b for b in every(browser, "button") if b.text == "Undo")
        undo.click()
        until(lambda: len(answers(to_label)[first]["boxes"]) == begun + 1)
        saved(browser)


def test_an_enter_that_is_held_down_finishes_one_frame(browser, to_label):
    with serving("labels", "draw", to_label, "--cycle", 1, "--port", 0) as (_, address):
        browser.get(address)
        page = one(browser, ".page")
        held = """
          for (let k = 0; k < 8; k++) arguments[0].dispatchEvent(
            new KeyboardEvent("keydown", { key: "Enter", repeat: k > 0, bubbles: true }));"""
        browser.execute_script(held, page)
        until(lambda: title(browser).startswith("Frame 2 of"))
        browser.execute_script(held.replace("k > 0", "true"), page)
        saved(browser)
        assert [frame["looked_at"] for frame in answers(to_label).values()] == [True]


def test_a_finished_frame_is_taken_back_and_stays_so(browser, to_label):
    position = Task(Run(to_label), 1).chosen[0]["name"]
    with serving("labels", "draw", to_label, "--cycle", 1, "--port", 0) as (_, address):
        browser.get(address)
        one(browser, CANVAS)
        assert "Not finished" not in {b.text for b in every(browser, ".bar button")}
        drag(browser, (60, 60), (160, 260))
        press(browser, "u")  # nothing to take back
        press(browser, Keys.ENTER)
        until(lambda: title(browser).startswith("Frame 2 of"))
        press(browser, Keys.PAGE_UP)
        until(lambda: title(browser).startswith("Frame 1 of"))
        saved(browser)
        assert answers(to_label)[position]["looked_at"]
        next(b for b in every(browser, ".bar button") if b.text == "Not finished").click()
        until(lambda: not answers(to_label)[position]["looked_at"])
        until(lambda: text(browser, ".about").startswith("not finished · 0 finished in all"))
        boxes = len(answers(to_label)[position]["boxes"])
        drag(browser, (255, 195), (325, 305))
        until(lambda: len(answers(to_label)[position]["boxes"]) == boxes + 1)
        saved(browser)
        assert not answers(to_label)[position]["looked_at"]
        assert not every(browser, ".strip button.done")


def test_all_frames_finished_and_the_run_goes_on(browser, to_label):
    task = Task(Run(to_label), 1)
    with serving("labels", "draw", to_label, "--cycle", 1, "--port", 0) as (_, address):
        browser.get(address)
        for k in range(1, len(task.positions) + 1):
            until(lambda n=k: title(browser).startswith(f"Frame {n} of"))
            one(browser, CANVAS)
            drag(browser, (60 + k, 60), (160 + k, 260))
            saved(browser)
            press(browser, Keys.ENTER)
            until(lambda n=k: sum(a["looked_at"] for a in answers(to_label).values()) == n)
    given = answers(to_label)
    assert all(frame["seconds"] > 0 for frame in given.values())
    experiment.run(Run(to_label).out, notebooks=False)
    run = Run(to_label)
    labels = run.labels(1)
    assert labels["info"]["source"] == "interactive"
    seconds = sum(frame["seconds"] for frame in given.values())
    assert labels["info"]["labeling_seconds"] == pytest.approx(seconds)
    ledger = experiment.ledger(run.out)
    hours = ledger[ledger["cycle"] == 1]["labeling hours"].item()
    assert hours == pytest.approx(seconds / 3600, abs=0.0006)
    # 640 × 480 native pixels, 128 × 96 of the run: a fifth
    height = [a["bbox"][3] for a in labels["annotations"] if a["image_id"] == task.positions[0] + 1]
    assert pytest.approx(200 / 5, abs=1) in height


def test_a_second_session_is_refused_until_the_first_ends(browser, to_label):
    with serving("labels", "draw", to_label, "--cycle", 1, "--port", 0) as (process, address):
        browser.get(address)
        one(browser, CANVAS)
        browser.switch_to.new_window("tab")
        browser.get(address)
        said = until(lambda: every(browser, ".alert"))[0].text
        assert f"process {process.pid}" in said
        assert "holds its answers" in said
        assert not every(browser, CANVAS)
        second, first = browser.current_window_handle, browser.window_handles[0]
        browser.switch_to.window(first)
        browser.close()
        browser.switch_to.window(second)
        one(browser, CANVAS)  # it is free now, and the page goes on by itself


def test_a_second_server_is_refused_at_once(browser, to_label):
    with serving("labels", "draw", to_label, "--cycle", 1, "--port", 0) as (process, address):
        browser.get(address)
        one(browser, CANVAS)
        command = [sys.executable, "-m", "alkit.cli", "labels", "draw", to_label, "--cycle", "1"]
        refused = subprocess.run(command, capture_output=True, text=True, timeout=60)
        assert refused.returncode == 1
        assert f"process {process.pid}" in refused.stderr


def test_a_port_in_use_is_named(to_label):
    with serving("labels", "draw", to_label, "--cycle", 1, "--port", 0) as (_, address):
        port = address.rstrip("/").rpartition(":")[2]
        command = [sys.executable, "-m", "alkit.cli", "labels", "draw", to_label, "--cycle", "1"]
        refused = subprocess.run(
            [*command, "--port", port], capture_output=True, text=True, timeout=60
        )
        assert refused.returncode == 1
        assert f":{port}: cannot be served there" in refused.stderr
        assert "--port 0" in refused.stderr


def test_names_are_text(browser, toy_experiment, tmp_path):
    """Frames and a class whose names are HTML are shown as they are, and nothing runs."""
    images = tmp_path / "images"
    images.mkdir()
    pool = Run(toy_experiment / "divergence/seed_0").frames("pool")
    records = []
    for k in range(4):
        name = f"{SCRIPT}{k}.png"
        cv2.imwrite(str(images / name), pool.images(k * 9)[..., ::-1])
        records.append({"id": k, "file_name": name, "height": 96, "width": 128})
    (tmp_path / "pool.json").write_text(
        json.dumps({"images": records, "annotations": [], "categories": []})
    )
    catalog = yaml.safe_load((runs.ROOT / "data_catalog.yaml").read_text())
    catalog["datasets"]["odd"] = {
        "title": "odd names",
        "reader": "coco",
        "root": str(tmp_path),
        "kind": "stills",
        "args": {"annotations": "pool.json", "images": "images"},
        "image_size": [96, 128],
        "filter": {"rule": "paper", "classes": ["pedestrian", SCRIPT]},
        "license": "none",
        "citation": "none",
        "homepage": "none",
    }
    (tmp_path / "catalog.yaml").write_text(yaml.safe_dump(catalog))
    settings = read_json(toy_experiment / "experiment.json")
    own = {k: v for k, v in settings.items() if k not in ("catalog", "related", "stores_at")}
    own |= {"name": "odd", "pool": "odd", "labels": "interactive", "cycles": 1, "budget": 2}
    own["data"].pop("street-pool")
    own["strategies"] = ["divergence"]
    out = tmp_path / "odd"
    runs.create(out, checked(own, "the test"), tmp_path / "catalog.yaml", [toy_experiment])
    with pytest.raises(LabelsWanted):
        experiment.run(out, notebooks=False)
    run = out / "divergence/seed_0"
    with serving("labels", "draw", run, "--cycle", 1, "--port", 0) as (_, address):
        browser.get(address)
        assert SCRIPT in until(lambda: title(browser))
        assert any(SCRIPT in b.text for b in every(browser, "button"))
        assert browser.execute_script("return window.broken") is None
    with serving("explore", run, "--port", 0) as (_, address):
        browser.get(address)
        assert SCRIPT in until(lambda: text(browser, ".alkit-words"))
        assert SCRIPT in until(lambda: every(browser, ".gallery figcaption"))[0].text
        assert browser.execute_script("return window.broken") is None


def test_in_jupyterlab_a_box_outlives_its_kernel(browser, to_label, tmp_path):
    notebook = papermill.iorw.load_notebook_node(str(runs.ROOT / "notebooks/5_label.ipynb"))
    values = {"run": str(to_label), "cycle": 1}
    notebook = papermill.parameterize.parameterize_notebook(notebook, values)
    folder = tmp_path / "notebooks"
    folder.mkdir()
    (folder / "label.ipynb").write_text(json.dumps(notebook))
    first = Task(Run(to_label), 1).chosen[0]["name"]
    with jupyter(folder) as (_, address):
        run_all(browser, address, "label.ipynb")
        waits = until(
            lambda: [
                e
                for e in browser.find_elements("css selector", ".jp-RenderedText")
                if "LabelsWanted" in e.text
            ]
        )
        assert "0 of 3 frames are finished" in waits[0].text
        svg = one(browser, CANVAS)  # JupyterLab has scrolled to the error above
        browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", svg)
        begun = len(every(browser, "rect[data-box]"))
        drag(browser, (300, 100), (400, 330))
        saved(browser)
        assert close_to(answers(to_label)[first]["boxes"][-1], [300, 100, 100, 230], within=4)

    with jupyter(folder) as (_, address):  # another server, another kernel
        run_all(browser, address, "label.ipynb")
        until(lambda: len(every(browser, "rect[data-box]")) == begun + 1, says="the box is lost")
