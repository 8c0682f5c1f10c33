#!/usr/bin/env bash
# candle-core 0.11.1, without default features: a program that only multiplies tensors compiles `tokenizers` all the same. It is a
# plain dependency of candle-core, behind no feature, and brings some forty packages that nothing else asks for.
# So leaving candle's features out does not make a vision program small.
# Seen: candle-core v0.11.1 -> tokenizers v0.23.2: 129 packages with it, 88 without what it alone brings.
# Run: bash candle_core_brings_tokenizers.sh; it needs cargo. Exits 1 if any of this changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
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
cargo generate-lockfile --quiet
packages() { cargo tree --quiet -e normal --prefix none --format '{p}' "$@" | sed 's/ (\*)$//' | sort -u; }
tree=$(packages)
all=$(wc -l <<<"$tree")
version=$(grep -o '^tokenizers v[0-9.]*' <<<"$tree") || { echo "candle-core no longer brings tokenizers"; exit 1; }
cargo tree --quiet -e normal -i tokenizers --depth 1 --prefix none | grep -q '^candle-core v0.11.1' ||
  { echo "tokenizers comes by another way than candle-core itself"; exit 1; }
without=$(packages --prune tokenizers | wc -l)
echo "candle-core v0.11.1 -> $version: $all packages with it, $without without what it alone brings"
[ "$without" -lt $((all - 10)) ] || { echo "tokenizers no longer brings more than ten packages"; exit 1; }
