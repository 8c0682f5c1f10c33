"""Prunes detectors of `plan.py`, trains them on, and writes a row of each to docs/study/pruned.jsonl.

usage: prune.py [--command GHOSTZOO] [--data FOLDER] [--runs FOLDER] [--peers PYTHON] [--only NAME …] [--threads N] [--speed]

Needs Python 3.9, and the runs of `plan.py` that are pruned. torch-pruning's networks need PYTHON, an interpreter with what
tests/oracle/torch_prune.py names; without it they are left out, and said so. By groups' L2 norms over the whole network or by what the
loss of 128 training images depends on, layers of multiples of eight channels, to the same GFLOPs; the networks differ in who chose the
channels. All are trained on alike, and so is the one that lost nothing; some with its answers.

With --speed, on a machine that does nothing besides: milliseconds of an image on one and two threads instead, of what has its row, to
docs/study/pruned_speed.jsonl. Networks and threads take turns in fifteen rounds. Networks are as pruned: training changes no shape, nor
does who teaches.
"""
import csv
import fnmatch
import json
import subprocess
import sys

import plan
from common import Failed, append, attempted, measured, parser, processor, rows, started
from measure import median_row
from train import state

ROWS = plan.STUDY / "pruned.jsonl"
SPEED = plan.STUDY / "pruned_speed.jsonl"
THREADS = [1, 2]
ROUNDS = 15


def summary(file, case, commands, log):
    """Parameters and GFLOPs of an image of the training's size."""
    found = commands.json(["summary", str(file), "--imgsz", str(case.settings["imgsz"])], log)
    return {"gflops": found["gflops"], "parameters": found["parameters"]}


def unpruned(case, options):
    """The checkpoint that is pruned: a file, or the name of one that the command has."""
    if isinstance(case.start, plan.Shipped):
        return case.start.model
    whole = options.runs / case.start.name / "weights" / "best.safetensors"
    if not whole.exists():
        raise Failed(f"waits for {case.start.name}")
    return whole


def pruned_file(case, options):
    """Where the network is as pruned, before the training."""
    return options.runs / "pruned" / f"{case.name}.safetensors"


def start(case, commands, options, log):
    """The checkpoint that the training begins with."""
    whole = unpruned(case, options)
    if case.pruner == "whole":
        return whole
    file = pruned_file(case, options)
    file.parent.mkdir(exist_ok=True)
    gflops = f"{case.share * summary(whole, case, commands, log)['gflops']:.4f}"
    size = str(case.settings["imgsz"])
    if case.pruner == "ghostzoo":
        chosen = ["--criterion", case.criterion, "--round-to", "8", "--target-gflops", gflops, "--imgsz", size]
        if case.criterion == "taylor":
            chosen += ["--data", str(options.data / case.start.data.name / "data.yaml")]
        commands.run(["prune", "--model", str(whole), *chosen, "-o", str(file), "--force", "--quiet"], log)
        return file
    if not options.peers:
        raise Failed("needs --peers, an interpreter with torch-pruning")
    script = plan.ROOT / "tests" / "oracle" / "torch_prune.py"
    family = case.start.model.replace("yolov8n", "yolov8")
    words = [str(whole), "-o", str(file), "--gflops", gflops, "--imgsz", size, "--family", family]
    with open(log, "a", encoding="utf-8") as errors:
        if subprocess.run([options.peers, script, commands.path, *words], stdout=errors, stderr=errors, check=False).returncode:
            raise Failed(f"torch_prune.py failed: {log}")
    return file


def row(case, commands, options):
    """Prunes and trains; what came of it."""
    folder, log = options.runs / case.name, options.runs / f"{case.name}.log"
    before = state(folder)
    if not before:
        begin = start(case, commands, options, log)
        data = options.data / case.start.data.name / "data.yaml"
        given = {"data": data, "model": begin, "project": options.runs.absolute(), "name": case.name, "exist_ok": "true", **case.settings}
        if case.is_taught:
            given["teacher"] = unpruned(case, options)
        commands.run(["train", "detect", *(f"{key}={value}" for key, value in given.items()), "--json"], log)
    elif not before["finished"]:
        commands.run(["train", "detect", "--resume", str(folder), "--json"], log)
    begin = unpruned(case, options) if case.pruner == "whole" else pruned_file(case, options)
    best = folder / "weights" / "best.safetensors"
    with open(folder / "results.csv", encoding="utf-8") as file:
        curve = [float(epoch["metrics/mAP50-95(B)"]) for epoch in csv.DictReader(file)]
    return {
        "run": case.name, "start": case.start.name, "model": case.start.model, "pruner": case.pruner, "criterion": case.criterion,
        "share": case.share, "seed": case.seed, "is_taught": case.is_taught, "settings": case.settings,
        **summary(begin, case, commands, log), "curve": curve,
        "before": measured(begin, case.start.data, "val", commands, options, folder, log),
        "after": {split: measured(best, case.start.data, split, commands, options, folder, log) for split in case.start.data.splits},
        "processor": processor(), "command": commands.run(["--version"], log).strip(),
    }


def speeds(cases, commands, options):
    """A row of each network that was trained on."""
    found = {(case.name, threads): [] for case in cases for threads in THREADS}
    log = options.runs / "measure.log"
    files = {case.name: pruned_file(case, options) for case in cases}
    files.update({case.name: start(case, commands, options, log) for case in cases if not files[case.name].exists()})
    for _ in range(ROUNDS):
        for case in cases:
            for threads in THREADS:
                words = ["bench", "--model", str(files[case.name]), "--threads", str(threads), "--runs", "60"]
                words += ["--imgsz", str(case.settings["imgsz"])]
                found[case.name, threads].append(commands.json(words, log))
    for case in cases:
        yield {
            "run": case.name, "gflops": summary(files[case.name], case, commands, log)["gflops"],
            "threads": {str(threads): median_row(found[case.name, threads]) for threads in THREADS}, "processor": processor(),
        }


def main():
    arguments = parser(__doc__)
    arguments.add_argument("--only", nargs="+", default=["*"], metavar="NAME", help="networks of these names alone; * and ? are allowed")
    arguments.add_argument("--peers", metavar="PYTHON", help="an interpreter with torch-pruning")
    arguments.add_argument("--threads", type=int, metavar="N", help="threads to train with; they change no weight")
    arguments.add_argument("--speed", action="store_true", help="measure times, train nothing")
    options = arguments.parse_args()
    chosen = [case for case in plan.pruned() if any(fnmatch.fnmatch(case.name, pattern) for pattern in options.only)]
    done = {row["run"] for row in rows(ROWS)}
    commands, lock = started(options, options.threads)
    failed = 0
    with lock:
        if options.speed:
            # One of those that have the same shapes.
            shapes = [case for case in chosen if case.name in done and not case.is_taught and case.seed == 0]
            measured_now = list(speeds(shapes, commands, options))
            kept = {row["run"]: row for row in [*rows(SPEED), *measured_now]}
            SPEED.write_text("".join(json.dumps(row) + "\n" for row in kept.values()), encoding="utf-8")
            return
        for case in chosen:
            if case.name in done:
                continue
            found = attempted(case.name, lambda case=case: row(case, commands, options))
            if found is None:
                failed += 1
                continue
            append(found, ROWS)
            print(f"{case.name}: {found['before']['map50_95']:.4f}, {found['after']['val']['map50_95']:.4f} trained on", flush=True)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
