"""Trains the runs of `plan.py` by the command `ghostzoo`, and writes a row of each to docs/study/runs.jsonl.

usage: train.py [--command GHOSTZOO] [--data FOLDER] [--runs FOLDER] [--only NAME …] [--time SECONDS] [--threads N] [--list] [--again]

Needs Python 3.9 and nothing else. A run that has its row is not repeated; one that was cut goes on where it was, to the bit. Ctrl-C and
SIGTERM let the training save, and leave. What the trainings print is in RUNS/NAME.log.

With --again, runs that have rows, too, where RUNS lacks their weights: the rows stay, and what the repetition measured is said beside them.
"""
import csv
import fnmatch
import json
import re
import resource
import struct
import sys
import time

import plan
from common import Failed, Stopped, append, measured, model_argument, parser, processor, rows, started

ROWS = plan.STUDY / "runs.jsonl"


def state(folder):
    """What the run in `folder` keeps of itself, or None where none began."""
    path = folder / "weights" / "resume.safetensors"
    if not path.exists():
        return None
    with open(path, "rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        return json.loads(json.loads(file.read(length))["__metadata__"]["ghostzoo_run"])


def train(run, commands, options):
    """Trains to the end. Seconds of processor time, None where the run was cut."""
    folder, log = options.runs / run.name, options.runs / f"{run.name}.log"
    before = state(folder)
    if before and before["finished"]:
        return None
    if before:
        arguments = ["train", run.data.task, "--resume", str(folder)]
    else:
        data = options.data / run.data.name
        start = options.runs / run.start / "weights" / "best.safetensors" if run.start else "false"
        given = {
            "data": data / "data.yaml" if run.data.task == "detect" else data,
            "model": model_argument(commands, run.model, options.runs), "pretrained": start,
            "project": options.runs.absolute(), "name": run.name, "exist_ok": "true", **run.settings,
        }
        arguments = ["train", run.data.task, *(f"{key}={value}" for key, value in given.items())]
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    commands.run([*arguments, "--json"], log)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return None if before else round(after.ru_utime + after.ru_stime - used.ru_utime - used.ru_stime, 1)


def epochs_to(share, curve):
    """The first epoch, from 1, with this share of the best; None where nothing was learnt."""
    return None if max(curve) == 0 else next(epoch for epoch, value in enumerate(curve, 1) if value >= share * max(curve))


def row(run, cpu_seconds, commands, options):
    """What came of a finished run."""
    folder, log = options.runs / run.name, options.runs / f"{run.name}.log"
    best = folder / "weights" / "best.safetensors"
    with open(folder / "results.csv", encoding="utf-8") as file:
        results = list(csv.DictReader(file))
    key = "metrics/mAP50-95(B)" if run.data.task == "detect" else "metrics/accuracy_top1"
    curve = [float(epoch[key]) for epoch in results]
    if len(curve) != run.data.epochs:
        raise Failed(f"{folder} has {len(curve)} epochs, not {run.data.epochs}")
    taken = re.findall(r"(\d+) of (\d+) tensors are taken", log.read_text(encoding="utf-8"))
    return {
        "run": run.name, "task": run.data.task, "data": run.data.name, "model": run.model, "start": run.start,
        "settings": run.settings, "tensors_taken": [int(number) for number in taken[-1]] if run.start else None,
        "seconds": round(float(results[-1]["time"]), 1), "cpu_seconds": cpu_seconds,
        "best": max(curve), "epochs_to_95_percent": epochs_to(0.95, curve), "curve": curve,
        **{split: measured(best, run.data, split, commands, options, folder, log) for split in run.data.splits},
        "processor": processor(), "command": commands.run(["--version"], log).strip(),
    }


def main():
    arguments = parser(__doc__)
    arguments.add_argument("--only", nargs="+", default=["*"], metavar="NAME", help="runs of these names alone; * and ? are allowed")
    arguments.add_argument("--time", type=float, metavar="SECONDS", help="start no run after so long")
    arguments.add_argument("--threads", type=int, metavar="N", help="threads to compute with; they change no weight")
    arguments.add_argument("--list", action="store_true", help="say what is done and what is not, and train nothing")
    arguments.add_argument("--again", action="store_true", help="train what has a row and no weights, too")
    options = arguments.parse_args()
    began = time.monotonic()
    chosen = [run for run in plan.runs() if any(fnmatch.fnmatch(run.name, pattern) for pattern in options.only)]
    if not chosen:
        sys.exit(f"no run is called {' or '.join(options.only)}; --list says how they are called")
    done = {row["run"]: row for row in rows(ROWS)}
    for run in chosen:
        if run.name in done and done[run.name]["settings"] != run.settings:
            sys.exit(f"{ROWS.name} has {run.name} by other settings than plan.py: take that row out, or the settings back")
    if options.list:
        for run in chosen:
            print("done" if run.name in done else "-   ", run.name)
        return
    commands, lock = started(options, options.threads)
    with lock:
        sys.exit(work(chosen, done, commands, options, began))


def work(chosen, done, commands, options, began):
    """Trains what has no row yet. The exit code."""
    failed = 0
    for run in chosen:
        before = done.get(run.name)
        if before and not options.again:
            continue
        if options.time is not None and time.monotonic() - began > options.time:
            print(f"{options.time:.0f} s are over: {run.name} and what follows is left for another time", flush=True)
            break
        if run.start and run.start not in done:
            print(f"{run.name}: waits for {run.start}", flush=True)
            continue
        print(f"{run.name}: {time.strftime('%H:%M:%S')}", flush=True)
        try:
            found = row(run, train(run, commands, options), commands, options)
        except Stopped:
            print(f"stopped; the same command goes on with {run.name}", flush=True)
            return 130
        except Failed as error:
            print(f"{run.name}: {error}", flush=True)
            failed += 1
            continue
        if not before:
            append(found, ROWS)
            done[run.name] = found
        again = f"; its row has {before['best']:.4f}" if before else ""
        print(f"{run.name}: best {found['best']:.4f}, {found['seconds']:.0f} s{again}", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    main()
