"""Golden values of candle-yolov8, by Ultralytics on weights filled by the rule of seeded.py.

pip install torch==2.15.0 torchvision==0.29.2 ultralytics==8.4.190 opencv-python-headless numpy
usage: yolov8.py [family…]   writes tests/golden/yolov8/<family>.json and prints how far each output varies
       yolov8.py own         writes tests/golden/yolov8/own.json, of the yaml beside it
       yolov8.py nms         writes tests/golden/yolov8/nms.json
"""
import pathlib
import sys

import numpy as np
import torch
import torchvision
import ultralytics.nn.tasks as tasks
from ultralytics.nn.modules.block import C2f, GhostBottleneck
from ultralytics.utils.nms import non_max_suppression
from ultralytics.utils.torch_utils import get_flops

import seeded
from common import describe, rounded, variation, write

GOLDEN = pathlib.Path(__file__).resolve().parents[1] / "golden" / "yolov8"
SAMPLES = 32
FAMILIES = [
    "yolov8", "yolov8-p2", "yolov8-p6", "yolov8-ghost", "yolov8-ghost-p2", "yolov8-ghost-p6", "yolov8-ghostnet", "yolov8-ghostnet-all",
]
# Convolution and block of the head, where the backbone is of GhostConv and C2fGhost, which the parser knows as C3Ghost.
HEADS = {"yolov8-ghostnet": ("Conv", "C2f"), "yolov8-ghostnet-all": ("GhostConv", "C3Ghost")}
SCALES = {"n": [0.33, 0.25, 1024], "s": [0.33, 0.5, 1024], "m": [0.67, 0.75, 768], "l": [1.0, 1.0, 512], "x": [1.0, 1.25, 512]}


class C2fGhost(C2f):
    """C2f around ghost bottlenecks. Ultralytics' parser knows it below under the name of C3Ghost."""

    def __init__(self, c1, c2, n=1, shortcut=True, g=1, e=0.5):
        super().__init__(c1, c2, n, shortcut, g, e)
        self.m = torch.nn.ModuleList(GhostBottleneck(self.c, self.c) for _ in range(n))


def ghostnet(scale, nc, conv, block):
    """YOLOv8 with a backbone of GhostConv and C2fGhost, and this convolution and block in the head."""
    backbone = [[-1, 1, "GhostConv", [64, 3, 2]]]
    for channels, repeats in [(128, 3), (256, 6), (512, 6), (1024, 3)]:
        backbone += [[-1, 1, "GhostConv", [channels, 3, 2]], [-1, repeats, "C3Ghost", [channels, True]]]
    backbone.append([-1, 1, "SPPF", [1024, 5]])
    head = []
    for skip, channels in [(6, 512), (4, 256)]:
        up = [-1, 1, "nn.Upsample", ["None", 2, "nearest"]]
        head += [up, [[-1, skip], 1, "Concat", [1]], [-1, 3, block, [channels]]]
    for skip, channels in [(12, 512), (9, 1024)]:
        down = [-1, 1, conv, [channels // 2, 3, 2]]
        head += [down, [[-1, skip], 1, "Concat", [1]], [-1, 3, block, [channels]]]
    head.append([[15, 18, 21], 1, "Detect", ["nc"]])
    return {"nc": nc, "scales": SCALES, "scale": scale, "backbone": backbone, "head": head}


def build(family, scale, nc=80):
    if family not in HEADS:
        return tasks.DetectionModel(family.replace("yolov8", f"yolov8{scale}") + ".yaml", nc=nc, verbose=False)
    parsed_as = tasks.C3Ghost
    tasks.C3Ghost = C2fGhost
    try:
        return tasks.DetectionModel(ghostnet(scale, nc, *HEADS[family]), nc=nc, verbose=False)
    finally:
        tasks.C3Ghost = parsed_as


def picture(height, width):
    """One image (1, 3, height, width) in [0, 1): blocks of 16 x 16 pixels, and noise of half their weight."""
    coarse = seeded.uniform("blocks", 3 * height * width // 256).reshape(1, 3, height // 16, width // 16)
    coarse = coarse.repeat(16, 2).repeat(16, 3)
    noise = seeded.uniform("input", 3 * height * width).reshape(1, 3, height, width)
    return torch.from_numpy((0.5 + coarse / 3 + noise / 6).astype(np.float32))


@torch.no_grad()
def outputs(model, images):
    decoded, raw = model(images)
    named, start = {}, 0
    joint = torch.cat([raw["boxes"], raw["scores"]], 1)
    for index, features in enumerate(raw["feats"]):
        height, width = features.shape[2:]
        named[f"level{index}"] = joint[:, :, start : start + height * width].unflatten(2, (height, width))
        start += height * width
    named["boxes"], named["scores"] = decoded[:, :4], decoded[:, 4:]
    return {name: describe(values, SAMPLES, rounded) for name, values in named.items()}


def size(model):
    model.float()
    return {
        "modules": len(list(model.modules())),
        "layers": sum(not module._modules for module in model.modules()),
        "parameters": sum(p.numel() for p in model.parameters()),
        "flops": round(get_flops(model, 640) * 1e9),
        "strides": [int(s) for s in model.stride],
    }


def cases(name, model, sizes):
    """Outputs for each image size, on seeded weights, and how many of them hardly vary over positions."""
    seeded.fill(model)
    found, weak = [], 0
    for hw in sizes:
        case = {"size": list(hw), "outputs": outputs(model, picture(*hw))}
        found.append(case)
        few, report = variation(case["outputs"])
        weak += few
        print(f"{name:17} {hw}  {report}", flush=True)
    return found, weak


def own_golden():
    """A model of a user's own; its activation is Ultralytics' default from then on, so it comes last."""
    model = tasks.DetectionModel(str(GOLDEN / "own.yaml"), verbose=False)
    golden = size(model)
    golden["cases"], weak = cases("own", model, [(64, 96)])
    write(GOLDEN / "own.json", golden)
    return weak


def family_golden(family):
    """Every scale of a family: sizes, and outputs at n of two image sizes, else of one."""
    golden, weak = {"family": family, "scales": {}}, 0
    small = (128, 128) if "p6" in family else (64, 64)
    wide = (128, 192) if "p6" in family else (96, 160)
    for scale in SCALES:
        model = build(family, scale)
        entry = size(model)
        entry["cases"], few = cases(f"{family} {scale}", model, [small, wide] if scale == "n" else [small])
        weak += few
        golden["scales"][scale] = entry
    golden["classes"] = {str(nc): size(build(family, "n", nc)) for nc in (1, 64)}
    write(GOLDEN / f"{family}.json", golden)
    return weak


def candidates(index, anchors, nc):
    """Predictions (4 + nc, anchors) of boxes in clusters; f32 throughout, so that Rust makes the same."""
    u = torch.from_numpy(seeded.uniform(f"nms{index}", anchors * (4 + nc)).astype(np.float32)).reshape(4 + nc, anchors)
    centres = torch.floor(u[:2] * 3) * 90 + 320 + u[2:4] * 12
    sides = u[[3, 2]] * 25 + 80
    share = (u[4:] + 1) * 0.5
    return torch.cat([centres, sides, share * share * share])


def nms_golden():
    """Which candidates Ultralytics keeps, as [anchor, class], and which of the first class torchvision's NMS keeps."""
    cases, anchors, nc = [], 300, 4
    for index, options in enumerate(
        [
            {"conf_thres": 0.25, "iou_thres": 0.7},
            {"conf_thres": 0.01, "iou_thres": 0.45, "max_det": 20},
            {"conf_thres": 0.1, "iou_thres": 0.5, "agnostic": True},
            {"conf_thres": 0.05, "iou_thres": 0.6, "classes": [1, 3]},
            {"conf_thres": 0.3, "iou_thres": 0.7, "multi_label": True},
        ]
    ):
        prediction = candidates(index, anchors, nc)
        kept = non_max_suppression(prediction[None].clone(), max_time_img=60, **options)[0]
        pairs = []
        for *_, confidence, number in kept:
            (anchor,) = (prediction[4 + int(number)] == confidence).nonzero()[:, 0].tolist()
            pairs.append([anchor, int(number)])
        boxes = torchvision.ops.box_convert(prediction[:4].T, "cxcywh", "xyxy")
        alone = torchvision.ops.nms(boxes, prediction[4], options["iou_thres"]).tolist()
        cases.append({"options": options, "kept": pairs, "torchvision": alone})
        print(options, len(pairs), len(alone))
    write(GOLDEN / "nms.json", cases)


def main():
    GOLDEN.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(2)
    wanted = sys.argv[1:] or [*FAMILIES, "nms", "own"]
    if "nms" in wanted:
        nms_golden()
    weak = sum(family_golden(family) for family in wanted if family in FAMILIES)
    if "own" in wanted:
        weak += own_golden()
    if weak:
        sys.exit(f"{weak} outputs vary by less than a tenth of their maximum")


if __name__ == "__main__":
    main()
