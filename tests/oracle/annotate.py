"""Golden values of candle_vision::image::draw_boxes: how wide Ultralytics draws lines, and how high text.

pip install ultralytics==8.4.190 opencv-python-headless==5.0.0.93 fonttools numpy

    python tests/oracle/annotate.py     rewrites tests/golden/draw/annotate.json and tests/golden/draw/two_letters.ttf

`predict` draws plain names by OpenCV, and only names beyond ASCII by Pillow: the letter H is measured as OpenCV draws it.
The font has two letters, as rectangles, and is of nobody else's making. No seed: nothing is random.
"""

import json
from pathlib import Path

import numpy as np
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen
from ultralytics.utils.plotting import Annotator

GOLDEN = Path(__file__).resolve().parents[2] / "tests/golden/draw"
SIZES = [(320, 240), (640, 480), (833, 831), (832, 832), (810, 1080), (1280, 720), (1920, 1080), (3000, 2000), (4000, 3000)]


def measure(width, height, line_width):
    """The line's width that was chosen, and the rows of a capital at least half covered."""
    annotator = Annotator(np.zeros((height, width, 3), np.uint8), line_width=line_width)
    box = [width // 4, height // 2, width // 2, height // 2 + height // 4]
    annotator.box_label(box, "H", color=(200, 100, 0), txt_color=(255, 255, 255))
    rows = np.where((annotator.result()[:, :, 2] > 127).any(1))[0]
    return {
        "size": [width, height],
        "line_width": line_width,
        "line": annotator.lw,
        "capital": int(rows.max() - rows.min() + 1),
    }


def letter(points):
    pen = TTGlyphPen(None)
    pen.moveTo(points[0])
    [pen.lineTo(point) for point in points[1:]]
    pen.closePath()
    return pen.glyph()


def font():
    builder = FontBuilder(1000, isTTF=True)
    builder.setupGlyphOrder([".notdef", "cat", "dog"])
    builder.setupCharacterMap({ord("猫"): "cat", ord("犬"): "dog"})
    tall, wide = [(100, 0), (100, 800), (400, 800), (400, 0)], [(100, 200), (100, 500), (900, 500), (900, 200)]
    builder.setupGlyf({".notdef": letter(tall), "cat": letter(tall), "dog": letter(wide)})
    builder.setupHorizontalMetrics({name: (1000, 100) for name in (".notdef", "cat", "dog")})
    builder.setupHorizontalHeader(ascent=900, descent=-200)
    builder.setupNameTable({"familyName": "Two letters", "styleName": "Regular", "psName": "TwoLetters-Regular"})
    builder.setupOS2(sTypoAscender=900, sTypoDescender=-200)
    builder.setupPost()
    builder.updateHead(created=0, modified=0)
    builder.font.recalcTimestamp = False
    builder.save(GOLDEN / "two_letters.ttf")


if __name__ == "__main__":
    cases = [measure(*size, None) for size in SIZES] + [measure(810, 1080, line) for line in (1, 2, 3, 5, 8)]
    lines = ",\n".join("  " + json.dumps(case) for case in cases)
    (GOLDEN / "annotate.json").write_text(f"[\n{lines}\n]\n")
    font()
