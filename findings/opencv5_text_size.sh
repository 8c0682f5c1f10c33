#!/usr/bin/env bash
# opencv-python-headless 5.0.0.93 beside 4.13.0.92: FONT_HERSHEY_SIMPLEX keeps its name and number and is another font. Of scale
# 1 and thickness 2 getTextSize gave the height of the capitals (22) and a baseline of 10 for any text; it gives 27 for capitals
# of 20 pixels, and as the baseline what the text itself has below the line: 0 for "H", 7 for "g". Text is 15 % narrower. So a
# label whose plate is the height alone, as Ultralytics draws it, grew by a quarter around smaller letters, and one that adds the
# baseline has plates of two heights in one picture.
# Run: bash opencv5_text_size.sh. Exits 1 if any of this changes.
# Seen (width, height, baseline; rows of ink above and below the line): 4.13 "H" 24 22 10, 22 and 0; "g" 21 22 10, 15 and 8;
# 5.0 "H" 22 27 0, 20 and 0; "g" 19 27 7, 15 and 5.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
cat > look.py <<'PY'
import cv2
import numpy as np

FONT, LINE = (cv2.FONT_HERSHEY_SIMPLEX, 1), 60
print(cv2.__version__)
for text in ["H", "g", "person 0.87"]:
    (width, height), baseline = cv2.getTextSize(text, *FONT, 2)
    picture = np.zeros((120, 600), np.uint8)
    cv2.putText(picture, text, (20, LINE), *FONT, 255, 2, cv2.LINE_AA)
    rows = np.where((picture > 127).any(1))[0]
    # Strokes of 4.x reach a pixel below the line.
    print(f"{text}: {width} {height} {baseline}, ink {LINE - rows.min()} above")
PY
for version in 4.13.0.92 5.0.0.93; do
    python3 -m venv "venv$version"
    "venv$version/bin/pip" install -q "opencv-python-headless==$version" numpy
    "venv$version/bin/python" look.py | tee -a seen
done
diff seen - <<'SEEN'
4.13.0
H: 24 22 10, ink 22 above
g: 21 22 10, ink 15 above
person 0.87: 193 22 10, ink 22 above
5.0.0
H: 22 27 0, ink 20 above
g: 19 27 7, ink 15 above
person 0.87: 164 27 6, ink 20 above
SEEN
