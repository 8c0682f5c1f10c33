#!/usr/bin/env bash
# candle-core 0.11.1 compiles with Rust 1.94 on x86-64 and not with 1.93: one of its files calls `__cpuid_count` as the safe function
# that it is since 1.94. Its manifest names no `rust-version`, so that cargo neither says so nor, with the resolver that heeds those,
# takes an older candle for an older compiler. The crates around it name older ones: who claims theirs, claims what cannot be built.
# Seen: rust-version in candle-core 0.11.1: none; rustc 1.93.0: E0133 in candle-core's repack_x86.rs; rustc 1.94.1: compiles.
# Run: bash candle_core_oldest_rust.sh; it needs rustup, an x86-64 machine and some minutes, and installs both toolchains in a
# temporary folder. Exits 1 if any of this changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
export RUSTUP_HOME=$folder/rustup
mkdir src
echo 'fn main() {}' >src/main.rs
cat >Cargo.toml <<'TOML'
[package]
name = "probe"
version = "0.1.0"
edition = "2021"

[dependencies]
candle-core = { version = "=0.11.1", default-features = false }
TOML
for version in 1.93.0 1.94.1; do
  rustup toolchain install "$version" --profile minimal >rustup.log 2>&1 || { cat rustup.log; exit 1; }
done
cargo +1.94.1 generate-lockfile --quiet
declared=$(cargo +1.94.1 metadata --format-version 1 --quiet |
  python3 -c 'import json, sys; print(next(p["rust_version"] for p in json.load(sys.stdin)["packages"] if p["name"] == "candle-core"))')
echo "rust-version in candle-core 0.11.1: ${declared/None/none}"
[ "$declared" = None ] || { echo "candle-core names its oldest Rust now"; exit 1; }
if cargo +1.93.0 check --quiet 2>older.log; then
  echo "rustc 1.93.0 compiles candle-core now"
  exit 1
fi
grep -A1 '^error\[E0133\]: call to unsafe function `__cpuid_count`' older.log | grep -q 'candle-core-0.11.1/src/quantized/repack_x86.rs' ||
  { echo "another error than the one seen:"; grep '^error' older.log; exit 1; }
echo "rustc 1.93.0: E0133 in candle-core's repack_x86.rs"
cargo +1.94.1 check --quiet 2>newer.log || { echo "rustc 1.94.1 does not compile candle-core:"; grep '^error' newer.log; exit 1; }
echo "rustc 1.94.1: compiles"
