"""The explorer in a real browser: as a served page, and in JupyterLab."""

import json
import re

import numpy as np
import papermill.iorw
import papermill.parameterize
import pytest
from conftest import DEMO
from driving import every, jupyter, kernel_is, run_all, serving, text, until
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.keys import Keys

from alkit.loop import runs
from alkit.loop.jsonfile import read_json
from alkit.loop.runs import Run
from alkit.pages.explorer.cycle import Cycle
from alkit.text import number
from benchmarks import suite
from benchmarks.measuring import Options

# What Bokeh's models hold in the browser.
SOURCE = """
const models = Bokeh.documents.flatMap((d) => [...d._all_models.values()]);
const images = models.map((m) => m.get_column && m.get_column("image")).filter((c) => c?.length);
let sum = 0;
for (const v of images[0][0]) sum = (sum * 31 + v) % 2147483647;
return sum;
"""
MAPPER = """
const models = Bokeh.documents.flatMap((d) => [...d._all_models.values()]);
const mapper = models.find((m) => m.type === "LinearColorMapper");
return [mapper.low, mapper.high];
"""


COUNTED = """
const models = Bokeh.documents.flatMap((d) => [...d._all_models.values()]);
return models.map((m) => m.get_column && m.get_column("n")).find((c) => c)?.length;
"""


def shown(browser):
    """The name of the frame that the page shows."""
    return until(lambda: text(browser, ".alkit-words").partition(" · ")[0])


def names(run, cycle):
    return Cycle(Run(run), cycle).table["name"].tolist()


def canvas(browser, n):
    """The n-th plot of the page: 0 is the timeline, 1 the frame."""
    return until(lambda: every(browser, ".bk-Canvas")[n:])[0]


def go(browser, width, height, n):
    """Click into a plot at shares of its width and height."""
    plot = canvas(browser, n)
    size = plot.size
    x, y = (width - 0.5) * size["width"], (height - 0.5) * size["height"]
    ActionChains(browser).move_to_element_with_offset(plot, x, y).click().perform()


def test_the_timeline_the_keys_and_the_pictures_change_the_frame(browser, explored):
    order = names(explored, 2)
    with serving("explore", explored, "--cycle", 2, "--port", 0) as (_, address):
        browser.get(address)
        first = shown(browser)
        chosen = Run(explored).selection(2)["chosen"][0]
        assert first == chosen["name"]
        until(lambda: browser.execute_script(COUNTED), says="no pedestrians in the timeline")
        before = browser.execute_script(SOURCE)

        go(browser, 0.3, 0.5, 0)  # the timeline
        until(lambda: shown(browser) != first)
        clicked = order.index(shown(browser))
        assert 5 <= clicked <= 20  # of 40 frames; the axis begins right of the border
        until(lambda: browser.execute_script(SOURCE) != before, says="the image is the old one")

        ActionChains(browser).send_keys(Keys.ARROW_RIGHT).perform()
        until(lambda: shown(browser) == order[clicked + 1])
        ActionChains(browser).send_keys(Keys.ARROW_LEFT, Keys.ARROW_LEFT).perform()
        until(lambda: shown(browser) == order[clicked - 1])

        picture = until(lambda: every(browser, ".gallery figure"))[0]
        position = int(picture.get_attribute("data-position"))
        browser.execute_script("arguments[0].scrollIntoView()", picture)
        picture.click()
        until(lambda: shown(browser) == order[position])

        # the link of the page brings back what it shows
        until(lambda: order[position].replace("/", "%2F") in browser.current_url)
        link = browser.current_url
        browser.get("about:blank")
        browser.get(link)
        until(lambda: shown(browser) == order[position])


def test_the_threshold_moves_in_the_browser_and_the_layers_change(browser, explored):
    with serving("explore", explored, "--cycle", 2, "--port", 0) as (_, address):
        browser.get(address)
        shown(browser)
        low, high = browser.execute_script(MAPPER)
        opened = Cycle(Run(explored), 2)
        assert np.isclose(high, np.float32(opened.region_maxima.max()), rtol=1e-3)
        assert low < 1e-9
        handle = every(browser, ".noUi-handle")[1]  # opacity, then threshold
        ActionChains(browser).click_and_hold(handle).move_by_offset(80, 0).release().perform()
        low, high = until(
            lambda: (
                browser.execute_script(MAPPER)
                if browser.execute_script(MAPPER)[0] > 0.1 * high
                else None
            )
        )
        assert 0.2 * high < low < 0.6 * high  # 80 of some 210 pixels

        for layer, highest in (("Θ³", 1.0), ("score", high)):
            choose(browser, "over the image", layer)
            until(lambda v=highest: np.isclose(browser.execute_script(MAPPER)[1], v))


def test_the_pointer_reads_the_pixel(browser, explored):
    """Its score and its five probabilities, as the stores have them."""
    with serving("explore", explored, "--cycle", 2, "--port", 0) as (_, address):
        browser.get(address)
        shown(browser)
        browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", canvas(browser, 1))
        plot = canvas(browser, 1)
        ActionChains(browser).move_to_element_with_offset(plot, -60, 20).perform()
        said = until(
            lambda: next(
                (
                    t.text
                    for t in every(browser, ".bk-Tooltip")
                    if "score" in t.text and "nats" in t.text
                ),
                "",
            )
        )
        x, y = map(int, re.search(r"x (\d+), y (\d+)", said).groups())
        opened = Cycle(Run(explored), 2)
        position = opened.selection["chosen"][0]["position"]
        # the words round the place to whole pixels: the pixel is one of its neighbors
        near = [(v, u) for v in (y - 1, y) for u in (x - 1, x) if v >= 0 and u >= 0]
        before, after = said.split(" nats")  # three digits
        score = float(before.split()[-1])
        assert any(np.isclose(opened.scores(position)[v, u], score, rtol=6e-3) for v, u in near)
        p = [float(v) for v in re.findall(r"[\d.]+(?:e-\d+)?", after)]
        found = opened.probabilities(position)
        assert any(np.allclose(found[:, v, u], p, rtol=6e-3, atol=0) for v, u in near)


def choose(browser, label, value):
    """Choose from a list by its label."""
    for select in every(browser, "select"):
        name = browser.execute_script(
            "return arguments[0].closest('.bk-input-group')?.querySelector('label')?.innerText",
            select,
        )
        if name == label:
            browser.execute_script(
                "arguments[0].value = arguments[1];"
                "arguments[0].dispatchEvent(new Event('change', {bubbles: true}))",
                select,
                value,
            )
            return
    raise AssertionError(f"no list {label!r}")


def test_other_numbers_give_another_score_and_a_rank(browser, explored):
    query = "?run=divergence%2C+seed+0&cycle=2&radius=4"
    with serving("explore", explored, "--port", 0) as (_, address):
        browser.get(address + query)
        said = until(
            lambda: (
                (t := text(browser, ".alkit-trial"))
                and "With these numbers" in t
                and "so far" not in t
                and t
            )
        )
        opened = Cycle(Run(explored), 2)
        chosen = opened.selection["chosen"][0]["position"]
        z = opened.image_score(chosen, 4, Run(explored).numbers(2).pixels(30))
        assert f"z {number(z)} nats" in said
        assert "radius: 20 at 480 rows, 4 px here" in said
        assert re.search(r"rank \d+ of 37 frames", said)


def test_galleries_fill_when_they_are_chosen(browser, explored):
    with serving("explore", explored, "--cycle", 2, "--port", 0) as (_, address):
        browser.get(address)
        shown(browser)
        for name, words in (
            ("tiles", "The highest scores of all regions"),
            ("blind spots", "frames with missed pedestrians"),
            ("nearest labeled", "Labeled in cycles before"),
        ):
            choose(browser, "gallery", name)
            until(lambda w=words: any(w in e.text for e in every(browser, ".alkit-about")))
            assert len(until(lambda: every(browser, ".gallery figure"))) > 0


def test_two_cycles_side_by_side(browser, explored, keep_screenshot):
    run = DEMO if (DEMO / "cycle_01/3_aggregate.json").exists() else explored
    query = "?run=divergence%2C+seed+0&cycle=2"
    with serving("explore", run, "--port", 0) as (_, address):
        browser.get(address + query)
        shown(browser)
        until(lambda: every(browser, ".gallery figure"))
        keep_screenshot("explorer")
        choose(browser, "beside it", "divergence, seed 0, cycle 1")
        until(lambda: len(every(browser, ".bk-Canvas")) == 3)
        left = shown(browser)
        until(lambda: text(browser, ".alkit-words-beside").startswith(f"{left} · "))
        zoomed = """
          const figures = Bokeh.documents.flatMap((d) => [...d._all_models.values()])
            .filter((m) => m.type === "Figure" && m.y_range.start > m.y_range.end);
          return figures.map((f) => f.x_range.id);"""
        first, second = browser.execute_script(zoomed)[:2]
        assert first == second  # one range: zooming one zooms the other


def asked_for(browser) -> list:
    """The addresses of all that the page has loaded, or tried to."""
    script = "return performance.getEntriesByType('resource').map((entry) => entry.name)"
    return [name for name in browser.execute_script(script) if name.startswith("http")]


def in_jupyterlab(run, folder, last_cell=None):
    """A copy of the explorer's notebook in a folder, about a run; its last cell may be another."""
    notebook = papermill.iorw.load_notebook_node(str(runs.ROOT / "notebooks/explore_scores.ipynb"))
    values = {"run": str(run), "cycle": 2}
    notebook = papermill.parameterize.parameterize_notebook(notebook, values)
    if last_cell:
        notebook.cells[-1].source = last_cell
    (folder / "explore.ipynb").write_text(json.dumps(notebook))
    return jupyter(folder)


def test_in_jupyterlab_the_notebook_shows_the_same(browser, explored, tmp_path):
    order = names(explored, 2)
    with in_jupyterlab(explored, tmp_path) as (_, address):
        run_all(browser, address, "explore.ipynb")
        first = shown(browser)
        after = next(b for b in every(browser, ".bk-btn") if b.text == "▶")
        browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", after)
        after.click()
        until(lambda: shown(browser) == order[order.index(first) + 1])
        ActionChains(browser).send_keys(Keys.ARROW_LEFT).perform()
        until(lambda: shown(browser) == first)
        go(browser, 0.6, 0.5, 0)
        until(lambda: shown(browser) != first)
        assert not [name for name in asked_for(browser) if not name.startswith(address)]


def test_in_jupyterlab_what_is_done_while_the_kernel_is_busy_is_heard(browser, explored, tmp_path):
    order = names(explored, 2)
    with in_jupyterlab(explored, tmp_path, "import time; time.sleep(15)") as (_, address):
        run_all(browser, address, "explore.ipynb")
        first = shown(browser)
        after = next(b for b in every(browser, ".bk-btn") if b.text == "▶")
        browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", after)
        after.click()
        assert kernel_is(browser, "busy")
        until(lambda: shown(browser) == order[order.index(first) + 1])


def test_nothing_comes_from_another_host_and_pixels_are_square(browser, explored):
    with serving("explore", explored, "--cycle", 2, "--port", 0) as (_, address):
        for host in ("127.0.0.1", "localhost", "127.0.0.1"):
            browser.get(address.replace("127.0.0.1", host))
            shown(browser)
            until(lambda: every(browser, ".gallery figure"))
            links = [e.get_attribute("href") or "" for e in every(browser, "link")]
            links += [e.get_attribute("src") or "" for e in every(browser, "script")]
            assert not [link for link in links if "cdn" in link]
        inside = browser.execute_script("""
          const view = Object.values(Bokeh.index).flatMap((v) => [...(v.owner ?? v).query(
            (o) => o.model.type === "Figure" && o.model.y_range.start > o.model.y_range.end)])[0];
          const box = view.frame.bbox;
          return [box.width, box.height];""")
        assert inside[0] / inside[1] == pytest.approx(128 / 96, rel=0.08)


def test_a_wrong_link_is_said_on_the_page(browser, explored):
    with serving("explore", explored, "--port", 0) as (_, address):
        browser.get(f"{address}?frame=<b>nowhere")
        said = until(lambda: text(browser, ".alert"))
        assert "the link's frame '<b>nowhere' is not in the pool" in said


def test_the_benchmark_of_the_explorer_measures(toy_experiment, tmp_path):
    """At a tiny size, where nothing is judged."""
    assert suite.run(["explorer"], Options(toy_experiment, quick=True), tmp_path) == 0
    (file,) = tmp_path.glob("*.json")
    rows = {row["key"]: row["ours"] for row in read_json(file)["rows"]}
    assert set(rows) == {f"explorer.{what}" for what in ("open", "frame", "read", "memory")}
    assert all(value > 0 for value in rows.values())
