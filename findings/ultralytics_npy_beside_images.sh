#!/usr/bin/env bash
# Ultralytics 8.4.190 takes IMAGE.npy beside an image for its own cache of that image, whoever wrote it.
#
# 1. Without any cache (the default), loading a training image b.png overwrites a float32 depth map b.npy that lies beside it
#    with the image's pixels.
# 2. With cache=disk, a.bmp and a.png share a.npy: the pixels of the first are loaded for both.
#
# PY may name a Python that has ultralytics 8.4.190 and numpy; otherwise both are installed into a new environment.
# Leaves with 1 where the behaviour is another.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
if [ -z "${PY:-}" ]; then
    python3 -m venv "$folder/venv"
    "$folder/venv/bin/pip" install --quiet ultralytics==8.4.190 opencv-python-headless numpy
    PY=$folder/venv/bin/python
fi
export YOLO_CONFIG_DIR=$folder/config YOLO_OFFLINE=true YOLO_AUTOINSTALL=false OMP_NUM_THREADS=1
"$PY" - "$folder/set" <<'PYTHON'
import pathlib, sys

import cv2
import numpy as np
import ultralytics
from ultralytics.data.dataset import YOLODataset

print("ultralytics", ultralytics.__version__, "numpy", np.__version__)
assert ultralytics.__version__ == "8.4.190", "another version: read its answer anew"
root = pathlib.Path(sys.argv[1])
images, labels = root / "images", root / "labels"
images.mkdir(parents=True)
labels.mkdir()
for name, level in (("a.bmp", 200), ("a.png", 10), ("b.png", 50)):
    cv2.imwrite(str(images / name), np.full((64, 64, 3), level, np.uint8))
for name in "ab":
    (labels / f"{name}.txt").write_text("0 0.5 0.5 0.5 0.5\n")
np.save(images / "b.npy", np.linspace(0, 1, 64 * 64, dtype=np.float32).reshape(64, 64))


def load(cache):
    data = {"names": {0: "thing"}, "channels": 3}
    dataset = YOLODataset(img_path=str(images), imgsz=64, cache=cache, augment=False, data=data, task="detect")
    files = [pathlib.Path(file).name for file in dataset.im_files]
    return {name: float(dataset.load_image(index)[0].mean()) for index, name in enumerate(files)}


before = np.load(images / "b.npy")
plain = load(False)
after = np.load(images / "b.npy")
print("cache=False: mean levels", plain)
print("b.npy before:", before.dtype, before.shape, " after:", after.dtype, after.shape)
shared = load("disk")
print("cache=disk:  mean levels", shared)
overwrites = before.dtype == np.float32 and after.dtype == np.uint8 and after.shape == (64, 64, 3)
same = plain["a.png"] == 10 and shared["a.png"] == shared["a.bmp"] == 200
print("the depth map is overwritten:", overwrites, " a.png is loaded as a.bmp:", same)
sys.exit(0 if overwrites and same else 1)
PYTHON
