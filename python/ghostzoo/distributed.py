"""Training on several processes, of one machine or of many, which PyTorch's ``torch.distributed`` connects.

>>> group = ghostzoo.distributed.init()
>>> ghostzoo.train_detector("data.yaml", save_dir="runs/cells", group=group, sync_bn=True)

Started as ``torchrun --nproc-per-node 2 train.py``, by ``mpirun``, ``srun``, or in the workers of Ray Train's ``TorchTrainer``.
"""

from __future__ import annotations

import os
import re
import socket
import struct
import sys
import time
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import numpy.typing as npt

# Names of rank and number of processes: torchrun's, then those of Open MPI, of MPICH and Intel MPI, and of Slurm.
VARIABLES = (
    ("RANK", "WORLD_SIZE"),
    ("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"),
    ("PMI_RANK", "PMI_SIZE"),
    ("SLURM_PROCID", "SLURM_NTASKS"),
)
# Names of the rank among the processes of one machine, in the same order.
LOCAL_VARIABLES = ("LOCAL_RANK", "OMPI_COMM_WORLD_LOCAL_RANK", "MPI_LOCALRANKID", "SLURM_LOCALID")
# Names of the number of processes of one machine; Slurm's are of all, such as "2(x3),1".
LOCAL_SIZES = ("LOCAL_WORLD_SIZE", "OMPI_COMM_WORLD_LOCAL_SIZE", "MPI_LOCALNRANKS", "SLURM_STEP_TASKS_PER_NODE")
# An address of no machine, behind the default route.
ELSEWHERE = "192.0.2.1"


class ProcessGroup(Protocol):
    """Processes that train together, seen from one of them. All of them call the same methods in the same order."""

    @property
    def rank(self) -> int:
        """Which of them this is, from 0."""

    @property
    def world_size(self) -> int:
        """How many there are."""

    def all_reduce(self, values: npt.NDArray[Any]) -> None:
        """Replaces values by their sums over all processes: the same bits on each of them."""

    def broadcast(self, values: npt.NDArray[Any], root: int) -> None:
        """Replaces values by those of the process ``root``."""


class TorchGroup:
    """A group of ``torch.distributed``, by default the one of all processes.

    Where its backend takes tensors of GPUs alone, as NCCL, values pass through the memory of the current CUDA device, which ``device``
    names, for a training to compute on it; else that is ``"cpu"``.
    """

    def __init__(self, group: Any = None) -> None:
        import torch
        import torch.distributed as dist

        self._group = group
        self._is_direct = "cpu:" in str(dist.get_backend_config(group))
        self.device: str = "cpu" if self._is_direct else f"cuda:{torch.cuda.current_device()}"
        self.rank: int = dist.get_rank(group)
        self.world_size: int = dist.get_world_size(group)

    def all_reduce(self, values: npt.NDArray[Any]) -> None:
        """See :class:`ProcessGroup`."""
        import torch.distributed as dist

        self._exchange(values, lambda tensor: dist.all_reduce(tensor, group=self._group))

    def broadcast(self, values: npt.NDArray[Any], root: int) -> None:
        """See :class:`ProcessGroup`."""
        import torch.distributed as dist

        source = root if self._group is None else dist.get_global_rank(self._group, root)
        self._exchange(values, lambda tensor: dist.broadcast(tensor, src=source, group=self._group))

    def _exchange(self, values: npt.NDArray[Any], operation: Callable[[Any], object]) -> None:
        import torch

        own = torch.from_numpy(values)
        there = own if self._is_direct else own.to(self.device, copy=True)
        operation(there)
        if there is not own:
            own.copy_(there)

    def abort(self) -> None:
        """Leaves the group, so that the others do not wait for this process."""
        import torch.distributed as dist

        dist.destroy_process_group(self._group)

    def __repr__(self) -> str:
        return f"TorchGroup(rank={self.rank}, world_size={self.world_size})"


def init(timeout: float = 1800, backend: str = "gloo") -> TorchGroup | None:
    """The processes that were started together, connected by ``backend``; ``None`` where this one is alone.

    A group that is there, as in Ray Train, is taken. Else rank and number of processes are those of ``RANK`` and ``WORLD_SIZE``, as
    torchrun sets them, or those that ``mpirun`` or ``srun`` set, and they meet at ``MASTER_ADDR`` and ``MASTER_PORT``. Whoever waits for
    longer than ``timeout`` seconds for another raises an exception. gloo listens on the interface by which ``MASTER_ADDR``, or else
    the default route, is reached, unless ``GLOO_SOCKET_IFNAME`` names another: on its own it takes the address of the host's name, which may
    be the loopback's.

    ``"nccl"`` is for processes that have a CUDA device each: the one of their number on their machine, which becomes PyTorch's current
    device, and the group's ``device``.
    """
    place = _place(os.environ)
    try:
        import torch.distributed as dist
    except ImportError:
        if place is None:
            return None
        raise ImportError("processes are connected by PyTorch: `pip install torch`") from None
    if dist.is_initialized():
        return TorchGroup() if dist.get_world_size() > 1 else None
    if place is None:
        return None
    rank, world_size = place
    missing = [name for name in ("MASTER_ADDR", "MASTER_PORT") if name not in os.environ]
    if missing:
        raise ValueError(f"{' and '.join(missing)}: set to where rank 0 of {world_size} processes listens, the same for all")
    # PyTorch's own choice knows of torchrun's number of a process on its machine alone.
    device = _own_device(rank) if backend == "nccl" else None
    where = f"{os.environ['MASTER_ADDR']}:{os.environ['MASTER_PORT']}"
    interface = _interface(os.environ["MASTER_ADDR"])
    if interface is None and _is_spread(os.environ, world_size):
        # Rank 0's own name may be the loopback's.
        interface = _interface(ELSEWHERE)
    if interface is not None:
        os.environ.setdefault("GLOO_SOCKET_IFNAME", interface)
    began = time.monotonic()
    try:
        dist.init_process_group(backend, rank=rank, world_size=world_size, timeout=timedelta(seconds=timeout), device_id=device)
    except (RuntimeError, ValueError) as error:
        why = str(error).strip().splitlines()
        raise RuntimeError(
            f"rank {rank} met no {world_size} processes at {where} in {time.monotonic() - began:.0f} s, of {timeout:g}: see that each "
            f"runs, that all have the same address and number, and that {backend.upper()}_SOCKET_IFNAME, where it is set, names the "
            f"network between them ({why[0] if why else type(error).__name__})"
        ) from None
    return TorchGroup()


def _is_spread(variables: Mapping[str, str], world_size: int) -> bool:
    """Whether what started the processes says that other machines have some of them."""
    first = (re.match(r"\d+", variables.get(name, "")) for name in LOCAL_SIZES)
    return any(int(number[0]) < world_size for number in first if number)


def _interface(address: str) -> str | None:
    """The network interface of the local address from which ``address`` is reached; ``None`` for the loopback's, or where it is not known."""
    if sys.platform != "linux":
        return None
    import fcntl

    of_interface = 0x8915  # SIOCGIFADDR
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            # Of datagrams nothing is sent by this.
            probe.connect((address, 9))
            own = probe.getsockname()[0]
            for _, name in [] if own.startswith("127.") else socket.if_nameindex():
                try:
                    told = fcntl.ioctl(probe.fileno(), of_interface, struct.pack("256s", name.encode()))
                except OSError:
                    continue
                if socket.inet_ntoa(told[20:24]) == own:
                    return name
    except (OSError, UnicodeError):
        pass
    return None


def _own_device(rank: int) -> Any:
    """The CUDA device of this process's number on its machine, which becomes PyTorch's current one."""
    import torch

    count = torch.cuda.device_count()
    if count == 0:
        raise ValueError('`backend` is "nccl": PyTorch finds no CUDA device here; leave `backend` out, or give "gloo"')
    given = next((os.environ[name] for name in LOCAL_VARIABLES if name in os.environ), None)
    local = rank % count if given is None else int(given)
    if local >= count:
        raise ValueError(f'`backend` is "nccl": process {local} of this machine needs a device of its own, and there are {count}')
    torch.cuda.set_device(local)
    return torch.device("cuda", local)


def _place(variables: Mapping[str, str]) -> tuple[int, int] | None:
    """Rank and number of the processes; ``None`` for one alone."""
    for names in VARIABLES:
        given = [variables.get(name) for name in names]
        if None in given:
            continue
        try:
            rank, world_size = (int(value or "") for value in given)
        except ValueError:
            raise ValueError(f"{names[0]}={given[0]} and {names[1]}={given[1]} are no rank and number of processes") from None
        if not 0 <= rank < world_size:
            raise ValueError(f"{names[0]}={rank}: there are {names[1]}={world_size} processes, from 0")
        return (rank, world_size) if world_size > 1 else None
    return None
