#!/bin/bash
# pycocotools 2.0.11: an annotation whose id is 0 can never be found. COCOeval notes a detection's match as the annotation's
# id in an array of zeros, so id 0 reads as "no match": its perfect detection counts as a false one. An annotation file whose
# ids begin at 0, which is sound JSON and which several exporters write, so lowers AP (here by one object of four: 1.00 to 0.56),
# without a word; a file of a single object falls to 0. Any other id does, 0.5 and -1 among them.
# Run: bash annotation_id_zero.sh. Exits 1 if any of this changes.
set -eu
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT; cd "$folder"
python3 -m venv venv
venv/bin/pip -q install --disable-pip-version-check pycocotools==2.0.11 numpy==2.4.6
cat > try.py <<'P'
import contextlib, importlib.metadata, io
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

print("pycocotools", importlib.metadata.version("pycocotools"))

def ap(ids):
    """AP of detections that are the objects themselves."""
    box = lambda i: [20 * i, 0, 10, 10]
    objects = [dict(id=id, image_id=1, category_id=1, bbox=box(i), area=100, iscrowd=0) for i, id in enumerate(ids)]
    found = [dict(image_id=1, category_id=1, bbox=box(i), score=0.9 - 0.1 * i) for i in range(len(ids))]
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO()
        truth.dataset = dict(images=[dict(id=1, width=640, height=640)], categories=[dict(id=1, name="thing")], annotations=objects)
        truth.createIndex()
        run = COCOeval(truth, truth.loadRes(found), "bbox")
        run.evaluate(), run.accumulate(), run.summarize()
    return round(float(run.stats[0]), 2)

rows = {str(ids): ap(ids) for ids in ([1, 2, 3, 4], [0, 1, 2, 3], [1], [0], [0.5], [-1])}
print("AP of perfect detections by the annotations' ids:", rows)
raise SystemExit(0 if list(rows.values()) == [1.0, 0.56, 1.0, 0.0, 1.0, 1.0] else "changed")
P
venv/bin/python try.py || { echo "the behaviour has changed"; exit 1; }
