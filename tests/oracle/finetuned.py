"""Golden values of detectors that Ultralytics trained on from COCO's 80 classes for fewer, on weights of seeded.py.

pip install torch==2.15.0 torchvision==0.29.2 ultralytics==8.4.190 opencv-python-headless numpy
usage: finetuned.py           writes tests/golden/yolov8/finetuned.json
       finetuned.py FOLDER    also saves each network there as Ultralytics saves it, and the boxes it finds in two images
"""
import json
import pathlib
import sys

import numpy as np
import torch
import ultralytics.nn.tasks as tasks

import seeded
from common import write
from yolov8 import GOLDEN, cases, size

NETWORKS = [
    ("yolov8n", 1, (64, 64)),
    ("yolov8n", 3, (64, 96)),
    ("yolov8n-ghost", 3, (64, 96)),
    ("yolov8s-p2", 3, (64, 64)),
    ("yolov8n", 120, (64, 64)),
]
SOURCE = [f"thing {i}" for i in range(80)]


def names(nc):
    """Of the classes every second is one of the source's, in another order and writing."""
    return [f" Thing {(7 * i) % 80}" if i % 2 else f"new {i}" for i in range(nc)]


def build(name, classes):
    model = tasks.DetectionModel(name + ".yaml", nc=len(classes), verbose=False)
    model.names = dict(enumerate(classes))
    return model


def taken(source, target):
    """Tensors of `target` that start anew, and of the last class layers the source's row of each class, -1 of a new one."""
    theirs, anew, rows = source.state_dict(), [], {}
    for key, value in target.state_dict().items():
        other = theirs[key]
        if value.shape == other.shape and torch.equal(value, other):
            continue
        if value.shape[1:] == other.shape[1:] and (value.flatten(1) if value.dim() > 1 else value[:, None]).numel():
            match = [[j for j in range(len(other)) if torch.equal(row, other[j])] for row in value]
            if any(match):
                rows[key] = [found[-1] if found else -1 for found in match]
                continue
        anew.append(key)
    return anew, rows


def main():
    torch.set_num_threads(1)
    golden, weak = [], 0
    folder = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else None
    for name, nc, hw in NETWORKS:
        torch.manual_seed(0)
        source = build(name, SOURCE)
        seeded.fill(source)
        entry = {"model": name, "source": SOURCE, "names": names(nc)}
        for key, classes in (("by_name", names(nc)), ("by_place", [str(i) for i in range(nc)])):
            target = build(name, classes)
            target.load(source, verbose=False)
            anew, rows = taken(source, target)
            entry[key] = {"tensors": len(target.state_dict()), "anew": anew, "rows": rows}
        target = build(name, names(nc))
        target.load(source, verbose=False)
        if folder:
            save(target, folder, f"{name}-{nc}")
        entry |= size(target)
        entry["cases"], few = cases(f"{name} {nc}", target, [hw])
        weak += few
        golden.append(entry)
    write(GOLDEN / "finetuned.json", golden)
    if weak:
        sys.exit(f"{weak} outputs vary by less than a tenth of their maximum")


@torch.no_grad()
def save(model, folder, stem):
    """A checkpoint whose last layers find boxes nearly everywhere, and Ultralytics' boxes of it."""
    from ultralytics import YOLO

    folder.mkdir(parents=True, exist_ok=True)
    for boxes, scores in zip(model.model[-1].cv2, model.model[-1].cv3):
        boxes[-1].weight.mul_(0.1)
        boxes[-1].bias.zero_().view(4, 16)[:, 1] = 8
        scores[-1].bias.fill_(-2.0)
        scores[-1].weight.mul_(3)
    model.args = {"imgsz": 320, "task": "detect"}
    torch.save({"model": model.half(), "ema": None, "train_args": model.args}, folder / f"{stem}.pt")
    model.float()
    found = {}
    for picture in sorted((folder / "images").glob("*.jpg")):
        result = YOLO(folder / f"{stem}.pt").predict(picture, imgsz=320, conf=0.05, verbose=False)[0].boxes
        found[picture.name] = [
            [*map(float, box), float(conf), int(cls)] for box, conf, cls in zip(result.xyxy, result.conf, result.cls)
        ]
    (folder / f"{stem}.json").write_text(json.dumps(found))


if __name__ == "__main__":
    main()
