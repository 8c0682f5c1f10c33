#!/bin/sh
# pycocotools 2.0.11: an annotation whose id is 0 is never found, and one whose area is negative does not count.
#
# Both are perfect detections of valid boxes. The evaluator marks a detection as matched by storing the id of its annotation, and
# later asks whether that is non-zero; and it ignores annotations whose `area` lies outside 0 to 1e10, where tools that compute
# areas of polygons with a sign write a negative one. Nothing is said in either case.
# Exits non-zero if that changes.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q pycocotools==2.0.11 numpy==2.4.1
"$folder/venv/bin/python" - <<'P'
import contextlib, io, sys
from importlib.metadata import version
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval


def ap50(first_id, sign):
    """Two boxes in two images, each detected exactly; the first has this id, the second an area of this sign."""
    truth = COCO()
    box = [10, 10, 40, 40]
    rows = [dict(id=i + first_id, image_id=i + 1, category_id=1, bbox=box, area=sign ** i * 1600, iscrowd=0) for i in range(2)]
    images = [dict(id=i, file_name=f"{i}.png", width=100, height=100) for i in (1, 2)]
    truth.dataset = dict(images=images, annotations=rows, categories=[dict(id=1, name="a")])
    with contextlib.redirect_stdout(io.StringIO()):
        truth.createIndex()
        found = truth.loadRes([dict(image_id=i, category_id=1, bbox=box, score=0.9) for i in (1, 2)])
        run = COCOeval(truth, found, "bbox")
        run.evaluate(), run.accumulate(), run.summarize()
    return round(float(run.stats[1]), 4), int(sum(1 for e in run.evalImgs if e and e["aRng"] == [0, 1e10] for i in e["gtIgnore"] if not i))


seen = {name: ap50(*case) for name, case in {"ids 1, 2": (1, 1), "ids 0, 1": (0, 1), "second area negative": (1, -1)}.items()}
print("pycocotools", version("pycocotools"))
for name, (value, counted) in seen.items():
    print(f"{name}: AP50 {value:.4f}, {counted} annotations count")
expected = {"ids 1, 2": (1.0, 2), "second area negative": (1.0, 1)}
same = all(seen[name] == values for name, values in expected.items()) and seen["ids 0, 1"][0] < 0.6 and seen["ids 0, 1"][1] == 2
sys.exit(0 if same else "the behaviour changed")
P
