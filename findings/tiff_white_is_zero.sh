#!/usr/bin/env bash
# pillow 13.0.0, opencv-python-headless 5.0.0.93: a TIFF may say that its lowest level is white (PhotometricInterpretation 0).
# Both invert such levels of 8 bits, and neither those of 16: a negative comes out, without a word. Big-endian ones of 16 bits
# Pillow cannot identify, where it reads little-endian ones.
# Run: bash tiff_white_is_zero.sh. Exits 1 if any of this changes.
# Seen, of the stored levels 0 and the largest: 8 bits, both 255 0; 16 bits little-endian, both 0 65535; 16 bits big-endian,
# Pillow UnidentifiedImageError, OpenCV 0 65535.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install -q opencv-python-headless==5.0.0.93 pillow==13.0.0 numpy
OPENCV_LOG_LEVEL=SILENT venv/bin/python - <<'PY'
import io
import struct
import sys

import cv2
import numpy as np
from PIL import Image, UnidentifiedImageError


def tiff(order, bits):
    """Two pixels, the lowest level and the highest, in one strip; photometric 0."""
    pixels = struct.pack(order + ("BB" if bits == 8 else "HH"), 0, 2**bits - 1)
    short, long = 3, 4
    tags = [(256, short, 2), (257, short, 1), (258, short, bits), (259, short, 1), (262, short, 0), (273, long, 8),
            (277, short, 1), (278, short, 1), (279, long, len(pixels))]
    directory = struct.pack(order + "H", len(tags))
    for tag, kind, value in tags:
        directory += struct.pack(order + "HHI", tag, kind, 1)
        directory += struct.pack(order + ("Hxx" if kind == short else "I"), value)
    head = (b"II" if order == "<" else b"MM") + struct.pack(order + "HI", 42, 8 + len(pixels))
    return head + pixels + directory + b"\0\0\0\0"


seen = {}
for order, bits in [("<", 8), ("<", 16), (">", 16)]:
    data = tiff(order, bits)
    try:
        pillow = np.asarray(Image.open(io.BytesIO(data))).ravel().tolist()
    except UnidentifiedImageError:
        pillow = "unidentified"
    opencv = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    seen[order, bits] = (pillow, None if opencv is None else opencv.ravel().tolist())
    print(order, bits, seen[order, bits])
sys.exit(seen != {
    ("<", 8): ([255, 0], [255, 0]),
    ("<", 16): ([0, 65535], [0, 65535]),
    (">", 16): ("unidentified", [0, 65535]),
})
PY
