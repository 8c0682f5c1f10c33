"""Batches as Ray Data, Daft and Spark hand them over."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
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
    # A row of a batch may have no path; a line of the command has one.
    assert [(one.name, one.type) for one in found.schema] == [(one.name, one.type) for one in expected.select(found.column_names).schema]


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


@pytest.mark.parametrize("kind", ["path", "bytes", "pixels"])
def test_pandas_has_the_rows_of_arrow(detect: DetectBatch, kind: str) -> None:
    pandas = pytest.importorskip("pandas")
    from PIL import Image

    values: dict[str, Any] = {"path": str(CELLS), "bytes": CELLS.read_bytes(), "pixels": np.asarray(Image.open(CELLS))}
    images = DetectBatch(MODEL, images=kind, keep="n")
    frame = pandas.DataFrame({"n": [1, 2, 3], kind: pandas.Series([values[kind], None, values[kind]], dtype=object)})
    rows = images(frame).to_pylist()
    count = detect({"path": np.array([str(CELLS)], dtype=object)}).num_rows
    assert [row["n"] for row in rows] == [1] * count + [2] + [3] * count
    assert [row["n"] for row in rows if row["error"]] == [2]
    absent = [pandas.NA, pandas.NaT, float("nan")]
    rows = images(pandas.DataFrame({"n": [1, 2, 3], kind: pandas.Series(absent, dtype=object)})).to_pylist()
    assert [row["error"] for row in rows] == ["there is no image in this row"] * 3
    with pytest.raises(KeyError, match="no column 'other'; it has n"):
        DetectBatch(MODEL, images="other")(frame)


def test_a_value_that_is_no_image_is_a_row(tmp_path: Path) -> None:
    from PIL import Image

    pixels = np.asarray(Image.open(CELLS))
    opaque = np.dstack([pixels, np.full(pixels.shape[:2], 255, np.uint8)])
    odd = [3, 2.5, float("nan"), None, {"a": 1}, [1], pixels / 255, pixels[:0], pixels[:, :, :2], b"", "a\0b", "nothing://a"]
    column = np.empty(len(odd) + 2, dtype=object)
    column[:] = [opaque, *odd, pixels]
    rows = DetectBatch(MODEL, images="image", keep=["n"])({"image": column, "n": np.arange(len(column))}).to_pylist()
    boxes = [[row[name] for name in BOX] for row in rows if row["n"] == 0]
    assert len(boxes) > 5 and boxes == [[row[name] for name in BOX] for row in rows if row["n"] == len(odd) + 1]
    assert [row["n"] for row in rows if row["error"]] == list(range(1, len(odd) + 1))
    assert len(rows) == 2 * len(boxes) + len(odd)


def test_paths_that_are_not_utf_8_are_written_with_backslashes(detect: DetectBatch, tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9.jpg")
    try:
        (tmp_path / name).write_bytes(CELLS.read_bytes())
    except OSError:
        pytest.skip("the file system takes no such name")
    found = detect({"path": np.array([str(tmp_path / name), os.fsdecode(b"/absent/\xff.jpg")], dtype=object)})
    rows = found.to_pylist()
    assert rows[0]["path"] == f"{tmp_path}/caf\\xE9.jpg" and rows[0]["class"] is not None
    assert rows[-1]["path"] == "/absent/\\xFF.jpg" and rows[-1]["error"]


def test_whatever_an_address_raises_is_a_row(detect: DetectBatch, monkeypatch: pytest.MonkeyPatch) -> None:
    from pyarrow import fs

    class Broken:
        @staticmethod
        def from_uri(uri: str) -> None:
            raise RuntimeError(f"no credentials for {uri}")

    monkeypatch.setattr(fs, "FileSystem", Broken)
    rows = detect({"path": np.array([str(CELLS), "s3://bucket/a.jpg"], dtype=object)}).to_pylist()
    assert len(rows) > 5 and rows[-1]["error"] == "no credentials for s3://bucket/a.jpg" and rows[0]["error"] is None


def test_a_model_that_cannot_be_loaded_is_said_in_one_line() -> None:
    for model, text in {"absent.pt": "no such file: absent.pt", "yolov8n-ghostnet-bcd": "unknown model .*did you mean"}.items():
        with pytest.raises(ValueError, match=text) as raised:
            DetectBatch(model)
        assert "\n" not in str(raised.value)


def test_an_image_without_memory_is_no_row(detect: DetectBatch, monkeypatch: pytest.MonkeyPatch) -> None:
    from pyarrow import fs

    class Full:
        @staticmethod
        def from_uri(uri: str) -> None:
            raise MemoryError(f"no room for {uri}")

    monkeypatch.setattr(fs, "FileSystem", Full)
    with pytest.raises(MemoryError, match=r"no memory to look at a batch \(no room for s3://bucket/a.jpg\): give fewer copies") as raised:
        detect({"path": np.array(["s3://bucket/a.jpg"], dtype=object)})
    assert "\n" not in str(raised.value)


@pytest.mark.skipif(sys.platform != "linux", reason="a process is given less address space by Linux")
@pytest.mark.parametrize("when", ["load yolov8n-ghostnet-bccd", "look at a batch"])
def test_a_process_without_memory_says_what_to_do(tmp_path: Path, when: str) -> None:
    program = f"""
        import resource
        import numpy as np
        import pyarrow
        from ghostzoo.ray import DetectBatch

        def limit():
            with open("/proc/self/statm") as file:
                now = int(file.read().split()[0]) * resource.getpagesize()
            resource.setrlimit(resource.RLIMIT_AS, (now + (16 << 20), resource.RLIM_INFINITY))

        try:
            if {when!r} == "look at a batch":
                detect = DetectBatch()
                detect({{"path": np.array([{str(SHIP)!r}], dtype=object)}})
                limit()
                detect({{"path": np.array([{str(SHIP)!r}], dtype=object)}})
            else:
                limit()
                DetectBatch()
        except MemoryError as error:
            print(error)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)], cwd=tmp_path, timeout=120, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    text = f"there is no memory to {when} (the system gives no 128 MB more: Cannot allocate memory): give fewer copies to a machine, "
    assert done.stdout.startswith(text) and done.stdout.count("\n") == 1


def test_tensors_of_arrow_are_pixels(detect: DetectBatch) -> None:
    from PIL import Image

    pixels = np.asarray(Image.open(CELLS))
    images = DetectBatch(MODEL, images="image", keep="n")
    expected = detect({"path": np.array([str(CELLS)], dtype=object)}).num_rows
    column = pa.FixedShapeTensorArray.from_numpy_ndarray(np.stack([np.zeros_like(pixels), pixels, pixels]))
    for given in (column, pa.chunked_array([column[:1], column[1:]])):
        rows = images(pa.table({"n": [0, 1, 2], "image": given})).to_pylist()
        assert [row["n"] for row in rows] == [0] + [1] * expected + [2] * expected and not any(row["error"] for row in rows)
    part = pa.record_batch({"n": pa.array([1, 2]), "image": column[1:]})
    assert images(part).to_pylist() == rows[1:]
    values = pa.array([pixels.ravel(), None], column.type.storage_type)
    rows = images({"n": pa.array([1, 2]), "image": pa.ExtensionArray.from_storage(column.type, values)}).to_pylist()
    assert [row["n"] for row in rows] == [1] * expected + [2] and rows[-1]["error"] == "there is no image in this row"


def test_every_batch_has_the_same_columns() -> None:
    detect = DetectBatch(MODEL, images="uri")
    batches = [pa.table({"uri": pa.array(paths, pa.string())}) for paths in ([str(SHIP)], [None], [])]
    schemas = [detect(batch).schema for batch in batches]
    assert schemas[0].equals(schemas[1]) and schemas[0].equals(schemas[2]) and "path" in schemas[0].names


def test_names_of_the_result_are_not_kept(detect: DetectBatch) -> None:
    with pytest.raises(ValueError, match="`keep` names width, error, which the result has"):
        DetectBatch(MODEL, keep=["width", "n", "error"])
    table = pa.table({"path": ["a"], "jpeg": [SHIP.read_bytes()]})
    assert DetectBatch(MODEL, images="jpeg", keep="path")(table)["path"].to_pylist() == ["a"]
    assert DetectBatch(MODEL, images="jpeg", keep="jpeg")(table)["jpeg"].to_pylist() == [SHIP.read_bytes()]
    paths = {"path": np.array([str(SHIP)], dtype=object)}
    assert DetectBatch(MODEL, keep="path")(paths).equals(detect(paths))
