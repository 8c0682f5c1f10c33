"""Detection metrics of pycocotools and Ultralytics on the same boxes: tests/golden/metrics/*.json.

pip install ultralytics==8.4.190 pycocotools==2.0.11
usage: metrics.py BCCD      where BCCD is the folder of the blood-cell data set (for its instances_val.json, MIT)

Each file holds `truths` [image, class, x, y, w, h, area, crowd], `detections` [image, class, x, y, w, h, score] and what the
references make of them. `ultralytics` is left out where scores are equal, since it sorts unstably, and where there are
crowds, which it does not know.
"""
import contextlib
import io
import json
import sys
from pathlib import Path

import numpy as np
import torch
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from ultralytics.engine.validator import BaseValidator
from ultralytics.utils.metrics import ConfusionMatrix, ap_per_class, box_iou

OUT = Path(__file__).parents[1] / "golden" / "metrics"
CONFUSION_CONF = 0.25


def coco(truths, detections, classes):
    images = max([t[0] for t in truths] + [d[0] for d in detections]) + 1
    data = COCO()
    data.dataset = {
        "images": [{"id": i} for i in range(images)],
        "categories": [{"id": c} for c in range(classes)],
        "annotations": [
            {"id": i + 1, "image_id": t[0], "category_id": t[1], "bbox": t[2:6], "area": t[6], "iscrowd": t[7]}
            for i, t in enumerate(truths)
        ],
    }
    with contextlib.redirect_stdout(io.StringIO()):
        data.createIndex()
        rows = [{"image_id": d[0], "category_id": d[1], "bbox": d[2:6], "score": d[6]} for d in detections]
        results = data.loadRes(rows) if rows else COCO()
        if not rows:
            results.dataset = {**data.dataset, "annotations": []}
            results.createIndex()
        evaluation = COCOeval(data, results, "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    by_class = []
    for c in range(classes):
        precision = evaluation.eval["precision"][:, :, c, 0, 2]
        by_class.append([float(p[p > -1].mean()) if (p > -1).any() else -1.0 for p in (precision, precision[0])])
    return {"stats": [float(s) for s in evaluation.stats], "by_class": by_class}


def xyxy(rows):
    boxes = torch.tensor([r[2:6] for r in rows], dtype=torch.float32).reshape(-1, 4)
    return torch.cat((boxes[:, :2], boxes[:, :2] + boxes[:, 2:]), 1)


def ultralytics(truths, detections, classes):
    matcher = BaseValidator.__new__(BaseValidator)
    matcher.iouv = torch.linspace(0.5, 0.95, 10)
    confusion = ConfusionMatrix(names={c: str(c) for c in range(classes)})
    tp, conf, pred, target = [], [], [], []
    for image in range(max([t[0] for t in truths] + [d[0] for d in detections]) + 1):
        t = [row for row in truths if row[0] == image]
        d = sorted((row for row in detections if row[0] == image), key=lambda row: -row[6])
        t_cls, d_cls = torch.tensor([r[1] for r in t]), torch.tensor([r[1] for r in d])
        scores = torch.tensor([r[6] for r in d], dtype=torch.float32)
        confusion.process_batch(
            {"cls": d_cls, "conf": scores, "bboxes": xyxy(d)}, {"cls": t_cls, "bboxes": xyxy(t)}, conf=CONFUSION_CONF
        )
        right = np.zeros((len(d), 10), bool)
        if t and d:
            right = matcher.match_predictions(d_cls, t_cls, box_iou(xyxy(t), xyxy(d))).numpy()
        tp.append(right), conf.append(scores.numpy()), pred.append(d_cls.numpy()), target.append(t_cls.numpy())
    tp, conf, pred, target = (np.concatenate(x) for x in (tp, conf, pred, target))
    _, _, p, r, f1, ap, seen, p_curve, r_curve, f1_curve, _, pr_curve = ap_per_class(tp, conf, pred, target)
    thin = lambda curve: [[round(float(v), 9) for v in row[::37]] for row in curve]
    return {
        "classes": seen.tolist(),
        "precision": p.tolist(),
        "recall": r.tolist(),
        "f1": f1.tolist(),
        "ap": ap.tolist(),
        "curves": {"precision": thin(p_curve), "recall": thin(r_curve), "f1": thin(f1_curve), "pr": thin(pr_curve)},
        "confusion": confusion.matrix.astype(int).tolist(),
    }


def found(rng, truths, classes, size, miss=0.15, noise=0.08, extra=0.6):
    """Detections that a mediocre detector could make of the truths; all scores differ."""
    rows = []
    for image, cls, x, y, w, h, *_ in truths:
        for _ in range(0 if rng.random() < miss else 1 + (rng.random() < 0.3)):
            dx, dy, dw, dh = rng.normal(0, noise, 4)
            box = [x + dx * w, y + dy * h, w * np.exp(dw), h * np.exp(dh)]
            rows.append([image, cls if rng.random() < 0.9 else int(rng.integers(classes)), *box, rng.beta(4, 2)])
    images = max((t[0] for t in truths), default=0) + 1
    for _ in range(int(extra * len(truths))):
        w, h = np.exp(rng.uniform(np.log(8), np.log(size / 2), 2))
        box = [rng.uniform(0, size - w), rng.uniform(0, size - h), w, h]
        rows.append([int(rng.integers(images)), int(rng.integers(classes)), *box, rng.beta(1.5, 4)])
    ranks = np.argsort(np.argsort([r[6] for r in rows]))
    scores = [round((int(rank) + 1) / (len(rows) + 1), 6) for rank in ranks]
    return [[r[0], r[1], *(round(float(v), 2) for v in r[2:6]), score] for r, score in zip(rows, scores)]


def scene(rng, images, classes, per_image, size, crowd=0.0):
    rows = []
    for image in range(images):
        for _ in range(int(rng.integers(per_image + 1))):
            w, h = np.exp(rng.uniform(np.log(6), np.log(size / 1.5), 2)).round(2)
            x, y = (round(rng.uniform(0, size - s), 2) for s in (w, h))
            area = w * h * rng.uniform(0.4, 1)
            rows.append([image, int(rng.integers(classes)), *map(float, (x, y, w, h)), round(float(area), 2), int(rng.random() < crowd)])
    return rows


def main():
    bccd = json.loads((Path(sys.argv[1]) / "instances_val.json").read_text())
    real = [[a["image_id"], a["category_id"], *a["bbox"], a["area"], a["iscrowd"]] for a in bccd["annotations"]]
    ids = {i: n for n, i in enumerate(sorted({t[0] for t in real}))}
    real = [[ids[t[0]], *t[1:]] for t in real]
    rng = np.random.default_rng(0)
    plain, crowds, many = scene(rng, 20, 5, 8, 640), scene(rng, 20, 4, 10, 640, 0.2), scene(rng, 2, 1, 150, 900)
    tied = [[*d[:6], round(d[6], 1)] for d in found(rng, crowds, 4, 640)]
    few = [t for t in scene(rng, 10, 6, 6, 640) if t[1] not in (1, 4)]
    cases = {
        "bccd": (real, found(rng, real, 3, 480, extra=0.3), 3),
        "plain": (plain, found(rng, plain, 5, 640), 5),
        "crowds": (crowds, found(rng, crowds, 4, 640), 4),
        "many": (many, found(rng, many, 1, 900, extra=2), 1),
        "ties": (crowds, tied, 4),
        "nothing": (plain, [], 5),
        "absent-classes": (few, found(rng, few, 6, 640), 6),
    }
    OUT.mkdir(parents=True, exist_ok=True)
    for name, (truths, detections, classes) in cases.items():
        golden = {"classes": classes, "truths": truths, "detections": detections, "coco": coco(truths, detections, classes)}
        if detections and not any(t[7] for t in truths) and name != "ties":
            golden["ultralytics"] = ultralytics(truths, detections, classes)
        (OUT / f"{name}.json").write_text(json.dumps(golden, separators=(",", ":")) + "\n")
        print(name, len(truths), len(detections), [round(s, 4) for s in golden["coco"]["stats"]])


main()
