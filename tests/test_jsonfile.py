"""Files of results: what is written is read back, whole or not at all."""

import gzip
import json

import pytest

from alkit.loop.jsonfile import read_json, write_json, write_json_list

DETECTION = {"image_id": 1, "bbox": [0.1, 2.0, 1 / 3, 1e-7], "score": 0.30000000000000004}


@pytest.mark.parametrize("n", [0, 1, 3])
def test_a_list_written_item_by_item_is_the_list(tmp_path, n):
    path = tmp_path / "list.json.gz"
    write_json_list(path, (DETECTION | {"image_id": i} for i in range(n)))
    expected = [DETECTION | {"image_id": i} for i in range(n)]
    assert read_json(path) == expected
    assert json.loads(gzip.decompress(path.read_bytes())) == expected
    assert [p.name for p in tmp_path.iterdir()] == ["list.json.gz"]


def test_a_list_has_the_same_bytes_whenever_it_is_written(tmp_path, monkeypatch):
    write_json_list(tmp_path / "a.json.gz", [DETECTION])
    monkeypatch.setattr("time.time", lambda: 1e9)
    write_json_list(tmp_path / "b.json.gz", [DETECTION])
    assert (tmp_path / "a.json.gz").read_bytes() == (tmp_path / "b.json.gz").read_bytes()


def test_items_are_written_as_they_come(tmp_path):
    """Random ones, which do not compress: the file has most of them before the last has come."""
    path, sizes = tmp_path / "list.json.gz", []

    def items():
        for i in range(1000):
            sizes.append(sum(p.stat().st_size for p in tmp_path.iterdir()))
            yield [hash((i, k)) for k in range(100)]

    write_json_list(path, items())
    assert sizes[500] > 0.4 * path.stat().st_size


@pytest.mark.parametrize("write", [write_json, write_json_list])
def test_a_file_stays_as_it_was_where_writing_fails(tmp_path, write):
    path = tmp_path / "results.json"
    write_json(path, ["before"])
    with pytest.raises(TypeError):
        write(path, ["after", object()])
    assert read_json(path) == ["before"]


@pytest.mark.parametrize("cut", [1, 10, 30])
def test_a_file_that_was_cut_off_is_named(tmp_path, cut):
    for name, write in (("a.json", write_json), ("a.json.gz", write_json_list)):
        path = tmp_path / name
        write(path, [DETECTION])
        path.write_bytes(path.read_bytes()[:-cut])
        with pytest.raises(ValueError, match=rf"{name}: damaged, not readable as JSON"):
            read_json(path)
