"""Detectors that `ghostzoo prune` made smaller, in Ultralytics' modules: their boxes beside the command's.

pip install torch==2.15.0 ultralytics==8.4.190 safetensors==0.8.0 numpy==2.4.6 pillow==13.0.0
usage: prune.py GHOSTZOO [--ratio 0.4]

The detector that ships, and each family at its scale n filled by the rule of seeded.py, pruned with `--round-to 1`. The modules take
the shapes of the pruned file; C2f and C2, whose sides may then differ, split where their first bottleneck reads. Of one image of 640x640,
whose pixels follow a rule, the 50 most confident boxes before any suppression: prints the largest difference of a side in pixels and of a
confidence.
"""
import argparse
import json
import subprocess
import tempfile
import types
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import nn
from ultralytics.nn.modules import C2, C2f

import seeded
import yolov8

SHIPPED = "yolov8n-ghostnet-bccd"
BOXES = 50


def run(command, *words):
    return subprocess.run([command, *map(str, words)], capture_output=True, text=True, check=True).stdout


def reads(block):
    """Channels that a block of convolutions reads."""
    return next(module for module in block.modules() if isinstance(module, nn.Conv2d)).in_channels


def c2(self, maps):
    """C2's forward with sides of any widths."""
    maps, count = self.cv1(maps), reads(self.m)
    first, rest = maps.split([count, maps.shape[1] - count], 1)
    return self.cv2(torch.cat([self.m(first), rest], 1))


def c2f(self, maps):
    """C2f's forward with sides of any widths."""
    maps, count = self.cv1(maps), reads(self.m)
    parts = list(maps.split([maps.shape[1] - count, count], 1))
    for block in self.m:
        parts.append(block(parts[-1]))
    return self.cv2(torch.cat(parts, 1))


def load(model, tensors):
    """A network with tensors of its names that have fewer channels."""
    for name, module in model.named_modules():
        if isinstance(module, nn.Conv2d) and f"{name}.weight" in tensors:
            weight = tensors[f"{name}.weight"].float()
            if module.groups > 1 and module.groups == module.in_channels:
                module.groups = weight.shape[0] * module.in_channels // module.out_channels
            module.out_channels, module.in_channels = weight.shape[0], weight.shape[1] * module.groups
            module.weight = nn.Parameter(weight)
            if module.bias is not None:
                module.bias = nn.Parameter(tensors[f"{name}.bias"].float())
        elif isinstance(module, nn.BatchNorm2d):
            module.weight, module.bias = (nn.Parameter(tensors[f"{name}.{key}"].float()) for key in ("weight", "bias"))
            module.running_mean, module.running_var = (tensors[f"{name}.{key}"].float() for key in ("running_mean", "running_var"))
            module.num_features = module.weight.numel()
        elif isinstance(module, (C2, C2f)):
            module.forward = types.MethodType(c2 if isinstance(module, C2) else c2f, module)
    return model.eval()


def theirs(model, pixels):
    """x1, y1, x2, y2, confidence and class of the most confident boxes."""
    images = torch.from_numpy(pixels).permute(2, 0, 1)[None].float() / 255
    with torch.no_grad():
        found = model(images)[0][0].T.double()
    centre, size, scores = found[:, :2], found[:, 2:4], found[:, 4:]
    confidence, kind = scores.max(1)
    corners = torch.cat([centre - size / 2, centre + size / 2], 1).clamp(0, 640)
    best = confidence.argsort(descending=True)[:BOXES]
    return torch.cat([corners, confidence[:, None], kind[:, None]], 1)[best].numpy()


def ours(command, checkpoint, image):
    words = ["--imgsz", 640, "--conf", 0, "--iou", 1, "--max-det", BOXES, "--no-save", "--quiet", "--json", "--device", "cpu"]
    found = json.loads(run(command, "detect", image, "--model", checkpoint, *words).splitlines()[0])["detections"]
    rows = [[*(one["box"][side] for side in ("x1", "y1", "x2", "y2")), one["confidence"], one["class_id"]] for one in found]
    return np.array(rows, dtype=np.float64)


def main():
    args = argparse.ArgumentParser()
    args.add_argument("ghostzoo")
    args.add_argument("--ratio", default="0.4")
    args = args.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        row, column = np.mgrid[:640, :640]
        pixels = np.stack([(7 * row + 13 * column) % 256, (row * column // 64) % 256, (row ^ column) % 256], 2).astype(np.uint8)
        Image.fromarray(pixels).save(folder / "image.png")
        cases = [(SHIPPED, "yolov8-ghostnet", SHIPPED)]
        for family in yolov8.FAMILIES:
            model, file = seeded.fill(yolov8.build(family, "n", 3)), folder / f"{family}.safetensors"
            save_file({key: value.contiguous() for key, value in model.state_dict().items() if value.is_floating_point()}, file)
            cases.append((family, family, file))
        for name, family, source in cases:
            pruned = folder / "pruned.safetensors"
            run(args.ghostzoo, "prune", "--model", source, "--ratio", args.ratio, "--round-to", 1, "-o", pruned, "--force", "--quiet")
            model = load(yolov8.build(family, "n", 3), load_file(pruned))
            expected, found = theirs(model, pixels), ours(args.ghostzoo, pruned, folder / "image.png")
            assert found.shape == expected.shape == (BOXES, 6), (found.shape, expected.shape)
            # Equal confidences may come in another order.
            order = [rows[np.lexsort((rows[:, 0].round(2), rows[:, 1].round(2)))] for rows in (expected, found)]
            off = np.abs(order[0] - order[1])
            left = sum(parameter.numel() for parameter in model.parameters())
            print(f"{name}: {left:,} parameters left, sides within {off[:, :4].max():.1e} pixels, confidences within "
                  f"{off[:, 4].max():.1e}, classes {'the same' if not off[:, 5].any() else 'differ'}", flush=True)


main()
