//! Why something could not be done.

use std::io;

use candle_vision::augment::AugmentError;
use candle_vision::data::LoaderError;
use candle_vision::image::ImageError;
use candle_vision::train::distributed::GroupError;
use ghostzoo_weights::ResolveError;
use safetensors::SafeTensorError;

/// Why something could not be done: each message says what was wrong, where, and what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// What was asked for does not exist, or does not go together.
    #[error("{0}")]
    Request(String),
    /// What a file holds, or what came of it, is not what it must be.
    #[error("{0}")]
    Invalid(String),
    /// An error, and what was being done.
    #[error("{what}")]
    Context {
        /// What was being done.
        what: String,
        /// Why it failed.
        source: Box<Self>,
    },
    /// A file could not be read or written.
    #[error("{what}")]
    Io {
        /// What was tried, with the path.
        what: String,
        /// The system's answer.
        source: io::Error,
    },
    /// A model could not be found.
    #[error(transparent)]
    Resolve(#[from] ResolveError),
    /// A checkpoint could not be read or written.
    #[error(transparent)]
    Checkpoint(#[from] ghostzoo_weights::Error),
    /// A model's yaml is none.
    #[error(transparent)]
    Yaml(#[from] candle_yolov8::YamlError),
    /// Labelled images of a detector could not be read.
    #[error(transparent)]
    Labels(#[from] candle_yolov8::data::DataError),
    /// Labelled images of a classifier could not be read.
    #[error(transparent)]
    Data(#[from] candle_vision::data::DataError),
    /// A dataset cannot give an item.
    #[error(transparent)]
    Item(#[from] candle_vision::data::ItemError),
    /// An image could not be read.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// A tensor could not be computed.
    #[error(transparent)]
    Candle(#[from] candle_core::Error),
    /// Training images cannot be changed as was asked, or not be read.
    #[error(transparent)]
    Augment(#[from] AugmentError),
    /// There are no threads to prepare images.
    #[error(transparent)]
    Loader(#[from] LoaderError),
    /// The processes of a run do not go on together.
    #[error(transparent)]
    Group(#[from] GroupError),
    /// A run's state could not be read or written.
    #[error(transparent)]
    State(#[from] SafeTensorError),
    /// Values are not those that a run's state holds.
    #[error(transparent)]
    Values(#[from] serde_json::Error),
    /// A plot could not be drawn.
    #[cfg(feature = "plot")]
    #[error(transparent)]
    Plot(Box<dyn std::error::Error + Send + Sync>),
    /// A video could not be read or written.
    #[error(transparent)]
    Video(#[from] crate::video::VideoError),
    /// What a caller's own code gave.
    #[error(transparent)]
    Callback(Box<dyn std::error::Error + Send + Sync>),
}

/// What functions of this crate give.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// Whether what was asked for does not exist or does not go together, so that another request may succeed.
    pub fn is_request(&self) -> bool {
        match self {
            Self::Request(_) => true,
            Self::Context { source, .. } => source.is_request(),
            _ => false,
        }
    }

    /// Whether a model could not be found or downloaded.
    pub fn is_resolve(&self) -> bool {
        match self {
            Self::Resolve(_) => true,
            Self::Context { source, .. } => source.is_resolve(),
            _ => false,
        }
    }
}

/// Says what was being done when something failed, or what is missing.
pub(crate) trait Context<T> {
    fn context(self, what: impl Into<String>) -> Result<T>;
    fn with_context<S: Into<String>>(self, what: impl FnOnce() -> S) -> Result<T>;
}

impl<T, E: Into<Error>> Context<T> for std::result::Result<T, E> {
    fn context(self, what: impl Into<String>) -> Result<T> {
        self.with_context(|| what)
    }

    fn with_context<S: Into<String>>(self, what: impl FnOnce() -> S) -> Result<T> {
        self.map_err(|error| Error::Context { what: what().into(), source: Box::new(error.into()) })
    }
}

impl<T> Context<T> for Option<T> {
    fn context(self, what: impl Into<String>) -> Result<T> {
        self.with_context(|| what)
    }

    fn with_context<S: Into<String>>(self, what: impl FnOnce() -> S) -> Result<T> {
        self.ok_or_else(|| Error::Invalid(what().into()))
    }
}

/// A request that cannot be met.
pub(crate) fn request(message: impl ToString) -> Error {
    Error::Request(message.to_string())
}

/// Ends with [`Error::Invalid`].
macro_rules! invalid {
    ($($part:tt)*) => {
        return Err($crate::Error::Invalid(format!($($part)*)))
    };
}
pub(crate) use invalid;

/// Ends with [`Error::Invalid`] unless a condition holds.
macro_rules! ensure {
    ($condition:expr, $($part:tt)*) => {
        let holds: bool = $condition;
        if !holds {
            $crate::error::invalid!($($part)*);
        }
    };
}
pub(crate) use ensure;

/// What a failed access to a file was for.
pub(crate) fn io(what: impl Into<String>) -> impl FnOnce(io::Error) -> Error {
    move |source| Error::Io { what: what.into(), source }
}

/// An error and its causes in one line, without those that the message before them ends with.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let shown = error.to_string();
        if !text.ends_with(&shown) {
            text = format!("{text}: {shown}");
        }
        cause = error.source();
    }
    text
}
