#!/usr/bin/env bash
# lap 0.5.13: what `lapjv(..., extend_cost=True, cost_limit=L)` does with a pair that costs exactly L depends on the pairs around it. To
# leave two alone costs L/2 each, so that both answers cost the same; alone, such a pair is matched, of three by three all at L two are
# matched and one is left. Trackers that call it with a limit of 1 for boxes that do not overlap (cost 1) match some of those.
# Seen: 1x1 at the limit: [0]; 3x3 all at the limit: [0, -1, 2]; the same just above the limit: [-1, -1, -1].
# Run: bash lap_cost_at_the_limit.sh. Exits 1 if any of this changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet lap==0.5.13 numpy==2.4.6
"$folder/venv/bin/python" - <<'PY'
import lap
import numpy as np


def rows(costs, limit):
    return lap.lapjv(np.array(costs, dtype=float), extend_cost=True, cost_limit=limit)[1].tolist()


seen = {
    "1x1 at the limit": rows([[0.5]], 0.5),
    "3x3 all at the limit": rows(np.ones((3, 3)), 1.0),
    "3x3 all above the limit": rows(np.full((3, 3), 1.0001), 1.0),
}
for case, matched in seen.items():
    print(f"{case}: {matched}")
expected = {"1x1 at the limit": [0], "3x3 all at the limit": [0, -1, 2], "3x3 all above the limit": [-1, -1, -1]}
raise SystemExit(seen != expected)
PY
