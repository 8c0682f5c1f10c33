//! What can be wrong with a dataset.

use std::path::{Path, PathBuf};

/// Why a dataset could not be read. Each message names the file, what is wrong and what to do about it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DataError {
    /// The operating system refused.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The system's answer.
        source: std::io::Error,
    },
    /// A file's content breaks the rules of its format.
    #[error("{}: {problem}", path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// What is wrong, where, and what is allowed.
        problem: String,
    },
    /// Nothing lies at any of the places that a name can mean.
    #[error("{} names {what}; there is nothing at {}; correct {remedy}", path.display(), list(tried))]
    NotFound {
        /// The file that names it.
        path: PathBuf,
        /// What is named.
        what: String,
        /// Every path tried, in order.
        tried: Vec<PathBuf>,
        /// What to change.
        remedy: &'static str,
    },
    /// A folder holds no image.
    #[error(
        "there is no image in {} and the folders below it; images end in .jpg, .png, .webp, .bmp and the like",
        path.display()
    )]
    NoImages {
        /// The folder.
        path: PathBuf,
    },
    /// Not one image of a split has labels that can be used.
    #[error("none of the {images} images has labels that can be used; the first reason: {first}")]
    AllLeftOut {
        /// Number of images.
        images: usize,
        /// Why the first one was left out.
        first: String,
    },
    /// Not one image to train on can be read.
    #[error("none of the {images} images can be read{}", because(first))]
    AllUnreadable {
        /// Number of images.
        images: usize,
        /// Why the first one cannot be read.
        first: Option<String>,
    },
    /// Most images to train on cannot be decoded.
    #[error(
        "{failed} of {images} images cannot be decoded, more than half: there is little to learn from{}",
        because(first)
    )]
    MostlyUndecodable {
        /// Number of images that were tried and failed.
        failed: usize,
        /// Number of images.
        images: usize,
        /// Why the first that failed cannot be decoded.
        first: Option<String>,
    },
    /// Not one image to train on shows an object.
    #[error("none of the {images} images has an object; label files lie beside them, or in `labels` beside `images`")]
    NoObjects {
        /// Number of images.
        images: usize,
    },
}

impl DataError {
    pub(super) fn io(action: &'static str, path: &Path, source: std::io::Error) -> Self {
        Self::Io { action, path: path.to_path_buf(), source }
    }

    pub(super) fn invalid(path: &Path, problem: impl Into<String>) -> Self {
        Self::Invalid { path: path.to_path_buf(), problem: problem.into() }
    }
}

fn because(first: &Option<String>) -> String {
    first.as_ref().map(|first| format!("; the first: {first}")).unwrap_or_default()
}

fn list(paths: &[PathBuf]) -> String {
    paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ")
}
