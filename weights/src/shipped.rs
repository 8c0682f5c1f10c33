//! The checkpoints of `weights/shipped`, built into the program by the feature `shipped`.
//!
//! Each has a row in `registry.json` and a card beside it that says what it was trained on, how, and how good it is.

use std::path::Path;

use crate::checkpoint::{Checkpoint, Metadata};
use crate::error::Error;
use crate::read::{read_bytes, read_metadata};

/// A checkpoint in the program's own memory.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Bundled {
    file: &'static str,
    bytes: &'static [u8],
}

/// A file of `weights/shipped`.
#[cfg(feature = "shipped")]
macro_rules! shipped {
    ($file:literal) => {
        Bundled { file: $file, bytes: include_bytes!(concat!("../shipped/", $file)) }
    };
}

#[cfg(feature = "shipped")]
const ALL: &[Bundled] = &[
    shipped!("yolov8n-ghostnet-bccd.safetensors"),
    shipped!("yolov8n-crops.safetensors"),
    shipped!("ghostnet_050-cifar10.safetensors"),
];
#[cfg(not(feature = "shipped"))]
const ALL: &[Bundled] = &[];

impl Bundled {
    /// The checkpoint of this file name; `None` where it is not built in.
    pub(crate) fn find(file: &str) -> Option<Self> {
        ALL.iter().copied().find(|shipped| shipped.file == file)
    }

    /// The file's name.
    pub fn file(&self) -> &'static str {
        self.file
    }

    /// The file's content.
    pub fn bytes(&self) -> &'static [u8] {
        self.bytes
    }

    /// What the file says about itself, without reading its tensors.
    ///
    /// # Errors
    /// [`Error::Invalid`] where the header is damaged.
    pub fn metadata(&self) -> Result<Metadata, Error> {
        read_metadata(Path::new(self.file), self.bytes)
    }

    /// The checkpoint.
    ///
    /// # Errors
    /// As [`crate::read`], where the content is damaged.
    pub fn read(&self) -> Result<Checkpoint, Error> {
        read_bytes(Path::new(self.file), self.bytes, 0)
    }
}

impl std::fmt::Debug for Bundled {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Shipped({}, {} bytes)", self.file, self.bytes.len())
    }
}

#[cfg(all(test, feature = "shipped"))]
mod tests {
    use super::*;
    use crate::registry::{ModelEntry, Registry, Task};
    use sha2::{Digest, Sha256};

    /// Each row of a shipped file, with the file.
    fn rows() -> Vec<(ModelEntry, Bundled)> {
        let registry = Registry::builtin();
        let entries = registry.shipped(Task::Detect).chain(registry.shipped(Task::Classify));
        entries.map(|entry| (entry.clone(), entry.shipped().expect("a file of ALL"))).collect()
    }

    #[test]
    fn each_file_has_a_row_and_a_card() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("shipped");
        let files = std::fs::read_dir(&folder).expect("a folder").map(|file| file.expect("an entry").file_name());
        let files = files.map(|name| name.to_string_lossy().into_owned());
        let mut there: Vec<String> = files.filter(|name| name.ends_with(".safetensors")).collect();
        let mut wanted: Vec<String> = rows().iter().map(|(_, file)| file.file.to_owned()).collect();
        there.sort();
        wanted.sort();
        assert_eq!(there, wanted);
        for (entry, _) in rows() {
            assert!(folder.join(format!("{}.md", entry.name)).is_file(), "the card of {}", entry.name);
        }
        assert_eq!(rows().len(), ALL.len());
    }

    #[test]
    fn a_row_says_what_its_file_is() {
        for (entry, file) in rows() {
            let hash: String = Sha256::digest(file.bytes).iter().map(|byte| format!("{byte:02x}")).collect();
            assert_eq!((entry.sha256, entry.size_bytes), (Some(hash), Some(file.bytes.len() as u64)), "{file:?}");
            let metadata = file.metadata().expect("readable");
            assert_eq!(metadata.arch.as_ref(), Some(&entry.architecture), "{file:?}");
            assert_eq!(metadata.nc, Some(entry.num_classes), "{file:?}");
            assert_eq!(metadata.names.as_ref().map(Vec::len), Some(entry.num_classes), "{file:?}");
            assert_eq!(metadata.preprocessing.is_some(), entry.task == Task::Classify, "{file:?}");
            let checkpoint = file.read().expect("readable");
            assert_eq!(checkpoint.metadata.names, metadata.names, "{file:?}");
            assert!(!checkpoint.tensors.is_empty(), "{file:?}");
        }
    }

    #[test]
    fn a_file_names_no_folder_of_the_machine_that_trained_it() {
        for (_, file) in rows() {
            let arguments = file.metadata().expect("readable").train_args.expect("arguments of the training");
            let arguments = arguments.as_object().expect("by name");
            let is_path = |value: &serde_json::Value| value.as_str().is_some_and(|text| Path::new(text).is_absolute());
            let paths: Vec<_> = arguments.iter().filter(|(_, value)| is_path(value)).collect();
            assert!(!arguments.is_empty() && paths.is_empty(), "{file:?}: {paths:?}");
        }
    }
}
