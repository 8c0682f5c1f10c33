//! Why a file of `torch.save` is not read.

use crate::budget::Exceeded;

/// Why a pickle was not read.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Refusal {
    /// It breaks the rules of pickles, at this byte.
    Invalid { offset: usize, reason: String },
    /// It ends early.
    Incomplete(String),
    /// It is whole, and of a kind that is not read: which, and what to do.
    Unsupported(String),
    /// It asks to call something that is not known to be data.
    Called(String),
}

impl From<Exceeded> for Refusal {
    fn from(exceeded: Exceeded) -> Self {
        Self::Invalid { offset: 0, reason: exceeded.to_string() }
    }
}

pub(super) type Result<T> = std::result::Result<T, Refusal>;

/// A rule of the format is broken; the reader adds where.
pub(super) fn invalid<T>(reason: impl Into<String>) -> Result<T> {
    Err(Refusal::Invalid { offset: 0, reason: reason.into() })
}
