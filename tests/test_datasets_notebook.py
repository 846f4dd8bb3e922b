"""The notebook of the data sets: it runs at small size, and its checked line can fail."""

import pytest
import yaml
from test_data_sets import coco, street
from test_notebooks import cells, execute, run_here

from alkit.catalog import CatalogError
from alkit.loop import runs

PATH = runs.ROOT / "notebooks/datasets.ipynb"
ABOUT = {"title": "Toy", "license": "none", "citation": "nobody", "homepage": "https://example.org"}


@pytest.fixture
def small(tmp_path):
    """A catalog: street at toy size, two parts of a video, one that is not there, and one with
    fewer images than expected."""
    for name, frames in (("early", (0, 5)), ("late", (9, 12))):
        found = [(f"v-{f}", "v", f, [[100, 80, 20, 60], [5, 5, 9, 9]]) for f in frames]
        coco(tmp_path / "data", f"{name}.json", found)
    files = {"reader": "coco", "root": str(tmp_path / "data"), "kind": "video", "filter": "paper"}
    entries = {
        "street-source": street("source", 4),
        "street-test": street("test", 4),
        "early": files | {"args": {"annotations": "early.json"}, "expect": {"instances": 2}},
        "late": files | {"args": {"annotations": "late.json"}},
        "wrong": files | {"args": {"annotations": "late.json"}, "expect": {"images": 3}},
        "elsewhere": files | {"args": {"annotations": "gone.json"}, "expect": {"images": 3}},
    }
    path = tmp_path / "catalog.yaml"
    named = {name: ABOUT | fields for name, fields in entries.items()}
    path.write_text(yaml.safe_dump({"datasets": named}, sort_keys=False))
    return path


def test_the_notebook_runs_and_checks(small, capsys):
    stored = cells(PATH)[-1].outputs[0].text
    run_here(PATH, datasets="street-*, early, late, elsewhere", catalog_file=str(small))
    assert capsys.readouterr().out.endswith("\n" + stored)
    run_here(PATH, datasets="wrong", catalog_file=str(small))
    assert capsys.readouterr().out.endswith("wrong: wrong: images: 2, 3 expected\n")


def test_the_notebook_refuses_an_unknown_name(small, tmp_path):
    said = "no data set 'street-tset'.*nearest names: street-test"
    with pytest.raises(CatalogError, match=said):
        run_here(PATH, datasets="street-tset", catalog_file=str(small))
    error = execute(PATH, tmp_path, dataset="street-test")
    assert "'dataset' (did you mean datasets?)" in error.evalue
