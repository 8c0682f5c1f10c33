//! Files of the Hugging Face Hub, through the cache that `huggingface_hub` and `hf-hub` share.
//!
//! The cache answers first: a file that is in it costs no request. A download goes to `blobs/<etag>.incomplete`, is
//! resumed from there after a broken connection (in the same run or a later one), and gets its final name only when its
//! length and its hash are right. After a refusal (401, 403, 404, 5xx) or a wrong hash nothing is left behind.

mod cache;
mod config;
mod download;
mod error;

pub use cache::RepoFile;
pub use config::HubConfig;
pub use download::fetch;
pub use error::HubError;
