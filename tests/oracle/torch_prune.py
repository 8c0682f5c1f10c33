"""A YOLOv8 checkpoint of ours pruned by torch-pruning, as a checkpoint that `ghostzoo` trains on.

pip install torch==2.15.0 ultralytics==8.4.190 torch-pruning==1.6.1 safetensors==0.8.0
usage: torch_prune.py GHOSTZOO CHECKPOINT -o FILE --gflops G [--imgsz 320] [--family yolov8-ghostnet] [--scale n]

Group magnitudes of L2 over the whole network at once, layers of multiples of eight channels, a tenth of each stays, as
`ghostzoo prune --criterion l2 --round-to 8` has it; the outputs' convolutions stay whole. torch-pruning 1.6.1 has no form for the cut
of C2f's map in two, so C2f makes its two sides by a convolution each, which are one in the file again. The least ratio of a
search by halves that leaves no more than G GFLOPs, as `ghostzoo summary` counts them.
"""
import argparse
import copy
import json
import subprocess
import sys
from pathlib import Path

import torch
import torch_pruning
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import nn
from ultralytics.nn.modules import C2f
from ultralytics.nn.modules.block import DFL

import yolov8

STEPS = 9


class Sides(nn.Module):
    """C2f whose first convolution is two: of the side that stays, and of the one that the blocks read."""

    def __init__(self, block):
        super().__init__()
        for name, half in (("stays", slice(0, block.c)), ("read", slice(block.c, None))):
            convolution = copy.deepcopy(block.cv1)
            convolution.conv.weight = nn.Parameter(block.cv1.conv.weight[half].clone())
            convolution.conv.out_channels = block.c
            norm = nn.BatchNorm2d(block.c, eps=block.cv1.bn.eps, momentum=block.cv1.bn.momentum)
            norm.load_state_dict({key: value[half] if value.ndim else value for key, value in block.cv1.bn.state_dict().items()})
            convolution.bn = norm
            setattr(self, name, convolution)
        self.cv2, self.m = block.cv2, block.m
        self.i, self.f, self.type = block.i, block.f, block.type

    def forward(self, maps):
        parts = [self.stays(maps), self.read(maps)]
        for block in self.m:
            parts.append(block(parts[-1]))
        return self.cv2(torch.cat(parts, 1))


def network(path, family, scale, classes):
    model = yolov8.build(family, scale, classes)
    missing, unknown = model.load_state_dict({key: value.float() for key, value in load_file(path).items()}, strict=False)
    assert not unknown and all(key.endswith("num_batches_tracked") for key in missing), (missing, unknown)
    for place, block in enumerate(model.model):
        if isinstance(block, C2f):
            model.model[place] = Sides(block)
    model.eval()
    # The maps of each level, not boxes.
    model.model[-1].training = True
    return model


def tensors(model):
    """Values under the names of the whole network: sides are put together."""
    state = {key: value for key, value in model.state_dict().items() if value.is_floating_point()}
    found = {}
    for key, value in state.items():
        if ".read." in key:
            continue
        if ".stays." in key:
            value = torch.cat([value, state[key.replace(".stays.", ".read.")]])
        found[key.replace(".stays.", ".cv1.")] = value.contiguous()
    return found


def pruned(model, ratio):
    model = copy.deepcopy(model)
    detect = model.model[-1]
    kept = [module for module in model.modules() if isinstance(module, DFL)]
    kept += [branch[-1] for level in (detect.cv2, detect.cv3) for branch in level]
    for parameter in model.parameters():
        parameter.requires_grad_(True)
    pruner = torch_pruning.pruner.BasePruner(
        model, torch.zeros(1, 3, 64, 64), importance=torch_pruning.importance.GroupMagnitudeImportance(p=2), global_pruning=True,
        pruning_ratio=ratio, max_pruning_ratio=0.9, round_to=8, ignored_layers=kept, output_transform=leaves,
    )
    pruner.step()
    return model


def leaves(found):
    """The tensors of nested dictionaries and lists."""
    if isinstance(found, torch.Tensor):
        return [found]
    return [leaf for part in (found.values() if isinstance(found, dict) else found) for leaf in leaves(part)]


def main():
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument("ghostzoo")
    args.add_argument("checkpoint", type=Path)
    args.add_argument("-o", "--output", required=True, type=Path)
    args.add_argument("--gflops", required=True, type=float)
    args.add_argument("--imgsz", default=320, type=int)
    args.add_argument("--family", default="yolov8-ghostnet")
    args.add_argument("--scale", default="n")
    args = args.parse_args()
    torch.set_num_threads(1)
    with safe_open(args.checkpoint, "pt") as file:
        metadata = file.metadata()
    known = json.loads(metadata["ghostzoo"])
    metadata["ghostzoo"] = json.dumps({**known, "pruned": True})
    whole = network(args.checkpoint, args.family, args.scale, known["nc"])

    def written(ratio):
        save_file(tensors(pruned(whole, ratio)), args.output, metadata)
        words = ["summary", args.output, "--imgsz", args.imgsz, "--json", "--quiet"]
        found = subprocess.run([args.ghostzoo, *map(str, words)], capture_output=True, text=True)
        if found.returncode:
            sys.exit(found.stderr)
        return json.loads(found.stdout)

    low, high = 0.0, 0.9
    for _ in range(STEPS):
        middle = (low + high) / 2
        low, high = (low, middle) if written(middle)["gflops"] <= args.gflops else (middle, high)
    found = written(high)
    print(json.dumps({"ratio": high, "gflops": found["gflops"], "parameters": found["parameters"]}))


main()
