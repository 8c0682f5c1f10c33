#!/usr/bin/env bash
# sahi 0.12.8: greedy merging of boxes (GREEDYNMM), its default, loses boxes. A box that matches the best one is marked as taken before the
# merge; where it no longer matches what the best one has grown to by then, it is neither merged nor kept. By its other metric, IOU, three
# boxes in a row show it: each outer one matches the middle one with 0.54, and what is left covers 100 to 230 of 70 to 230.
# Seen: IOU: one box, 100 to 230; IOS, the default metric: one box, 70 to 230.
# Run: bash sahi_greedy_nmm_loses_boxes.sh. Exits 1 if this changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet sahi==0.12.8 numpy==2.4.6 opencv-python-headless==5.0.0.93
"$folder/venv/bin/python" - <<'PY'
from sahi.postprocess.combine import GreedyNMMPostprocess
from sahi.prediction import ObjectPrediction

ROWS = [([100, 0, 200, 100], 0.9), ([130, 0, 230, 100], 0.8), ([70, 0, 170, 100], 0.7)]


def merged(metric):
    boxes = [ObjectPrediction(bbox=box, category_id=0, score=score, full_shape=[100, 300]) for box, score in ROWS]
    merge = GreedyNMMPostprocess(match_threshold=0.5, match_metric=metric, class_agnostic=False)
    return [[float(side) for side in found.bbox.to_xyxy()] for found in merge(boxes)]


seen = {metric: merged(metric) for metric in ("IOU", "IOS")}
for metric, boxes in seen.items():
    print(metric, boxes)
raise SystemExit(seen != {"IOU": [[100.0, 0.0, 230.0, 100.0]], "IOS": [[70.0, 0.0, 230.0, 100.0]]})
PY
