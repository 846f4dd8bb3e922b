"""The report: one file that needs nothing else, whatever the experiment's state and names."""

import re
import shutil

import numpy as np
import pytest

from alkit.loop import runs
from alkit.loop.jsonfile import read_json, write_json
from alkit.loop.settings import checked, read_experiment
from alkit.pages import report
from alkit.pages.figures import gallery


@pytest.fixture(scope="module")
def page(toy_experiment, tmp_path_factory):
    target = tmp_path_factory.mktemp("report") / "page.html"
    assert report.write(toy_experiment, target) == target
    return target


@pytest.fixture
def copy(toy_experiment, tmp_path):
    out = tmp_path / "copied"
    shutil.copytree(toy_experiment, out)
    return out


def markup(page):
    """The page without its scripts, whose texts are not elements."""
    return re.sub(r"<script.*?</script>", "", page.read_text(), flags=re.DOTALL)


def test_it_needs_nothing_from_elsewhere(page):
    text = page.read_text()
    assert page.stat().st_size < 10_000_000
    for element in re.findall(r"<(?:script|link|img|iframe|source|object)\b[^>]*>", text):
        assert not re.search(r"(?:src|href|data)\s*=\s*[\"']?\s*(?:https?:)?//", element), element
    assert not re.search(r"url\(|@import", markup(page))
    assert "Bokeh" in text  # the library itself, inline


def test_it_tells_what_a_reader_needs(page, toy_experiment):
    text = markup(page)
    run = runs.open_run(toy_experiment / "divergence/seed_0")
    for frame in run.selection(1)["chosen"] + run.selection(2)["chosen"]:
        assert frame["name"] in text
    for words in ("guided-random, cycle 2", "exclude_now", "torch", "This project", "alkit run"):
        assert words in text
    # divergence has maps, guided random none
    maps = text.count('class="scored" src="data:image/jpeg;base64,')
    assert maps == sum(len(run.selection(k)["chosen"]) for k in (1, 2))
    assert "Half done" not in text
    assert "All 24 steps are complete" in text


def test_its_settings_run_again(page):
    import html

    import yaml

    (settings,) = re.findall(r"<pre>(name: .*?)</pre>", markup(page), flags=re.DOTALL)
    again = checked(yaml.safe_load(html.unescape(settings)), "report")
    assert (again.name, again.cycles, again.numbers.image_size) == ("toy", 2, (96, 128))


def test_texts_of_the_data_are_escaped(copy, tmp_path):
    evil = '<img src=x onerror="alert(1)">'
    folder = copy / "divergence/seed_0/cycle_01"
    chosen = read_json(folder / "selection.json")
    chosen["chosen"][0]["name"] = evil
    write_json(folder / "selection.json", chosen)
    settings = read_json(copy / "experiment.json")
    text = (runs.ROOT / "data_catalog.yaml").read_text()
    text = text.replace(
        "Procedural street scenes, sharp daylight stills", "<script>alert(2)</script>"
    )
    (tmp_path / "catalog.yaml").write_text(text)
    settings["catalog"] = str(tmp_path / "catalog.yaml")
    write_json(copy / "experiment.json", settings)
    page = report.write(copy)
    assert page == copy / "report.html"
    text = page.read_text()
    assert "<img src=x" not in text
    assert "<script>alert" not in text
    assert "&lt;img src=x" in text
    assert "&lt;script&gt;alert(2)" in text


def test_a_half_done_experiment_says_so(copy):
    for name in ("divergence/seed_0/cycle_02", "guided-random"):
        shutil.rmtree(copy / name)
    text = markup(report.write(copy))
    assert "Half done: 9 of 24 steps are complete" in text
    assert "Next is divergence/seed_0 cycle 2 1_predict" in text
    assert "divergence, cycle 1: " in text
    assert "guided-random, cycle" not in text


def test_an_experiment_that_has_not_begun(toy_yaml, tmp_path):
    settings = read_experiment(toy_yaml)
    out = runs.create(tmp_path / "new", settings, runs.ROOT / "data_catalog.yaml")
    text = markup(report.write(out))
    assert "Half done: 0 of 24" in text
    assert "<figure>" not in text


def test_deleted_maps_and_missing_images_do_not_stop_it(copy, tmp_path):
    shutil.rmtree(copy / "divergence/seed_0/cycle_01/scores.zarr")
    assert "divergence, cycle 1: " in markup(report.write(copy))
    settings = read_json(copy / "experiment.json")
    settings["catalog"] = str(tmp_path / "gone.yaml")
    write_json(copy / "experiment.json", settings)
    text = markup(report.write(copy))
    assert "no images: " in text
    assert "<figure>" not in text


def test_it_keeps_to_its_size(copy, monkeypatch):
    monkeypatch.setattr(report, "GALLERY_ROOM", 10)
    text = markup(report.write(copy))
    assert "the first 1 are shown" in text
    assert text.count("<figure>") == 4  # one for each cycle of each strategy


def test_no_experiment_is_an_error(tmp_path):
    with pytest.raises(ValueError, match="no experiment"):
        report.write(tmp_path)


def test_a_score_map_colours_what_is_high():
    image = np.full((4, 8, 3), 100, np.uint8)
    scores = np.zeros((4, 8), np.float32)
    scores[:, 4:] = 1.0
    drawn = gallery.with_scores(image, scores, 1.0)
    assert np.ptp(drawn[:, :4], axis=2).max() <= 1  # grey where the score is 0
    assert drawn[0, 6, 0] > drawn[0, 6, 2] + 50  # the bright end of the map is yellow
