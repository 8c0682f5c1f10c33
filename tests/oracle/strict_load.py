"""What `ghostzoo train` and `ghostzoo convert` write loads strictly into Ultralytics' and timm's own modules.

pip install torch==2.15.0 torchvision==0.29.2 timm==1.0.31 ultralytics==8.4.190 opencv-python-headless safetensors numpy
usage: strict_load.py            writes tests/golden/strict_load.json: names and shapes of every tensor that a strict
                                 load_state_dict asks for, as one CRC-32 per block, of the smallest model of each family
       strict_load.py GHOSTZOO   trains each of them for an epoch on images that it makes, converts each from a state
                                 dict of PyTorch's and, for the detectors, from a folded one; loads each file strictly

`num_batches_tracked` is not among them: PyTorch starts a counter that a plain state dict lacks at 0.
"""
import json
import pathlib
import subprocess
import sys
import tempfile
import zlib

import numpy as np
import safetensors.torch
import timm
import torch
from PIL import Image

import yolov8

GOLDEN = pathlib.Path(__file__).resolve().parents[1] / "golden" / "strict_load.json"
DETECTORS = {family.replace("yolov8", "yolov8n"): family for family in yolov8.FAMILIES}
CLASSIFIERS = ["ghostnet_050", "ghostnetv2_100", "ghostnetv3_050", "repghostnet_050"]
CLASSES = ["dark", "grey", "light"]


def build(name, classes):
    if name in DETECTORS:
        return yolov8.build(DETECTORS[name], "n", classes)
    return timm.create_model(name, num_classes=classes)


def needed(module):
    """Name and shape of each tensor without which a strict load fails."""
    missing = module.load_state_dict({}, strict=False).missing_keys
    return {name: list(module.state_dict()[name].shape) for name in missing}


def block(name):
    """`model.22`, `blocks.0`, or the name itself of what is in no list."""
    parts = name.split(".")
    return ".".join(parts[:2]) if parts[1].isdigit() else parts[0]


def golden():
    models = {}
    for name in [*DETECTORS, *CLASSIFIERS]:
        shapes = needed(build(name, len(CLASSES)))
        lines = {}
        for tensor, shape in sorted(shapes.items()):
            lines[block(tensor)] = lines.get(block(tensor), "") + f"{tensor} {shape}\n"
        blocks = {key: f"{zlib.crc32(text.encode()):08x}" for key, text in sorted(lines.items())}
        models[name] = {"tensors": len(shapes), "blocks": blocks}
        print(name, len(shapes), "tensors in", len(blocks), "blocks")
    text = json.dumps({"classes": len(CLASSES), "models": models}, indent=0)
    GOLDEN.write_text(text + "\n")
    print(GOLDEN, GOLDEN.stat().st_size, "bytes")


def pictures(folder):
    """Squares on noise, labelled for both tasks."""
    random = np.random.default_rng(0)
    for index in range(12):
        kind, split = index % 3, "train" if index < 9 else "val"
        picture = random.integers(100, 140, (64, 64, 3), dtype=np.uint8)
        picture[16:48, 16:48] = [10, 120, 250][kind]
        for path in (f"detect/images/{split}", f"detect/labels/{split}", f"classify/{split}/{CLASSES[kind]}"):
            (folder / path).mkdir(parents=True, exist_ok=True)
        for path in (f"detect/images/{split}", f"classify/{split}/{CLASSES[kind]}"):
            Image.fromarray(picture).save(folder / path / f"{index}.png")
        (folder / f"detect/labels/{split}/{index}.txt").write_text(f"{kind} 0.5 0.5 0.5 0.5\n")
    names = ", ".join(CLASSES)
    (folder / "detect/data.yaml").write_text(f"train: images/train\nval: images/val\nnames: [{names}]\n")


def load(module, path, what):
    state = safetensors.torch.load_file(path)
    module.load_state_dict(state, strict=True)
    own = {k: list(v.shape) for k, v in module.state_dict().items() if not k.endswith("num_batches_tracked")}
    assert own == {k: list(v.shape) for k, v in state.items()}
    print(f"{what}: {len(state)} tensors, strict=True: all keys matched", flush=True)


def check(ghostzoo):
    ghostzoo = str(pathlib.Path(ghostzoo).resolve())
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        pictures(folder)

        def run(*arguments):
            ran = subprocess.run([ghostzoo, *arguments, "--quiet"], cwd=folder, capture_output=True, text=True)
            assert ran.returncode == 0, (arguments, ran.stderr)

        for name in [*DETECTORS, *CLASSIFIERS]:
            module = build(name, len(CLASSES))
            task, data = ("detect", "detect/data.yaml") if name in DETECTORS else ("classify", "classify")
            small = ["--imgsz", "64", "--batch", "3", "--epochs", "1", "--plots", "false", "--pretrained", "false"]
            run("train", task, "--model", name, "--data", data, "--name", name, *small)
            for file in ("last", "best"):
                load(module, folder / f"runs/{task}/{name}/weights/{file}.safetensors", f"{name}, trained, {file}")
            torch.save(module.state_dict(), folder / "state.pth")
            run("convert", "state.pth", "converted.safetensors", "--force")
            load(module, folder / "converted.safetensors", f"{name}, converted")
            if name in DETECTORS:
                short = {k: v for k, v in module.state_dict().items() if not k.endswith("dfl.conv.weight")}
                torch.save(short, folder / "short.pth")
                run("convert", "short.pth", "completed.safetensors", "--force")
                load(module, folder / "completed.safetensors", f"{name}, completed")
                run("convert", "state.pth", "folded.safetensors", "--fuse", "--force")
                load(module.eval().fuse(verbose=False), folder / "folded.safetensors", f"{name}, folded")


if __name__ == "__main__":
    golden() if len(sys.argv) == 1 else check(sys.argv[1])
