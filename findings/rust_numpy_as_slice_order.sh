#!/usr/bin/env bash
# rust-numpy 0.30.0 with pyo3 0.30.1: `PyReadonlyArray::as_slice` gives the elements of an array in Fortran's order too, as they lie in memory
# and without an error, so that code which takes the slice for rows of pixels reads the transposed image. Only where neither order fits, as
# of every second column, it is an error. `is_c_contiguous` tells the orders apart.
# Seen: [[0, 1, 2], [3, 4, 5]]: 0 1 2 3 4 5; the same array in Fortran's order: 0 3 1 4 2 5; its every second column: an error.
# Run: bash rust_numpy_as_slice_order.sh; it needs cargo, Python and some minutes. Exits 1 if any of this changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet numpy==2.4.6
mkdir src
cat >Cargo.toml <<'TOML'
[package]
name = "probe"
version = "0.1.0"
edition = "2021"

[lib]
crate-type = ["cdylib"]

[dependencies]
numpy = "=0.30.0"
pyo3 = { version = "=0.30.1", features = ["abi3-py39", "extension-module"] }

[profile.dev]
debug = false
TOML
cat >src/lib.rs <<'RUST'
use numpy::PyReadonlyArray2;
use pyo3::prelude::*;

#[pyfunction]
fn elements(array: PyReadonlyArray2<'_, i64>) -> Option<Vec<i64>> {
    array.as_slice().ok().map(<[i64]>::to_vec)
}

#[pymodule]
fn probe(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_function(wrap_pyfunction!(elements, module)?)
}
RUST
cargo build --quiet
cp target/debug/libprobe.so probe.abi3.so
venv/bin/python - <<'PY'
import numpy as np
from probe import elements

rows = np.arange(6, dtype=np.int64).reshape(2, 3)
seen = [elements(rows), elements(np.asfortranarray(rows)), elements(rows[:, ::2])]
print(f"rows: {seen[0]}; Fortran's order: {seen[1]}; every second column: {seen[2] or 'an error'}")
raise SystemExit(seen != [[0, 1, 2, 3, 4, 5], [0, 3, 1, 4, 2, 5], None])
PY
