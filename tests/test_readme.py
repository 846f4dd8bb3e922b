"""README and docs: their lengths, links and paths, and the code and settings that README shows."""

import re
from pathlib import Path

import numpy as np
import pytest
import yaml

from alkit import catalog, training
from alkit.loop.plugins import load_score, load_strategies
from alkit.loop.settings import read_experiment
from alkit.profiles import DEMO

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
DOCS = sorted((ROOT / "docs").glob("*.md"))
PAGES = [README, *DOCS, ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md"]
FOLDERS = "alkit|tests|notebooks|experiments|benchmarks|results|docs"


def name(page):
    return page.name


def blocks(language: str) -> list:
    """The code blocks of README in a language, in order."""
    return re.findall(rf"^```{language}\n(.*?)^```", README.read_text(), re.S | re.M)


def anchors(page: Path) -> set:
    """The anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)", page.read_text(), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_readme_is_short():
    text = README.read_text()
    assert len(text.splitlines()) <= 150
    assert len(text.split()) <= 1500


@pytest.mark.parametrize("page", DOCS, ids=name)
def test_a_page_is_at_most_200_lines(page):
    assert len(page.read_text().splitlines()) <= 200


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_no_paragraph_is_over_six_lines(page):
    prose = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.S | re.M)
    for paragraph in re.split(r"\n\s*\n|\n(?=- )", prose):
        if not paragraph.lstrip().startswith("|"):
            assert len(paragraph.strip().splitlines()) <= 6, paragraph


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if not target.startswith("http"):
            file, _, anchor = target.partition("#")
            linked = (page.parent / file).resolve() if file else page
            assert linked.exists(), f"{page.name}: {target}"
            assert not anchor or anchor in anchors(linked), f"{page.name}: {target}"


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_paths_that_are_named_exist(page):
    text = page.read_text()
    paths = re.findall(rf"`((?:{FOLDERS})/[\w./-]*)`", text)
    for path in paths + [f"tests/{test}.py" for test in re.findall(r"`(test_\w+)`", text)]:
        assert (ROOT / path).exists(), f"{page.name}: {path}"


def test_the_picture_of_the_house_has_every_room():
    picture = (ROOT / "docs/architecture.md").read_text().split("```")[1]
    cells = re.findall(r"│ {1,2}([a-z_/, ]+?)(?= {2,}|│)", picture)
    named = {name.strip(" /") for cell in cells for name in cell.split(",")}
    files = [path for path in (ROOT / "alkit").iterdir() if not path.name.startswith("_")]
    assert named - {""} == {path.stem for path in files}


def test_every_page_is_linked_from_readme():
    text = README.read_text()
    assert [page.name for page in DOCS if f"(docs/{page.name})" not in text] == []


def test_the_short_road_runs(tmp_path):
    road, _ = blocks("python")
    assert sum(bool(line.strip()) for line in road.splitlines()) <= 10
    weights = tmp_path / "weights.safetensors"
    training.save_weights(training.new_detector(DEMO, np.random.SeedSequence(0)), weights)
    road, changes = re.subn(r'"[^"]+\.safetensors"', repr(str(weights)), road)
    assert changes == 1
    found = {}
    exec(road, found)
    assert found["p"].shape == (5, 240, 320)
    assert found["s"].shape == (240, 320)
    assert float(found["z"]) > 0


def test_settings_and_plugin_are_taken(tmp_path):
    """README's experiment with README's plugin is checked as `alkit run` does it first."""
    settings, entry = blocks("yaml")
    (tmp_path / "my_scores.py").write_text(blocks("python")[1])
    own = yaml.safe_load(settings) | {"plugins": ["my_scores.py"], "strategies": ["margin"]}
    (tmp_path / "own.yaml").write_text(yaml.safe_dump(own))
    experiment = read_experiment(tmp_path / "own.yaml")
    assert load_strategies(experiment.plugins)["margin"].score == "margin"
    p = np.random.default_rng(0).random((5, 6, 8))
    s = load_score("margin", experiment.plugins, radius=5)(p)
    assert s.shape == (6, 8)
    assert (s >= 0).all()
    assert (s <= 5 * np.log(2)).all()

    (tmp_path / "catalog.yaml").write_text(entry)
    assert "my-street" in catalog.load(tmp_path / "catalog.yaml")


def test_the_demo_of_readme_is_the_one_that_runs():
    shown = yaml.safe_load(blocks("yaml")[0])
    run = yaml.safe_load((ROOT / "experiments/demo.yaml").read_text())
    assert shown == {key: run[key] for key in shown}


def test_citation_names_the_version_and_the_paper():
    import alkit

    cff = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert cff["version"] == alkit.__version__
    assert cff["license"] == "BSD-3-Clause"
    assert (ROOT / "LICENSE").read_text().startswith("BSD 3-Clause")
    assert [one["type"] for one in cff["references"]] == ["conference-paper"]
