//! Checkpoints as safetensors, written whole or not at all.

use std::collections::HashMap;
use std::io::Write;
use std::path::Path;

use crate::checkpoint::Checkpoint;
use crate::error::Error;

/// The header entry that holds [`crate::Metadata`] as JSON.
pub(crate) const METADATA_KEY: &str = "ghostzoo";

/// Writes `checkpoint` as safetensors to `path` with its metadata in the header.
///
/// The file appears complete or not at all: it is written under a temporary name in the same folder, synced, renamed.
///
/// # Errors
/// [`Error::Io`] where the folder cannot be written, [`Error::Tensor`] where a tensor cannot be serialised.
pub fn write(path: &Path, checkpoint: &Checkpoint) -> Result<(), Error> {
    let failed = |reason: String| Error::Tensor { path: path.to_path_buf(), reason };
    let metadata = serde_json::to_string(&checkpoint.metadata).map_err(|error| failed(error.to_string()))?;
    let fields = HashMap::from([("format".to_owned(), "pt".to_owned()), (METADATA_KEY.to_owned(), metadata)]);
    let tensors = checkpoint.tensors.iter().map(|(name, tensor)| Ok((name, tensor.contiguous()?)));
    let tensors: Vec<_> = tensors.collect::<candle_core::Result<_>>().map_err(|error| failed(error.to_string()))?;
    let bytes = safetensors::serialize(tensors.iter().map(|(name, tensor)| (name, tensor)), Some(fields))
        .map_err(|error| failed(error.to_string()))?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let io = |source| Error::io("write", path, source);
    let mut file = tempfile::NamedTempFile::new_in(folder).map_err(io)?;
    file.write_all(&bytes).map_err(io)?;
    file.as_file().sync_all().map_err(io)?;
    file.persist(path).map_err(|error| io(error.error))?;
    Ok(())
}
