//! A checkpoint file of any known format, told by its content.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use candle_core::{DType, Tensor};
use rayon::prelude::*;
use safetensors::Dtype;

use crate::budget::{Budget, json_bytes};
use crate::checkpoint::{Checkpoint, DTYPES, KeyLayout, Metadata};
use crate::elements;
use crate::error::Error;
use crate::header::{self, Header, Info, Wrong};
use crate::keymap;
use crate::pickle::{Refusal, TorchFile, extract};
use crate::quantized::{self, Integers};
use crate::write::METADATA_KEY;

/// Most bytes of a file that is read as a whole rather than mapped.
const MAX_READ: u64 = 256 << 20;
/// Most bytes of a `config.json` that are read; timm's have some hundred, 50,000 with the names of ImageNet.
const MAX_CONFIG: u64 = 2 << 20;
/// Most bytes that its values may take.
const MAX_CONFIG_TREE: usize = 12 << 20;

/// Reads a checkpoint: safetensors, or a file of `torch.save` in either of its containers.
///
/// Tensor names become ours (timm's for GhostNet, Ultralytics' for YOLO), dtypes stay as stored, and nothing in the file
/// is executed. It takes at most twice the file's length and 64 MB of memory, the checkpoint included; weights of 8 bits, which become
/// F32, take four times their length more. A `config.json` of timm's in the same folder says
/// what the file itself does not.
///
/// # Errors
/// [`Error`]: each variant names the file, what is wrong with it and what to do.
pub fn read(path: &Path) -> Result<Checkpoint, Error> {
    let opened = |source| Error::io("open", path, source);
    // To open a pipe is to wait for who writes it.
    let metadata = path.metadata().map_err(opened)?;
    if metadata.is_dir() {
        return Err(Error::io("read", path, std::io::ErrorKind::IsADirectory.into()));
    }
    if !metadata.is_file() {
        let kind = std::io::Error::new(std::io::ErrorKind::InvalidInput, "it is a pipe or a device, no regular file");
        return Err(Error::io("read", path, kind));
    }
    let file = File::open(path).map_err(opened)?;
    let length = file.metadata().map_err(|source| Error::io("read", path, source))?;
    if length.len() == 0 {
        return Err(Error::NotACheckpoint { path: path.to_path_buf(), found: "an empty file" });
    }
    let bytes = bytes_of(path, &file, length.len())?;
    let held = match &bytes {
        Bytes::Read(bytes) => bytes.capacity(),
        Bytes::Mapped(_) => 0,
    };
    let mut checkpoint = read_bytes(path, &bytes, held)?;
    if matches!(checkpoint.metadata.layout, KeyLayout::Timm | KeyLayout::Huawei) {
        merge_sibling_config(path, &mut checkpoint);
    }
    Ok(checkpoint)
}

/// [`read`] for a file's bytes, `held` of which are in memory for it: `path` is what messages call it, and nothing beside it
/// is looked at.
pub(crate) fn read_bytes(path: &Path, bytes: &[u8], held: usize) -> Result<Checkpoint, Error> {
    let mut budget = Budget::of(bytes.len(), held);
    let mut integers = BTreeMap::new();
    let Checkpoint { tensors, mut metadata, .. } = if TorchFile::is_one(bytes) {
        read_torch(path, bytes, budget)?
    } else if looks_like_safetensors(bytes) {
        read_safetensors(path, bytes, &mut budget, &mut integers)?
    } else {
        return Err(Error::NotACheckpoint { path: path.to_path_buf(), found: crate::foreign::file(bytes) });
    };
    if tensors.is_empty() && integers.is_empty() {
        return Err(match metadata.unread.pop_first() {
            Some((name, why)) => {
                Error::Unsupported { path: path.to_path_buf(), reason: clean(format!("its tensor {name} {why}")) }
            }
            None => Error::NoTensors { path: path.to_path_buf() },
        });
    }
    let unread = std::mem::take(&mut metadata.unread).into_iter().map(|(name, why)| (name, Content::Unread(why)));
    let integers = integers.into_iter().map(|(name, integers)| (name, Content::Integers(integers)));
    let tensors = tensors.into_iter().map(|(name, tensor)| (name, Content::Tensor(tensor)));
    let (mapped, layout) = keymap::to_ours(tensors.chain(unread).chain(integers).collect());
    let (mut tensors, mut integers) = (BTreeMap::new(), BTreeMap::new());
    for (name, content) in mapped {
        match content {
            Content::Tensor(tensor) => drop(tensors.insert(name, tensor)),
            Content::Integers(values) => drop(integers.insert(name, values)),
            Content::Unread(why) => drop(metadata.unread.insert(name, why)),
        }
    }
    if metadata.layout == KeyLayout::Other {
        metadata.layout = layout;
    }
    // A folded GhostNet keeps the batch norm of its stem, whose input is one of its feature maps.
    metadata.fused = !tensors.keys().any(|name| name.ends_with("running_mean") && name != "bn1.running_mean");
    let mut checkpoint = Checkpoint { tensors, metadata, ..Default::default() };
    quantized::gather(&mut checkpoint, integers)
        .map_err(|reason| Error::Tensor { path: path.to_path_buf(), reason: clean(reason) })?;
    Ok(checkpoint)
}

/// What a file has under a name.
enum Content {
    Tensor(Tensor),
    Integers(Integers),
    /// Why it is not read.
    Unread(String),
}

/// Reads timm's `config.json` beside a file of timm's, where it describes a model of as many classes.
fn merge_sibling_config(path: &Path, Checkpoint { tensors, metadata, .. }: &mut Checkpoint) {
    let Ok(file) = File::open(path.with_file_name("config.json")) else { return };
    let length = file.metadata().map_or(0, |metadata| metadata.len().min(MAX_CONFIG));
    let mut text = Vec::with_capacity(length as usize + 1);
    if file.take(length).read_to_end(&mut text).is_err() || json_bytes(&text) > MAX_CONFIG_TREE {
        return;
    }
    let Ok(config) = serde_json::from_slice::<serde_json::Value>(&text) else { return };
    let is_ghostnet =
        config.get("architecture").and_then(|arch| arch.as_str()).is_some_and(|arch| arch.contains("ghostnet"));
    let classes = config.get("num_classes").and_then(serde_json::Value::as_u64);
    let rows = tensors.get("classifier.bias").and_then(|bias| u64::try_from(bias.elem_count()).ok());
    if is_ghostnet && (classes.is_none() || rows.is_none() || classes == rows) {
        metadata.merge_timm_config(&config);
    }
}

/// The bytes of a file.
enum Bytes {
    Read(Vec<u8>),
    Mapped(memmap2::Mmap),
}

impl std::ops::Deref for Bytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Read(bytes) => bytes,
            Self::Mapped(map) => map,
        }
    }
}

/// All `length` bytes of a file. What another program cuts off while they are read is an error; of a file that is mapped, being
/// larger than [`MAX_READ`], the system ends the process for it.
fn bytes_of(path: &Path, file: &File, length: u64) -> Result<Bytes, Error> {
    if length > MAX_READ {
        return map(file).map(Bytes::Mapped).map_err(|source| Error::io("map", path, source));
    }
    let mut bytes = Vec::with_capacity(length as usize + 1);
    let read = file.take(length + 1).read_to_end(&mut bytes);
    read.map_err(|source| Error::io("read", path, source))?;
    if bytes.len() as u64 != length {
        let reason = format!("it had {length} bytes, and another length while it was read");
        return Err(Error::Incomplete { path: path.to_path_buf(), reason });
    }
    Ok(Bytes::Read(bytes))
}

/// The bytes of a file, mapped.
#[allow(unsafe_code, reason = "a memory map cannot be made in safe code")]
fn map(file: &File) -> std::io::Result<memmap2::Mmap> {
    // SAFETY: the map is read-only and lives for one `read`. A program that truncates the file meanwhile can make a read
    // fault, as for every reader of mapped files; our own writer replaces files by renaming and never truncates one.
    unsafe { memmap2::Mmap::map(file) }
}

/// Eight bytes of header length, then a JSON object.
fn looks_like_safetensors(bytes: &[u8]) -> bool {
    let length = bytes.get(..8).and_then(|b| b.try_into().ok()).map_or(0, u64::from_le_bytes);
    length >= 2 && bytes.get(8) == Some(&b'{')
}

/// The tensors of a safetensors file; those of type I8 come into `integers`.
fn read_safetensors(
    path: &Path,
    bytes: &[u8],
    budget: &mut Budget,
    integers: &mut BTreeMap<String, Integers>,
) -> Result<Checkpoint, Error> {
    let (header, data) = header_of(path, bytes, budget)?;
    let metadata = metadata_of(path, &header)?;
    // The first touch of a large file's pages takes longer than the rest of its reading.
    let read = |Info { name, dtype, shape, span }: Info| {
        let failed = |reason: String| Error::Tensor {
            path: path.to_path_buf(),
            reason: clean(format!("tensor {name}: {reason}")),
        };
        if dtype == Dtype::I8 && name.ends_with(".weight") {
            let values = data[span.0..span.1].iter().map(|byte| byte.cast_signed()).collect();
            return Ok((name, Content::Integers(Integers { values, shape })));
        }
        let Some(dtype) = DType::try_from(dtype).ok().filter(|dtype| DTYPES.contains(dtype)) else {
            let why = format!("is of type {dtype:?}, which is not read; save its float()");
            return Ok((name, Content::Unread(why)));
        };
        let tensor = elements::tensor(&data[span.0..span.1], dtype, &shape);
        let tensor = tensor.map_err(|error| failed(error.to_string()))?;
        Ok((name, Content::Tensor(tensor)))
    };
    let mut checkpoint = Checkpoint { metadata, ..Default::default() };
    for (name, content) in header.tensors.into_par_iter().map(read).collect::<Result<Vec<_>, Error>>()? {
        match content {
            Content::Tensor(tensor) => drop(checkpoint.tensors.insert(name, tensor)),
            Content::Integers(values) => drop(integers.insert(name, values)),
            Content::Unread(why) => drop(checkpoint.metadata.unread.insert(name, why)),
        }
    }
    Ok(checkpoint)
}

/// The header of a safetensors file, and the bytes behind it.
fn header_of<'a>(path: &Path, bytes: &'a [u8], budget: &mut Budget) -> Result<(Header, &'a [u8]), Error> {
    let wrong = |wrong: Wrong| match wrong {
        Wrong::Invalid(reason) => Error::Invalid { path: path.to_path_buf(), reason: clean(reason) },
        Wrong::Short(length) => {
            let reason = format!("{} of its {length} bytes are there", bytes.len());
            Error::Incomplete { path: path.to_path_buf(), reason }
        }
    };
    let length = header::length_of(bytes, bytes.len() as u64).map_err(wrong)?;
    let (json, data) = bytes[8..].split_at(length as usize);
    Ok((Header::parse(json, data.len() as u64, budget).map_err(wrong)?, data))
}

/// What the header of a safetensors file says about the model, without its tensors.
pub(crate) fn read_metadata(path: &Path, bytes: &[u8]) -> Result<Metadata, Error> {
    metadata_of(path, &header_of(path, bytes, &mut Budget::of(bytes.len(), 0))?.0)
}

fn metadata_of(path: &Path, header: &Header) -> Result<Metadata, Error> {
    match &header.described {
        Some(json) => serde_json::from_str(json).map_err(|error| Error::Invalid {
            path: path.to_path_buf(),
            reason: format!("its metadata `{METADATA_KEY}` is not what this program writes: {error}"),
        }),
        None => Ok(Metadata { arch: header.arch.clone(), ..Default::default() }),
    }
}

/// A file's own names go into messages: they must not break the line or steer the terminal.
pub(crate) fn clean(text: String) -> String {
    text.replace(char::is_control, "\u{fffd}")
}

fn read_torch(path: &Path, bytes: &[u8], budget: Budget) -> Result<Checkpoint, Error> {
    let refused = |refusal: Refusal| match refusal {
        Refusal::Invalid { offset: 0, reason } => Error::Invalid { path: path.to_path_buf(), reason: clean(reason) },
        Refusal::Invalid { offset, reason } => {
            Error::Invalid { path: path.to_path_buf(), reason: format!("{} (pickle byte {offset})", clean(reason)) }
        }
        Refusal::Incomplete(reason) => Error::Incomplete { path: path.to_path_buf(), reason: clean(reason) },
        Refusal::Unsupported(reason) => Error::Unsupported { path: path.to_path_buf(), reason: clean(reason) },
        Refusal::Called(global) => Error::Refused { path: path.to_path_buf(), global: clean(global) },
    };
    let mut file = TorchFile::open(bytes, budget).map_err(refused)?;
    match extract(&mut file).map_err(refused)? {
        Some(checkpoint) => Ok(checkpoint),
        None => Err(Error::NoTensors { path: path.to_path_buf() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_changes_its_length_while_it_is_read_is_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("model.pt");
        std::fs::write(&path, [7; 10]).expect("a file");
        let read = |length| bytes_of(&path, &File::open(&path).expect("the file"), length);
        assert_eq!(&*read(10).expect("all ten"), [7; 10]);
        for length in [8, 12] {
            assert!(matches!(read(length), Err(Error::Incomplete { .. })), "{length}");
        }
    }

    #[test]
    fn a_device_is_no_checkpoint() {
        if cfg!(target_os = "linux") {
            let error = read(Path::new("/dev/zero")).expect_err("it has no end").to_string();
            assert!(error.contains("no regular file"), "{error}");
        }
    }
}
