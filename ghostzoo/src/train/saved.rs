//! What a task writes of its network, and reads again.

use std::collections::BTreeMap;
use std::path::Path;

use candle_core::{DType, Device, Tensor};
use candle_nn::VarBuilder;
use ghostzoo_weights::Metadata;
use serde_json::{Value, json};

use super::task::TrainTask;
use crate::error::{Context as _, Result, invalid};

/// The counter of a state, beside its tensors.
const UPDATES: &str = "average_updates";

/// Tensors as a checkpoint has them.
///
/// # Errors
/// A device that does not give them.
pub(super) fn on_cpu(tensors: BTreeMap<String, Tensor>) -> Result<BTreeMap<String, Tensor>> {
    let moved = |(name, tensor): (String, Tensor)| Ok((name, tensor.to_device(&Device::Cpu)?));
    tensors.into_iter().map(moved).collect()
}

/// What a checkpoint of a task says after `epochs`, of a network `arch` of these classes that sees images of `imgsz` pixels.
pub(super) fn metadata<T: TrainTask>(arch: &str, class_names: &[String], imgsz: usize, epochs: usize) -> Metadata {
    Metadata {
        arch: Some(arch.to_owned()),
        task: Some(T::NAME.to_owned()),
        nc: Some(class_names.len()),
        names: Some(class_names.to_vec()),
        imgsz: Some(imgsz),
        epoch: Some(epochs as i64),
        ..Default::default()
    }
}

/// The tensors of a checkpoint of a run, for its network.
///
/// # Errors
/// A checkpoint that cannot be read.
pub(super) fn weights(checkpoint: &Path, device: &Device) -> Result<VarBuilder<'static>> {
    let tensors = ghostzoo_weights::read(checkpoint)?.tensors.into_iter().collect();
    Ok(VarBuilder::from_tensors(tensors, DType::F32, device))
}

/// The counters of a state whose average was updated so often.
pub(super) fn counters(updates: u64) -> Value {
    json!({ UPDATES: updates })
}

/// What [`counters`] was given, of a state of `network`.
///
/// # Errors
/// Counters of something else.
pub(super) fn updates(counters: &Value, network: &str) -> Result<u64> {
    counters[UPDATES].as_u64().with_context(|| format!("the counters are not those of {network}"))
}

/// Refuses validation images of which `read` could be read, none.
///
/// # Errors
/// Where that is none.
pub(super) fn ensure_readable(images: usize, read: usize) -> Result<()> {
    if read == 0 {
        invalid!("none of the {images} validation images can be read");
    }
    Ok(())
}
