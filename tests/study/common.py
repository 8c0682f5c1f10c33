"""What the study's programs share: calls of the command `ghostzoo`, and files of rows."""
import argparse
import fcntl
import json
import pathlib
import platform
import re
import signal
import subprocess
import sys

import plan

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


def attempted(name, work):
    """What `work` gives; None where it failed, which is said. A stop ends the program."""
    try:
        return work()
    except Stopped:
        sys.exit(130)
    except Failed as error:
        print(f"{name}: {error}", flush=True)
        return None


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


def parser(description):
    """Options of all programs that call the command."""
    found = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    found.add_argument("--command", default=plan.ROOT / "target" / "release" / "ghostzoo", type=pathlib.Path)
    found.add_argument("--data", default=plan.ROOT.parent / "shared" / "data", type=pathlib.Path)
    found.add_argument("--runs", default=plan.ROOT / "runs" / "study", type=pathlib.Path, help="where the trainings write")
    return found


def started(options, threads=None):
    """The command, and the lock that lets no second program work in the same folder."""
    if not options.command.is_file():
        sys.exit(f"{options.command} is missing: cargo build --release, or name the command, --command GHOSTZOO")
    options.runs.mkdir(parents=True, exist_ok=True)
    lock = open(options.runs / ".lock", "w", encoding="utf-8")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        sys.exit(f"another program of the study works in {options.runs}")
    return Commands(str(options.command.absolute()), threads), lock


def model_argument(commands, model, folder):
    """The model's name; its yaml for a command that is older than it."""
    try:
        commands.run(["summary", model, "--json", "--quiet"], folder / ".summary.log")
        return model
    except Failed:
        return str(plan.ROOT / "candle-yolov8" / "models" / f"{model.replace('yolov8n', 'yolov8')}.yaml")


def measured(model, data, split, commands, options, folder, log):
    """The metrics of a checkpoint of this data set's classes, in shares of 1."""
    images = options.data / data.name
    if data.task == "classify":
        found = commands.json(["eval", "--model", str(model), "--data", str(images), "--split", split], log)
        return {"top1": round(found["top1"] / 100, 6), "top5": round(found["top5"] / 100, 6), "loss": round(found["loss"], 6)}
    found = commands.json(
        ["val", "--model", str(model), "--data", str(images / "data.yaml"), "--split", split, "--plots", "false", "--imgsz",
         str(data.settings["imgsz"]), "--save-dir", str(folder / f"measured-{split}"), "--exist-ok"], log,
    )
    of = {"map50": "ultralytics", "map50_95": "ultralytics", "AP50": "coco", "AP": "coco"}
    return {key: round(found[definition][key], 6) for key, definition in of.items()}
