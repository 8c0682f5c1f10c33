//! Checkpoints as safetensors, written whole or not at all.

use std::borrow::Cow;
use std::io::{BufWriter, Write};
use std::path::Path;

use candle_core::Tensor;
use ghostzoo_files::Pending;
use safetensors::tensor::{Dtype, TensorInfo};
use serde_json::{Map, Value, json};

use crate::checkpoint::{Checkpoint, DTYPES};
use crate::error::Error;

/// The header entry that holds [`crate::Metadata`] as JSON.
pub(crate) const METADATA_KEY: &str = "ghostzoo";

/// A tensor as it is written.
struct Part<'a> {
    name: String,
    dtype: Dtype,
    shape: Vec<usize>,
    content: Content<'a>,
}

enum Content<'a> {
    Tensor(&'a Tensor),
    Bytes(Vec<u8>),
}

impl Part<'_> {
    fn len(&self) -> usize {
        match &self.content {
            Content::Tensor(tensor) => safetensors::View::data_len(*tensor),
            Content::Bytes(bytes) => bytes.len(),
        }
    }

    fn bytes(&self) -> Cow<'_, [u8]> {
        match &self.content {
            Content::Tensor(tensor) => safetensors::View::data(*tensor),
            Content::Bytes(bytes) => Cow::Borrowed(bytes),
        }
    }
}

/// Writes `checkpoint` as safetensors to `path` with its metadata in the header. The weights of [`Checkpoint::quantized`] are
/// written as 8-bit integers, each beside `X.weight_scale`, `X.input_scale` and `X.input_zero_point`.
///
/// The file appears complete or not at all: it is written under a temporary name in the same folder, synced, renamed.
/// Equal checkpoints give equal bytes.
///
/// # Errors
/// [`Error::Io`] where the folder cannot be written, [`Error::Tensor`] where a tensor cannot be serialised, or the weights of a
/// quantized convolution are not there or no whole multiples of their steps.
pub fn write(path: &Path, checkpoint: &Checkpoint) -> Result<(), Error> {
    let failed = |reason: String| Error::Tensor { path: path.to_path_buf(), reason };
    let metadata = serde_json::to_string(&checkpoint.metadata).map_err(|error| failed(error.to_string()))?;
    // Put together here because the library keeps its fields in a map of random order.
    let mut header = Map::new();
    header.insert("__metadata__".to_owned(), json!({"format": "pt", METADATA_KEY: metadata}));
    let parts = parts(checkpoint).map_err(failed)?;
    let mut end = 0;
    for part in &parts {
        let start = end;
        end += part.len();
        let info = TensorInfo { dtype: part.dtype, shape: part.shape.clone(), data_offsets: (start, end) };
        header.insert(part.name.clone(), serde_json::to_value(info).map_err(|error| failed(error.to_string()))?);
    }
    let mut header = Value::Object(header).to_string().into_bytes();
    header.resize(header.len().next_multiple_of(8), b' ');
    let io = |source| Error::io("write", path, source);
    let mut file = BufWriter::new(Pending::create(path).map_err(io)?);
    file.write_all(&(header.len() as u64).to_le_bytes()).map_err(io)?;
    file.write_all(&header).map_err(io)?;
    for part in &parts {
        file.write_all(&part.bytes()).map_err(io)?;
    }
    let file = file.into_inner().map_err(|error| io(error.into_error()))?;
    file.finish().map_err(io)
}

/// The tensors of the file: wide types first, so that every tensor is aligned, and by their names.
fn parts(checkpoint: &Checkpoint) -> Result<Vec<Part<'_>>, String> {
    let quantized = &checkpoint.quantized;
    let mut parts = Vec::with_capacity(checkpoint.tensors.len() + 3 * quantized.len());
    for (name, tensor) in &checkpoint.tensors {
        if name.strip_suffix(".weight").is_some_and(|path| quantized.contains_key(path)) {
            continue;
        }
        if !DTYPES.contains(&tensor.dtype()) {
            return Err(format!("tensor {name} has the type {}, which is not stored", tensor.dtype().as_str()));
        }
        let (dtype, shape) = (safetensors::View::dtype(tensor), tensor.dims().to_vec());
        parts.push(Part { name: name.clone(), dtype, shape, content: Content::Tensor(tensor) });
    }
    for (path, conv) in quantized {
        let name = format!("{path}.weight");
        let weight = checkpoint.tensors.get(&name).ok_or_else(|| format!("tensor {name} is not there"))?;
        let integers = conv.integers(path, weight)?.into_iter().map(i8::cast_unsigned).collect();
        let scales = conv.weight_scale.iter().flat_map(|scale| scale.to_le_bytes()).collect();
        for (end, dtype, shape, bytes) in [
            ("weight", Dtype::I8, weight.dims().to_vec(), integers),
            ("weight_scale", Dtype::F32, vec![conv.weight_scale.len()], scales),
            ("input_scale", Dtype::F32, vec![1], conv.input_scale.to_le_bytes().to_vec()),
            ("input_zero_point", Dtype::U8, vec![1], vec![conv.input_zero_point]),
        ] {
            let name = format!("{path}.{end}");
            if end != "weight" && checkpoint.tensors.contains_key(&name) {
                return Err(format!("tensor {name} is there twice"));
            }
            parts.push(Part { name, dtype, shape, content: Content::Bytes(bytes) });
        }
    }
    parts.sort_by(|a, b| (b.dtype.bitsize(), &a.name).cmp(&(a.dtype.bitsize(), &b.name)));
    Ok(parts)
}
