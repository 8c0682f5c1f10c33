//! What can be wrong with an image set.

use std::path::{Path, PathBuf};

/// Why an image set, or a list that goes with one, could not be opened. Each message names the file and what to do.
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
    /// There is nothing at the path.
    #[error("{}: {reason}", path.display())]
    NotFound {
        /// The path as given.
        path: PathBuf,
        /// What is missing.
        reason: String,
    },
    /// What is there is no image set, or one of a kind that is not read.
    #[error("{}: {reason}", path.display())]
    Layout {
        /// The file or folder.
        path: PathBuf,
        /// What was found, and what to give.
        reason: String,
    },
    /// A kind of data set, or of labels, whose reader was left out of the program.
    #[error("{}: this program is built without the feature `{feature}` of candle-vision, which reads it", path.display())]
    NotBuiltIn {
        /// The file or folder.
        path: PathBuf,
        /// The feature that reads it.
        feature: &'static str,
    },
    /// A file is truncated, damaged or hostile.
    #[error("{}: {reason}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong, and where.
        reason: String,
    },
    /// Labels are needed, or do not fit the images.
    #[error("{}: {reason}", path.display())]
    Labels {
        /// The labels file, or the set that needs one.
        path: PathBuf,
        /// What does not fit, with counts.
        reason: String,
    },
    /// Labels are numbers, and how they count is not known.
    #[error("{}: {reason}", path.display())]
    Order {
        /// Where the numbers are.
        path: PathBuf,
        /// Which numbers, and what to say.
        reason: String,
    },
    /// Labels do not name classes of the model.
    #[error("{}: {reason}", path.display())]
    Classes {
        /// Where the labels are.
        path: PathBuf,
        /// Which labels, with counts.
        reason: String,
    },
}

impl DataError {
    pub(super) fn io(action: &'static str, path: &Path, source: std::io::Error) -> Self {
        Self::Io { action, path: path.to_path_buf(), source }
    }

    pub(super) fn not_found(path: &Path, reason: impl Into<String>) -> Self {
        Self::NotFound { path: path.to_path_buf(), reason: reason.into() }
    }

    pub(super) fn layout(path: &Path, reason: impl Into<String>) -> Self {
        Self::Layout { path: path.to_path_buf(), reason: reason.into() }
    }

    #[cfg(not(all(feature = "csv", feature = "parquet", feature = "tar")))]
    pub(super) fn not_built_in(path: &Path, feature: &'static str) -> Self {
        Self::NotBuiltIn { path: path.to_path_buf(), feature }
    }

    pub(super) fn damaged(path: &Path, reason: impl Into<String>) -> Self {
        Self::Damaged { path: path.to_path_buf(), reason: reason.into() }
    }

    pub(super) fn labels(path: &Path, reason: impl Into<String>) -> Self {
        Self::Labels { path: path.to_path_buf(), reason: reason.into() }
    }

    pub(super) fn order(path: &Path, reason: impl Into<String>) -> Self {
        Self::Order { path: path.to_path_buf(), reason: reason.into() }
    }

    pub(super) fn classes(path: &Path, reason: impl Into<String>) -> Self {
        Self::Classes { path: path.to_path_buf(), reason: reason.into() }
    }
}

/// Why one image of a set could not be fetched. The set goes on after it.
#[derive(Debug, thiserror::Error)]
#[error("{name}: {reason}")]
pub struct ImageReadError {
    /// Which image of the set.
    pub index: usize,
    /// Its name.
    pub name: String,
    /// What is wrong, and what to do.
    pub reason: String,
}

/// The first few of some names for a message: "`a`, `b` and 3 others".
pub(super) fn examples<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    const SHOWN: usize = 3;
    const MAX_CHARS: usize = 80;
    let mut names = names.into_iter();
    let shown: Vec<String> = names
        .by_ref()
        .take(SHOWN)
        .map(|name| format!("`{}`", name.chars().take(MAX_CHARS).collect::<String>()))
        .collect();
    let shown_text = shown.join(", ");
    match names.count() {
        0 => shown_text,
        1 => format!("{shown_text} and 1 other"),
        others => format!("{shown_text} and {others} others"),
    }
}

/// "1 image", "2 images".
pub(super) fn count(number: usize, singular: &str, plural: &str) -> String {
    format!("{number} {}", if number == 1 { singular } else { plural })
}
