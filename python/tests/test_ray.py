"""Batches as Ray Data, Daft and Spark hand them over."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import CELLS, SHIP, Command
from ghostzoo.ray import DetectBatch

pa = pytest.importorskip("pyarrow")

MODEL = "yolov8n-ghostnet-bccd"
BOX = ["class_id", "class", "confidence", "x1", "y1", "x2", "y2"]


@pytest.fixture(scope="module")
def detect() -> DetectBatch:
    return DetectBatch(MODEL)


def test_a_batch_of_paths_has_the_commands_rows(detect: DetectBatch, command: Command, tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    paths = [str(CELLS), str(SHIP)]
    command("detect", *paths, "--model", MODEL, "--no-save", "--parquet", tmp_path / "boxes.parquet")
    expected = pq.read_table(tmp_path / "boxes.parquet")
    found = detect({"path": np.array(paths, dtype=object)})
    assert found.num_rows == expected.num_rows > 10
    assert found.to_pylist() == expected.select(found.column_names).to_pylist()
    assert found.schema.equals(expected.select(found.column_names).schema)


def test_no_image_is_lost(detect: DetectBatch, tmp_path: Path) -> None:
    grey, damaged = tmp_path / "grey.png", tmp_path / "damaged.png"
    from PIL import Image

    Image.new("RGB", (64, 64), (90, 90, 90)).save(grey)
    damaged.write_bytes(b"no image")
    paths = [str(damaged), str(grey), str(tmp_path / "missing.png"), f"nothing://{tmp_path}/a.png", None]
    rows = detect(pa.table({"path": pa.array(paths, pa.string())})).to_pylist()
    assert [row["path"] for row in rows] == paths
    assert [row["error"] is None for row in rows] == [False, True, False, False, False]
    assert (rows[1]["width"], rows[1]["height"], rows[1]["class"]) == (64, 64, None)


def test_bytes_and_pixels_are_images_too(detect: DetectBatch) -> None:
    from PIL import Image

    rows = detect({"path": np.array([str(CELLS)], dtype=object)}).select(BOX)
    table = pa.table({"id": [7], "jpeg": [CELLS.read_bytes()], "more": ["x"]})
    found = DetectBatch(MODEL, images="jpeg", keep=["id"])(table)
    assert found.select(BOX).equals(rows) and set(found["id"].to_pylist()) == {7} and "path" not in found.column_names
    pixels = np.stack([np.asarray(Image.open(CELLS))] * 2)
    batch: dict[str, Any] = {"image": pixels, "n": np.array([1, 2])}
    found = DetectBatch(MODEL, images="image", keep=["n"])(batch)
    assert found["n"].to_pylist() == [1] * rows.num_rows + [2] * rows.num_rows


def test_an_empty_batch_has_the_same_columns(detect: DetectBatch) -> None:
    empty = detect(pa.table({"path": pa.array([], pa.string())}))
    assert empty.schema.equals(detect({"path": np.array([str(SHIP)], dtype=object)}).schema) and empty.num_rows == 0


def test_a_missing_column_is_named(detect: DetectBatch) -> None:
    with pytest.raises(KeyError, match="no column 'path'; it has image, n"):
        detect({"image": np.zeros((1, 8, 8, 3), np.uint8), "n": np.array([1])})
