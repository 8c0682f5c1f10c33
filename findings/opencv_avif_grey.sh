#!/usr/bin/env bash
# opencv-python-headless 5.0.0.93, pillow 13.0.0: cv2.imdecode takes the levels of a grey AVIF (4:0:0) of limited range as they
# are stored: black is 16 and white 235, where Pillow gives 0 and 255. Colours of limited range, and grey of full range, come
# out alike. A grey AVIF with alpha is refused with an assertion; Pillow reads it as RGBA.
# Run: bash opencv_avif_grey.sh. Exits 1 if any of this changes.
# Seen, of a ramp from 0 to 248 in steps of 8, first and last level: full 0 248, 0 248; limited Pillow 0 248, OpenCV 16 229.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install -q opencv-python-headless==5.0.0.93 pillow==13.0.0 numpy
OPENCV_LOG_LEVEL=SILENT venv/bin/python - <<'PY'
import io
import sys

import cv2
import numpy as np
from PIL import Image

ramp = np.tile(np.arange(0, 256, 8, dtype=np.uint8), (16, 1))


def written(planes, **options):
    file = io.BytesIO()
    Image.fromarray(np.dstack(planes)).save(file, "AVIF", quality=100, **options)
    return file.getvalue()


def ends(data):
    pillow = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
    opencv = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    return [[int(read[0, 0, 1]), int(read[0, -1, 1])] for read in (pillow, opencv)]


seen = {}
for levels in ("full", "limited"):
    seen[levels] = ends(written([ramp] * 3, subsampling="4:0:0", range=levels))
colours = ends(written([ramp] * 3, subsampling="4:4:4", range="limited"))
with_alpha = written([ramp] * 3 + [np.full_like(ramp, 128)], subsampling="4:0:0")
refused = cv2.imdecode(np.frombuffer(with_alpha, np.uint8), cv2.IMREAD_COLOR) is None
print(seen, "colours of limited range", colours, "grey with alpha refused", refused, Image.open(io.BytesIO(with_alpha)).mode)
alike = all(abs(a - b) <= 2 for a, b in zip(*colours))
sys.exit(seen != {"full": [[0, 248]] * 2, "limited": [[0, 248], [16, 229]]} or not alike or not refused)
PY
