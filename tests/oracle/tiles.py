"""Where SAHI lays tiles, how it merges what they show, and what it finds: tests/golden/tiles/{positions,merge,detector}.json.

pip install sahi==0.12.8 torch==2.15.0 ultralytics==8.4.190 opencv-python-headless==5.0.0.93 safetensors==0.8.0 numpy==2.4.6
usage: tiles.py

`positions` holds [height, width] of an image and of a tile, the overlap, and left, top, right, bottom of each tile. `merge` holds
`predictions` [x1, y1, x2, y2, score, class], all exact in f32, and the `results` of SAHI's postprocess for several options, in its
order: class by class for GREEDYNMM, the best first for NMS. `detector` holds `rows` [x1, y1, x2, y2, score, class] that SAHI has of
the image of blood cells with the detector that ships, as Ultralytics runs it.
"""
import json
import tempfile
from pathlib import Path

import cv2
import numpy as np
import torch
from safetensors import safe_open
from sahi import AutoDetectionModel
from sahi.predict import get_sliced_prediction
from sahi.postprocess.backends import set_postprocess_backend
from sahi.postprocess.combine import GreedyNMMPostprocess, NMSPostprocess
from sahi.prediction import ObjectPrediction
from sahi.slicing import get_slice_bboxes

import yolov8
from common import write

ROOT = Path(__file__).resolve().parents[2]
GOLDEN = ROOT / "tests" / "golden" / "tiles"
CELLS = ROOT / "ghostzoo" / "assets" / "BloodImage_00062.jpg"
SHIPPED = ROOT / "weights" / "shipped" / "yolov8n-ghostnet-bccd.safetensors"
MERGES = {"greedy_nmm": GreedyNMMPostprocess, "nms": NMSPostprocess}
# Most tiles of an image whose positions are kept.
MOST = 80


def positions(random):
    cases = [
        ([480, 640], [640, 640], 0.2),
        ([1080, 1920], [640, 640], 0.2),
        ([1280, 1280], [640, 640], 0.0),
        ([1281, 1279], [640, 640], 0.0),
        ([640, 640], [640, 640], 0.5),
        ([641, 640], [640, 640], 0.5),
        ([1, 1], [640, 640], 0.2),
        ([5, 7], [1, 1], 0.9),
        ([9, 31], [4, 8], 0.75),
        ([100, 90], [10, 30], 0.7),
        ([700, 700], [100, 100], 0.29),
        ([600, 4000], [512, 512], 0.99),
    ]
    while len(cases) < 120:
        image, tile = random.integers(1, 3000, 2).tolist(), random.integers(1, 1500, 2).tolist()
        cases.append((image, tile, float(random.choice([0, 0.1, 0.2, 0.25, 0.3, 0.5, 0.7, round(random.random(), 3)]))))
    for image, tile, overlap in cases:
        boxes = get_slice_bboxes(*image, *tile, False, overlap, overlap)
        if len(boxes) <= MOST:
            yield {"image": image, "tile": tile, "overlap": overlap, "boxes": boxes}


def predictions(random, count, objects, classes, levels, step):
    """Boxes about a few objects, some of them cut as by the edge of a tile, on a grid of `step` pixels; scores on one of `levels`."""
    centre, half = random.uniform(40, 600, (objects, 2)), random.uniform(6, 40, (objects, 2))
    rows = []
    while len(rows) < count:
        which = int(random.integers(objects))
        low, high = (centre[which] + sign * half[which] * random.uniform(0.8, 1.2, 2) for sign in (-1, 1))
        if random.random() < 0.5:
            axis = int(random.integers(2))
            edge = random.uniform(low[axis], high[axis])
            (low if random.random() < 0.5 else high)[axis] = edge
        box = np.concatenate((low, high))
        box = (np.round(box / step) * step if step else box).astype(np.float32)
        score = random.random() if levels is None else random.integers(1, levels) / levels
        kind = which % classes if random.random() < 0.8 else int(random.integers(classes))
        if box[0] < box[2] and box[1] < box[3]:
            rows.append([*map(float, box), float(np.float32(score)), kind])
    return rows


def merged(rows, merge, metric, threshold, agnostic):
    found = [ObjectPrediction(bbox=r[:4], score=np.float32(r[4]), category_id=r[5], category_name=str(r[5])) for r in rows]
    found = MERGES[merge](match_threshold=threshold, match_metric=metric, class_agnostic=agnostic)(found)
    rows = [[*map(float, p.bbox.to_xyxy()), float(p.score.value), p.category.id] for p in found]
    return {"merge": merge, "metric": metric.lower(), "threshold": threshold, "agnostic": agnostic, "rows": rows}


def merges(random):
    for count, objects, classes, levels, step in [
        (1, 1, 1, None, 0),
        (2, 1, 1, None, 0),
        (60, 8, 3, None, 0),
        (60, 12, 2, 16, 0.5),
        (80, 10, 1, 8, 8),
        (90, 30, 5, 4, 4),
    ]:
        rows = predictions(random, count, objects, classes, levels, step)
        options = [
            (merge, metric, threshold, agnostic)
            for merge in MERGES for metric in ("IOS", "IOU") for threshold in (0.5, 0.3) for agnostic in (False, True)
        ]
        yield {"predictions": rows, "results": [merged(rows, *option) for option in options]}
    # Past 2,000 boxes SAHI takes another way to the same.
    rows = predictions(random, 2100, 150, 2, 64, 1)
    yield {"predictions": rows, "results": [merged(rows, merge, "IOS", 0.5, True) for merge in MERGES]}


def shipped(folder):
    """The detector that ships, as a checkpoint of Ultralytics' in `folder`."""
    file = safe_open(SHIPPED, "pt")
    said = json.loads(file.metadata()["ghostzoo"])
    model = yolov8.build("yolov8-ghostnet", "n", said["nc"])
    missing, unexpected = model.load_state_dict({key: file.get_tensor(key).float() for key in file.keys()}, strict=False)
    # Counters, and the numbers 0 to 15 of which the boxes' sides are means.
    missing = [key for key in missing if not key.endswith(("num_batches_tracked", "dfl.conv.weight"))]
    assert not (missing or unexpected), (missing, unexpected)
    model.names = dict(enumerate(said["names"]))
    model.args = {"imgsz": said["imgsz"], "task": "detect"}
    path = Path(folder) / "shipped.pt"
    torch.save({"model": model, "ema": None, "train_args": model.args}, path)
    return path


def sliced(checkpoint, image, size, imgsz=None, conf=0.25, **options):
    """Rows of what SAHI finds in an image of BGR with tiles of `size` = [height, width]."""
    detector = AutoDetectionModel.from_pretrained(
        model_type="ultralytics", model_path=str(checkpoint), confidence_threshold=conf, device="cpu", image_size=imgsz
    )
    found = get_sliced_prediction(image[..., ::-1].copy(), detector, *size, verbose=0, **options).object_prediction_list
    return [[*map(float, p.bbox.to_xyxy()), float(p.score.value), p.category.id] for p in found]


def detections():
    image = cv2.imread(str(CELLS))
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = shipped(folder)
        for size, imgsz, conf, overlap, whole, merge in [
            ([640, 640], None, 0.25, 0.2, True, None),
            ([240, 320], None, 0.25, 0.2, True, None),
            ([300, 280], 320, 0.3, 0.4, False, None),
            ([240, 320], None, 0.25, 0.2, True, "NMS"),
            ([240, 240], 256, 0.01, 0.1, True, None),
        ]:
            options = {"overlap_height_ratio": overlap, "overlap_width_ratio": overlap, "perform_standard_pred": whole}
            rows = sliced(checkpoint, image, size, imgsz, conf, **options, **({"postprocess_type": merge} if merge else {}))
            yield {
                "tile": size, "imgsz": imgsz, "conf": conf, "overlap": overlap, "whole": whole, "nms": merge == "NMS",
                "rows": [[round(value, 4) for value in row[:4]] + [round(row[4], 6), row[5]] for row in rows],
            }


def main():
    set_postprocess_backend("numpy")
    GOLDEN.mkdir(exist_ok=True)
    write(GOLDEN / "positions.json", list(positions(np.random.default_rng(0))))
    write(GOLDEN / "merge.json", list(merges(np.random.default_rng(1))))
    torch.set_num_threads(1)
    write(GOLDEN / "detector.json", list(detections()))


if __name__ == "__main__":
    main()
