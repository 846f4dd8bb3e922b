"""The report: one file that needs nothing else, whatever the experiment's state and names."""

import html
import platform
import re
import shutil

import pytest
import yaml
from firststeps import leave_json
from IPython.display import HTML

from alkit.loop import experiment, runs
from alkit.loop.jsonfile import read_json, write_json
from alkit.loop.settings import checked, read_experiment
from alkit.pages import matching, report
from alkit.pages.explorer import galleries


@pytest.fixture(scope="module")
def page(toy_experiment, tmp_path_factory):
    target = tmp_path_factory.mktemp("report") / "page.html"
    assert report.write(toy_experiment, target) == target
    return target


def markup(page):
    """The page without its scripts, whose texts are not elements."""
    return re.sub(r"<script.*?</script>", "", page.read_text(), flags=re.DOTALL)


def test_it_needs_nothing_from_elsewhere(page):
    text = page.read_text()
    assert page.stat().st_size < 10_000_000
    for element in re.findall(r"<(?:script|link|img|iframe|source|object)\b[^>]*>", text):
        assert not re.search(r"(?:src|href)\s*=\s*[\"'](?!data:)", element), element
    assert not re.search(r"url\((?!['\"]?data:)(?!var)|@import", markup(page))


def test_it_tells_what_a_reader_needs(page, toy_experiment):
    text = markup(page)
    run = runs.open_run(toy_experiment / "divergence/seed_0")
    for frame in run.selection(1)["chosen"] + run.selection(2)["chosen"]:
        assert frame["name"] in text
    for words in (
        "guided-random, cycle 2",
        "exclude_now",
        "torch",
        "notebooks/street.ipynb",
        "alkit run",
    ):
        assert words in text
    assert text.count("Blind spots.") == 2  # divergence has scores, guided random none
    assert text.count("Chosen.") == text.count("Passed over.") == 4
    assert "24 of 24 steps complete" in text
    assert "from alkit" not in text  # the notebook's code
    before, _ = text.split("24 of 24 steps complete")
    for words in ("pool: street-pool", "profile: demo", "image_size: [96, 128]", "seeds: [0]"):
        assert words in before
    data, machine = text.split('id="Data"')[1].split('id="Versions')
    assert "&#39;frames&#39;: 40" in data or "'frames': 40" in data
    assert platform.python_version() in machine
    for kind in galleries.DRAWN:  # a legend in each cycle
        assert len(re.findall(f"color: {matching.COLORS[kind]}.*?</span>\\s{kind}", text)) == 4
    assert "ledger: one row for each evaluated cycle" in text


def test_its_curves_are_those_of_the_ledger(page, toy_experiment):
    *of_cycles, by_cycle = report.curves(toy_experiment)
    assert len(of_cycles) == 2
    table = experiment.ledger(toy_experiment)
    *lines, start = by_cycle.axes[0].lines
    assert [*start.get_ydata()] == [table["miss rate at FPPI 1"][0]] * 2  # W_l's line
    for line in lines:
        own = table[table["strategy"].isin(["W_l", line.get_label()])].sort_values("cycle")
        assert line.get_ydata().tolist() == own["miss rate at FPPI 1"].tolist()
    assert len(lines) == 2
    before, _ = markup(page).split('id="Ledger"')
    assert before.count("<img ") == 3


def test_its_settings_run_again(page):
    *_, settings = re.findall(r"<pre>(name: .*?)</pre>", markup(page), flags=re.DOTALL)
    again = checked(yaml.safe_load(html.unescape(settings)), "report")
    assert (again.name, again.cycles, again.numbers.image_size) == ("toy", 2, (96, 128))


def test_long_lines_wrap(page):
    assert re.findall(r"main pre \{[^}]*white-space: ([\w-]+)", page.read_text()) == ["pre-wrap"]


def test_half_done_cleaned_with_leaks_and_with_names_that_are_markup(toy_copy, tmp_path):
    leak = "pool and test share " + "a video, " * 40 + "and that is all"
    write_json(toy_copy / "leaks.json", [leak])
    for name in ("divergence/seed_0/cycle_02", "guided-random"):
        shutil.rmtree(toy_copy / name)
    folder = toy_copy / "divergence/seed_0/cycle_01"
    shutil.rmtree(folder / "scores.zarr")
    chosen = read_json(folder / "selection.json")
    chosen["chosen"][0]["name"] = '<img src=x onerror="alert(1)">'
    leave_json(folder / "selection.json", chosen)
    settings = read_json(toy_copy / "experiment.json")
    text = (runs.ROOT / "data_catalog.yaml").read_text()
    title = "Procedural street scenes, sharp daylight stills"
    assert title in text
    (tmp_path / "catalog.yaml").write_text(text.replace(title, "<script>alert(2)</script>"))
    settings["catalog"] = str(tmp_path / "catalog.yaml")
    write_json(toy_copy / "experiment.json", settings)
    page = report.write(toy_copy)
    assert page == toy_copy / "report.html"
    text = page.read_text()
    assert "<img src=x" not in text
    assert "<script>alert" not in text
    assert leak in markup(page)
    assert "&lt;script&gt;alert(2)" in text
    assert " of 24 steps complete" in text
    assert "divergence, cycle 1" in text
    assert "guided-random, cycle" not in text


def test_an_experiment_that_has_not_begun(toy_yaml, tmp_path):
    settings = read_experiment(toy_yaml)
    out = runs.create(tmp_path / "new", settings, runs.ROOT / "data_catalog.yaml")
    assert "0 of 24 steps complete" in report.write(out).read_text()


def test_missing_images_do_not_stop_it(toy_copy, tmp_path):
    settings = read_json(toy_copy / "experiment.json")
    settings["catalog"] = str(tmp_path / "gone.yaml")
    write_json(toy_copy / "experiment.json", settings)
    parts = [part.data for part in report.gallery(toy_copy)]
    assert sum("no images: " in part for part in parts) == 4
    assert not any("<figure" in part for part in parts)


def test_a_report_with_images_is_not_replaced_by_one_without(toy_copy, tmp_path):
    catalog = yaml.safe_load((runs.ROOT / "data_catalog.yaml").read_text(encoding="utf-8"))
    catalog["datasets"]["street-pool"] |= {"reader": "folder", "root": str(tmp_path / "unplugged")}
    (tmp_path / "c.yaml").write_text(yaml.safe_dump(catalog), encoding="utf-8")
    settings = read_json(toy_copy / "experiment.json") | {"catalog": str(tmp_path / "c.yaml")}
    write_json(toy_copy / "experiment.json", settings)
    (toy_copy / "report.html").write_text("with images")
    with pytest.raises(RuntimeError, match=r"unplugged.*report\.html.*kept"):
        report.write(toy_copy)
    assert (toy_copy / "report.html").read_text() == "with images"


def test_many_cycles_share_the_room(toy_experiment, monkeypatch):
    monkeypatch.setattr(report, "PICTURES", 4)
    parts = [part.data for part in report.gallery(toy_experiment) if isinstance(part, HTML)]
    assert sum(part.count("<figure") for part in parts if "Chosen" in part) == 4


def test_what_stops_the_notebook_is_an_error(toy_copy, tmp_path):
    with pytest.raises(ValueError, match="no experiment"):
        report.write(tmp_path)
    (toy_copy / "divergence/seed_0/cycle_01/labels.json").unlink()
    with pytest.raises(RuntimeError, match=r"DamagedStep: .*labels\.json is gone"):
        report.write(toy_copy)
    assert not (toy_copy / "report.html").exists()
