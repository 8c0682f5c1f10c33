"""Measures the networks of `plan.py`: size, and what inference costs in f32, bf16 and 8 bits, into docs/study/speed.jsonl.

usage: measure.py [--command GHOSTZOO] [--data FOLDER] [--runs FOLDER] [--only NETWORK …] [--again]

Needs Python 3.9 and nothing else, the trainings' folders of one seed of each network, and a machine that does nothing besides: while
trainings run, times are of the two. Sizes need no training. A row that is there is not measured again, unless --again is given.

Of the best weights of the first seed that is trained here (blood cells, clothing), batch norms folded and branches merged: parameters,
GFLOPs, the file's bytes, the metric in that type on the images that the best epoch was chosen by, and on one and two threads the median of
30 inferences of one image in rounds in which all networks take turns, with the peak memory of the process. Compare networks of one call
alone. In bf16 the file is of bf16, and so is the computation: products in bf16 on processors that have them, else in f32.
"""
import fnmatch
import json
import os
import statistics
import sys

import plan
from common import Failed, Stopped, append, measured, model_argument, parser, processor, rows, started

ROWS = plan.STUDY / "speed.jsonl"
TYPES = ["f32", "bf16", "int8"]
THREADS = [1, 2]
ROUNDS = 9


def networks(options):
    """Each network with the run whose weights are measured: of its first seed that is trained here, or else of the first."""
    found = {}
    for run in plan.runs():
        if run.data in (plan.BCCD, plan.CLOTHING) and run.start is None:
            found.setdefault(run.model, []).append(run)
    return [next((run for run in seeds if best(run, options).exists()), seeds[0]) for seeds in found.values()]


def size(run, commands, options):
    """Parameters and GFLOPs in the form that infers, for the run's classes and images."""
    log = options.runs / "measure.log"
    classes = {"bccd": 3, "clothing": 10}[run.data.name]
    model = model_argument(commands, run.model, options.runs)
    lines = commands.run(
        ["summary", model, "--nc", str(classes), "--imgsz", str(run.settings["imgsz"]), "--json", "--quiet"], log
    ).splitlines()
    # The last is the form with merged branches, where a network has one.
    trained, found = json.loads(lines[0]), json.loads(lines[-1])
    return {
        "model": run.model, "type": "size", "task": run.data.task, "classes": classes, "imgsz": run.settings["imgsz"],
        "layers": found["layers"], "parameters": found["parameters"], "parameters_in_training": trained["parameters"],
        "gflops": found["gflops"],
    }


def best(run, options):
    """The best weights of a training."""
    return options.runs / run.name / "weights" / "best.safetensors"


def written(run, kind, commands, options, log):
    """The file of the best weights in this type."""
    weights = str(best(run, options))
    file = options.runs / "measure" / f"{run.model}-{kind}.safetensors"
    file.parent.mkdir(exist_ok=True)
    if kind != "int8":
        commands.run(["convert", weights, str(file), "--fuse", "--dtype", kind, "--force", "--quiet"], log)
        return file
    data = options.data / run.data.name
    data = data / "data.yaml" if run.data.task == "detect" else data
    size = str(run.settings["imgsz"])
    commands.run(["quantize", "--model", weights, "--data", str(data), "--imgsz", size, "-o", str(file), "--force", "--quiet"], log)
    return file


def median_row(found):
    """One row of the rounds: the medians of their times, the largest of their peaks."""
    return {
        "median_ms": round(statistics.median(row["median_ms"] for row in found), 4),
        "rounds_ms": [round(row["median_ms"], 4) for row in found],
        "peak_memory_bytes": max(row["peak_memory_bytes"] or 0 for row in found) or None,
    }


def timed(files, commands, options):
    """What `bench` says of (run, type, file) on so many threads, a row for each round, by model, type and threads. All take turns, so
    that all find the machine alike.
    """
    found = {(run.model, kind, threads): [] for run, kind, _ in files for threads in THREADS}
    for _ in range(ROUNDS):
        for run, kind, file in files:
            for threads in THREADS:
                arguments = ["bench", "--model", str(file), "--threads", str(threads), "--imgsz", str(run.settings["imgsz"])]
                arguments += ["--dtype", "bf16"] if kind == "bf16" else []
                found[run.model, kind, threads].append(commands.json(arguments, options.runs / "measure.log"))
    return found


def costs(runs, commands, options):
    """A row per network and type."""
    log, folder = options.runs / "measure.log", options.runs / "measure"
    files = [(run, kind, written(run, kind, commands, options, log)) for run in runs for kind in TYPES]
    load = os.getloadavg()[0]
    found = timed(files, commands, options)
    for run, kind, file in files:
        yield {
            "model": run.model, "type": kind, "task": run.data.task, "data": run.data.name, "seed": run.seed,
            "imgsz": run.settings["imgsz"], "file_bytes": file.stat().st_size,
            "val": measured(file, run.data, "val", commands, options, folder, log),
            "threads": {str(threads): median_row(found[run.model, kind, threads]) for threads in THREADS},
            "isa": found[run.model, kind, 1][0]["isa"], "load_before": round(load, 2), "processor": processor(),
            "command": commands.run(["--version"], log).strip(),
        }


def replace(new, models):
    """Writes the rows in the order of the networks, `new` instead of those of the same network and type."""
    kept = {(row["model"], row["type"]): row for row in rows(ROWS)}
    kept.update({(row["model"], row["type"]): row for row in new})
    order = {model: place for place, model in enumerate(models)}
    half = ROWS.with_suffix(".jsonl.tmp")
    half.unlink(missing_ok=True)
    for row in sorted(kept.values(), key=lambda row: (order.get(row["model"], len(order)), ["size", *TYPES].index(row["type"]))):
        append(row, half)
    half.replace(ROWS)


def main():
    arguments = parser(__doc__)
    arguments.add_argument("--only", nargs="+", default=["*"], metavar="NETWORK", help="networks of these names alone")
    arguments.add_argument("--again", action="store_true", help="measure what has rows, too")
    options = arguments.parse_args()
    commands, lock = started(options)
    networks_here = networks(options)
    models = [run.model for run in networks_here]
    chosen = [run for run in networks_here if any(fnmatch.fnmatch(run.model, pattern) for pattern in options.only)]
    with lock:
        try:
            replace([size(run, commands, options) for run in chosen], models)
            measured_types = [(row["model"], row["type"]) for row in rows(ROWS)]
            chosen = [run for run in chosen if options.again or any((run.model, kind) not in measured_types for kind in TYPES)]
            trained = [run for run in chosen if best(run, options).exists()]
            replace(list(costs(trained, commands, options)), models)
        except Stopped:
            sys.exit(130)
        except Failed as error:
            print(error, flush=True)
            sys.exit(1)
    for run in chosen:
        print(f"{run.model}: {'measured' if run in trained else f'{run.name} is not trained'}", flush=True)
    sys.exit(0 if trained == chosen else 1)


if __name__ == "__main__":
    main()
