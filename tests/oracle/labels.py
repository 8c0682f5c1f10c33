"""Golden values of label files: what Ultralytics makes of each text.

pip install ultralytics==8.4.190 opencv-python-headless numpy pillow
usage: labels.py   writes tests/golden/yolov8/labels.json
"""
import json
import pathlib
import tempfile

from PIL import Image
from ultralytics.data.utils import img2label_paths, verify_image_label

GOLDEN = pathlib.Path(__file__).resolve().parents[1] / "golden" / "yolov8" / "labels.json"
NC = 3
TEXTS = [
    "", "\n \n", "0 .5 .5 .1 .1", "2 .5 .5 .1 .1\n0 .25 .5 .5 1\n", "\ufeff0 .5 .5 .1 .1\n", "0 .5 .5 .1 .1\r\n\r\n1 .5 .5 .1 .1",
    "0\t.5  .5 .1 .1", "0 1.01 .5 .1 .1", "0 -.01 .5 .1 .1", "0 1.02 .5 .1 .1", "0 -.02 .5 .1 .1", "0 .5 .5 1.01 1.01",
    "0 .5 .5 1.02 .1", "0 .5 .5 -.001 .1", "0 .5 .5 0 0", "3 .5 .5 .1 .1", "-1 .5 .5 .1 .1", "1.0 .5 .5 .1 .1", "1.5 .5 .5 .1 .1",
    "-0 .5 .5 .1 .1", "dog .5 .5 .1 .1", "0 .5 .5 .1", "0 .5 .5 .1 .1 .9", "0", "0 .5 .5 .1 .1\n0 .5 .5 .1\n",
    "0 .5 .5 .1 .1\n0 .5 .5 .1 .1\n0 .5 .5 .1 .1\n", "0 .5 .5 .1 .1\n0 .5 .5 .1 .1000000001\n", "0 .5 .5 .1 .1\n1 .5 .5 .1 .1\n",
    "0 0 .5 .1 .1\n0 -0 .5 .1 .1\n", "0 .1 .1 .5 .1 .5 .6", "1 0 0 1 0 1 1 0 1\n0 .1 .1 .5 .1 .5 .6\n",
    "0 .1 .1 .5 .1 .5 .6\n0 .1 .1 .5 .1 .5 .6\n", "0 .1 .1 .5 .1 .5 .6\n0 .5 .1 .5 .6 .1 .1\n", "0 .1 .1 .5 .1 .5 .6\n0 .5 .5 .1 .1\n",
    "0 .1 .1 .5 .1 .5 .6 .7", "0 0 0 3 0 1 1", "0 .5 .5 .1 0,1", "0 320 240 100 50", "0 .5 .5 1e-3 +.1", "0 .5 .5 inf .1",
]
# Line ends and blanks of other systems, and numbers near the limits.
TEXTS += [
    "0 .5 .5 .1 .1\r1 .5 .5 .1 .1\r2 .5 .5 .1 .1", "0 .5 .5 .1 .1\r\r\n1 .5 .5 .1 .1", "\ufeff0 .5 .5 .1 .1\r1 .5 .5 .1 .1\r",
    "0 .5 .5 .1 .1\x0b1 .5 .5 .1 .1", "0 .5 .5 .1 .1\x0c1 .5 .5 .1 .1", "0 .5 .5 .1 .1\x1c1 .5 .5 .1 .1\x1d2 .5 .5 .1 .1\x1e",
    "0 .5 .5 .1 .1\x851 .5 .5 .1 .1", "0 .5 .5 .1 .1\u20281 .5 .5 .1 .1\u20292 .5 .5 .1 .1", "0\x1f.5 .5 .1 .1", "0\xa0.5 .5\u3000.1 .1",
    "0 .5 .5 .1 .1\0", "\ufeff\ufeff0 .5 .5 .1 .1", "0 .5 .5 .1 .1\n\ufeff1 .5 .5 .1 .1", "0 .5 .5 .1 .1\u200b", "# 1\n0 .5 .5 .1 .1",
    "0,.5,.5,.1,.1", "0 .5 .5 .1 1e400", "0 .5 .5 .1 1e-60", "0 .5 .5 .1 1.", "0 .5 .5 1.0100000001 .1", "0 .5 .5 1.0100001 .1",
    "0 -.01000000001 .5 .1 .1", "0 -.010000001 .5 .1 .1", "0 .5 .5 -1e-60 .1", "0 .5 .5 -1e-30 .1", "1.00000001 .5 .5 .1 .1",
    "2.9999999999 .5 .5 .1 .1", "-.00000001 .5 .5 .1 .1",
]
# kpt_shape, and the rows of a data set that has it.
POSES = [
    ([2, 2], "0 .5 .5 .1 .1 .1 .2 .3 .4"), ([17, 3], "0 .5 .5 .1 .1" + " .2" * 51), ([2, 2], "0 .5 .5 .1 .1"),
    ([2, 2], "0 .5 .5 .1 .1 .1 .2 .3 .4\n1 .5 .5 .1 .1"), ([2, 2], "0 .5 .5 .1 .1 .1 .2 .3"), ([2, 2], "0 .5 .5 .1 .1 -5 9 x 4"),
    ([2, 2], "0 .1 .1 .5 .1 .5 .6"), ([2, 3], "0 .5 .5 .1 .1" + " .2" * 6 + "\n0 .5 .5 .1 .1" + " .3" * 6),
    ([1, 2], "0 .1 .1 .5 .1 .5 .6"), ([2, 2], "0 .5 .5 .1 .1 .1 .2 .3 .4\n0 .1 .1 .5 .1 .5 .6"),
    ([2, 2], "1 .5 .5 .1 .1 .1 .2 .3 .4\r2 .5 .5 .1 .1 .1 .2 .3 .4"), ([2, 2], "3 .5 .5 .1 .1 .1 .2 .3 .4"),
]
# Of a data set whose classes are taken for one.
SINGLE = ["5 .5 .5 .1 .1\n1 .2 .2 .1 .1", "1.5 .5 .5 .1 .1", "-1 .5 .5 .1 .1", "1 .5 .5 .1 .1\n2 .5 .5 .1 .1", "x .5 .5 .1 .1"]
PATHS = ["/d/images/val/x.jpg", "/d/images/images/x.y.JPEG", "/images2/x.jpg", "/d/x.jpg"]


def main():
    cases = []
    with tempfile.TemporaryDirectory() as folder:
        picture, labels = pathlib.Path(folder, "a.png"), pathlib.Path(folder, "a.txt")
        Image.new("RGB", (32, 32)).save(picture)
        kinds = [(text, [0, 0], False) for text in TEXTS] + [(text, shape, False) for shape, text in POSES]
        for text, shape, single in kinds + [(text, [0, 0], True) for text in SINGLE]:
            labels.write_bytes(text.encode())
            arguments = (str(picture), str(labels), "", False, NC, *shape, single)
            _, rows, *_, wrong, message = verify_image_label(arguments)
            kept = None if wrong else sorted([0.0, *row[1:]] if single else row for row in rows.tolist())
            removed = int(message.rsplit(": ", 1)[1].split()[0]) if "duplicate" in message else 0
            case = {"text": text, "rows": kept, "duplicates": removed}
            cases.append(case | ({"kpt_shape": shape} if shape[0] else {}) | ({"single_cls": True} if single else {}))
    paths = dict(zip(PATHS, img2label_paths(PATHS)))
    GOLDEN.write_text(json.dumps({"nc": NC, "cases": cases, "paths": paths}, indent=0) + "\n")
    for case in cases:
        print(case)


main()
