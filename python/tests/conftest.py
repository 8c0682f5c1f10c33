"""What the tests share. GHOSTZOO_COMMAND names the command's program, whose numbers are compared; GHOSTZOO_DATA a folder with bccd/."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ghostzoo import Classifier, Detector

ASSETS = Path(__file__).resolve().parents[2] / "ghostzoo" / "assets"
CELLS = ASSETS / "BloodImage_00062.jpg"
SHIP = ASSETS / "freighter.jpg"

Command = Callable[..., list[dict[str, Any]]]


@pytest.fixture(scope="session")
def detector() -> Detector:
    return Detector("yolov8n-ghostnet-bccd")


@pytest.fixture(scope="session")
def classifier() -> Classifier:
    return Classifier("ghostnet_050-cifar10")


@pytest.fixture(scope="session")
def command(tmp_path_factory: pytest.TempPathFactory) -> Command:
    """Runs the command in a folder of its own; its lines of JSON."""
    program = os.environ.get("GHOSTZOO_COMMAND")
    if not program:
        pytest.skip("GHOSTZOO_COMMAND does not name the command to compare with")

    def run(*arguments: object, folder: Path | None = None) -> list[dict[str, Any]]:
        done = subprocess.run(
            [os.path.abspath(program), *map(str, arguments)],
            cwd=folder or tmp_path_factory.mktemp("command"),
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]

    return run


@pytest.fixture(scope="session")
def bccd() -> Path:
    """The data set of blood cells."""
    folder = Path(os.environ.get("GHOSTZOO_DATA", "")) / "bccd"
    if not folder.is_dir():
        pytest.skip("GHOSTZOO_DATA does not name a folder with bccd")
    return folder


@pytest.fixture()
def squares(tmp_path: Path) -> Path:
    """A data.yaml of six small images, each with a white square."""
    import numpy as np
    from PIL import Image

    for number in range(6):
        pixels = np.full((64, 64, 3), 90, np.uint8)
        left, top, side = number * 7 % 30, number * 11 % 30, 16 + number
        pixels[top : top + side, left : left + side] = 255
        for folder in ("images", "labels"):
            (tmp_path / folder).mkdir(exist_ok=True)
        Image.fromarray(pixels).save(tmp_path / "images" / f"{number}.png")
        box = [(left + side / 2) / 64, (top + side / 2) / 64, side / 64, side / 64]
        (tmp_path / "labels" / f"{number}.txt").write_text(f"0 {' '.join(map(str, box))}\n")
    data = tmp_path / "data.yaml"
    data.write_text("train: images\nval: images\nnames: [square]\n")
    return data
