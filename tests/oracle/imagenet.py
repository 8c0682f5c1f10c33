"""`ghostzoo eval` beside timm on the same images and weights, for every GhostNet and RepGhostNet of timm.

pip install timm==1.0.31 torch safetensors pillow numpy
usage: imagenet.py DIR GHOSTZOO [NAME...]     DIR/val/<wnid>/*.JPEG, and the command as built

No trained weights are at hand, so each network gets the deterministic ones of seeded.py, and a classifier scaled and centred
on the images, so that many classes are predicted. Prints per variant:
  classes   classes that timm predicts
  png       largest difference of a logit on PNG copies, made by PIL: our decoder plays no part
  jpeg      images whose prediction is the same from the JPEGs, of all; largest difference of a logit
  top-1     images that each says are right, from the JPEGs
"""
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import timm
import torch
from PIL import Image
from safetensors.torch import save_file
from timm.data import create_transform, resolve_data_config

import seeded

SPREAD = 3.0


def pictures(folder):
    return sorted(p for p in (folder / "val").rglob("*") if p.suffix.lower() in (".jpeg", ".jpg", ".png"))


def png_copies(folder, out):
    for path in pictures(folder):
        copy = out / path.relative_to(folder).with_suffix(".png")
        copy.parent.mkdir(parents=True, exist_ok=True)
        Image.open(path).convert("RGB").save(copy, compress_level=1)


@torch.no_grad()
def logits(model, inputs):
    return torch.cat([model(batch) for batch in inputs.split(10)])


@torch.no_grad()
def spread(model, inputs):
    """Scales and centres the classifier, so that the images' logits differ about as much as a trained network's."""
    raw = logits(model, inputs)
    scale = SPREAD / (raw - raw.mean(0)).std()
    model.classifier.weight *= scale
    model.classifier.bias.copy_((model.classifier.bias - raw.mean(0)) * scale)


def ours(command, data, checkpoint, name, out):
    run = [command, "eval", "--data", data, "--model", checkpoint, "--arch", name, "--logits", out, "--json", "--quiet"]
    done = subprocess.run([str(x) for x in run], capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stderr)
    return np.load(out), json.loads(done.stdout)


def main():
    folder, command = Path(sys.argv[1]).resolve(), Path(sys.argv[2]).resolve()
    names = sys.argv[3:] or [n for n in timm.list_models("*ghostnet*")]
    order = sorted(p.name for p in (folder / "val").iterdir())
    wnids = (Path(__file__).parents[2] / "candle-vision/assets/imagenet_synsets.txt").read_text().split()
    assert set(order) <= set(wnids)
    jpegs = pictures(folder)
    labels = np.array([wnids.index(p.parent.name) for p in jpegs])
    with tempfile.TemporaryDirectory() as scratch:
        scratch = Path(scratch)
        png_copies(folder, scratch)
        inputs = {}
        print(f"{'model':22}{'classes':>8}{'png':>10}{'jpeg':>10}{'':>10}{'top-1':>8}{'timm':>6}")
        for name in names:
            torch.manual_seed(0)
            model = seeded.fill(timm.create_model(name))
            config = resolve_data_config({}, model=model)
            if str(config) not in inputs:
                transform = create_transform(**config)
                inputs[str(config)] = torch.stack([transform(Image.open(p).convert("RGB")) for p in jpegs])
            spread(model, inputs[str(config)])
            save_file({k: v.contiguous() for k, v in model.state_dict().items()}, scratch / "model.safetensors")
            # PIL makes the PNG copies, so they hold the pixels that it decodes from the JPEGs.
            expected = logits(model, inputs[str(config)]).numpy()
            from_png, _ = ours(command, scratch, scratch / "model.safetensors", name, scratch / "logits.npy")
            from_jpeg, row = ours(command, folder, scratch / "model.safetensors", name, scratch / "logits.npy")
            same = int((from_jpeg.argmax(1) == expected.argmax(1)).sum())
            right = int((expected.argmax(1) == labels).sum())
            gap = {"png": np.abs(from_png - expected).max(), "jpeg": np.abs(from_jpeg - expected).max()}
            classes = len(set(expected.argmax(1)))
            print(
                f"{name:22}{classes:8}{gap['png']:10.1e}{same:7}/{len(jpegs)}{gap['jpeg']:10.1e}"
                f"{round(row['top1'] * len(jpegs) / 100):8}{right:6}",
                flush=True,
            )


main()
