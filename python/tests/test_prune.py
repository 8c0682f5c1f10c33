"""Pruning: the file and the report of the command."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any

import ghostzoo
import numpy as np
import pytest
from conftest import ASSETS, CELLS, SHIP, Command
from ghostzoo import Classifier, Detector

MODEL = "yolov8n-ghostnet-bccd"
CIFAR = "ghostnet_050-cifar10"
CELLS_DATA = ASSETS / "cells.yaml"


def flags(options: dict[str, Any]) -> list[str]:
    """Options as the command takes them."""
    text = {name: ",".join(map(str, value)) if isinstance(value, tuple) else str(value) for name, value in options.items()}
    return [word for name, value in text.items() for word in (f"--{name.replace('_', '-')}", value)]


@pytest.mark.parametrize(
    ("model", "options"),
    [
        (MODEL, {"ratio": 0.3}),
        (MODEL, {"target_gflops": 0.8, "criterion": "l1", "imgsz": 320, "round_to": 1, "min_channels": 4}),
        (MODEL, {"ratio": 0.2, "criterion": "bn", "scope": "uniform", "imgsz": (320, 256)}),
        (MODEL, {"ratio": 0.3, "criterion": "taylor", "data": CELLS_DATA, "split": "val", "images": 1, "imgsz": 64}),
        (MODEL, {"max_drop": 0.01, "data": CELLS_DATA, "split": "val", "images": 1, "imgsz": 128}),
        (CIFAR, {"ratio": 0.4}),
    ],
)
def test_a_pruned_model_is_the_commands(command: Command, tmp_path: Path, model: str, options: dict[str, Any]) -> None:
    line = command("prune", "--model", model, "--json", "-o", tmp_path / "command.safetensors", *flags(options))[0]
    report = ghostzoo.prune(model, tmp_path / "python.safetensors", **options)
    assert (tmp_path / "command.safetensors").read_bytes() == (tmp_path / "python.safetensors").read_bytes()
    assert report.pop("file") == str(tmp_path / "python.safetensors") and line.pop("file") == str(tmp_path / "command.safetensors")
    assert report == line and report["parameters"][0] > report["parameters"][1] and report["layers"]


def test_a_pruned_model_predicts_and_trains(squares: Path, tmp_path: Path) -> None:
    report = ghostzoo.prune(MODEL, tmp_path / "pruned.safetensors", ratio=0.05)
    assert len(Detector(tmp_path / "pruned.safetensors")(CELLS, conf=0.01)[0]) > 0
    options: dict[str, Any] = {"imgsz": 64, "batch": 3, "epochs": 1, "workers": 1}
    result = ghostzoo.train_detector(squares, tmp_path / "pruned.safetensors", save_dir=tmp_path / "run", **options)
    assert result.finished
    twice = ghostzoo.prune(result.best, tmp_path / "twice.safetensors", ratio=0.05)
    assert twice["channels"][0] == report["channels"][1] > twice["channels"][1]
    ghostzoo.prune(CIFAR, tmp_path / "classifier.safetensors", ratio=0.05)
    assert Classifier(tmp_path / "classifier.safetensors")(SHIP)[0].probs is not None


def test_progress_hears_of_the_images_and_ends_the_work(tmp_path: Path) -> None:
    from PIL import Image

    for number in range(3):
        for name in Classifier(CIFAR).names.values():
            (tmp_path / "train" / name).mkdir(parents=True, exist_ok=True)
            pixels = np.random.default_rng(number).integers(0, 256, (32, 32, 3), np.uint8)
            Image.fromarray(pixels).save(tmp_path / "train" / name / f"{number}.png")
    options: dict[str, Any] = {"ratio": 0.3, "criterion": "taylor", "data": tmp_path, "images": 4, "threads": 1}
    events: list[dict[str, Any]] = []
    ghostzoo.prune(CIFAR, tmp_path / "a.safetensors", progress=events.append, **options)
    assert events == [{"event": "image", "done": done, "total": 4} for done in range(1, 5)]
    with pytest.raises(RuntimeError, match="stopped by `progress`"):
        ghostzoo.prune(CIFAR, tmp_path / "b.safetensors", progress=lambda _: False, **options)
    if sys.platform != "win32":
        with pytest.raises(KeyboardInterrupt):
            ghostzoo.prune(CIFAR, tmp_path / "b.safetensors", progress=lambda _: os.kill(os.getpid(), signal.SIGINT), **options)
    assert not (tmp_path / "b.safetensors").exists()


def test_that_nothing_is_removed_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "ghostzoo")
    report = ghostzoo.prune(MODEL, tmp_path / "same.safetensors", ratio=0.5, min_channels=4096)
    assert report["layers"] == [] and report["parameters"][0] == report["parameters"][1]
    assert "nothing is removed: `min_channels` 4096 and `round_to` 8 leave each layer as it is" in caplog.messages


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({}, "one of `ratio`, `target_gflops` and `target_ms`, or by `max_drop` with `data`$"),
        ({"ratio": 0.3, "target_ms": 5}, "one of `ratio`, `target_gflops` and `target_ms`, "),
        ({"max_drop": 0.01}, "`max_drop` measures on labels: give them as `data`"),
        ({"max_drop": float("nan"), "data": CELLS_DATA, "images": 1, "imgsz": 64, "split": "val"}, "`max_drop` is NaN"),
        ({"ratio": 1}, "`ratio` is 1, and lies above 0 and below 1"),
        ({"target_gflops": -1}, "`target_gflops` is -1, and lies above 0"),
        ({"target_gflops": 1000}, "`target_gflops` is 1000, and .* already: nothing is to be removed"),
        ({"target_gflops": 0.001}, "`target_gflops` is 0.001, .*: see `min_channels` and `round_to`"),
        ({"target_ms": float("nan")}, "`target_ms` is NaN"),
        ({"ratio": 0.3, "criterion": "l3"}, '`criterion` is "l3": give "l1", "l2", "bn" or "taylor"'),
        ({"ratio": 0.3, "criterion": "taylor"}, '`criterion` "taylor" looks at labelled images: give them as `data`'),
        ({"ratio": 0.3, "criterion": "l2", "data": CELLS_DATA}, '`data` is for `criterion="taylor"`'),
        ({"ratio": 0.3, "criterion": "taylor", "data": CELLS_DATA, "images": 0}, "`images` is 0: give at least 1"),
        ({"ratio": 0.3, "scope": "local"}, '`scope` is "local": give "global" or "uniform"'),
        ({"ratio": 0.3, "round_to": 0}, "`round_to` is 0: give at least 1"),
        ({"ratio": 0.3, "min_channels": -1}, "`min_channels` is -1: give at least 0"),
        ({"ratio": 0.3, "imgsz": 0}, "`imgsz` is 0"),
        ({"ratio": 0.3, "arch": "yolov8s"}, "does not fit its architecture"),
    ],
)
def test_what_cannot_be_pruned_is_an_exception_of_a_line(tmp_path: Path, options: dict[str, Any], text: str) -> None:
    with pytest.raises((ValueError, RuntimeError), match=text) as raised:
        ghostzoo.prune(MODEL, tmp_path / "pruned.safetensors", **options)
    assert "\n" not in str(raised.value) and not list(tmp_path.iterdir())


def test_names_of_the_file_are_checked(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="`output` is 'pruned.pt': give a name that ends in .safetensors"):
        ghostzoo.prune(MODEL, "pruned.pt", ratio=0.3)
    with pytest.raises(FileNotFoundError, match="absent.yaml"):
        ghostzoo.prune(MODEL, tmp_path / "a.safetensors", ratio=0.3, criterion="taylor", data=tmp_path / "absent.yaml")
    ghostzoo.prune(CIFAR, tmp_path / "a.safetensors", ratio=0.1)
    with pytest.raises(ValueError, match="`model` and `output` are the same file"):
        ghostzoo.prune(tmp_path / "a.safetensors", tmp_path / "a.safetensors", ratio=0.1)
    with pytest.raises(ValueError, match="unknown model `ghostnet_50`"):
        ghostzoo.prune("ghostnet_50", tmp_path / "b.safetensors", ratio=0.1)
    with pytest.raises(OSError, match="absent"):
        ghostzoo.prune(CIFAR, tmp_path / "absent" / "b.safetensors", ratio=0.1)
