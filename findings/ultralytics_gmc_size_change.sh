#!/usr/bin/env bash
# Ultralytics 8.4.190 with OpenCV 5.0.0.93: once the size of the frames changes, the compensation of camera motion by sparse optical flow
# never works again. `calcOpticalFlowPyrLK` refuses frames of two sizes, and raises before the new frame is kept, so that the old size is
# compared with every later frame. BoT-SORT and TrackTrack catch the error and go on without compensation.
# Seen: two frames of 320x240: moved by (-2, -1); four of 300x200: all raise, and the frame that is kept stays that of 320x240, halved.
# Run: bash ultralytics_gmc_size_change.sh; it installs ultralytics with torch, some GB. Exits 1 if this changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet ultralytics==8.4.190 torch==2.15.0 lap==0.5.13 opencv-python-headless==5.0.0.93
cd "$folder"
YOLO_CONFIG_DIR=$folder YOLO_OFFLINE=true YOLO_AUTOINSTALL=false venv/bin/python - <<'PY'
import cv2
import numpy as np
from ultralytics.trackers.utils.gmc import GMC

texture = np.random.default_rng(0).integers(0, 256, (400, 500, 3), np.uint8)
texture = cv2.GaussianBlur(texture, (9, 9), 2)
gmc, seen = GMC("sparseOptFlow"), []
for number, (width, height) in enumerate([(320, 240)] * 2 + [(300, 200)] * 4):
    frame = np.ascontiguousarray(texture[number : number + height, 2 * number : 2 * number + width])
    try:
        seen.append(gmc.apply(frame)[:, 2].round().tolist())
    except cv2.error:
        seen.append("raises, keeps " + str(gmc.prevFrame.shape))
    print(f"{width}x{height}: {seen[-1]}")
raise SystemExit(seen != [[0, 0], [-2, -1]] + ["raises, keeps (120, 160)"] * 4)
PY
