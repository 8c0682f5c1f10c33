"""Golden values of camera motion compensation, from Ultralytics and cv2, on frames that integers alone describe.

pip install opencv-python==5.0.0.93 ultralytics==8.4.190 numpy

    python tests/oracle/motion.py          rewrites tests/golden/track/motion.json

Single precision of the corners depends on the instruction set: run it on x86 with AVX2. `track/tests/scene/mod.rs` draws the same
frames in Rust.
"""

import math
from pathlib import Path

import cv2
import numpy as np
from ultralytics.trackers.utils.gmc import GMC

from common import digest, write

GOLDEN = Path(__file__).resolve().parents[2] / "tests/golden/track/motion.json"
ONE = 1 << 16
# Of the followed points, every so many are written.
STRIDE = 5


def mixed(i, j, seed):
    """A hash of three integers, from 0 to 255; arrays of int64."""
    word = np.uint64(0xFFFFFFFF)
    i, j = (np.asarray(v, dtype=np.int64).astype(np.uint64) & word for v in (i, j))
    h = (i * np.uint64(0x9E3779B1) & word) ^ (j * np.uint64(0x85EBCA77) & word) ^ np.uint64(seed * 0xC2B2AE3D & 0xFFFFFFFF)
    h ^= h >> np.uint64(15)
    h = h * np.uint64(0x2C1B3C6D) & word
    h ^= h >> np.uint64(12)
    h = h * np.uint64(0x297A2D39) & word
    h ^= h >> np.uint64(15)
    return (h >> np.uint64(24)).astype(np.int64)


def noise(u, v, octave, seed):
    """Value noise in cells of 2^octave pixels; u and v in pixels / 256."""
    cell = octave + 8
    i, j = u >> cell, v >> cell
    x, y = (u >> octave) & 255, (v >> octave) & 255
    top = mixed(i, j, seed) * (256 - x) + mixed(i + 1, j, seed) * x
    bottom = mixed(i, j + 1, seed) * (256 - x) + mixed(i + 1, j + 1, seed) * x
    return (top * (256 - y) + bottom * y) >> 16


def texture(u, v, seed):
    return (3 * noise(u, v, 5, seed) + 3 * noise(u, v, 3, seed + 1) + 2 * noise(u, v, 1, seed + 2)) >> 3


def draw(frame):
    """The frame, 8-bit luma, of the description that the golden file holds."""
    width, height = frame["size"]
    y, x = np.mgrid[:height, :width].astype(np.int64)
    a, b, c, d, e, f = frame["map"]
    levels = texture((a * x + b * y + c) >> 8, (d * x + e * y + f) >> 8, frame["seed"])
    levels = 128 + ((levels - 128) * frame["contrast"] >> 8)
    for left, top, right, bottom, seed in frame["boxes"]:
        inside = (x >= left) & (x < right) & (y >= top) & (y < bottom)
        levels = np.where(inside, texture((x - left) << 8, (y - top) << 8, seed), levels)
    if frame["noise"]:
        span = 2 * frame["noise"] + 1
        levels = levels + mixed(x, y, frame["noise_seed"]) * span // 256 - frame["noise"]
    return np.clip(levels, 0, 255).astype(np.uint8)


def view(x, y, degrees=0.0, zoom=1.0, size=(320, 240), seed=1, contrast=400, noise=0, noise_seed=0, boxes=()):
    """A camera that shows world point (x, y) in its middle."""
    c, s = (int(round(f(math.radians(degrees)) / zoom * ONE)) for f in (math.cos, math.sin))
    cx, cy = size[0] // 2, size[1] // 2
    origin = [int(round(x * ONE)) - c * cx + s * cy, int(round(y * ONE)) - s * cx - c * cy]
    return dict(size=list(size), map=[c, -s, origin[0], s, c, origin[1]], seed=seed, contrast=contrast, noise=noise,
                noise_seed=noise_seed, boxes=[list(box) for box in boxes])


def box(left, top, width, height, seed):
    return left, top, left + width, top + height, seed


def sequences():
    yield "still", [view(0, 0), view(0, 0), view(0, 0, noise=3, noise_seed=5)]
    yield "translation", [view(x, y) for x, y in [(0, 0), (0.5, 0), (3.25, -2.5), (12, 4), (-14, 9.75), (-14, 50)]]
    yield "rotation", [view(5, 5, degrees) for degrees in (0, 0.5, -1, 1.5, 5.5)]
    yield "zoom", [view(40, 0, zoom=zoom) for zoom in (1, 1.01, 1.05, 0.97, 1.1)]
    yield "noise", [view(70 + 4 * n, 3 * n, 1.5 * n, 1.02**n, noise=12, noise_seed=100 + n) for n in range(5)]
    moving = [[box(20 + 9 * n, 30, 90, 120, 50), box(200 - 11 * n, 80 + 5 * n, 100, 90, 60), box(130, 160 - 13 * n, 70, 70, 70)]
              for n in range(6)]
    yield "moving boxes", [view(3 * n, -2 * n, 0.4 * n, noise=2, noise_seed=200 + n, boxes=boxes)
                           for n, boxes in enumerate(moving)]
    yield "odd sizes", [view(2.5 * n, n, 0.7 * n, size=(321, 181), seed=9) for n in range(3)]
    yield "one odd side", [view(2.5 * n, n, 0.7 * n, size=(200, 151), seed=9) for n in range(3)]
    yield "sizes that change", [view(2 * n, n, size=size) for n, size in enumerate(
        [(320, 240), (320, 240), (200, 150), (200, 150), (201, 150), (202, 150), (202, 150)])]
    yield "low texture", [view(n, 0, contrast=contrast, boxes=boxes) for n, (contrast, boxes) in enumerate(
        [(0, []), (0, []), (400, []), (0, []), (400, []), (6, []), (6, []), (0, [box(100, 90, 10, 8, 4)]),
         (0, [box(104, 92, 10, 8, 4)]), (0, [box(9, 9, 3, 3, 4)]), (0, [box(11, 10, 3, 3, 4)])])]
    yield "small", [view(0.5 * n, 0, size=size) for size in [(2, 2), (4, 6), (5, 5), (20, 31), (44, 43), (47, 90)] for n in range(3)]


def speed():
    """What `motion_speed.py` times."""
    return [view(3 * n, -2 * n, 0.5 * n, size=(640, 480), noise=4, noise_seed=300 + n) for n in range(30)]


def expected(frames):
    """What Ultralytics estimates from frame to frame, beginning anew where the size of the halved frame changes."""
    gmc, size, before = None, None, None
    for index, frame in enumerate(frames):
        gray = draw(frame)
        half = cv2.resize(gray, (gray.shape[1] // 2, gray.shape[0] // 2))
        if half.shape != size:
            gmc, size, before = GMC("sparseOptFlow"), half.shape, None
        points = None if before is None else gmc.prevKeyPoints
        motion = gmc.apply(cv2.cvtColor(gray, cv2.COLOR_GRAY2BGR))
        corners = gmc.prevKeyPoints
        corners = [] if corners is None else corners.reshape(-1, 2).astype(int).tolist()
        out = dict(gray=digest(gray.tobytes()), half=digest(half.tobytes()), corners=len(corners),
                   corners_digest=digest(";".join(f"{x},{y}" for x, y in corners).encode()), motion=np.asarray(motion).ravel().tolist())
        if points is not None:
            found, status, _ = cv2.calcOpticalFlowPyrLK(before, half, points, None)
            out["found"] = int(status.sum())
            pairs = zip(found.reshape(-1, 2).tolist(), status.ravel().tolist())
            out["flow"] = [[round(v, 4) for v in at] if ok else None for at, ok in list(pairs)[::STRIDE]]
        before = half
        yield out


def images():
    """Color to luma and halving, on random bytes: the hash of place and channel."""
    for width, height in [(640, 48), (64, 31), (33, 64), (77, 51), (3, 5), (2, 2), (1919, 9), (500, 37)]:
        y, x = np.mgrid[:height, :3 * width]
        pixels = mixed(x, y, 7).astype(np.uint8).reshape(height, width, 3)
        gray = {name: cv2.cvtColor(pixels, code) for name, code in (("rgb", cv2.COLOR_RGB2GRAY), ("bgr", cv2.COLOR_BGR2GRAY))}
        half = cv2.resize(gray["rgb"], (width // 2, height // 2))
        yield dict(size=[width, height], **{name: digest(image.tobytes()) for name, image in gray.items()}, half=digest(half.tobytes()))


if __name__ == "__main__":
    cv2.setNumThreads(1)
    golden = {"stride": STRIDE, "images": list(images()), "sequences": [], "speed": speed()}
    for name, frames in sequences():
        golden["sequences"].append({"name": name, "frames": frames, "expected": list(expected(frames))})
        for out in golden["sequences"][-1]["expected"]:
            print(name, out["corners"], out.get("found"), np.round(out["motion"], 4).tolist())
    write(GOLDEN, golden)
