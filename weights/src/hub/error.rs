//! What can go wrong between a name on the Hub and a file on the disk.

use std::path::PathBuf;

/// Why a file of the Hub is not there. Each message is one line that says what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HubError {
    /// `HF_HUB_OFFLINE` is set and the cache lacks the file.
    #[error(
        "offline (HF_HUB_OFFLINE is set) and {file} of {repo}@{revision} is not in the cache: looked in {}; \
         unset HF_HUB_OFFLINE once, copy the cache folder from another machine, or give a local file",
        folder.display()
    )]
    Offline {
        /// Repository.
        repo: String,
        /// Branch, tag or commit.
        revision: String,
        /// File in the repository.
        file: String,
        /// Where it was looked for.
        folder: PathBuf,
    },
    /// The server cannot be reached, or the connection broke more often than it was tried again.
    #[error(
        "cannot fetch {file} of {repo} from {host}: {reason}; check the network, set HF_ENDPOINT to a mirror, \
         or give a local file (the cache is {})",
        folder.display()
    )]
    Connection {
        /// Repository.
        repo: String,
        /// File in the repository.
        file: String,
        /// The host that was asked.
        host: String,
        /// What happened.
        reason: String,
        /// Where the file would have been put.
        folder: PathBuf,
    },
    /// The server refused for want of a right.
    #[error("{host} refuses {file} of {repo} (HTTP {status}): {advice}")]
    Unauthorized {
        /// Repository.
        repo: String,
        /// File in the repository.
        file: String,
        /// The host that was asked.
        host: String,
        /// HTTP status.
        status: u16,
        /// What to do about the token.
        advice: &'static str,
    },
    /// The server does not know the repository, the revision or the file.
    #[error("{host} has no {file} in {repo} at revision {revision} (HTTP 404): check the three names")]
    NotFound {
        /// Repository.
        repo: String,
        /// Branch, tag or commit.
        revision: String,
        /// File in the repository.
        file: String,
        /// The host that was asked.
        host: String,
    },
    /// Another answer than a file.
    #[error("{host} answers HTTP {status} for {file} of {repo}: try again later, or set HF_ENDPOINT to a mirror")]
    Status {
        /// Repository.
        repo: String,
        /// File in the repository.
        file: String,
        /// The host that was asked.
        host: String,
        /// HTTP status.
        status: u16,
    },
    /// The body is not the file that was promised.
    #[error(
        "{file} of {repo} arrived damaged: its sha256 is {found}, expected {expected}; the download was thrown away, \
         try again"
    )]
    Hash {
        /// Repository.
        repo: String,
        /// File in the repository.
        file: String,
        /// Hash of what arrived.
        found: String,
        /// Hash that was promised.
        expected: String,
    },
    /// The cache cannot be written.
    #[error("cannot write the cache {}: {source}; set HF_HOME to a folder that can be written", path.display())]
    Cache {
        /// Folder or file.
        path: PathBuf,
        /// The system's answer.
        source: std::io::Error,
    },
    /// No variable says where the cache is.
    #[error("no folder for the cache: HOME is not set; set HOME, or HF_HOME to the cache's folder")]
    NoHome,
    /// A name that would lead out of the cache's folder.
    #[error(
        "`{file}` of `{repo}` at revision `{revision}` is no file on the Hub: the names must not hold `..` or `\\`"
    )]
    Name {
        /// Repository.
        repo: String,
        /// Branch, tag or commit.
        revision: String,
        /// File in the repository.
        file: String,
    },
    /// `HF_ENDPOINT` is no address.
    #[error("HF_ENDPOINT is `{endpoint}`, which is not of the form https://host or http://host:port")]
    Endpoint {
        /// What was set.
        endpoint: String,
    },
    /// The token cannot be sent.
    #[error("the token of HF_TOKEN or of the token file holds a space or a character that cannot be sent")]
    Token,
    /// An answer that carries no usable bytes.
    #[error("{host} gave no usable answer for {file}: {reason}; check HF_ENDPOINT, or give a local file")]
    Answer {
        /// File in the repository.
        file: String,
        /// The host that answered.
        host: String,
        /// What is wrong with it.
        reason: String,
    },
    /// What arrived is of another format than its name says.
    #[error(
        "{address} sent {found} in place of {file}; nothing of it was kept: open the address in a browser to see what answers, \
         check HF_ENDPOINT and the name, or give a local file"
    )]
    Format {
        /// File in the repository.
        file: String,
        /// Where it came from, without what signs the address.
        address: String,
        /// What it is instead.
        found: String,
    },
    /// `HF_HUB_OFFLINE` is set and a file is to be downloaded again.
    #[error(
        "offline (HF_HUB_OFFLINE is set): {file} of {repo}@{revision} cannot be downloaded again, and the cache stays as it is; \
         unset HF_HUB_OFFLINE once"
    )]
    OfflineAgain {
        /// Repository.
        repo: String,
        /// Branch, tag or commit.
        revision: String,
        /// File in the repository.
        file: String,
    },
    /// The Hub holds another file under the name than the one that was registered.
    #[error(
        "the Hub now has another {file} in {repo}: its sha256 is {found}, expected {expected}; \
         to use it all the same, ask for hf://{repo}/{file}"
    )]
    Replaced {
        /// Repository.
        repo: String,
        /// File in the repository.
        file: String,
        /// Hash that the server names.
        found: String,
        /// Hash that was promised.
        expected: String,
    },
}
