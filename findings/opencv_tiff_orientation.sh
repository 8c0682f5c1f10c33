#!/bin/bash
# OpenCV 5.0.0.93: cv2.imread gives None for a sound TIFF whose Orientation tag is 5 to 8 (a quarter turn) and whose sides
# differ. cv2.imdecode reads the same bytes, and turns them. IMREAD_IGNORE_ORIENTATION and IMREAD_UNCHANGED, which leave a
# JPEG as it is stored, save nothing: with them the file is None too, and imdecode turns it all the same.
# So a data set of such TIFFs reads where a loader passes bytes, and is lost where it passes a path.
# Run: bash opencv_tiff_orientation.sh. Exits 1 if any of this changes.
set -eu
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT; cd "$folder"
python3 -m venv venv
venv/bin/pip -q install --disable-pip-version-check opencv-python-headless==5.0.0.93 pillow==13.0.0 numpy==2.4.6
cat > try.py <<'P'
import cv2, numpy as np, PIL
from PIL import Image, ImageOps

print("OpenCV", cv2.__version__, "Pillow", PIL.__version__)
stored = np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)
IGNORE = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
same = True
for kind in ("tiff", "jpg"):
    for orientation in range(1, 9):
        tags = Image.Exif()
        tags[274] = orientation
        name = f"{kind}{orientation}.{kind}"
        Image.fromarray(stored).save(name, exif=tags)
        with Image.open(name) as image:
            turned = ImageOps.exif_transpose(image).size[::-1]
        data = np.fromfile(name, np.uint8)
        size = lambda image: None if image is None else image.shape[:2]
        ways = [size(f(x, flags)) for flags in (cv2.IMREAD_COLOR, IGNORE, cv2.IMREAD_UNCHANGED) for f, x in ((cv2.imread, name), (cv2.imdecode, data))]
        print(name, "Pillow turned", turned, "| imread, imdecode by COLOR, IGNORE_ORIENTATION, UNCHANGED:", *ways)
        quarter = orientation > 4
        if kind == "tiff":
            expected = [None if quarter else turned, turned] * 3
        else:
            expected = [turned] * 2 + [(48, 64)] * 4
        same &= ways == expected
raise SystemExit(0 if same else "changed")
P
venv/bin/python try.py 2>/dev/null || { echo "the behaviour has changed"; exit 1; }
# Seen, OpenCV 5.0.0.93, Pillow 13.0.0:
# tiff6.tiff Pillow turned (64, 48) | ... None (64, 48) None (64, 48) None (64, 48)
# jpg6.jpg Pillow turned (64, 48) | ... (64, 48) (64, 48) (48, 64) (48, 64) (48, 64) (48, 64)
