//! One file from the Hub into the cache.

use std::fs::File;
use std::io::Read;
use std::path::PathBuf;
use std::time::Instant;

use sha2::{Digest, Sha256};

use super::cache::{RepoFile, is_commit, is_plain};
use super::format;
use super::partial::{Partial, hex};
use super::request::{Answer, Client, Failure, plain};
use super::{HubConfig, HubError};
use crate::progress::DownloadProgress;

/// Gives the path of a file in the cache, downloading it first where it is not there.
///
/// `sha256` is the expected hash; without one, an ETag of 64 hexadecimal digits is it (the Hub's rule for large files).
///
/// # Errors
/// [`HubError`], each variant one line with what to do.
pub fn fetch(
    config: &HubConfig,
    file: &RepoFile,
    sha256: Option<&str>,
    progress: &mut dyn DownloadProgress,
) -> Result<PathBuf, HubError> {
    fetch_with(config, file, sha256, false, progress, |_, _| Ok(())).map(|(path, ())| path)
}

/// [`fetch`] of a file that is to be downloaded even where the cache has it, and then takes its place.
///
/// # Errors
/// [`HubError`]; what was in the cache is still there.
pub fn refetch(
    config: &HubConfig,
    file: &RepoFile,
    sha256: Option<&str>,
    progress: &mut dyn DownloadProgress,
) -> Result<PathBuf, HubError> {
    fetch_with(config, file, sha256, true, progress, |_, _| Ok(())).map(|(path, ())| path)
}

/// [`fetch`], or [`refetch`] with `again`, of a file that others belong to: `others` gets them, of the revision or the commit that it
/// is given, once the file's bytes are here and before it has its place. A file that is in the cache has them, whenever a process
/// was killed.
pub(crate) fn fetch_with<T>(
    config: &HubConfig,
    file: &RepoFile,
    sha256: Option<&str>,
    again: bool,
    progress: &mut dyn DownloadProgress,
    others: impl FnOnce(&str, &mut dyn DownloadProgress) -> Result<T, HubError>,
) -> Result<(PathBuf, T), HubError> {
    let RepoFile { repo, revision, file: name } = file.clone();
    if !file.is_plain() {
        return Err(HubError::Name { repo, revision, file: name });
    }
    file.sweep(config);
    match file.cached(config) {
        Some(path) if !again => return Ok((path, others(&revision, progress)?)),
        Some(_) if config.offline => return Err(HubError::OfflineAgain { repo, revision, file: name }),
        _ => {}
    }
    if config.offline {
        return Err(HubError::Offline { repo, revision, file: name, folder: file.folder(config) });
    }
    let mut client = Client::new(config, file)?;
    let mut retries = Retries { config, failed: 0 };
    let answer = loop {
        match client.get(0) {
            Ok(answer) => break answer,
            Err(failure) => retries.wait(failure).map_err(Failure::into_error)?,
        }
    };
    let commit = answer.commit.clone().filter(|commit| is_commit(commit)).unwrap_or(revision);
    let content = Content::of(&answer, sha256);
    if let (Some(expected), Some(found)) = (sha256, content.tagged_sha256())
        && !found.eq_ignore_ascii_case(expected)
    {
        let (found, expected) = (found.to_owned(), expected.to_owned());
        return Err(HubError::Replaced { repo, file: name, found, expected });
    }
    let key = content.key(file, &commit);
    let blob = file.blob(config, &key);
    let waits = || progress.message(&format!("waiting for another process that downloads {name}"));
    let cache_error = |source| HubError::Cache { path: blob.clone(), source };
    // A blob of an earlier version, which held none to its format, may be damaged.
    let is_there = || File::open(&blob).is_ok_and(|blob| matches!(format::complaint(&blob, &name), Ok(None)));
    if again || !is_there() {
        let partial = Partial::hold(&blob, waits).map_err(cache_error)?;
        if !again && is_there() {
            // Another process finished it meanwhile.
            partial.discard();
        } else {
            let address = answer.address.clone();
            let mut download =
                Download { client, config, file, partial, content, address, again, has_older_bytes: false };
            match download.complete(answer, &mut retries, progress) {
                Ok(()) => download.partial.finish().map_err(cache_error)?,
                Err(failure) => {
                    let is_empty = download.partial.len().is_ok_and(|length| length == 0);
                    // Nobody goes on with what was to be downloaded again.
                    if again || !failure.may_pass() || is_empty || download.content.etag.is_none() {
                        download.partial.discard();
                    }
                    return Err(failure.into_error());
                }
            }
        }
    }
    let others = others(&commit, progress)?;
    Ok((file.place(config, &key, &commit, again)?, others))
}

/// What the server said the file is.
struct Content {
    etag: Option<String>,
    size: Option<u64>,
    /// The caller's hash.
    sha256: Option<String>,
}

impl Content {
    fn of(answer: &Answer, sha256: Option<&str>) -> Self {
        Self { etag: answer.etag.clone(), size: answer.size, sha256: sha256.map(str::to_owned) }
    }

    /// The tag, where it is a SHA-256.
    fn tagged_sha256(&self) -> Option<&str> {
        let is_sha256 = |etag: &&str| etag.len() == 64 && etag.bytes().all(|byte| byte.is_ascii_hexdigit());
        self.etag.as_deref().filter(is_sha256)
    }

    /// The blob's name: the tag where it can be a file's name on every system, else one made of commit and path.
    fn key(&self, file: &RepoFile, commit: &str) -> String {
        let is_name = |etag: &str| etag.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
        let is_partial = |etag: &str| etag.ends_with(".incomplete");
        let is_blob = |etag: &str| is_name(etag) && is_plain(etag) && etag.len() <= 128 && !is_partial(etag);
        let tag = self.etag.as_ref().filter(|etag| is_blob(etag));
        let made = || hex(&Sha256::digest(format!("{}\n{commit}\n{}", file.repo, file.file)));
        tag.cloned().unwrap_or_else(made)
    }
}

/// The attempts that are left.
struct Retries<'a> {
    config: &'a HubConfig,
    failed: u32,
}

impl Retries<'_> {
    /// Waits before the next attempt, or gives the failure back where there is none.
    fn wait(&mut self, failure: Failure) -> Result<(), Failure> {
        let wait = match &failure {
            Failure::Again(_, wait) if self.failed < self.config.retries => *wait,
            _ => return Err(failure),
        };
        std::thread::sleep(wait.unwrap_or(self.config.backoff * 2u32.saturating_pow(self.failed)));
        self.failed += 1;
        Ok(())
    }
}

struct Download<'a> {
    client: Client<'a>,
    config: &'a HubConfig,
    file: &'a RepoFile,
    partial: Partial,
    content: Content,
    /// Where the bytes come from.
    address: String,
    /// Nothing of an earlier run is to be gone on with.
    again: bool,
    /// The partial file begins with bytes of an earlier run, which may not be the file's.
    has_older_bytes: bool,
}

impl Download<'_> {
    /// Fills the partial file until its length and its hash are right.
    fn complete(
        &mut self,
        first: Answer,
        retries: &mut Retries<'_>,
        progress: &mut dyn DownloadProgress,
    ) -> Result<(), Failure> {
        if self.content.etag.is_none() || self.again {
            self.clear()?;
        }
        self.has_older_bytes = self.length()? > 0;
        let mut first = Some(first).filter(|_| !self.has_older_bytes);
        loop {
            match self.attempt(first.take(), progress) {
                Ok(()) if self.has_older_bytes && self.verify().is_err() => self.clear()?,
                Ok(()) => return Ok(self.verify()?),
                Err(failure) => retries.wait(failure)?,
            }
        }
    }

    /// Receives what is missing, from `answer` or a new request.
    fn attempt(&mut self, answer: Option<Answer>, progress: &mut dyn DownloadProgress) -> Result<(), Failure> {
        let length = self.length()?;
        if length > 0 && self.content.size == Some(length) {
            return Ok(());
        }
        let answer = match answer {
            Some(answer) => answer,
            None => match self.client.get(length) {
                // There is no such byte: what is here is no part of the file.
                Err(Failure::Again(error, wait)) if matches!(*error, HubError::Status { status: 416, .. }) => {
                    self.clear()?;
                    return Err(Failure::Again(error, wait));
                }
                answer => answer?,
            },
        };
        let is_other_tag = answer.etag.is_some() && self.content.etag.is_some() && answer.etag != self.content.etag;
        let is_other_size = answer.size.is_some() && self.content.size.is_some() && answer.size != self.content.size;
        if is_other_tag || is_other_size {
            let reason = "the file changed during the download; start it again".to_owned();
            return Err(HubError::Answer { file: self.file.file.clone(), host: answer.host, reason }.into());
        }
        self.address.clone_from(&answer.address);
        if answer.start != length {
            self.clear()?;
        }
        progress.start(&self.file.file, self.content.size, answer.start);
        let received = self.receive(answer, progress);
        progress.finish();
        received
    }

    fn receive(&mut self, answer: Answer, progress: &mut dyn DownloadProgress) -> Result<(), Failure> {
        let mut body = answer.body.into_reader();
        let mut buffer = vec![0; 64 * 1024];
        let mut done = answer.start;
        let size = self.content.size;
        let HubConfig { rate_window, least_bytes, most_unannounced, .. } = *self.config;
        let (mut since, mut arrived) = (Instant::now(), 0);
        loop {
            let of = || size.map_or_else(String::new, |size| format!(" of {size}"));
            let reason = match body.read(&mut buffer) {
                Ok(0) if size.is_none_or(|size| done == size) => return Ok(()),
                Ok(0) => format!("the connection closed after {done}{} bytes", of()),
                Ok(count) if size.is_some_and(|size| done + count as u64 > size) => {
                    self.clear()?;
                    format!("more bytes than the announced{} arrived", of().trim_start_matches(" of"))
                }
                Ok(count) if size.is_none() && done + count as u64 > most_unannounced => {
                    let reason = format!("more than {most_unannounced} bytes arrived and no length was announced");
                    return Err(HubError::Answer { file: self.file.file.clone(), host: answer.host, reason }.into());
                }
                Ok(count) => {
                    self.partial.append(&buffer[..count]).map_err(|source| self.cache_error(source))?;
                    done += count as u64;
                    progress.advance(count as u64);
                    arrived += count as u64;
                    if since.elapsed() < rate_window || size == Some(done) {
                        continue;
                    }
                    if arrived >= least_bytes {
                        (since, arrived) = (Instant::now(), 0);
                        continue;
                    }
                    format!(
                        "only {arrived} bytes arrived in {} s, after {done}{} bytes",
                        rate_window.as_secs_f32(),
                        of()
                    )
                }
                Err(error) => {
                    format!("the connection broke after {done}{} bytes ({})", of(), plain(&ureq::Error::from(error)))
                }
            };
            return Err(Failure::Again(Box::new(self.client.broken(answer.host, reason)), None));
        }
    }

    /// Holds the finished bytes to the caller's hash, else to the tag where that is one, and to the format of their name.
    fn verify(&mut self) -> Result<(), HubError> {
        self.verify_hash()?;
        let found = format::complaint(self.partial.file(), &self.file.file);
        match found.map_err(|source| self.cache_error(source))? {
            None => Ok(()),
            Some(found) => Err(HubError::Format { file: self.file.file.clone(), address: self.address.clone(), found }),
        }
    }

    fn verify_hash(&mut self) -> Result<(), HubError> {
        let expected = self.content.sha256.as_deref().or(self.content.tagged_sha256());
        let Some(expected) = expected.map(str::to_owned) else { return Ok(()) };
        let found = self.partial.sha256().map_err(|source| self.cache_error(source))?;
        if found.eq_ignore_ascii_case(&expected) {
            return Ok(());
        }
        let RepoFile { repo, file, .. } = self.file.clone();
        Err(HubError::Hash { repo, file, found, expected })
    }

    fn length(&self) -> Result<u64, HubError> {
        self.partial.len().map_err(|source| self.cache_error(source))
    }

    fn clear(&mut self) -> Result<(), HubError> {
        self.has_older_bytes = false;
        self.partial.clear().map_err(|source| self.cache_error(source))
    }

    fn cache_error(&self, source: std::io::Error) -> HubError {
        HubError::Cache { path: self.partial.path().to_path_buf(), source }
    }
}
