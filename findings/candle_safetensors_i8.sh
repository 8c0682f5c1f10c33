#!/usr/bin/env bash
# candle-core 0.11.1 has no type for signed bytes, although safetensors' I8 is what quantized weights are stored as. One such tensor
# makes candle_core::safetensors::load refuse the whole file, the F32 tensors beside it too; a MmapedSafetensors opens the same file
# and reads each of those, so that a program that loads by name sees no error until it asks for the weight itself.
# Seen: load: unsupported safetensor dtype I8; by name: F32 [2], and unsupported safetensor dtype I8.
# Run: bash candle_safetensors_i8.sh; it needs cargo and some minutes. Exits 1 if any of this changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
mkdir src
cat >Cargo.toml <<'TOML'
[package]
name = "probe"
version = "0.1.0"
edition = "2021"

[dependencies]
candle-core = { version = "=0.11.1", default-features = false }

[profile.dev]
debug = false
TOML
cat >src/main.rs <<'RUST'
use candle_core::{safetensors, Device};

fn first_line(error: impl std::fmt::Display) -> String {
    error.to_string().lines().next().unwrap_or_default().to_owned()
}

fn main() {
    let header = r#"{"scale":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"weight":{"dtype":"I8","shape":[2],"data_offsets":[8,10]}}"#;
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header.as_bytes());
    bytes.extend(0.5f32.to_le_bytes());
    bytes.extend(0.25f32.to_le_bytes());
    bytes.extend([127u8, 129]);
    std::fs::write("w.safetensors", bytes).expect("a file");
    let device = Device::Cpu;
    let whole = safetensors::load("w.safetensors", &device).err().map(first_line);
    println!("load: {whole:?}");
    // SAFETY: nobody changes the file meanwhile.
    let file = unsafe { safetensors::MmapedSafetensors::new("w.safetensors") }.expect("a map");
    let scale = file.load("scale", &device).expect("the F32 tensor");
    let weight = file.load("weight", &device).err().map(first_line);
    println!("by name: {:?} {:?}, and {weight:?}", scale.dtype(), scale.dims());
    let refuses = |error: &Option<String>| error.as_ref().is_some_and(|error| error.contains("I8"));
    std::process::exit(if refuses(&whole) && refuses(&weight) { 0 } else { 1 });
}
RUST
cargo build --quiet
./target/debug/probe || { echo "the behaviour has changed"; exit 1; }
