"""Processes, threads, memory and time."""

from __future__ import annotations

import os
import pickle
import shutil
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from conftest import ASSETS, CELLS, SHIP
from ghostzoo import Classifier, Detector, Results

WEIGHTS = ASSETS.parents[1] / "weights" / "shipped" / "yolov8n-ghostnet-bccd.safetensors"
SMALL = {"imgsz": 96, "conf": 0.01}


def rows(results: list[Results]) -> list[list[list[float]]]:
    return [one.boxes.data.tolist() for one in results if one.boxes is not None]


def memory() -> int:
    """Bytes that the process holds."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_models_are_pickled_by_name_and_options() -> None:
    detector = Detector("yolov8n-ghostnet-bccd", threads=1, conf=0.4, classes=["RBC"], channels="rgb", imgsz=320)
    text = pickle.dumps(detector)
    assert len(text) < 1000, "no weights"
    again = pickle.loads(text)
    assert repr(again) == repr(detector) and rows(again(CELLS)) == rows(detector(CELLS))
    classifier = Classifier("ghostnet_050-cifar10", dtype="bf16")
    copy = pickle.loads(pickle.dumps(classifier))
    assert repr(copy) == repr(classifier)
    assert copy(SHIP)[0].probs.data.tolist() == classifier(SHIP)[0].probs.data.tolist()  # type: ignore[union-attr]


def test_a_file_is_pickled_by_its_whole_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copy(WEIGHTS, tmp_path / "model.safetensors")
    monkeypatch.chdir(tmp_path)
    detector = Detector("model.safetensors")
    assert detector.model == str(tmp_path / "model.safetensors")
    stored = pickle.dumps(detector)
    monkeypatch.chdir("/")
    assert pickle.loads(stored).names == detector.names


def test_results_are_pickled(detector: Detector) -> None:
    result = detector(CELLS)[0]
    again = pickle.loads(pickle.dumps(result))
    assert rows([again]) == rows([result]) and again.names == result.names and again.orig_shape == result.orig_shape


def test_threads_share_a_detector(detector: Detector) -> None:
    images = [CELLS, SHIP] * 4
    expected = rows(detector(images))
    with ThreadPoolExecutor(4) as pool:
        assert rows([one for found in pool.map(detector, images) for one in found]) == expected


@pytest.mark.skipif(not os.path.exists("/proc/self/task"), reason="threads are counted by Linux")
def test_a_detector_computes_on_as_many_threads_as_it_is_told() -> None:
    def ticks() -> dict[str, int]:
        times = {}
        for task in os.listdir("/proc/self/task"):
            with open(f"/proc/self/task/{task}/stat") as file:
                fields = file.read().rsplit(")", 1)[1].split()
            times[task] = int(fields[11]) + int(fields[12])
        return times

    detector = Detector(threads=1)
    pixels = np.zeros((640, 640, 3), np.uint8)
    detector(pixels)
    before = ticks()
    for _ in range(10):
        detector([pixels] * 4)
    after = ticks()
    worked = [after[task] - before.get(task, 0) for task in after if after[task] - before.get(task, 0) > 2]
    assert len(worked) <= 2, f"one computes, the calling one copies: {worked}"


def test_python_goes_on_while_a_detector_computes() -> None:
    detector, count, done = Detector(threads=1), 0, threading.Event()

    def compute() -> None:
        detector([np.zeros((640, 640, 3), np.uint8)] * 8)
        done.set()

    thread = threading.Thread(target=compute)
    thread.start()
    while not done.is_set():
        count += 1
    thread.join()
    assert count > 1000


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_forked_process_has_threads_of_its_own(detector: Detector) -> None:
    expected = rows(detector(CELLS))
    own = Detector(threads=2)
    assert rows(own(CELLS)) == expected
    child = os.fork()
    if child == 0:
        same = False
        try:
            same = rows(detector(CELLS)) == expected and rows(own(CELLS)) == expected
        finally:
            os._exit(0 if same else 1)
    assert os.waitpid(child, 0)[1] == 0


@pytest.mark.skipif(not os.path.exists("/proc/self/statm"), reason="memory is read as Linux tells it")
def test_calls_leak_nothing() -> None:
    detector = Detector(threads=1)
    encoded, pixels = CELLS.read_bytes(), np.zeros((200, 300, 3), np.uint8)

    def calls(count: int) -> None:
        for _ in range(count):
            detector([pixels, encoded, CELLS, b"damaged"], errors="return", **SMALL)  # type: ignore[call-overload]

    calls(30)
    before = memory()
    calls(100)
    # Each call takes some 2 MB of pixels alone.
    assert memory() - before < 8 << 20


@pytest.mark.skipif(not os.path.exists("/proc/self/statm"), reason="memory is read as Linux tells it")
def test_models_leave_nothing_behind() -> None:
    def threads() -> int:
        return len(os.listdir("/proc/self/task"))

    def load(count: int) -> None:
        for _ in range(count):
            Detector(threads=2)(np.zeros((64, 64, 3), np.uint8))

    load(5)
    before, running = memory(), threads()
    load(20)
    # A model takes some 20 MB.
    assert memory() - before < 40 << 20
    for _ in range(200):
        if threads() <= running:
            break
        threading.Event().wait(0.05)
    assert threads() <= running


def test_import_takes_neither_numpy_nor_others(tmp_path: Path) -> None:
    code = "import sys, ghostzoo; print([name for name in ('numpy', 'PIL', 'pyarrow', 'torch') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
