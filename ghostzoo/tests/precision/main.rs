//! Whole networks with fewer than 32 bits, against PyTorch's.

mod bf16;
mod int8;

use std::path::Path;

use candle_core::{DType, Device, Result, Shape, Tensor};
use candle_nn::VarBuilder;
use ghostzoo::{Architecture, Network, model};
use ghostzoo_kernels::{Isa, seeded};
use serde_json::Value;

/// The networks of one task in a golden file.
fn golden(name: &str, task: &str) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../tests/golden/{name}.json"));
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_str::<Value>(&text).expect("JSON")[task].take()
}

fn uniform(name: &str, dims: [usize; 4]) -> Result<Tensor> {
    seeded::uniform(name, &Shape::from(dims.to_vec()), &Device::Cpu)
}

/// `picture` of `tests/oracle/yolov8.py`.
fn detectors_image([height, width]: [usize; 2]) -> Result<Tensor> {
    let blocks = uniform("blocks", [1, 3, height / 16, width / 16])?.upsample_nearest2d(height, width)?;
    ((blocks / 3.)? + (uniform("input", [1, 3, height, width])? / 6.)?)? + 0.5
}

/// `picture` of `tests/oracle/ghostnet.py`.
fn classifiers_images([height, width]: [usize; 2]) -> Result<Tensor> {
    let [rows, columns] = [height, width].map(|side| side.div_ceil(32));
    let blocks = uniform("blocks", [2, 3, rows, columns])?.upsample_nearest2d(32 * rows, 32 * columns)?;
    let blocks = blocks.narrow(2, 0, height)?.narrow(3, 0, width)?;
    (blocks * 2.)? + uniform("input", [2, 3, height, width])?
}

/// A seeded network for inference, computed in `dtype` by an instruction set.
fn network(name: &str, seeded: impl Fn(DType, &Device) -> VarBuilder<'static>, dtype: DType, isa: Isa) -> Network {
    let architecture = Architecture::named(name, None).expect("an architecture that ships");
    let mut network = model::build_with(&architecture, seeded(dtype, &Device::Cpu)).expect("a network");
    match &mut network {
        Network::Detector(net) => net.set_isa(isa),
        Network::Classifier(net) => net.set_isa(isa),
    }
    .expect("an instruction set of this machine");
    network
}

/// The levels of a detector, or the logits of a classifier, by the names of the script.
fn outputs(network: &Network, images: &Tensor) -> Result<Vec<(String, Tensor)>> {
    Ok(match network {
        Network::Detector(net) => {
            let levels = net.forward_t(images, false)?;
            levels.into_iter().enumerate().map(|(index, level)| (format!("level{index}"), level)).collect()
        }
        Network::Classifier(net) => vec![("logits".to_owned(), net.forward(images)?)],
    })
}
