#!/usr/bin/env bash
# Ultralytics 8.4.190, OC-SORT: the observation-centric re-update, by which the paper (Cao et al., CVPR 2023, arXiv 2203.14360) repairs the
# filter of every track that is found again after a gap, runs only where the track is found by the last step, the recovery. A track that
# the first association finds again, the usual case, keeps the filter that drifted through the gap.
# Seen: a walk of 14 frames with a gap of 3: found again as identity 1, 0 re-updates.
# Run: bash ultralytics_ocsort_reupdate.sh; it installs ultralytics with torch, some GB. Exits 1 if this changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet ultralytics==8.4.190 torch==2.15.0 lap==0.5.13
cd "$folder"
YOLO_CONFIG_DIR=$folder YOLO_OFFLINE=true YOLO_AUTOINSTALL=false venv/bin/python - <<'PY'
import numpy as np
from ultralytics.engine.results import Boxes
from ultralytics.trackers import oc_sort
from ultralytics.trackers.track import TRACKER_MAP
from ultralytics.utils import YAML, IterableSimpleNamespace
from ultralytics.utils.checks import check_yaml

calls, original = [], oc_sort.OCSortTrack.apply_oru


def counted(self, *given):
    calls.append(1)
    return original(self, *given)


oc_sort.OCSortTrack.apply_oru = counted
tracker = TRACKER_MAP["ocsort"](IterableSimpleNamespace(**YAML.load(check_yaml("ocsort.yaml"))))
for frame in range(14):
    left = 100 + 5 * frame
    rows = [] if frame in (8, 9, 10) else [[left, 100, left + 80, 200, 0.9, 0]]
    found = tracker.update(Boxes(np.array(rows, np.float32).reshape(-1, 6), (720, 1280)))
print("found again as", found[:, 4].astype(int).tolist(), "re-updates:", len(calls))
raise SystemExit(not (found[:, 4].tolist() == [1] and not calls))
PY
