#!/bin/bash
# Ultralytics 8.4.190: `yolo cfg=RUN/args.yaml` begins a new training in the folder of the old run and overwrites its weights
# and its results.csv, although exist_ok is False: the args.yaml that every run writes holds a `save_dir`, which wins over the
# numbering of folders (train, train-2, ...).
# Prints version, folders, rows and checksums before and after; exits with 1 where that changes.
# PY: a Python that has ultralytics 8.4.190; else one is installed into a venv.
set -eu
w=$(mktemp -d); trap 'rm -rf "$w"' EXIT; cd "$w"
if [ -z "${PY:-}" ]; then
    python3 -m venv v; PY=$w/v/bin/python
    $PY -m pip install -q ultralytics==8.4.190 torch==2.15.0 torchvision opencv-python-headless
fi
export YOLO_CONFIG_DIR=$w/c YOLO_OFFLINE=true YOLO_AUTOINSTALL=false YOLO_VERBOSE=false OMP_NUM_THREADS=1
$PY - <<'P'
import os, cv2, numpy as np, ultralytics
from ultralytics import settings
print("ultralytics", ultralytics.__version__)
assert ultralytics.__version__ == "8.4.190"
settings.update(runs_dir=os.getcwd() + "/runs")
for kind in ("images", "labels"):
    os.makedirs(f"set/{kind}/train")
for i in range(2):
    cv2.imwrite(f"set/images/train/{i}.png", np.full((32, 32, 3), 90, np.uint8))
    open(f"set/labels/train/{i}.txt", "w").write("0 .5 .5 .5 .5\n")
open("set/data.yaml", "w").write(f"path: {os.getcwd()}/set\ntrain: images/train\nval: images/train\nnames: [a]\n")
P
yolo() { $PY -c "import sys; sys.argv[0] = 'yolo'; from ultralytics.cfg import entrypoint; entrypoint()" "$@" > log 2>&1 || { cat log; exit 1; }; }
state() { echo "folders: $(ls runs/detect | tr '\n' ' ')| rows: $(($(wc -l < runs/detect/train/results.csv) - 1)) | last.pt: $(md5sum < runs/detect/train/weights/last.pt)"; }
yolo detect train model=yolov8n.yaml data=set/data.yaml imgsz=32 epochs=2 device=cpu plots=False seed=1
grep -E '^(exist_ok|save_dir):' runs/detect/train/args.yaml | sed "s|$w|.|"
before=$(state); echo "after the first run:            $before"
yolo cfg=runs/detect/train/args.yaml epochs=1 seed=2
after=$(state); echo "after yolo cfg=.../args.yaml:   $after"
[ "$(ls runs/detect)" = train ] && [ "$(wc -l < runs/detect/train/results.csv)" = 2 ] && [ "$before" != "$after" ] || { echo "the behaviour changed"; exit 1; }
echo "the first run's weights and results are gone"
