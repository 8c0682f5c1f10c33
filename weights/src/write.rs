//! Checkpoints as safetensors, written whole or not at all.

use std::io::{BufWriter, Write};
use std::path::Path;

use ghostzoo_files::Pending;
use safetensors::tensor::TensorInfo;
use serde_json::{Map, Value, json};

use crate::checkpoint::{Checkpoint, DTYPES};
use crate::error::Error;

/// The header entry that holds [`crate::Metadata`] as JSON.
pub(crate) const METADATA_KEY: &str = "ghostzoo";

/// Writes `checkpoint` as safetensors to `path` with its metadata in the header.
///
/// The file appears complete or not at all: it is written under a temporary name in the same folder, synced, renamed.
/// Equal checkpoints give equal bytes.
///
/// # Errors
/// [`Error::Io`] where the folder cannot be written, [`Error::Tensor`] where a tensor cannot be serialised.
pub fn write(path: &Path, checkpoint: &Checkpoint) -> Result<(), Error> {
    let failed = |reason: String| Error::Tensor { path: path.to_path_buf(), reason };
    let metadata = serde_json::to_string(&checkpoint.metadata).map_err(|error| failed(error.to_string()))?;
    // Put together here because the library keeps its fields in a map of random order.
    let mut header = Map::new();
    header.insert("__metadata__".to_owned(), json!({"format": "pt", METADATA_KEY: metadata}));
    // Wide types first, so that every tensor is aligned.
    let mut tensors: Vec<_> = checkpoint.tensors.iter().collect();
    tensors.sort_by_key(|(_, tensor)| std::cmp::Reverse(tensor.dtype().size_in_bytes()));
    let mut end = 0;
    for (name, tensor) in &tensors {
        if !DTYPES.contains(&tensor.dtype()) {
            return Err(failed(format!("tensor {name} has the type {}, which is not stored", tensor.dtype().as_str())));
        }
        let start = end;
        end += safetensors::View::data_len(*tensor);
        let info = TensorInfo {
            dtype: safetensors::View::dtype(*tensor),
            shape: tensor.dims().to_vec(),
            data_offsets: (start, end),
        };
        header.insert((*name).clone(), serde_json::to_value(info).map_err(|error| failed(error.to_string()))?);
    }
    let mut header = Value::Object(header).to_string().into_bytes();
    header.resize(header.len().next_multiple_of(8), b' ');
    let io = |source| Error::io("write", path, source);
    let mut file = BufWriter::new(Pending::create(path).map_err(io)?);
    file.write_all(&(header.len() as u64).to_le_bytes()).map_err(io)?;
    file.write_all(&header).map_err(io)?;
    for (_, tensor) in &tensors {
        file.write_all(&safetensors::View::data(*tensor)).map_err(io)?;
    }
    let file = file.into_inner().map_err(|error| io(error.into_error()))?;
    file.finish().map_err(io)
}
