//! Files of the Hugging Face Hub, through the cache that `huggingface_hub` and `hf-hub` share.
//!
//! The cache answers first: a file that is in it costs no request. A download goes to a partial file of our own,
//! `blobs/<etag>.ghostzoo.incomplete`, which one process at a time writes, and gets its final name only when its length
//! and its hash are right and it is of the format that its name says.
//!
//! What a failed download leaves: a broken, stalled or short transfer and a busy server (429, 5xx) are tried again from
//! the byte reached, and then leave the partial file, where it has bytes, for the next run to continue. Every other
//! failure (401, 403, 404, a wrong hash, a wrong answer, another format) leaves nothing, and so does a server that gives no ETag.

mod cache;
mod config;
mod download;
mod error;
mod format;
mod partial;
mod request;

pub use cache::RepoFile;
pub use config::HubConfig;
pub(crate) use download::fetch_with;
pub use download::{fetch, refetch};
pub use error::HubError;
