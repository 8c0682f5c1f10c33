//! What `tests/oracle/optim.py` wrote, and its inputs.

use std::path::Path;

use candle_core::{DType, Device, Result, Tensor};
use serde_json::Value;

/// Reads `tests/golden/train/<name>.json`.
pub(super) fn golden(name: &str) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../tests/golden/train/{name}.json"));
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_str(&text).expect("JSON")
}

/// `uniform` of the script.
pub(super) fn uniform(name: &str, dims: &[usize]) -> Result<Tensor> {
    crate::seeded::uniform(name, &dims.into(), &Device::Cpu)?.to_dtype(DType::F64)
}

pub(super) fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("{value} is no number"))
}

pub(super) fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().unwrap_or_else(|| panic!("{value} is no list")).iter().map(number).collect()
}

/// The largest difference of two lists of one length.
pub(super) fn difference(found: &Tensor, expected: &Value) -> Result<f64> {
    let (found, expected) = (found.flatten_all()?.to_dtype(DType::F64)?.to_vec1::<f64>()?, numbers(expected));
    assert_eq!(found.len(), expected.len());
    let pairs = found.iter().zip(&expected).map(|(found, expected)| (found - expected).abs());
    Ok(pairs.fold(0., |worst, difference| if difference > worst || difference.is_nan() { difference } else { worst }))
}
