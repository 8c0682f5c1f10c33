"""How long Ultralytics' camera motion compensation takes for a frame, on one thread, on the frames of `motion.py`'s golden file.

pip install opencv-python==5.0.0.93 ultralytics==8.4.190 numpy

    python tests/oracle/motion_speed.py

`track/examples/motion_speed.rs` times ours.
"""

import json
import time

import cv2
from ultralytics.trackers.utils.gmc import GMC

from motion import GOLDEN, draw

# Of each frame the fastest of so many times counts, for other work disturbs.
ROUNDS = 30

if __name__ == "__main__":
    cv2.setNumThreads(1)
    frames = [draw(frame)[..., None] for frame in json.loads(GOLDEN.read_text())["speed"]]
    fastest = [float("inf")] * len(frames)
    for _ in range(ROUNDS):
        gmc = GMC("sparseOptFlow")
        for index, frame in enumerate(frames):
            begin = time.perf_counter()
            gmc.apply(frame)
            fastest[index] = min(fastest[index], time.perf_counter() - begin)
    # The first frame has none before it.
    mean = sum(fastest[1:]) / (len(fastest) - 1)
    print(f"Ultralytics: {1e3 * mean:.2f} ms per frame of {frames[0].shape[1]}x{frames[0].shape[0]}")
