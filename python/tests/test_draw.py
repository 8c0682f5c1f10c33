"""Images with what was found in them."""

from __future__ import annotations

import io
import logging
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from conftest import CELLS, SHIP, Command
from ghostzoo import Classifier, Detector
from PIL import Image

MODEL = "yolov8n-ghostnet-bccd"


@pytest.fixture()
def cells(tmp_path: Path) -> Path:
    """The image of cells in a format without loss."""
    path = tmp_path / "cells.png"
    Image.open(CELLS).convert("RGB").save(path)
    return path


def bgr(path: Path) -> npt.NDArray[np.uint8]:
    return np.asarray(Image.open(path).convert("RGB"))[:, :, ::-1]


@pytest.mark.parametrize(
    ("options", "flags"),
    [
        ({}, []),
        ({"line_width": 7}, ["--line-width", 7]),
        ({"labels": False}, ["--hide-labels"]),
        ({"conf": False}, ["--hide-conf"]),
        ({"labels": False, "conf": False, "line_width": 1}, ["--hide-labels", "--hide-conf", "--line-width", 1]),
        ({"boxes": False}, ["--hide-boxes"]),
    ],
)
def test_an_image_with_boxes_is_the_commands(
    command: Command, detector: Detector, cells: Path, tmp_path: Path, options: dict[str, Any], flags: list[object]
) -> None:
    command("detect", cells, "--model", MODEL, "--save-dir", tmp_path / "drawn", *flags)
    (written,) = (tmp_path / "drawn").glob("**/*.png")
    drawn = detector(cells)[0].plot(**options)
    assert drawn.dtype == np.uint8 and np.array_equal(drawn, bgr(written))
    assert np.array_equal(drawn, bgr(cells)) == (options == {"boxes": False}), "the test has something to compare"


@pytest.mark.parametrize("ending", ["jpg", "png", "webp", "bmp"])
def test_a_saved_image_is_the_commands_file(command: Command, detector: Detector, tmp_path: Path, ending: str) -> None:
    source = tmp_path / f"cells.{ending}"
    Image.open(CELLS).convert("RGB").save(source)
    command("detect", source, "--model", MODEL, "--save-dir", tmp_path / "drawn")
    (written,) = (tmp_path / "drawn").glob(f"**/*.{ending}")
    file = tmp_path / f"python.{ending}"
    assert detector(source)[0].save(file) == str(file)
    assert file.read_bytes() == written.read_bytes()


def test_every_kind_of_image_is_drawn_on(detector: Detector, cells: Path) -> None:
    expected, levels = detector(cells)[0].plot(), bgr(cells)
    copy = levels.copy()
    pillow = Image.open(cells)
    for given in (str(cells), cells.read_bytes(), io.BytesIO(cells.read_bytes()), levels, pillow, [pillow]):
        result = detector(given)[0]
        assert np.array_equal(result.orig_img, levels) and np.array_equal(result.plot(), expected)
    assert np.array_equal(detector(levels[:, :, ::-1], channels="rgb")[0].plot(), expected)
    grey = levels[:, :, 1]
    assert np.array_equal(detector(grey)[0].orig_img, np.stack([grey] * 3, 2))
    assert np.array_equal(levels, copy), "what is given stays as it is"


def test_what_is_selected_is_drawn(detector: Detector, cells: Path) -> None:
    result = detector(cells)[0]
    assert result.boxes is not None
    none = result[result.boxes.conf > 2]
    assert len(none) == 0 and np.array_equal(none.plot(), bgr(cells))
    first = result[0].plot()
    x1, y1, x2, y2 = (int(side) for side in result.boxes.xyxy[0])
    outside = np.ones(first.shape[:2], bool)
    outside[max(y1 - 40, 0) : y2 + 4, max(x1 - 4, 0) : x2 + 150] = False
    assert np.array_equal(first[outside], bgr(cells)[outside]) and not np.array_equal(first, bgr(cells))


def test_an_image_that_is_given_is_drawn_on(detector: Detector, cells: Path) -> None:
    result = detector(bgr(cells))[0]
    again = pickle.loads(pickle.dumps(result))
    assert len(pickle.dumps(result)) < 20_000, "no pixels"
    with pytest.raises(ValueError, match="the result of image0 has no image: it was pickled"):
        again.plot()
    assert np.array_equal(again.plot(img=bgr(cells)), result.plot())
    assert np.array_equal(pickle.loads(pickle.dumps(detector(cells)[0])).plot(), result.plot())


def test_what_cannot_be_drawn_is_said(detector: Detector, classifier: Classifier, cells: Path, tmp_path: Path) -> None:
    result = detector(cells)[0]
    with pytest.raises(ValueError, match="`line_width` is 0: give at least 1"):
        result.plot(line_width=0)
    with pytest.raises(ValueError, match="`line_width` is 201: give a whole number from 1 to 200"):
        result.plot(line_width=201)
    with pytest.raises(ValueError, match=r"writing .*drawn.tiff: its extension"):
        result.save(tmp_path / "drawn.tiff")
    with pytest.raises(OSError, match="absent"):
        result.save(tmp_path / "absent" / "drawn.png")
    shown = classifier(SHIP)[0]
    with pytest.raises(TypeError, match="a classifier has no boxes to draw"):
        shown.plot()
    assert np.array_equal(shown.orig_img, bgr(SHIP))
    Image.new("RGB", (64, 64)).save(cells)
    with pytest.raises(ValueError, match=r"cells.png is no longer the image that was looked at"):
        result.plot()
    cells.unlink()
    with pytest.raises(FileNotFoundError, match=r"cells.png"):
        result.plot()
    failed = detector([b"none"], errors="return")[0]
    with pytest.raises(ValueError, match="image 0"):
        failed.plot()
    assert sorted(tmp_path.iterdir()) == []


def test_names_in_letters_that_no_font_has_are_said(detector: Detector, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, "ghostzoo")
    result = detector(CELLS)[0]
    plain = result.plot()
    result.names = {number: f"\U0001fbff{number}" for number in result.names}
    drawn = result.plot()
    if caplog.messages:
        assert "no font with the letters of" in caplog.messages[0]
        result.names = {number: str(number) for number in result.names}
        assert np.array_equal(drawn, result.plot())
    assert not np.array_equal(drawn, plain)
