//! What `tests/oracle/train_options.py` wrote.

use serde::de::DeserializeOwned;

/// A section of `tests/golden/train/options.json`.
pub(crate) fn options<T: DeserializeOwned>(section: &str) -> Vec<T> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/golden/train/options.json");
    let golden: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    serde_json::from_value(golden[section].clone()).unwrap()
}
