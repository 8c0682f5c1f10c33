#!/usr/bin/env bash
# Ultralytics 8.4.190, OC-SORT: a box whose left side is negative, as an unclipped detection at the image's edge has, counts as "not
# observed", because -1 in its place is the mark for that. Momentum and recovery from the last observation are off for such objects: the
# same walk with the same gap keeps its identity within the image, and loses it 400 pixels further left.
# Seen: identities of 14 frames, of which 8 to 10 are empty: within the image 1 throughout; shifted by -400: 1, then 2.
# Run: bash ultralytics_ocsort_left_of_image.sh; it installs ultralytics with torch, some GB. Exits 1 if this changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet ultralytics==8.4.190 torch==2.15.0 lap==0.5.13
cd "$folder"
YOLO_CONFIG_DIR=$folder YOLO_OFFLINE=true YOLO_AUTOINSTALL=false venv/bin/python - <<'PY'
import numpy as np
from ultralytics.engine.results import Boxes
from ultralytics.trackers.track import TRACKER_MAP
from ultralytics.utils import YAML, IterableSimpleNamespace
from ultralytics.utils.checks import check_yaml


def identities(shift):
    tracker = TRACKER_MAP["ocsort"](IterableSimpleNamespace(**YAML.load(check_yaml("ocsort.yaml"))))
    seen = []
    for frame in range(14):
        left = 100 + shift + 20 * min(frame, 7)
        rows = [] if frame in (8, 9, 10) else [[left, 100, left + 80, 200, 0.9, 0]]
        found = tracker.update(Boxes(np.array(rows, np.float32).reshape(-1, 6), (720, 1280)))
        seen += [int(row[4]) for row in found]
    return seen


inside, outside = identities(0), identities(-400)
print("within the image:", inside)
print("shifted by -400: ", outside)
raise SystemExit(not (set(inside) == {1} and set(outside) == {1, 2}))
PY
