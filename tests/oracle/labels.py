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
PATHS = ["/d/images/val/x.jpg", "/d/images/images/x.y.JPEG", "/images2/x.jpg", "/d/x.jpg"]


def main():
    cases = []
    with tempfile.TemporaryDirectory() as folder:
        picture, labels = pathlib.Path(folder, "a.png"), pathlib.Path(folder, "a.txt")
        Image.new("RGB", (32, 32)).save(picture)
        for text in TEXTS:
            labels.write_bytes(text.encode())
            arguments = (str(picture), str(labels), "", False, NC, 0, 0, False)
            _, rows, *_, wrong, message = verify_image_label(arguments)
            kept = None if wrong else sorted(rows.tolist())
            removed = int(message.rsplit(": ", 1)[1].split()[0]) if "duplicate" in message else 0
            cases.append({"text": text, "rows": kept, "duplicates": removed})
    paths = dict(zip(PATHS, img2label_paths(PATHS)))
    GOLDEN.write_text(json.dumps({"nc": NC, "cases": cases, "paths": paths}, indent=0) + "\n")
    for case in cases:
        print(case)


main()
