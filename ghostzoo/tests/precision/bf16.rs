//! Whole networks in bf16 on the CPU, against PyTorch's distance between bf16 and f32, which `tests/oracle/bf16.py` measured.

use candle_core::{DType, Device, Result, Tensor};
use candle_nn::VarBuilder;
use ghostzoo_kernels::Isa;

use super::{classifiers_images, detectors_image, golden, network, outputs};

/// Largest distance of ours, as a multiple of PyTorch's.
const MOST: f64 = 2.;

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
    for (name, case) in golden("bf16", task).as_object().expect("networks") {
        let images = images([0, 1].map(|axis| case["size"][axis].as_u64().expect("a size") as usize))?;
        for isa in Isa::available().into_iter().chain(Isa::EMULATED) {
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
