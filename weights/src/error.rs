//! What can be wrong with a checkpoint file.

use std::path::PathBuf;

/// Why a checkpoint could not be read or written. Each message names the file and what to do about it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The operating system refused.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's answer.
        source: std::io::Error,
    },
    /// The content is no known format.
    #[error("{} is neither safetensors nor a file of torch.save, but {found}", path.display())]
    NotACheckpoint {
        /// The file.
        path: PathBuf,
        /// What it looks like instead.
        found: &'static str,
    },
    /// The format is known and the content breaks its rules.
    #[error("{} is damaged or hostile: {reason}", path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// Which rule, and where.
        reason: String,
    },
    /// The file ends early.
    #[error("{} is incomplete: {reason}; it was cut off while it was downloaded or copied, so get it again", path.display())]
    Incomplete {
        /// The file.
        path: PathBuf,
        /// What is missing.
        reason: String,
    },
    /// A pickle asks to call something that is not known to be data.
    #[error("{} asks to call `{global}`, which is refused; load it in Python and save its state_dict() instead", path.display())]
    Refused {
        /// The file.
        path: PathBuf,
        /// Module and name of the callable.
        global: String,
    },
    /// The content is valid and of a kind that is not read.
    #[error("{} cannot be read: {reason}", path.display())]
    Unsupported {
        /// The file.
        path: PathBuf,
        /// Which kind, and what to do.
        reason: String,
    },
    /// The file holds no tensors.
    #[error("{} holds no model weights", path.display())]
    NoTensors {
        /// The file.
        path: PathBuf,
    },
    /// A tensor could not be built or converted.
    #[error("{}: {reason}", path.display())]
    Tensor {
        /// The file.
        path: PathBuf,
        /// What candle said.
        reason: String,
    },
}

impl Error {
    pub(crate) fn io(action: &'static str, path: &std::path::Path, source: std::io::Error) -> Self {
        Self::Io { action, path: path.to_path_buf(), source }
    }
}
