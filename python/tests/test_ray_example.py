"""The example that writes boxes on a Ray cluster."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import CELLS

pa = pytest.importorskip("pyarrow")
pytest.importorskip("ray")

EXAMPLE = Path(__file__).resolve().parents[1] / "examples" / "ray_detect.py"


def run(*arguments: object, fails: bool = False) -> str:
    done = subprocess.run(
        [sys.executable, str(EXAMPLE), *map(str, arguments)],
        # Ray's workers look for modules there too, where the package's sources must not lie.
        cwd=EXAMPLE.parent,
        env={**os.environ, "RAY_USAGE_STATS_ENABLED": "0"},
        timeout=240,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode != 0) == fails, done.stderr
    return done.stderr if fails else done.stdout


@pytest.fixture()
def images(tmp_path: Path) -> Path:
    """A Parquet file of an image, and one without rows."""
    import pyarrow.parquet as pq

    folder = tmp_path / "images"
    folder.mkdir()
    table = pa.table({"id": [7], "jpeg": [CELLS.read_bytes()], "error": ["the boxes have one"]})
    pq.write_table(table, folder / "a.parquet")
    pq.write_table(table.slice(0, 0), folder / "b.parquet")
    return folder


def test_blocks_are_done_once_and_told_by_all_that_they_depend_on(images: Path, tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    output = tmp_path / "boxes"
    output.mkdir()
    (output / ".boxes-000000-0123456789ab.0123").write_bytes(b"cut")
    said = run(images, output, "--column", "jpeg")
    assert "1 unfinished files of a run before are removed" in said and "'error' is left out" in said
    assert "2 files, 2 blocks, 0 of them done before" in said
    tables = [pq.read_table(path) for path in sorted(output.iterdir())]
    assert [table.num_rows > 5 for table in tables] == [True, False] and tables[1].num_rows == 0
    assert tables[0].schema.equals(tables[1].schema) and set(tables[0]["id"].to_pylist()) == {7}
    assert "2 blocks, 2 of them done before" in run(images, output, "--column", "jpeg")
    for other in (["--conf", "0.5"], ["--model", "yolov8n-ghostnet"]):
        text = run(images, output, "--column", "jpeg", *other, fails=True)
        assert "holds boxes of other images, of another model" in text and text.count("\n") == 1


def test_a_wrong_column_is_one_line_and_leaves_no_file(images: Path, tmp_path: Path) -> None:
    text = run(images, tmp_path / "boxes", "--column", "png", fails=True)
    assert text == f"`--column`: {images}/a.parquet has no column 'png'; it has id, jpeg, error\n"
    assert not (tmp_path / "boxes").exists()


def test_a_block_that_fails_leaves_no_file(images: Path, tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    pq.write_table(pa.table({"id": [8]}), images / "c.parquet")
    text = run(images, tmp_path / "boxes", "--column", "jpeg", fails=True)
    assert "the batch has no column 'jpeg'" in text
    assert not [name for name in os.listdir(tmp_path / "boxes") if name.startswith(".")]
