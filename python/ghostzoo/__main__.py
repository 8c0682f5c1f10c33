"""Training from a terminal, in one process or in several that are started together.

    python -m ghostzoo train detect data=cells/data.yaml epochs=100
    torchrun --nproc-per-node 2 -m ghostzoo train detect data=cells/data.yaml save_dir=runs/cells sync_bn=true [device=cuda]
    python -m ghostzoo train detect resume=runs/cells

Arguments are those of :func:`ghostzoo.train_detector` (``detect``) and :func:`ghostzoo.train_classifier` (``classify``), written
``name=value`` or ``--name value``. Processes of torchrun, mpirun or srun find each other: :func:`ghostzoo.distributed.init`; with
``device=cuda`` each has a GPU of its own, and NCCL connects them.
"""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Sequence
from typing import Any

from . import ImageError, distributed, train_classifier, train_detector

TASKS = {"detect": train_detector, "classify": train_classifier}
WORDS = {"true": True, "false": False, "none": None, "null": None}


def arguments(words: Sequence[str]) -> dict[str, Any]:
    """``name=value`` and ``--name value`` as arguments of a call."""
    found: dict[str, Any] = {}
    rest = iter(words)
    for word in rest:
        name, is_whole, text = word.removeprefix("--").partition("=")
        if not is_whole:
            if not word.startswith("--"):
                raise ValueError(f"`{word}`: arguments are name=value, or --name value")
            text = next(rest, "")
            if not text:
                raise ValueError(f"`{word}` has no value")
        found[name.replace("-", "_")] = value(text)
    return found


def value(text: str) -> Any:
    """A number, a truth value, nothing, a list of them, or the text itself."""
    if text.lower() in WORDS:
        return WORDS[text.lower()]
    try:
        return json.loads(text)
    except ValueError:
        return text


def show(event: dict[str, Any]) -> None:
    """A line for each epoch."""
    if event["event"] == "epoch":
        shown = ((name, number) for name, number in event["results"].items() if name != "epoch" and not name.startswith("lr/"))
        results = "  ".join(f"{name} {number:.5g}" for name, number in shown)
        print(f"epoch {event['epoch']} of {event['epochs']}{' (best)' if event['is_best'] else ''}: {results}", flush=True)


def main(words: Sequence[str]) -> int:
    """The exit code."""
    if len(words) < 2 or words[0] != "train" or words[1] not in TASKS:
        print(__doc__, file=sys.stderr)
        return 2
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    group = None
    try:
        options = arguments(words[2:])
        group = distributed.init(backend="nccl" if options.get("device") == "cuda" else "gloo")
        if group is not None and options.get("device") == "cuda":
            options["device"] = group.device
        is_first = group is None or group.rank == 0
        run = TASKS[words[1]](group=group, progress=show if is_first else None, **options)
    except KeyboardInterrupt:
        print("stopped; resume=FOLDER goes on where the run's state was saved", file=sys.stderr)
        return 130
    except (ImageError, ImportError, OSError, RuntimeError, TypeError, ValueError) as error:
        place = f"rank {group.rank}: " if group else ""
        print(f"error: {place}{error}", file=sys.stderr)
        return 2 if isinstance(error, (TypeError, ValueError)) else 1
    if is_first:
        print(run.best if run.finished else f"stopped after {run.epochs} epochs; resume={run.save_dir} goes on")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
