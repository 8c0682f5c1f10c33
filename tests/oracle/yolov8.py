"""Golden outputs of YOLOv8 networks: what Ultralytics computes from the seeded weights of seeded.py.

pip install torch==2.15.0 ultralytics==8.4.190 numpy
usage: yolov8.py            writes tests/golden/yolov8.json
       yolov8.py summary    prints layers, parameters and GFLOPs of every shipped architecture
The script fails where a golden value could not tell a wrong network from a right one: see `sample`.
"""
import json
import pathlib
import sys
import warnings

warnings.filterwarnings("ignore")
import numpy as np
import torch
import ultralytics.nn.tasks as tasks
from ultralytics.nn.modules.block import C2f, GhostBottleneck

import seeded

ROOT = pathlib.Path(__file__).parents[2]
FAMILIES = ["", "-p2", "-p6", "-ghost", "-ghost-p2", "-ghost-p6", "-ghostnet"]
SAMPLES = 40


class C2fGhost(C2f):
    """C2f whose inner blocks are ghost bottlenecks; Ultralytics has no such module, the shipped yaml names it."""

    def __init__(self, c1, c2, n=1, shortcut=True, g=1, e=0.5):
        super().__init__(c1, c2, n, shortcut, g, e)
        hidden = int(c2 * e)
        self.m = torch.nn.Sequential(*(GhostBottleneck(hidden, hidden) for _ in range(n)))


def build(name):
    import yaml

    scale, family = name[6], name[7:]
    if family != "-ghostnet":
        return tasks.DetectionModel(f"yolov8{scale}{family}.yaml", verbose=False)
    definition = yaml.safe_load((ROOT / "candle-yolov8/models/yolov8-ghostnet.yaml").read_text().replace("C2fGhost", "C3Ghost"))
    original, tasks.C3Ghost = tasks.C3Ghost, C2fGhost
    try:
        return tasks.DetectionModel({**definition, "scale": scale}, verbose=False)
    finally:
        tasks.C3Ghost = original


def sample(name, values):
    """Evenly spaced values of one output, its largest magnitude and its spread over positions."""
    values = values.astype(np.float64)
    largest = np.abs(values).max()
    spread = (values.max(axis=-1) - values.min(axis=-1)).max() if values.shape[-1] > 1 else largest
    assert np.isfinite(values).all() and spread >= 0.1 * largest, f"{name}: spread {spread} of {largest}"
    flat = values.ravel()
    index = np.linspace(0, flat.size - 1, min(SAMPLES, flat.size)).round().astype(int)
    return {"shape": list(values.shape), "max": largest, "spread": spread, "values": [float(f"{flat[i]:.8g}") for i in index]}


def golden(name, h, w):
    model = seeded.fill(build(name))
    # The seeded bins of the DFL are its constant; anchors are made anew for each size.
    xs = torch.from_numpy(seeded.uniform("input", 2 * 3 * h * w).astype(np.float32).reshape(2, 3, h, w) * 0.5 + 0.5)
    with torch.no_grad():
        decoded, raw = model(xs)
    levels = raw if isinstance(raw, (list, tuple)) else raw_levels(raw, h, w, model)
    outputs = {f"level{i}": sample(f"{name} level {i}", level.flatten(2).numpy()) for i, level in enumerate(levels)}
    outputs["boxes"] = sample(f"{name} boxes", decoded[:, :4].numpy())
    outputs["scores"] = sample(f"{name} scores", decoded[:, 4:].numpy())
    print(name, (h, w), {k: (round(v["max"], 3), round(v["spread"] / v["max"], 2)) for k, v in outputs.items()}, flush=True)
    return {"model": name, "size": [h, w], "outputs": outputs}


def raw_levels(raw, h, w, model):
    """Levels (n, 64 + nc, h, w) from the dict of flat boxes and scores that newer releases return."""
    flat, levels, start = torch.cat([raw["boxes"], raw["scores"]], 1), [], 0
    for stride in model.stride.int().tolist():
        size = (h // stride) * (w // stride)
        levels.append(flat[:, :, start : start + size].unflatten(2, (h // stride, w // stride)))
        start += size
    assert start == flat.shape[2]
    return levels


def main():
    cases = []
    for family in FAMILIES:
        step = 64 if "p6" in family else 32
        cases.append((f"yolov8n{family}", 2 * step, 3 * step))
        cases.append((f"yolov8n{family}", 4 * step, 2 * step))
        cases += [(f"yolov8{scale}{family}", step * 2, step * 2) for scale in "smlx"]
    rows = [json.dumps(golden(*case), separators=(",", ":")) for case in cases]
    (ROOT / "tests/golden/yolov8.json").write_text("[\n" + ",\n".join(rows) + "\n]\n")


def summary():
    from ultralytics.utils.torch_utils import get_flops

    for family in FAMILIES:
        for scale in "nsmlx":
            model = build(f"yolov8{scale}{family}")
            layers, parameters = len(list(model.modules())), sum(p.numel() for p in model.parameters())
            print(f"yolov8{scale}{family}", layers, parameters, round(get_flops(model, 640), 1), flush=True)


if __name__ == "__main__":
    summary() if sys.argv[1:] == ["summary"] else main()
