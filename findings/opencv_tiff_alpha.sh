#!/usr/bin/env bash
# opencv-python-headless 5.0.0.93, pillow 13.0.0: one picture with alpha, saved as PNG, as WebP and as a TIFF of 8 bits, comes
# out of cv2.imdecode with other colours from the TIFF. There libtiff multiplies them by alpha, with IMREAD_UNCHANGED too, which
# keeps the alpha beside them; a TIFF of 16 bits is not multiplied. So a program that drops the alpha sees darkened pixels, and
# one that blends by it blends twice. Pillow reads all of them alike.
# Run: bash opencv_tiff_alpha.sh. Exits 1 if any of this changes.
# Seen, of the pixel (200, 100, 50) at alpha 64, as red, green, blue: PNG and WebP 200 100 50; TIFF of 8 bits 50 25 13; TIFF of
# 16 bits 200 100 50 of 257ths.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install -q opencv-python-headless==5.0.0.93 pillow==13.0.0 numpy
OPENCV_LOG_LEVEL=ERROR venv/bin/python - <<'PY'
import io
import sys

import cv2
import numpy as np
from PIL import Image

pixels = np.zeros((4, 4, 4), np.uint8)
pixels[:] = 200, 100, 50, 64
files = {}
for name, options in [("PNG", {}), ("WEBP", {"lossless": True, "exact": True}), ("TIFF", {})]:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, name, **options)
    files[name] = file.getvalue()
deep = pixels[..., [2, 1, 0, 3]].astype(np.uint16) * 257
files["TIFF, 16 bits"] = cv2.imencode(".tif", deep)[1].tobytes()

seen = {}
for name, data in files.items():
    read = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    blue, green, red, alpha = (read[0, 0].astype(int) // (257 if read.dtype == np.uint16 else 1)).tolist()
    seen[name] = (red, green, blue, alpha)
    print(f"{name}: {read.dtype} red {red} green {green} blue {blue} alpha {alpha}")
    if "16" not in name:
        print("   Pillow:", Image.open(io.BytesIO(data)).getpixel((0, 0)))
plain = (200, 100, 50, 64)
sys.exit(seen != {"PNG": plain, "WEBP": plain, "TIFF": (50, 25, 13, 64), "TIFF, 16 bits": plain})
PY
