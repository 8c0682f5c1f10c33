//! Whole networks in bf16 on the CPU, against PyTorch's distance between bf16 and f32, which `tests/oracle/bf16.py` measured.

use std::path::Path;

use candle_core::{DType, Device, Result, Shape, Tensor};
use candle_nn::VarBuilder;
use ghostzoo::{Architecture, Network, model};
use ghostzoo_kernels::{Isa, seeded};
use serde_json::Value;

/// Largest distance of ours, as a multiple of PyTorch's.
const MOST: f64 = 2.;

/// The networks of one task in the golden file.
fn golden(task: &str) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden/bf16.json");
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

/// The greatest difference over the greatest magnitude of `exact`, and the same of the roots of the mean squares.
fn distances(exact: &Tensor, found: &Tensor) -> Result<[(&'static str, f64); 2]> {
    assert_eq!(exact.dims(), found.dims());
    let exact = exact.to_dtype(DType::F64)?;
    let difference = (found.to_dtype(DType::F64)? - &exact)?;
    let ratio = |measure: &dyn Fn(&Tensor) -> Result<f64>| {
        Ok::<_, candle_core::Error>(measure(&difference)? / measure(&exact)?)
    };
    let greatest = |values: &Tensor| values.abs()?.max_all()?.to_scalar::<f64>();
    let root = |values: &Tensor| Ok(values.sqr()?.mean_all()?.to_scalar::<f64>()?.sqrt());
    Ok([("max", ratio(&greatest)?), ("rms", ratio(&root)?)])
}

/// Every network of a task, on every instruction set.
fn check(
    task: &str,
    seeded: fn(DType, &Device) -> VarBuilder<'static>,
    images: fn([usize; 2]) -> Result<Tensor>,
) -> Result<()> {
    let mut far = Vec::new();
    for (name, case) in golden(task).as_object().expect("networks") {
        let images = images([0, 1].map(|axis| case["size"][axis].as_u64().expect("a size") as usize))?;
        for isa in Isa::available() {
            let exact = outputs(&network(name, seeded, DType::F32, isa), &images)?;
            let found = outputs(&network(name, seeded, DType::BF16, isa), &images.to_dtype(DType::BF16)?)?;
            assert_eq!(exact.len(), case["outputs"].as_object().expect("outputs").len(), "{name}");
            for ((output, exact), (_, found)) in exact.iter().zip(&found) {
                assert_eq!(found.dtype(), DType::BF16, "{name}");
                for (measure, ours) in distances(exact, found)? {
                    let theirs = case["outputs"][output][measure].as_f64().expect("a number");
                    let line = format!("{name}, {isa}, {output}, {measure}: {ours:.2e}, PyTorch {theirs:.2e}");
                    println!("{line}");
                    if ours.is_nan() || ours > MOST * theirs {
                        far.push(line);
                    }
                }
            }
        }
    }
    assert!(far.is_empty(), "further than {MOST} times PyTorch's: {far:#?}");
    Ok(())
}

#[test]
fn detectors_are_within_twice_pytorchs_distance_from_f32() -> Result<()> {
    check("detectors", candle_yolov8::seeded::var_builder, detectors_image)
}

#[test]
fn classifiers_are_within_twice_pytorchs_distance_from_f32() -> Result<()> {
    check("classifiers", candle_ghostnet::seeded::var_builder, classifiers_images)
}
