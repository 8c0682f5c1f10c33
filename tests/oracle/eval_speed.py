"""Images per second and memory of `ghostzoo eval`, beside a loop over timm's loader, in one run.

pip install timm==1.0.31 torch safetensors
usage: eval_speed.py DIR GHOSTZOO [--model ghostnet_100] [--pictures 1000] [--rounds 3] [--threads 2]

DIR/val/<wnid>/*.JPEG; its images are repeated by links. timm: `create_loader` with 2 workers and batches of 64, the model
in eval mode on all threads, from the first batch asked for to the last logits. Ours: the whole process, start and loading
included. The two take turns.
"""
import argparse
import contextlib
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ap = argparse.ArgumentParser()
ap.add_argument("folder"), ap.add_argument("command")
ap.add_argument("--model", default="ghostnet_100")
for name, default in (("pictures", 1000), ("rounds", 3), ("threads", 2)):
    ap.add_argument(f"--{name}", type=int, default=default)
a = ap.parse_args()
os.environ["OMP_NUM_THREADS"] = str(a.threads)
import timm
import torch
from safetensors.torch import save_file
from timm.data import create_dataset, create_loader, resolve_data_config

import seeded

torch.set_num_threads(a.threads)


def repeated(folder, out, count):
    pictures = sorted((Path(folder) / "val").rglob("*.JPEG"))
    for i in range(count):
        picture = pictures[i % len(pictures)].resolve()
        link = out / "val" / picture.parent.name / f"{i}.JPEG"
        link.parent.mkdir(parents=True, exist_ok=True)
        os.link(picture, link) if os.stat(picture).st_dev == os.stat(out).st_dev and os.access(picture, os.W_OK) else link.symlink_to(picture)
    return out


@torch.no_grad()
def theirs(model, folder):
    config = resolve_data_config({}, model=model)
    dataset = create_dataset("", root=str(folder), split="val")
    loader = create_loader(
        dataset, config["input_size"], batch_size=64, use_prefetcher=False, interpolation=config["interpolation"],
        mean=config["mean"], std=config["std"], num_workers=2, crop_pct=config["crop_pct"], device=torch.device("cpu"),
    )
    start, seen = time.perf_counter(), 0
    for pictures, _ in loader:
        model(pictures)
        seen += len(pictures)
    return seen / (time.perf_counter() - start)


def ours(weights, folder):
    run = [a.command, "eval", "--data", folder, "--model", weights, "--arch", a.model, "--quiet", "--threads", a.threads]
    start, peak = time.perf_counter(), 0
    process = subprocess.Popen([str(x) for x in run], stdout=subprocess.DEVNULL)
    # What wait4 reports would include this process's own memory.
    while process.poll() is None:
        with contextlib.suppress(OSError, StopIteration):
            status = Path(f"/proc/{process.pid}/status").read_text().splitlines()
            peak = max(peak, int(next(line for line in status if line.startswith("VmHWM")).split()[1]))
        time.sleep(0.01)
    if process.returncode:
        sys.exit("ghostzoo failed")
    return time.perf_counter() - start, peak / 1024


with tempfile.TemporaryDirectory() as scratch:
    scratch = Path(scratch)
    model = seeded.fill(timm.create_model(a.model))
    save_file({k: v.contiguous() for k, v in model.state_dict().items()}, scratch / "model.safetensors")
    folder = repeated(a.folder, scratch / "all", a.pictures)
    rates = {"timm": [], "ghostzoo": []}
    for _ in range(a.rounds):
        rates["timm"].append(theirs(model, folder))
        rates["ghostzoo"].append(a.pictures / ours(scratch / "model.safetensors", folder)[0])
    medians = {name: statistics.median(values) for name, values in rates.items()}
    for name, values in rates.items():
        print(f"{name:9} {medians[name]:7.1f} images/s", [round(v, 1) for v in values])
    print(f"ghostzoo / timm {medians['ghostzoo'] / medians['timm']:.2f}")
    for count in (100, 1000, 10000):
        seconds, memory = ours(scratch / "model.safetensors", repeated(a.folder, scratch / str(count), count))
        print(f"{count:6} pictures: peak memory {memory:6.1f} MB, {count / seconds:6.1f} images/s")
