"""Golden values of COCO's instances written in many ways: what pycocotools makes of the same predictions.

pip install pycocotools==2.0.11 numpy
usage: coco_forms.py   writes tests/golden/yolov8/coco_forms.json
"""
import contextlib
import copy
import io
import json
import pathlib
import tempfile

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

GOLDEN = pathlib.Path(__file__).resolve().parents[1] / "golden" / "yolov8" / "coco_forms.json"
NAMES = ["cat", "dog", "elk"]
R = np.random.default_rng(0)


def base():
    """Three images with objects, and predictions near them."""
    images = [{"id": i, "file_name": f"{i}.png", "width": 320, "height": 240} for i in (1, 2, 3)]
    annotations, predictions = [], []
    for n in range(8):
        x, y, w, h = (round(float(v), 2) for v in (*R.uniform(0, 180, 2), *R.uniform(12, 60, 2)))
        image, category = int(R.integers(1, 4)), int(R.integers(1, 4))
        annotations.append({"id": n + 1, "image_id": image, "category_id": category, "bbox": [x, y, w, h],
                            "area": round(w * h * float(R.uniform(.6, 1)), 2), "iscrowd": 0})
        if n % 5 < 4:
            box = [round(v + float(R.uniform(-3, 3)), 2) for v in (x, y, w, h)]
            predictions.append({"image_id": image, "category_id": category, "bbox": box, "score": round(float(R.uniform(.1, 1)), 4)})
        if n % 3 == 0:
            box = [round(float(v), 2) for v in R.uniform(5, 90, 4)]
            predictions.append({"image_id": image, "category_id": int(R.integers(1, 4)), "bbox": box,
                                "score": round(float(R.uniform(.1, 1)), 4)})
    categories = [{"id": i + 1, "name": name} for i, name in enumerate(NAMES)]
    return {"images": images, "annotations": annotations, "categories": categories}, predictions


def each(key, field, change):
    def edit(g):
        for row in g[key]:
            row[field] = change(row.get(field))
    return edit


def root(g, above):
    g["categories"].insert(0, {"id": 0, "name": "animals", "supercategory": "none"})
    for category in g["categories"][1:]:
        category.update({"supercategory": "animals"} if above else {})


FORMS = {
    "plain": lambda g: None,
    "width and height as 320.0": lambda g: (each("images", "width", float)(g), each("images", "height", float)(g)),
    "height as a text, width as null": lambda g: (each("images", "height", str)(g), each("images", "width", lambda _: None)(g)),
    "iscrowd as 0.0": each("annotations", "iscrowd", float),
    "iscrowd as false": each("annotations", "iscrowd", bool),
    "image_id as 1.0": each("annotations", "image_id", float),
    "category_id as 1.0": each("annotations", "category_id", float),
    "ids of annotations as 1.0": each("annotations", "id", float),
    "ids of annotations as texts": each("annotations", "id", str),
    "ids of categories as 1.0": each("categories", "id", float),
    "ids of images as 1.0": each("images", "id", float),
    "NaN and Infinity in fields that nobody reads": lambda g: g["annotations"][0].update(score=float("nan"), more=[float("-inf"), "NaN"]),
    "NaN as width": each("images", "width", lambda _: float("nan")),
    "objects in fields that nobody reads": each("images", "height", lambda _: {"pixels": [240]}),
    "an image listed twice": lambda g: g["images"].append(dict(g["images"][0])),
    "negative areas": lambda g: [a.update(area=-a["area"]) for a in g["annotations"][::3]],
    "areas above all ranges": lambda g: [a.update(area=1e11) for a in g["annotations"][::3]],
    "Roboflow's root": lambda g: root(g, True),
    "Roboflow's root, not named by the others": lambda g: root(g, False),
    "one category more": lambda g: g["categories"].append({"id": 9, "name": "owl"}),
    "crowds as 1.0": lambda g: [a.update(iscrowd=1.0) for a in g["annotations"][::4]],
}


def score(text, predictions):
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        file = pathlib.Path(folder, "t.json")
        file.write_text(text)
        truth = COCO(str(file))
        evaluation = COCOeval(truth, truth.loadRes(copy.deepcopy(predictions)), "bbox")
        evaluation.evaluate(), evaluation.accumulate(), evaluation.summarize()
    return [float(s) for s in evaluation.stats]


def main():
    plain, predictions = base()
    forms = []
    for name, edit in FORMS.items():
        changed = copy.deepcopy(plain)
        edit(changed)
        text = json.dumps(changed)
        forms.append({"name": name, "text": text, "stats": score(text, predictions)})
        print(f"{name}: {forms[-1]['stats'][:2]}")
    GOLDEN.write_text(json.dumps({"predictions": predictions, "forms": forms}) + "\n")


main()
