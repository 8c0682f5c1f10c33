"""`ghostzoo val` beside Ultralytics and pycocotools, with a checkpoint that Ultralytics trained.

pip install ultralytics==8.4.190 pycocotools==2.0.11
usage: val.py BCCD best.pt GHOSTZOO     BCCD: the folder of the blood-cell data set; the command as built

best.pt is a pickled module: PYTHONPATH must hold the modules that its training script defined.

Prints precision, recall, mAP50 and mAP50-95 of Ultralytics and ours, and COCO's twelve numbers of pycocotools on the
predictions of Ultralytics, of pycocotools on ours, and ours, on PNG copies that OpenCV made, then on the JPEGs.
"""
import contextlib
import io
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import cv2
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from ultralytics import YOLO

IMGSZ, BATCH = 320, 16


def coco(truth, predictions):
    """pycocotools' numbers; results are joined to images by file name, and categories count from 1."""
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(str(truth))
        ids = {Path(i["file_name"]).stem: i["id"] for i in truth.dataset["images"]}
        rows = json.loads(Path(predictions).read_text())
        for row in rows:
            row["image_id"] = ids[Path(row["file_name"]).stem]
            row["category_id"] -= 1
        evaluation = COCOeval(truth, truth.loadRes(rows), "bbox")
        evaluation.evaluate(), evaluation.accumulate(), evaluation.summarize()
    return [float(s) for s in evaluation.stats]


def show(label, values):
    print(f"  {label:34}", *(f"{v:9.6f}" for v in values))


def ours(command, data, weights, out, *more):
    run = [command, "val", "--data", data, "--model", weights, "--imgsz", IMGSZ, "--batch", BATCH, "--json", "--save-json",
           "--quiet", "--plots", "false", "--save-dir", out, *more]
    return json.loads(subprocess.run([str(x) for x in run], capture_output=True, text=True, check=True).stdout)


def main():
    bccd, weights, command = (Path(p).resolve() for p in sys.argv[1:])
    with tempfile.TemporaryDirectory() as scratch:
        scratch = Path(scratch)
        for kind in ("png", "jpg"):
            root = scratch / kind
            (root / "images/val").mkdir(parents=True)
            (root / "labels/val").mkdir(parents=True)
            for label in (bccd / "labels/val").glob("*.txt"):
                (root / "labels/val" / label.name).write_text(label.read_text())
            for picture in (bccd / "images/val").glob("*.jpg"):
                copy = root / "images/val" / picture.with_suffix(f".{kind}").name
                copy.write_bytes(picture.read_bytes()) if kind == "jpg" else cv2.imwrite(str(copy), cv2.imread(str(picture)))
            data = root / "data.yaml"
            data.write_text(f"path: {root}\ntrain: images/val\nval: images/val\nnames: [WBC, RBC, Platelets]\n")
            with contextlib.redirect_stdout(io.StringIO()):
                theirs = YOLO(weights).val(
                    data=data, batch=BATCH, imgsz=IMGSZ, device="cpu", workers=0, plots=False, save_json=True,
                    project=scratch, name=f"theirs-{kind}", verbose=False,
                )
            instances = json.loads((bccd / "instances_val.json").read_text())
            for image in instances["images"]:
                image["file_name"] = Path(image["file_name"]).with_suffix(f".{kind}").name
            (root / "instances_val.json").write_text(json.dumps(instances))
            out = scratch / f"ours-{kind}"
            by_yaml = ours(command, data, weights, out)
            by_json = ours(command, root / "instances_val.json", weights, scratch / f"json-{kind}", "--images", root / "images/val")
            print(kind)
            box = theirs.box
            show("Ultralytics P R mAP50 mAP50-95", [box.mp, box.mr, box.map50, box.map])
            show("ours", [by_yaml["ultralytics"][k] for k in ("precision", "recall", "map50", "map50_95")])
            truth = bccd / "instances_val.json"
            show("pycocotools on Ultralytics' boxes", coco(truth, scratch / f"theirs-{kind}" / "predictions.json"))
            show("pycocotools on our boxes", coco(truth, out / "predictions.json"))
            show("ours on instances_val.json", [v if v is not None else -1 for v in by_json["coco"].values()])
            show("ours on the labels' rounded text", [v if v is not None else -1 for v in by_yaml["coco"].values()])


main()
