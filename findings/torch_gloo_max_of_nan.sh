#!/usr/bin/env bash
# torch 2.15.0, torch.distributed with gloo on the CPU: `all_reduce` with MAX or MIN, where one rank has NaN, gives NaN in one part of the
# elements and numbers in the other, by their places alone. With three ranks of which the last has NaN no element is NaN. So a check by
# MAX whether any rank's loss is finite can say that all are; SUM gives NaN everywhere.
# Seen, 8 equal elements: two ranks, rank 0 has NaN and rank 1 has 1: [nan x4, 1 x4]; three ranks of 0, 1 and NaN: [1 x8]; SUM: [nan x8].
# Run: bash torch_gloo_max_of_nan.sh; it installs torch, some GB. Exits 1 if this changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet torch==2.15.0 numpy==2.4.6
cat >"$folder/seen.py" <<'PY'
import math
import sys

import torch
import torch.distributed as dist
import torch.multiprocessing as mp


def rank(rank, folder, values, op):
    dist.init_process_group("gloo", init_method=f"file://{folder}/{op}{len(values)}", rank=rank, world_size=len(values))
    xs = torch.full((8,), values[rank])
    dist.all_reduce(xs, op=getattr(dist.ReduceOp, op))
    if rank == 0:
        torch.save(xs, f"{folder}/result")
    dist.destroy_process_group()


def reduced(values, op):
    folder = sys.argv[1]
    mp.spawn(rank, (folder, values, op), nprocs=len(values))
    found = ["nan" if math.isnan(x) else x for x in torch.load(f"{folder}/result").tolist()]
    print(f"{op} of {values}: {found}")
    return found


if __name__ == "__main__":
    nan = math.nan
    seen = [reduced([nan, 1.0], "MAX"), reduced([0.0, 1.0, nan], "MAX"), reduced([0.0, 1.0, nan], "SUM")]
    raise SystemExit(seen != [["nan"] * 4 + [1.0] * 4, [1.0] * 8, ["nan"] * 8])
PY
"$folder/venv/bin/python" "$folder/seen.py" "$folder"
