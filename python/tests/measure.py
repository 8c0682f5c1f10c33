"""What a call costs beside the library's own work, and what two threads do. On an idle machine: python tests/measure.py"""

from __future__ import annotations

import statistics
import threading
import time

start = time.perf_counter()
import ghostzoo  # noqa: E402

print(f"import: {1e3 * (time.perf_counter() - start):.1f} ms")

import numpy as np  # noqa: E402

CALLS = 60
image = np.random.default_rng(0).integers(0, 256, (480, 640, 3), np.uint8)
detectors = [ghostzoo.Detector("yolov8n-ghostnet-bccd", threads=1) for _ in range(2)]


def run(detector: ghostzoo.Detector) -> float:
    start = time.perf_counter()
    for _ in range(CALLS):
        detector(image)
    return time.perf_counter() - start


for detector in detectors:
    run(detector)
over = []
for _ in range(CALLS):
    start = time.perf_counter()
    result = detectors[0](image)[0]
    over.append(1e3 * (time.perf_counter() - start) - sum(result.speed.values()))
print(f"a call takes {statistics.median(over):.3f} ms (at best {min(over):.3f}) beside scaling, network and suppression")

alone = min(run(detectors[0]) for _ in range(3))
both = []
for _ in range(3):
    threads = [threading.Thread(target=run, args=(detector,)) for detector in detectors]
    start = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    both.append(time.perf_counter() - start)
print(f"one thread: {CALLS / alone:.1f} images/s; two: {2 * CALLS / min(both):.1f}, {2 * alone / min(both):.2f} times as many")
