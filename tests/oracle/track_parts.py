"""Golden values of what the trackers share: settings, the filter of a box, and the assignment of boxes.

pip install ultralytics==8.4.190 opencv-python-headless numpy scipy lap==0.5.13
usage: track_parts.py   writes tests/golden/track/{defaults,kalman,assignment}.json
"""
import types

import lap
import numpy as np
from scipy.optimize import linear_sum_assignment
from ultralytics.trackers.utils.kalman_filter import KalmanFilterXYAH, KalmanFilterXYWH
from ultralytics.trackers.utils.stracks import multi_gmc
from ultralytics.utils import YAML
from ultralytics.utils.checks import check_yaml

from track import write

SEED = 31
NAMES = ["bytetrack", "botsort", "ocsort", "tracktrack"]
FORMS = {"xyah": (KalmanFilterXYAH, [300, 200, 0.4, 120]), "xywh": (KalmanFilterXYWH, [300, 200, 50, 120])}
STEPS = 10
# Rows, columns, part of the pairs that overlap, limit.
ASSIGNMENTS = [
    (1, 1, 1, 0.8), (1, 6, 0.5, 0.8), (6, 1, 0.5, 0.8), (5, 5, 1, 0.5), (8, 8, 0.4, 0.8), (12, 7, 0.5, 0.7), (7, 12, 0.5, 0.9),
    (30, 30, 0.15, 0.8), (40, 30, 1, 0.8), (25, 40, 1, 1.0), (60, 60, 0.08, 0.8), (20, 20, 0.5, 0.05), (10, 10, 0, 0.8),
]
# Costs are multiples of one in so many.
UNIT = 1 << 16


def filtered(rng, form, with_confidence, with_camera):
    """A filter's state after each of some steps; a step without a measurement only predicts."""
    kind, start = FORMS[form]
    kalman = kind()
    start = np.round(np.array(start) * rng.uniform(0.5, 2, 4), 4)
    mean, covariance = kalman.initiate(start)
    steps = []
    for step in range(STEPS):
        mean, covariance = kalman.predict(mean, covariance)
        affine = measurement = confidence = None
        if with_camera and step % 3 == 1:
            turn, scale = rng.normal(0, 0.3), rng.uniform(0.9, 1.1)
            rotation = scale * np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
            affine = np.round(np.concatenate([rotation, rng.normal(0, 20, (2, 1))], axis=1), 6)
            track = types.SimpleNamespace(mean=mean, covariance=covariance, angle=None)
            multi_gmc([track], affine)
            mean, covariance = track.mean, track.covariance
        if step % 4 != 2:
            measurement = np.round(mean[:4] * rng.uniform(0.95, 1.05, 4), 4)
            confidence = round(rng.uniform(0.3, 1), 2) if with_confidence else None
            mean, covariance = kalman.update(mean, covariance, measurement, confidence)
        steps.append({
            "affine": None if affine is None else affine.flatten().tolist(),
            "measurement": None if measurement is None else measurement.tolist(),
            "confidence": confidence,
            "mean": mean.tolist(),
            # Of the symmetric matrix the lower triangle, by rows.
            "covariance": covariance[np.tril_indices(8)].tolist(),
        })
    return {"form": form, "start": start.tolist(), "steps": steps}


def assigned(rng, rows, columns, density, limit):
    """Costs of the pairs that overlap, others cost 1, and the least sum: that of scipy, which lap's result reaches, too."""
    costs = np.ones((rows, columns))
    overlap = rng.random(costs.shape) < density
    costs[overlap] = rng.integers(0, UNIT, overlap.sum()) / UNIT
    # Each row and column may stay alone for half the limit.
    whole = np.full((rows + columns, rows + columns), limit / 2)
    whole[:rows, :columns] = costs
    whole[rows:, columns:] = 0
    least = whole[linear_sum_assignment(whole)].sum()
    _, x, y = lap.lapjv(costs, extend_cost=True, cost_limit=limit)
    matches = [[row, int(column)] for row, column in enumerate(x) if column >= 0]
    alone = (x < 0).sum() + (y < 0).sum()
    assert abs(sum(costs[row, column] for row, column in matches) + alone * limit / 2 - least) < 1e-9
    return {
        "rows": rows, "columns": columns, "limit": limit, "unit": UNIT,
        "pairs": [[int(i), int(j), round(costs[i, j] * UNIT)] for i, j in np.argwhere(overlap)],
        "least": least, "matches": matches,
    }


def main():
    write("defaults", [YAML.load(check_yaml(f"{name}.yaml")) for name in NAMES])
    rng = np.random.default_rng(SEED)
    kinds = [("xyah", False, False), ("xyah", True, False), ("xywh", False, False), ("xywh", True, True)]
    write("kalman", [filtered(rng, *kind) for kind in kinds])
    write("assignment", [assigned(rng, *kind) for kind in ASSIGNMENTS])


if __name__ == "__main__":
    main()
