#!/usr/bin/env bash
# torch 2.15.0, torch.distributed: the backend "nccl" is another implementation than it was, "nccl2", of which nothing is said by
# `get_backend` or `Backend.backend_list`. The old one is "nccl-legacy", or what "nccl" is with TORCH_DIST_USE_NCCL2=0. They fail by other
# exceptions: a program that tells a machine without a GPU by ValueError, as the old one raised it, meets a RuntimeError now.
# Seen, no GPU: "nccl" and "nccl2": RuntimeError, nccl2 requires at least one CUDA device; "nccl-legacy", and "nccl" with the variable:
# ValueError, ProcessGroupNCCL is only supported with GPUs, no GPUs found!; backend_list: undefined gloo nccl xccl ucc mpi fake.
# Run: bash torch_nccl_is_nccl2.sh; it installs torch, some GB, and hides GPUs. Exits 1 if this changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet torch==2.15.0 numpy==2.4.6
cat >"$folder/seen.py" <<'PY'
import sys

import torch.distributed as dist


def refused(backend):
    try:
        dist.init_process_group(backend, init_method=f"file://{sys.argv[1]}/{backend}", rank=0, world_size=1)
    except (RuntimeError, ValueError) as error:
        return f"{type(error).__name__}: {str(error).splitlines()[0]}"
    return f"taken as {dist.get_backend()}"


print(*dist.Backend.backend_list)
for backend in ["nccl", "nccl2", "nccl-legacy"]:
    print(f"{backend}: {refused(backend)}")
PY
export CUDA_VISIBLE_DEVICES=
"$folder/venv/bin/python" "$folder/seen.py" "$folder" 2>/dev/null | tee "$folder/now"
echo "TORCH_DIST_USE_NCCL2=0"
TORCH_DIST_USE_NCCL2=0 "$folder/venv/bin/python" "$folder/seen.py" "$folder" 2>/dev/null | tee "$folder/before"
new="RuntimeError: nccl2 requires at least one CUDA device"
old="ValueError: ProcessGroupNCCL is only supported with GPUs, no GPUs found!"
names="undefined gloo nccl xccl ucc mpi fake"
diff "$folder/now" - <<<"$names"$'\n'"nccl: $new"$'\n'"nccl2: $new"$'\n'"nccl-legacy: $old"
diff "$folder/before" - <<<"$names"$'\n'"nccl: $old"$'\n'"nccl2: $new"$'\n'"nccl-legacy: $old"
