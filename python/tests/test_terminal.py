"""``python -m ghostzoo``."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import ghostzoo
import pytest
from ghostzoo.__main__ import arguments

QUICK = "model=yolov8n-ghostnet-bccd imgsz=64 batch=4 epochs=2 workers=1 seed=3 threads=1"


def terminal(words: str, folder: Path, **variables: str) -> subprocess.Popen[str]:
    program = [sys.executable, "-m", "ghostzoo", *words.split()]
    return subprocess.Popen(
        program, cwd=folder, env={**os.environ, **variables}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def test_arguments_are_named_values() -> None:
    found = arguments(["epochs=3", "--lr0", "0.01", "--cos-lr=true", "classes=[0,2]", "data=a=b.yaml", "time=None"])
    assert found == {"epochs": 3, "lr0": 0.01, "cos_lr": True, "classes": [0, 2], "data": "a=b.yaml", "time": None}
    with pytest.raises(ValueError, match="`data.yaml`: arguments are name=value"):
        arguments(["data.yaml"])
    with pytest.raises(ValueError, match="`--epochs` has no value"):
        arguments(["--epochs"])


def test_a_training_is_that_of_the_function(squares: Path, tmp_path: Path) -> None:
    out, err = terminal(f"train detect data={squares} save_dir=run {QUICK}", tmp_path).communicate(timeout=300)
    lines = out.splitlines()
    assert [line.split(":")[0].removesuffix(" (best)") for line in lines[:2]] == ["epoch 1 of 2", "epoch 2 of 2"], err
    assert Path(lines[2]) == Path("run", "weights", "best.safetensors") and (tmp_path / lines[2]).is_file()
    assert "epoch 1" not in lines[0].partition(":")[2]
    again = ghostzoo.train_detector(
        squares, "yolov8n-ghostnet-bccd", save_dir=tmp_path / "again", imgsz=64, batch=4, epochs=2, workers=1, seed=3, threads=1
    )
    assert f"train/box_loss {again.results[1]['train/box_loss']:.5g}" in lines[1]


def test_mistakes_are_said_in_one_line(tmp_path: Path) -> None:
    for words, said in {
        "train detect data=absent.yaml": "absent.yaml",
        "train detect data.yaml": "name=value",
        "train detect data=absent.yaml epoch=3": "epoch",
    }.items():
        process = terminal(words, tmp_path)
        out, err = process.communicate(timeout=60)
        assert process.returncode in (1, 2) and not out
        assert len(err.splitlines()) == 1 and err.startswith("error: ") and said in err, err
    process = terminal("predict", tmp_path)
    assert "python -m ghostzoo train detect" in process.communicate(timeout=60)[1] and process.returncode == 2
    assert not list(tmp_path.iterdir())


def test_processes_that_are_started_together_train_together(squares: Path, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    words = f"train detect data={squares} save_dir=run sync_bn=true {QUICK}"
    place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": "2"}
    both = [terminal(words, tmp_path, RANK=str(rank), **place) for rank in range(2)]
    (out, err), (of_second, _) = [process.communicate(timeout=300) for process in both]
    assert out.splitlines()[-1].endswith("best.safetensors") and len(out.splitlines()) == 3, err
    assert not of_second
