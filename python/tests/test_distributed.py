"""Training on several processes: threads stand for them, but in the test that PyTorch connects."""

from __future__ import annotations

import signal
import subprocess
import sys
import textwrap
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import ghostzoo
import numpy as np
import numpy.typing as npt
import pytest

MODEL = "yolov8n-ghostnet-bccd"
QUICK: dict[str, Any] = {"imgsz": 64, "batch": 4, "epochs": 2, "workers": 1, "seed": 3, "threads": 1}


class Threads:
    """What threads that act as processes share."""

    def __init__(self, count: int) -> None:
        self.barrier = threading.Barrier(count, timeout=60)
        self.values: list[npt.NDArray[Any]] = [np.empty(0)] * count

    def group(self, rank: int) -> Member:
        return Member(self, rank)


class Member:
    """One of them."""

    def __init__(self, threads: Threads, rank: int) -> None:
        self.threads, self.rank, self.world_size = threads, rank, len(threads.values)

    def exchange(self, values: npt.NDArray[Any]) -> list[npt.NDArray[Any]]:
        self.threads.values[self.rank] = values.copy()
        self.threads.barrier.wait()
        all_values = list(self.threads.values)
        self.threads.barrier.wait()
        return all_values

    def all_reduce(self, values: npt.NDArray[Any]) -> None:
        all_values = self.exchange(values)
        values[:] = sum(all_values[1:], all_values[0])

    def broadcast(self, values: npt.NDArray[Any], root: int) -> None:
        values[:] = self.exchange(values)[root]

    def abort(self) -> None:
        self.threads.barrier.abort()


def trained(count: int, data: Path, folder: Path, **options: Any) -> list[ghostzoo.TrainResult]:
    """What each of so many processes has of a training."""
    threads = Threads(count)

    def run(rank: int) -> ghostzoo.TrainResult:
        return ghostzoo.train_detector(data, MODEL, save_dir=folder, group=threads.group(rank), **{**QUICK, **options})

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(run, range(count)))


def losses(result: ghostzoo.TrainResult) -> list[float]:
    return [row[name] for row in result.results for name in row if name.startswith("train/")]


def measured(result: ghostzoo.TrainResult) -> list[float]:
    return [row[name] for row in result.results for name in row if name.startswith(("metrics/", "val/"))]


def test_two_processes_have_the_losses_of_one(squares: Path, tmp_path: Path) -> None:
    alone = ghostzoo.train_detector(squares, MODEL, save_dir=tmp_path / "alone", **QUICK)
    together = trained(2, squares, tmp_path / "together", sync_bn=True)
    assert len(losses(alone)) == 6
    for result in together:
        assert losses(result) == pytest.approx(losses(alone), rel=1e-3)
        assert measured(result) == measured(together[0]) and len(measured(result)) == 14
        of_losses = [[row[name] for row in one.results for name in row if name.startswith("val/")] for one in (result, alone)]
        assert of_losses[0] == pytest.approx(of_losses[1], rel=1e-2)
    assert (tmp_path / "together" / "weights" / "best.safetensors").is_file()
    again = trained(2, squares, tmp_path / "again", sync_bn=True)
    assert losses(again[0]) == losses(together[0])


def test_what_processes_cannot_share_is_refused(squares: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="`batch` 3 is that of all 2 processes together"):
        trained(2, squares, tmp_path / "run", batch=3)
    with pytest.raises(ValueError, match="`save_dir`: processes that train together"):
        ghostzoo.train_detector(squares, MODEL, group=Threads(2).group(0))
    with pytest.raises(ValueError, match="no rank 2 among 2 processes"):
        ghostzoo.train_detector(squares, MODEL, save_dir=tmp_path / "run", group=Member(Threads(2), 2))
    assert not (tmp_path / "run").exists()


def test_a_process_that_cannot_begin_leaves_the_others(tmp_path: Path) -> None:
    threads = Threads(2)
    with pytest.raises(Exception, match=r"absent\.yaml"):
        ghostzoo.train_detector(tmp_path / "absent.yaml", MODEL, save_dir=tmp_path / "run", group=threads.group(1), **QUICK)
    assert threads.barrier.broken


def test_the_number_of_processes_is_read_from_what_started_them() -> None:
    from ghostzoo.distributed import _place

    assert _place({}) is None and _place({"RANK": "0", "WORLD_SIZE": "1"}) is None
    assert _place({"OMPI_COMM_WORLD_RANK": "3", "OMPI_COMM_WORLD_SIZE": "4"}) == (3, 4)
    assert _place({"SLURM_PROCID": "1", "SLURM_NTASKS": "2", "RANK": "0", "WORLD_SIZE": "8"}) == (0, 8)
    with pytest.raises(ValueError, match="RANK=2: there are WORLD_SIZE=2 processes, from 0"):
        _place({"RANK": "2", "WORLD_SIZE": "2"})
    with pytest.raises(ValueError, match="are no rank and number"):
        _place({"RANK": "a", "WORLD_SIZE": "2"})


def processes(program: str, folder: Path, count: int) -> list[subprocess.Popen[str]]:
    """So many processes that PyTorch connects."""
    import os
    import socket

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": str(count)}
    return [
        subprocess.Popen(
            [sys.executable, "-c", program],
            cwd=folder,
            env={**os.environ, **place, "RANK": str(rank)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(count)
    ]


PROGRAM = """
import ghostzoo

group = ghostzoo.distributed.init(timeout=60)
say = lambda event: print(event["event"], flush=True)
result = ghostzoo.train_detector({data!r}, {model!r}, save_dir="run", group=group, sync_bn=True, progress=say, epochs={epochs},
                                 patience=0, imgsz=64, batch=4, workers=1, seed=3, threads=1)
print([row[name] for row in result.results for name in row if name.startswith("train/")])
print([row[name] for row in result.results for name in row if name.startswith(("metrics/", "val/"))])
"""


def test_pytorch_connects_processes(squares: Path, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    together = trained(2, squares, tmp_path / "threads", sync_bn=True)
    program = textwrap.dedent(PROGRAM.format(data=str(squares), model=MODEL, epochs=2))
    done = [process.communicate(timeout=300) for process in processes(program, tmp_path, 2)]
    for out, err in done:
        assert out, err
        found = [[float(value) for value in line[1:-1].split(",")] for line in out.splitlines()[-2:]]
        assert found == [losses(together[0]), measured(together[0])]


EXCHANGE = """
import ghostzoo
import numpy as np

group = ghostzoo.distributed.init(timeout=60)
group._is_direct = False
values = np.arange(3.) + group.rank
group.all_reduce(values)
one = np.full(2, group.rank, dtype=np.uint8)
group.broadcast(one, 1)
print(values.tolist(), one.tolist())
"""


def test_values_come_back_from_a_device(tmp_path: Path) -> None:
    """As for a backend that takes none of the CPU's tensors; the device is the CPU, but the copies are made."""
    pytest.importorskip("torch")
    for process in processes(EXCHANGE, tmp_path, 2):
        out, err = process.communicate(timeout=120)
        assert out.strip() == "[1.0, 3.0, 5.0] [1, 1]", err


def test_processes_on_other_machines_are_told_by_their_number_on_this_one() -> None:
    from ghostzoo.distributed import _is_spread

    assert _is_spread({"LOCAL_WORLD_SIZE": "2"}, 4) and _is_spread({"SLURM_STEP_TASKS_PER_NODE": "2(x2)"}, 4)
    assert not any(_is_spread(variables, 4) for variables in ({}, {"LOCAL_WORLD_SIZE": "4"}, {"SLURM_STEP_TASKS_PER_NODE": "4"}))


@pytest.mark.skipif(sys.platform != "linux", reason="interfaces are told apart on Linux")
def test_the_interface_to_a_machine_is_found() -> None:
    import socket

    from ghostzoo.distributed import _interface

    assert _interface("127.0.0.1") is None and _interface("a" * 70) is None
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
        except OSError:
            pytest.skip("this machine has no network")
        own = probe.getsockname()[0]
    assert _interface(own) in [name for _, name in socket.if_nameindex()]
    assert _interface(own) == _interface("192.0.2.1") != "lo"


def test_nccl_needs_a_cuda_device_for_each_process(monkeypatch: pytest.MonkeyPatch) -> None:
    torch = pytest.importorskip("torch")
    for name, value in {"RANK": "1", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "1", "LOCAL_RANK": "1"}.items():
        monkeypatch.setenv(name, value)
    for count, said in [(0, "finds no CUDA device here"), (1, "process 1 of this machine needs a device of its own, and there are 1")]:
        monkeypatch.setattr(torch.cuda, "device_count", lambda count=count: count)
        with pytest.raises(ValueError, match=said):
            ghostzoo.distributed.init(backend="nccl")


@pytest.mark.skipif(sys.platform == "win32", reason="a process is killed by a signal")
def test_a_killed_process_ends_the_other_whose_run_goes_on(squares: Path, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    program = textwrap.dedent(PROGRAM.format(data=str(squares), model=MODEL, epochs=100000))
    first, second = processes(program, tmp_path, 2)
    assert first.stdout is not None
    while first.stdout.readline().strip() != "epoch":
        assert first.poll() is None
    second.send_signal(signal.SIGKILL)
    err = first.communicate(timeout=120)[1]
    second.communicate()
    assert first.returncode == 1, err
    assert "the state that was last saved can be resumed" in err.splitlines()[-1]
    result = ghostzoo.train_detector(resume=tmp_path / "run", progress=lambda _: False)
    assert result.epochs >= 1 and not result.finished
