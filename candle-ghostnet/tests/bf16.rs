//! Whole networks in bf16 on the CPU, against PyTorch's distance between bf16 and f32, which `tests/oracle/bf16.py` measured.

use std::path::Path;

use candle_core::{DType, Device, Result, Tensor};
use candle_ghostnet::{Config, GhostNet, Variant, seeded};
use ghostzoo_kernels::Isa;
use serde_json::Value;

/// Largest distance of ours, as a multiple of PyTorch's.
const MOST: f64 = 2.;

/// `classifiers` of the golden file.
fn golden() -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden/bf16.json");
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_str::<Value>(&text).expect("JSON")["classifiers"].take()
}

/// `picture` of `tests/oracle/ghostnet.py`.
fn images(height: usize, width: usize) -> Result<Tensor> {
    let uniform =
        |name: &str, height: usize, width: usize| seeded::uniform(name, &(2, 3, height, width).into(), &Device::Cpu);
    let coarse = uniform("blocks", height.div_ceil(32), width.div_ceil(32))?;
    let (_, _, rows, columns) = coarse.dims4()?;
    let blocks = coarse.upsample_nearest2d(32 * rows, 32 * columns)?.narrow(2, 0, height)?.narrow(3, 0, width)?;
    (blocks * 2.)? + uniform("input", height, width)?
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

#[test]
fn bf16_is_within_twice_pytorchs_distance_from_f32() -> Result<()> {
    let golden = golden();
    let mut far = Vec::new();
    for (name, case) in golden.as_object().expect("networks") {
        let size = |axis: usize| case["size"][axis].as_u64().expect("a size") as usize;
        let images = images(size(0), size(1))?;
        let variant = Variant::ALL.into_iter().find(|variant| variant.name == name).expect("a variant");
        let config = Config::new(variant).for_inference();
        let model = |dtype: DType| GhostNet::new(&config, seeded::var_builder(dtype, &Device::Cpu));
        let exact = model(DType::F32)?.forward(&images)?;
        let mut rounded = model(DType::BF16)?;
        for isa in Isa::available() {
            rounded.set_isa(isa)?;
            let found = rounded.forward(&images.to_dtype(DType::BF16)?)?;
            assert_eq!(found.dtype(), DType::BF16, "{name}");
            for (measure, ours) in distances(&exact, &found)? {
                let theirs = case["outputs"]["logits"][measure].as_f64().expect("a number");
                let line = format!("{name}, {isa}, logits, {measure}: {ours:.2e}, PyTorch {theirs:.2e}");
                println!("{line}");
                if ours.is_nan() || ours > MOST * theirs {
                    far.push(line);
                }
            }
        }
    }
    assert!(far.is_empty(), "further than {MOST} times PyTorch's: {far:#?}");
    Ok(())
}
