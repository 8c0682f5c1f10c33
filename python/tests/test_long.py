"""Training, validation and quantization."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path
from typing import Any

import ghostzoo
import numpy as np
import pytest
from conftest import ASSETS, CELLS, Command
from ghostzoo import Classifier, Detector

QUICK: dict[str, Any] = {"imgsz": 64, "batch": 3, "epochs": 2, "workers": 1, "seed": 3}


def test_a_validation_measures_what_the_command_does(command: Command, detector: Detector) -> None:
    data = ASSETS / "cells.yaml"
    line = command("val", "--data", data, "--model", "yolov8n-ghostnet-bccd", "--json", "--plots", "false")[0]
    events: list[dict[str, Any]] = []
    metrics = detector.val(data, progress=events.append)
    expected = line["ultralytics"]
    assert [metrics.mp, metrics.mr, metrics.map50, metrics.map] == [expected[name] for name in ("precision", "recall", "map50", "map50_95")]
    assert {name: None if np.isnan(value) else value for name, value in metrics.coco.items()} == line["coco"]
    assert [one.map for one in metrics.classes] == pytest.approx([one["ultralytics"]["map50_95"] for one in line["classes"]], abs=1e-15)
    assert events == [{"event": "batch", "done": 1, "total": 1}] and metrics.images == 1
    assert metrics.results_dict["metrics/mAP50-95(B)"] == metrics.map and metrics.confusion_matrix.shape == (4, 4)


def test_a_validation_of_a_data_set_measures_what_the_command_does(command: Command, bccd: Path) -> None:
    model = "yolov8n-ghostnet-bccd"
    line = command("val", "--data", bccd / "data.yaml", "--model", model, "--split", "test", "--json", "--plots", "false")[0]
    metrics = Detector(model, threads=1).val(bccd / "data.yaml", split="test")
    expected = line["ultralytics"]
    assert [metrics.map50, metrics.map] == [expected["map50"], expected["map50_95"]] and metrics.map > 0.5
    assert metrics.coco == line["coco"] and metrics.images == line["images"]


def test_a_classifier_is_validated_on_folders(command: Command, classifier: Classifier, tmp_path: Path) -> None:
    from PIL import Image

    for number, name in classifier.names.items():
        (tmp_path / "val" / name).mkdir(parents=True)
        pixels = np.random.default_rng(number).integers(0, 256, (32, 32, 3), np.uint8)
        Image.fromarray(pixels).save(tmp_path / "val" / name / "a.png")
    line = command("eval", "--data", tmp_path, "--model", "ghostnet_050-cifar10", "--json")[0]
    metrics = classifier.val(tmp_path, batch=4)
    assert (metrics.images, metrics.unreadable_images) == (10, 0)
    assert [100 * metrics.top1, 100 * metrics.top5] == pytest.approx([line["top1"], line["top5"]], abs=1e-9)
    assert metrics.loss > 0 and 0 <= metrics.ece <= 1


def test_a_validation_ends_where_its_progress_says_so(detector: Detector) -> None:
    with pytest.raises(RuntimeError, match="stopped by `progress`"):
        detector.val(ASSETS / "cells.yaml", progress=lambda _: False)

    def fail(_: dict[str, Any]) -> None:
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        detector.val(ASSETS / "cells.yaml", progress=fail)
    with pytest.raises(ValueError, match="`images` goes with an instances file"):
        detector.val(ASSETS / "cells.yaml", images=ASSETS)


def test_progress_may_use_the_model_that_is_validated(tmp_path: Path) -> None:
    program = f"""
        from ghostzoo import Detector
        detector, found = Detector(threads=1), []
        detector.val({str(ASSETS / "cells.yaml")!r}, progress=lambda event: found.append(len(detector({str(CELLS)!r})[0])))
        assert found and found[0] > 0
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)], cwd=tmp_path, timeout=120, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_a_training_is_the_commands(command: Command, squares: Path, tmp_path: Path) -> None:
    run = ["--imgsz", 64, "--batch", 3, "--epochs", 2, "--workers", 1, "--seed", 3, "--plots", "false", "--lr0", 0.02, "--mosaic", 0.5]
    model = "yolov8n-ghostnet-bccd"
    command("train", "detect", "--data", squares, "--model", model, "--project", tmp_path, "--name", "command", *run)
    events: list[dict[str, Any]] = []
    result = ghostzoo.train_detector(
        squares, model, save_dir=tmp_path / "python", lr0=0.02, mosaic=0.5, progress=events.append, **QUICK
    )
    rows = [without_time(tmp_path / name) for name in ("command", "python")]
    assert rows[0] == rows[1] and len(rows[0]) == 3
    found = [rows_of(tmp_path / name / "weights" / "last.safetensors") for name in ("command", "python")]
    assert found[0] == found[1] and found[0]
    assert (result.epochs, result.finished, len(result.results)) == (2, True, 2)
    assert [event["event"] for event in events] == ["step", "step", "epoch"] * 2
    assert set(events[0]["losses"]) and events[2]["results"] == pytest.approx(result.results[0], nan_ok=True)


def rows_of(model: Path) -> list[list[float]]:
    boxes = Detector(model)(CELLS, conf=0.0001)[0].boxes
    assert boxes is not None
    return [list(map(float, row)) for row in boxes.data]


def test_a_training_that_was_stopped_goes_on_to_the_same_weights(squares: Path, tmp_path: Path) -> None:
    whole = ghostzoo.train_detector(squares, "yolov8n-ghostnet-bccd", save_dir=tmp_path / "whole", **QUICK)
    steps = 0

    def stop(event: dict[str, Any]) -> bool:
        nonlocal steps
        steps += int(event["event"] == "step")
        return steps != 3

    part = ghostzoo.train_detector(squares, "yolov8n-ghostnet-bccd", save_dir=tmp_path / "part", progress=stop, **QUICK)
    assert (part.finished, part.epochs) == (False, 1)
    with pytest.raises(ValueError, match="`lr0` cannot change in a run that goes on"):
        ghostzoo.train_detector(resume=part.save_dir, lr0=0.5)
    again = ghostzoo.train_detector(resume=part.save_dir, device="cpu")
    assert again.finished and rows_of(Path(again.last)) == rows_of(Path(whole.last))
    assert without_time(Path(again.save_dir)) == without_time(Path(whole.save_dir))


def without_time(run: Path) -> list[list[str]]:
    """The rows of a run's results, but for how long each took."""
    rows = [line.split(",") for line in (run / "results.csv").read_text().splitlines()]
    assert rows[0][1] == "time"
    return [[value for place, value in enumerate(row) if place != 1] for row in rows]


def test_a_detector_learns_from_a_teacher(squares: Path, tmp_path: Path) -> None:
    teacher = ghostzoo.train_detector(squares, "yolov8n-ghostnet-bccd", save_dir=tmp_path / "teacher", **QUICK).last
    events: list[dict[str, Any]] = []
    result = ghostzoo.train_detector(
        squares, "yolov8n-ghostnet", save_dir=tmp_path / "taught", teacher=teacher, distill=2, progress=events.append, **QUICK
    )
    assert all(row["train/distill_loss"] > 0 for row in result.results) and "val/distill_loss" not in result.results[0]
    assert events[0]["losses"]["distill_loss"] > 0
    again = ghostzoo.train_detector(resume=result.save_dir, epochs=3)
    assert again.finished and again.results[2]["train/distill_loss"] > 0


def test_a_classifier_learns(tmp_path: Path) -> None:
    from PIL import Image

    for part in ("train", "val"):
        for number, name in enumerate(("dark", "light")):
            (tmp_path / part / name).mkdir(parents=True)
            for image in range(4):
                pixels = np.full((32, 32, 3), 40 + 150 * number + image, np.uint8)
                Image.fromarray(pixels).save(tmp_path / part / name / f"{image}.png")
    options: dict[str, Any] = {"imgsz": 32, "batch": 4, "epochs": 2, "workers": 1, "lr": 0.01, "train_interpolation": "bilinear"}
    result = ghostzoo.train_classifier(tmp_path, "ghostnet_050-cifar10", save_dir=tmp_path / "run", threads=2, **options)
    assert result.finished and len(result.results) == 2
    assert Classifier(result.best).names == {0: "dark", 1: "light"}


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"lr": 0.1}, "a training has no option `lr`"),
        ({"lr0": "fast"}, '`lr0` is "fast": invalid type'),
        ({"epochs": -1}, "`epochs` is -1: give a number of at least 0"),
        ({"optimizer": "Adagrad"}, "`optimizer` is"),
        ({"lr0": object()}, "numbers, texts and lists"),
        ({"flipud": 1.5}, "flipud"),
        ({"epochs": 0}, "a run has at least one epoch"),
        ({"distill": 1}, "`distill` weighs what is learnt from a `teacher`"),
        ({"device": "tpu"}, '`device` is "tpu": give "cpu", "cuda"'),
        ({"device": [0, 1]}, '`device` is "0,1": give "cpu", "cuda"'),
        ({"teacher": "ghostnet_050-cifar10"}, "is a classifier: a detector learns from a detector"),
    ],
)
def test_options_of_a_training_are_checked(squares: Path, tmp_path: Path, options: dict[str, Any], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        ghostzoo.train_detector(squares, "yolov8n-ghostnet-bccd", save_dir=tmp_path / "run", **{**QUICK, **options})
    assert not (tmp_path / "run").exists()


def test_a_run_is_not_written_over(squares: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    quick = {**QUICK, "epochs": 1}
    first, second = (ghostzoo.train_detector(squares, "yolov8n-ghostnet-bccd", **quick) for _ in range(2))
    assert [one.save_dir for one in (first, second)] == [f"runs/detect/train{number}" for number in ("", "2")]
    with pytest.raises(ValueError, match="runs/detect/train"):
        ghostzoo.train_detector(squares, "yolov8n-ghostnet-bccd", save_dir=first.save_dir, **quick)


def test_messages_go_to_the_logger(squares: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "ghostzoo")
    ghostzoo.train_detector(squares, "yolov8n-ghostnet-bccd", save_dir=tmp_path / "run", **{**QUICK, "imgsz": 50, "epochs": 1})
    assert any("`imgsz` 50 is rounded up to 64" in message for message in caplog.messages)


def test_a_quantized_model_is_the_commands(command: Command, tmp_path: Path) -> None:
    from PIL import Image

    (tmp_path / "images").mkdir()
    pixels = Image.open(CELLS).convert("RGB")
    for number in range(4):
        pixels.crop((number * 20, 0, number * 20 + 320, 240)).save(tmp_path / "images" / f"{number}.png")
    model = "yolov8n-ghostnet-bccd"
    images = sorted((tmp_path / "images").iterdir())
    command("quantize", "--model", model, "--data", tmp_path / "images", "-o", tmp_path / "command.safetensors", "--imgsz", 128)
    events: list[dict[str, Any]] = []
    report = ghostzoo.quantize(model, images, tmp_path / "python.safetensors", imgsz=128, progress=events.append)
    assert (tmp_path / "command.safetensors").read_bytes() == (tmp_path / "python.safetensors").read_bytes()
    assert events[-1] == {"event": "image", "done": 8, "total": 8} and report["images"] == 4
    arrays = [np.asarray(Image.open(image)) for image in images]
    ghostzoo.quantize(model, arrays, tmp_path / "arrays.safetensors", imgsz=128, channels="rgb")
    assert (tmp_path / "arrays.safetensors").read_bytes() == (tmp_path / "python.safetensors").read_bytes()
    assert len(Detector(tmp_path / "python.safetensors")(CELLS)[0]) > 0
    with pytest.raises(RuntimeError, match="stopped by `progress`"):
        ghostzoo.quantize(model, images, tmp_path / "none.safetensors", progress=lambda _: False)
    assert not (tmp_path / "none.safetensors").exists()


@pytest.mark.skipif(sys.platform == "win32", reason="a process sends itself a signal")
def test_ctrl_c_ends_a_training_and_saves_it(squares: Path, tmp_path: Path) -> None:
    program = textwrap.dedent(f"""
        import ghostzoo
        seen = lambda event: print(event["event"], flush=True)
        try:
            ghostzoo.train_detector({str(squares)!r}, "yolov8n-ghostnet-bccd", save_dir={str(tmp_path / "run")!r}, imgsz=64, batch=3,
                                    epochs=100000, patience=0, workers=1, progress=seen)
        except KeyboardInterrupt:
            print("interrupted", flush=True)
    """)
    process = subprocess.Popen([sys.executable, "-c", program], cwd=tmp_path, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline().strip() == "step"
    process.send_signal(signal.SIGINT)
    start = time.monotonic()
    assert process.communicate(timeout=120)[0].splitlines()[-1] == "interrupted"
    assert process.returncode == 0 and time.monotonic() - start < 60
    result = ghostzoo.train_detector(resume=tmp_path / "run", epochs=1) if not (tmp_path / "run/results.csv").exists() else None
    assert result is None or result.finished


@pytest.mark.skipif(sys.platform == "win32", reason="a process sends itself a signal")
def test_ctrl_c_ends_a_prediction_and_a_validation(detector: Detector) -> None:
    def soon() -> None:
        time.sleep(0.3)
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=soon)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        detector([CELLS] * 10000)
    thread.join()
    with pytest.raises(KeyboardInterrupt):
        detector.val(ASSETS / "cells.yaml", progress=lambda _: os.kill(os.getpid(), signal.SIGINT))
    assert len(detector(CELLS)[0]) > 0, "it goes on"
