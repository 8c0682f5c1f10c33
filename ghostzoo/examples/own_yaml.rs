//! A detector of one's own, from a yaml in Ultralytics' grammar: a shallow backbone of ghost modules and two levels.
//! `cargo run --release --example own_yaml`.

use ghostzoo::candle_core::{DType, Device, Tensor};
use ghostzoo::candle_nn::{VarBuilder, VarMap};
use ghostzoo::candle_yolov8::{ModelConfig, Yolo, summary};
use ghostzoo::{Error, Result};

/// [from, repeats, module, arguments]; the last layer reads the levels.
const TINY: &str = "
nc: 2
scales:
  n: [0.33, 0.25, 256]
backbone:
  - [-1, 1, GhostConv, [64, 3, 2]]  # 0
  - [-1, 1, GhostConv, [128, 3, 2]]  # 1
  - [-1, 3, C3Ghost, [128, True]]  # 2
  - [-1, 1, GhostConv, [256, 3, 2]]  # 3: stride 8
  - [-1, 1, GhostConv, [256, 3, 2]]  # 4: stride 16
head:
  - [-1, 1, SPPF, [256, 5]]  # 5
  - [[3, 5], 1, Detect, [nc]]  # 6
";

fn main() -> Result<()> {
    print!("{}", run()?);
    Ok(())
}

/// The network's size, and the shape of each level's raw output.
pub(crate) fn run() -> Result<String> {
    let config = ModelConfig::from_yaml(TINY, Some("tinyn.yaml"), None)?;
    let size = summary(&config, [640; 2]).map_err(Error::from)?;
    // Random weights; train them with `ghostzoo train detect --model tiny.yaml`.
    let weights = VarMap::new();
    let network = Yolo::new(&config, VarBuilder::from_varmap(&weights, DType::F32, &Device::Cpu))?;
    let xs = Tensor::rand(0f32, 1., (1, 3, 160, 160), &Device::Cpu)?;
    let mut lines = format!("{} parameters, strides {:?}\n", size.parameters, network.strides());
    for level in network.forward_t(&xs, false)? {
        lines += &format!("level {:?}\n", level.dims());
    }
    Ok(lines)
}
