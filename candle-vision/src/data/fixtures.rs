//! Folders, archives and expected values for the tests.

use std::fmt::Debug;
use std::fs;
use std::path::{Path, PathBuf};

use super::{DataError, DatasetOptions, ImageIndex};

/// Where `tests/oracle/data.py` writes.
pub(super) fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden/data").join(name)
}

/// What Python's libraries find in the fixtures.
pub(super) fn expected() -> serde_json::Value {
    serde_json::from_str(&fs::read_to_string(data("expected.json")).unwrap()).unwrap()
}

/// FNV-1a of bytes, as the oracle writes it.
pub(super) fn digest(bytes: &[u8]) -> String {
    let add = |hash: u64, &byte: &u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01B3);
    format!("{:016x}", bytes.iter().fold(0xCBF2_9CE4_8422_2325, add))
}

/// A temporary folder whose files hold their own names.
pub(super) struct Tree(tempfile::TempDir);

impl Tree {
    /// Files by their paths; a path that ends in `/` is an empty folder.
    pub(super) fn new(files: &[&str]) -> Self {
        let tree = Self(tempfile::tempdir().unwrap());
        for file in files {
            match file.strip_suffix('/') {
                Some(folder) => fs::create_dir_all(tree.path().join(folder)).unwrap(),
                None => {
                    tree.write(file, file);
                }
            }
        }
        tree
    }

    pub(super) fn path(&self) -> &Path {
        self.0.path()
    }

    pub(super) fn join(&self, name: &str) -> PathBuf {
        self.path().join(name)
    }

    pub(super) fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        path
    }

    /// A tar file whose members hold the given bytes.
    pub(super) fn tar(&self, name: &str, members: &[(&str, impl AsRef<[u8]>)]) -> PathBuf {
        let mut builder = tar::Builder::new(Vec::new());
        for (member, content) in members {
            let (mut header, content) = (tar::Header::new_gnu(), content.as_ref());
            header.set_size(content.len() as u64);
            // The name as it is: the library's own setter refuses `..`.
            header.as_gnu_mut().unwrap().name[..member.len()].copy_from_slice(member.as_bytes());
            header.set_cksum();
            builder.append(&header, content).unwrap();
        }
        self.write(name, builder.into_inner().unwrap())
    }
}

/// Names and classes of a set.
pub(super) fn pairs(set: &ImageIndex) -> Vec<(String, usize)> {
    (0..set.len()).map(|index| (set.name(index).to_owned(), set.class_of(index))).collect()
}

/// Opens a set for a model of some number of classes.
pub(super) fn open(path: &Path, num_classes: usize) -> Result<ImageIndex, DataError> {
    ImageIndex::open(path, &DatasetOptions { num_classes, ..Default::default() })
}

/// The one line of an error.
pub(super) fn error<T: Debug>(result: Result<T, DataError>) -> String {
    let message = result.expect_err("an error is expected").to_string();
    assert!(!message.contains('\n'), "{message}");
    message
}
