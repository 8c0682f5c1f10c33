"""Speed of our trackers beside Ultralytics', on the same detections, in turns, on one core each.

pip install ultralytics==8.4.190 opencv-python-headless numpy lap==0.5.13
usage: track_speed.py [BOXES [FRAMES [ROUNDS]]]   builds `track_speed` of crate ghostzoo-track; 500 boxes, 200 frames, 3 rounds
"""
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time

for library in ("OMP", "OPENBLAS", "MKL"):
    os.environ[f"{library}_NUM_THREADS"] = "1"

import numpy as np
from ultralytics.engine.results import Boxes

from track import tracker

ROOT = pathlib.Path(__file__).resolve().parents[2]
# Of them those that the example runs; the motion of the camera is not estimated without frames.
NAMES = {"bytetrack": {}, "botsort": {"gmc_method": "none"}, "ocsort": {}, "tracktrack": {"gmc_method": "none"}}
WIDTH, HEIGHT = 1920, 1080


def crowd(count, frames, seed=41):
    """Detections (n, 6) of each frame: objects that walk over a frame of 1920x1080, one in twenty not seen."""
    rng = np.random.default_rng(seed)
    size = np.stack([rng.uniform(20, 60, count), rng.uniform(40, 120, count)], axis=1)
    position = rng.uniform([0, 0], [WIDTH, HEIGHT], (count, 2))
    velocity = rng.normal(0, 2.5, (count, 2))
    for _ in range(frames):
        position += velocity
        velocity *= np.where((position < 0) | (position > [WIDTH, HEIGHT]), -1, 1)
        centre = position + rng.normal(0, 0.02, (count, 2)) * size
        boxes = np.round(np.concatenate([centre - size / 2, centre + size / 2], axis=1) * 16) / 16
        scores = np.round(np.clip(rng.normal(0.7, 0.2, (count, 1)), 0.05, 0.98) * 256) / 256
        rows = np.concatenate([boxes, scores, rng.integers(0, 3, (count, 1))], axis=1)
        yield rows[rng.random(count) < 0.95].astype(np.float32)


def theirs(name, frames):
    """Frames per second, the slowest frame in milliseconds, and a checksum of identities and detections."""
    peer = tracker(name, NAMES[name])
    inputs = [Boxes(rows, (HEIGHT, WIDTH)) for rows in frames]
    checksum, slowest = 0, 0
    begin = time.perf_counter()
    results = []
    for boxes in inputs:
        frame = time.perf_counter()
        results.append(peer.update(boxes))
        slowest = max(slowest, time.perf_counter() - frame)
    seconds = time.perf_counter() - begin
    for rows in results:
        for place, row in enumerate(np.asarray(rows).reshape(-1, 8)):
            checksum = (checksum + (place + 1) * int(row[4]) * (int(row[7]) + 1)) % (1 << 32)
    return len(frames) / seconds, slowest * 1e3, checksum


def main():
    count, frames, rounds = (int(given) for given in [*sys.argv[1:], *"500 200 3".split()[len(sys.argv) - 1:]])
    build = ["cargo", "build", "--release", "-p", "ghostzoo-track", "--example", "track_speed", "--message-format", "json"]
    lines = subprocess.run(build, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines()
    program = next(path for path in (json.loads(line).get("executable") for line in lines) if path)
    rows = list(crowd(count, frames))
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder, "detections")
        lines = [f"{number} " + " ".join(f"{v:.8g}" for v in row) for number, some in enumerate(rows) for row in some.tolist()]
        path.write_text("\n".join(lines))
        for name in NAMES:
            for turn in range(rounds):
                ran = subprocess.run([program, name, path], stdout=subprocess.PIPE, text=True)
                if ran.returncode != 0:
                    break
                speed, slowest, checksum = ran.stdout.split()
                peer_speed, peer_slowest, peer_checksum = theirs(name, rows)
                same = "the same identities" if int(checksum) == peer_checksum else "OTHER IDENTITIES"
                print(f"{name}, {count} boxes, round {turn}: ours {float(speed):.0f} frames/s (slowest {slowest} ms), "
                      f"Ultralytics {peer_speed:.1f} frames/s (slowest {peer_slowest:.1f} ms), {same}", flush=True)


if __name__ == "__main__":
    main()
