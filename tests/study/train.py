"""Trains the runs of `plan.py` by the command `ghostzoo`, and writes a row of each to docs/study/runs.jsonl.

usage: train.py [--command GHOSTZOO] [--data FOLDER] [--runs FOLDER] [--only NAME …] [--time SECONDS] [--threads N] [--list]

Needs Python 3.9 and nothing else. A run that has its row is not repeated; one that was cut goes on where it was, to the bit. Ctrl-C and
SIGTERM let the training save, and leave. What the trainings print is in RUNS/NAME.log.
"""
import argparse
import csv
import fcntl
import fnmatch
import json
import pathlib
import platform
import re
import resource
import signal
import struct
import subprocess
import sys
import time

import plan

ROWS = plan.STUDY / "runs.jsonl"
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Stopped(Exception):
    """Someone asked the driver to end."""


class Failed(Exception):
    """A command failed: its line of error."""


class Commands:
    """Runs the command, one at a time; a signal goes on to it once."""

    def __init__(self, path, threads):
        self.path = path
        self.threads = ["--threads", str(threads)] if threads else []
        self.child = None
        self.stopped = False
        # One that was ignored at the start stays so: `nohup` keeps the driver alive.
        for number in SIGNALS:
            if signal.getsignal(number) != signal.SIG_IGN:
                signal.signal(number, self.stop)

    def stop(self, *_):
        if not self.stopped and self.child:
            self.child.terminate()
        self.stopped = True

    def run(self, arguments, log):
        """Standard output; what it says besides is appended to `log`."""
        if self.stopped:
            raise Stopped
        with open(log, "a", encoding="utf-8") as errors:
            # A session of its own: the terminal's Ctrl-C comes here alone.
            self.child = subprocess.Popen(
                [self.path, *arguments, *self.threads], stdout=subprocess.PIPE, stderr=errors, text=True, start_new_session=True
            )
            if self.stopped:
                self.child.terminate()
            output, _ = self.child.communicate()
            code, self.child = self.child.returncode, None
        if self.stopped:
            raise Stopped
        if code:
            lines = log.read_text(encoding="utf-8").splitlines()
            raise Failed(next((line for line in reversed(lines) if line.startswith("error")), f"exit code {code}"))
        return output

    def json(self, arguments, log):
        return json.loads(self.run([*arguments, "--json", "--quiet"], log))


def processor():
    """The processor's name, with family and model where Linux tells them: an "AMD EPYC" is one of several."""
    try:
        text = pathlib.Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return platform.processor() or platform.machine()
    found = dict(re.findall(r"^(model name|cpu family|model)\s*: (.*)$", text, re.MULTILINE))
    return f"{found.get('model name', platform.machine())} (family {found.get('cpu family')}, model {found.get('model')})"


def rows(path):
    """The rows of a file of JSON lines; none where it is missing."""
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]


def append(row, path):
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "a", encoding="utf-8") as file:
        file.write(json.dumps(row) + "\n")


def state(folder):
    """What the run in `folder` keeps of itself, or None where none began."""
    path = folder / "weights" / "resume.safetensors"
    if not path.exists():
        return None
    with open(path, "rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        return json.loads(json.loads(file.read(length))["__metadata__"]["ghostzoo_run"])


def model_argument(commands, model, folder):
    """The model's name; its yaml for a command that is older than it."""
    try:
        commands.run(["summary", model, "--json", "--quiet"], folder / ".summary.log")
        return model
    except Failed:
        return str(plan.ROOT / "candle-yolov8" / "models" / f"{model.replace('yolov8n', 'yolov8')}.yaml")


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


def measured(run, split, commands, options):
    """The metrics of the best weights, in shares of 1."""
    folder, log = options.runs / run.name, options.runs / f"{run.name}.log"
    model, data = str(folder / "weights" / "best.safetensors"), options.data / run.data.name
    if run.data.task == "classify":
        found = commands.json(["eval", "--model", model, "--data", str(data), "--split", split], log)
        return {"top1": round(found["top1"] / 100, 6), "top5": round(found["top5"] / 100, 6), "loss": round(found["loss"], 6)}
    found = commands.json(
        ["val", "--model", model, "--data", str(data / "data.yaml"), "--split", split, "--plots", "false", "--imgsz",
         str(run.settings["imgsz"]), "--save-dir", str(folder / f"measured-{split}"), "--exist-ok"], log,
    )
    of = {"map50": "ultralytics", "map50_95": "ultralytics", "AP50": "coco", "AP": "coco"}
    return {key: round(found[definition][key], 6) for key, definition in of.items()}


def epochs_to(share, curve):
    """The first epoch, from 1, with this share of the best; None where nothing was learnt."""
    return None if max(curve) == 0 else next(epoch for epoch, value in enumerate(curve, 1) if value >= share * max(curve))


def row(run, cpu_seconds, commands, options):
    """What came of a finished run."""
    folder, log = options.runs / run.name, options.runs / f"{run.name}.log"
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
        **{split: measured(run, split, commands, options) for split in run.data.splits},
        "processor": processor(), "command": commands.run(["--version"], log).strip(),
    }


def parse():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--command", default=plan.ROOT / "target" / "release" / "ghostzoo", type=pathlib.Path)
    parser.add_argument("--data", default=plan.ROOT.parent / "shared" / "data", type=pathlib.Path)
    parser.add_argument("--runs", default=plan.ROOT / "runs" / "study", type=pathlib.Path, help="where the trainings write")
    parser.add_argument("--only", nargs="+", default=["*"], metavar="NAME", help="runs of these names alone; * and ? are allowed")
    parser.add_argument("--time", type=float, metavar="SECONDS", help="start no run after so long")
    parser.add_argument("--threads", type=int, metavar="N", help="threads to compute with; they change no weight")
    parser.add_argument("--list", action="store_true", help="say what is done and what is not, and train nothing")
    return parser.parse_args()


def main():
    options = parse()
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
    if not options.command.is_file():
        sys.exit(f"{options.command} is missing: cargo build --release, or name the command, --command GHOSTZOO")
    options.runs.mkdir(parents=True, exist_ok=True)
    commands = Commands(str(options.command.absolute()), options.threads)
    with open(options.runs / ".lock", "w", encoding="utf-8") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            sys.exit(f"another driver trains in {options.runs}")
        sys.exit(work(chosen, done, commands, options, began))


def work(chosen, done, commands, options, began):
    """Trains what has no row yet. The exit code."""
    failed = 0
    for run in chosen:
        if run.name in done:
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
        append(found, ROWS)
        done[run.name] = found
        print(f"{run.name}: best {found['best']:.4f}, {found['seconds']:.0f} s", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    main()
