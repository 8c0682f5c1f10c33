#!/bin/bash
# Pillow 13.0.0 and OpenCV 5.0.0.93 read two kinds of 16-bit image differently, each in its own way, and neither says so.
# Grey PNG of 16 bits: Pillow's convert("RGB"), which timm and torchvision call, clips at 255, so 256 of 65535 (nearly black)
# is white; OpenCV keeps the high byte, so 255 of 65535 is black and 256 is 1. Of the 65,536 levels 514 read alike or a level apart.
# BMP of 16 bits (5-6-5 or 5-5-5): in OpenCV white is (248, 252, 248) and (248, 248, 248), for the low bits stay 0; in
# Pillow 255. A model that is trained through one and run through the other sees other pixels.
# Run: bash sixteen_bits.sh. Exits 1 if any of this changes.
set -eu
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT; cd "$folder"
python3 -m venv venv
venv/bin/pip -q install --disable-pip-version-check opencv-python-headless==5.0.0.93 pillow==13.0.0 numpy==2.4.6
cat > try.py <<'P'
import cv2, numpy as np, PIL, struct
from PIL import Image

print("OpenCV", cv2.__version__, "Pillow", PIL.__version__)
rgb = lambda name: (np.asarray(Image.open(name).convert("RGB")).astype(int), cv2.imread(name)[..., ::-1].astype(int))

levels = np.arange(65536, dtype=np.uint16).reshape(256, 256)
Image.fromarray(levels).save("grey.png")
pillow, opencv = (image[..., 0].ravel() for image in rgb("grey.png"))
some = [0, 100, 255, 256, 1000, 32768, 65535]
print("grey PNG", some, "Pillow", pillow[some].tolist(), "OpenCV", opencv[some].tolist())
alike = int((abs(pillow - opencv) <= 1).sum())
print("levels that read alike to one level:", alike, "of 65536")
same = alike == 514 and (pillow == np.minimum(levels.ravel(), 255)).all() and (opencv == levels.ravel() >> 8).all()

def bitmap(pixel, masks):
    """One pixel of 16 bits as a BMP; without masks it is 5-5-5."""
    head = struct.pack("<IiiHHIIiiII", 40, 1, 1, 1, 16, 3 if masks else 0, 4, 0, 0, 0, 0) + struct.pack(f"<{len(masks)}I", *masks)
    return b"BM" + struct.pack("<IHHI", 18 + len(head), 0, 0, 14 + len(head)) + head + struct.pack("<HH", pixel, 0)

for kind, white, masks, expected in (("5-6-5", 0xFFFF, (0xF800, 0x7E0, 0x1F), [248, 252, 248]), ("5-5-5", 0x7FFF, (), [248, 248, 248])):
    open("white.bmp", "wb").write(bitmap(white, masks))
    pillow, opencv = (image[0, 0].tolist() for image in rgb("white.bmp"))
    print("white of a", kind, "BMP: Pillow", pillow, "OpenCV", opencv)
    same &= pillow == [255] * 3 and opencv == expected
raise SystemExit(0 if same else "changed")
P
venv/bin/python try.py || { echo "the behaviour has changed"; exit 1; }
