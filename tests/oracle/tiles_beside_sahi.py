"""`ghostzoo detect --tile` beside SAHI with Ultralytics, and `val` with and without tiles, on montages of blood-cell images.

pip install sahi==0.12.8 torch==2.15.0 ultralytics==8.4.190 opencv-python-headless==5.0.0.93 safetensors==0.8.0 numpy==2.4.6
usage: tiles_beside_sahi.py BCCD GHOSTZOO                BCCD: the folder of the blood-cell data set; the command as built
       tiles_beside_sahi.py CROPS GHOSTZOO --model FILE  `val` alone, on montages of CROPS' validation split with a detector of its own

`detect`: ten montages of 3x3 images of the validation split, 1920x1440, with the detector that ships, in three ways. Prints for
each how many boxes both have, how many are the same (of one class, with an intersection over union of 0.99), the least overlap of
those and the largest difference of their confidences. `val`: the test split (of CROPS that of validation), of half the size, 3x3 to a
montage of 960x720 (960x960).
"""
import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import cv2
import numpy as np
import torch

from tiles import shipped, sliced

MODEL = "yolov8n-ghostnet-bccd"
SAME = 0.99
# [height, width] of a tile, conf, the command's words, SAHI's options.
WAYS = [
    ([640, 640], 0.25, "--tile 640", {}),
    ([480, 512], 0.3, "--tile 480,512 --overlap 0.3 --no-whole",
     {"overlap_height_ratio": 0.3, "overlap_width_ratio": 0.3, "perform_standard_pred": False}),
    ([640, 640], 0.25, "--tile 640 --tile-merge nms --tile-metric iou",
     {"postprocess_type": "NMS", "postprocess_match_metric": "IOU"}),
]


def montage(pictures, scale):
    """Nine pictures pasted 3x3, and their rows of labels: class, centre x, centre y, width, height, as shares."""
    cells, rows = [], []
    for place, path in enumerate(pictures):
        picture = cv2.imread(str(path))
        cells.append(cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA) if scale != 1 else picture)
        for line in (path.parents[2] / "labels" / path.parent.name / f"{path.stem}.txt").read_text().splitlines():
            kind, x, y, w, h = map(float, line.split())
            rows.append([int(kind), (x + place % 3) / 3, (y + place // 3) / 3, w / 3, h / 3])
    return np.vstack([np.hstack(cells[row : row + 3]) for row in (0, 3, 6)]), rows


def overlap(a, b):
    width, height = (min(a[i + 2], b[i + 2]) - max(a[i], b[i]) for i in (0, 1))
    shared = max(width, 0) * max(height, 0)
    area = lambda box: (box[2] - box[0]) * (box[3] - box[1])
    return shared / (area(a) + area(b) - shared)


def compare(theirs, ours):
    """How many of their rows have one of ours each, the least overlap, the largest difference of confidences."""
    left, overlaps, differences = list(ours), [], []
    for row in theirs:
        best = max((r for r in left if r[5] == row[5]), key=lambda r: overlap(r, row), default=None)
        if best and overlap(best, row) >= SAME:
            left.remove(best)
            overlaps.append(overlap(best, row))
            differences.append(abs(best[4] - row[4]))
    return len(overlaps), min(overlaps, default=1.0), max(differences, default=0.0)


def run(command, words, model=MODEL):
    out = subprocess.run([command, *words, "--model", model, "--json", "--quiet"], capture_output=True, text=True, check=True)
    return [json.loads(line) for line in out.stdout.splitlines()]


def beside(bccd, command, folder):
    pictures = sorted((bccd / "images" / "val").glob("*.jpg"))
    paths = []
    for number in range(10):
        # Each begins elsewhere; two are in two montages.
        image, _ = montage([pictures[(number * 9 + place) % len(pictures)] for place in range(9)], 1)
        paths.append(folder / f"{number}.png")
        cv2.imwrite(str(paths[-1]), image)
    checkpoint = shipped(folder)
    for size, conf, words, options in WAYS:
        found = run(command, ["detect", *map(str, paths), *words.split(), "--conf", str(conf), "--no-save"])
        print(f"detect {words} --conf {conf}")
        total = [0, 0, 0]
        for path, line in zip(paths, found):
            ours = [
                [*(float(d["box"][side]) for side in ("x1", "y1", "x2", "y2")), d["confidence"], d["class_id"]]
                for d in line["detections"]
            ]
            theirs = sliced(checkpoint, cv2.imread(str(path)), size, conf=conf, **options)
            same, least, most = compare(theirs, ours)
            total = [t + n for t, n in zip(total, (len(theirs), len(ours), same))]
            print(f"  {path.name}: SAHI {len(theirs)}, ours {len(ours)}, same {same}, overlap {least:.5f}, confidence {most:.1e}")
        print("  in all: SAHI {}, ours {}, same {}".format(*total), flush=True)


def measured(source, split, command, model, folder):
    pictures = sorted((source / "images" / split).glob("*.jpg"))
    for kind in ("images", "labels"):
        (folder / kind).mkdir()
    for first in range(0, len(pictures) // 9 * 9, 9):
        image, rows = montage(pictures[first : first + 9], 0.5)
        cv2.imwrite(str(folder / "images" / f"{first}.png"), image)
        (folder / "labels" / f"{first}.txt").write_text("".join(" ".join(map(str, row)) + "\n" for row in rows))
    described = (source / "data.yaml").read_text()
    data = folder / "data.yaml"
    data.write_text(f"path: {folder}\ntrain: images\nval: images\n{described[described.index('names:'):]}")
    names = ["AP", "AP50", "APs", "APm", "APl", "ARs", "ARm", "ARl"]
    for words in ("", "--imgsz 960", "--tile 320", "--tile 320 --no-whole", "--tile 320 --tile-merge nmm --tile-metric ios"):
        [row] = run(command, ["val", "--data", str(data), "--plots", "false", *words.split()], model)
        values = [row["ultralytics"]["map50"], row["ultralytics"]["map50_95"], *(row["coco"][name] for name in names)]
        cells = zip(["mAP50", "mAP50-95", *names], values)
        print(f"val {words or 'without tiles'}: " + ", ".join(f"{name} {value:.3f}" for name, value in cells), flush=True)


def main():
    args = argparse.ArgumentParser()
    args.add_argument("data", type=Path)
    args.add_argument("ghostzoo", type=Path)
    args.add_argument("--model")
    args = args.parse_args()
    source, command = args.data.resolve(), args.ghostzoo.resolve()
    torch.set_num_threads(1)
    if args.model is None:
        with tempfile.TemporaryDirectory() as folder:
            beside(source, command, Path(folder))
    split, model = ("test", MODEL) if args.model is None else ("val", args.model)
    with tempfile.TemporaryDirectory() as folder:
        measured(source, split, command, model, Path(folder))


main()
