//! One file from the Hub into the cache.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};
use ureq::http::{HeaderMap, Response, Uri};
use ureq::{Agent, Body};

use super::cache::{RepoFile, is_plain};
use super::{HubConfig, HubError};
use crate::progress::Progress;

/// Most redirects between the Hub's name for a file and the file.
const MAX_HOPS: usize = 10;

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
    progress: &mut dyn Progress,
) -> Result<PathBuf, HubError> {
    if let Some(path) = file.cached(config) {
        return Ok(path);
    }
    let RepoFile { repo, revision, file: name } = file.clone();
    if config.offline {
        return Err(HubError::Offline { repo, revision, file: name, folder: file.folder(config) });
    }
    let mut download = Download::new(config, file, sha256);
    let mut attempt = 0;
    loop {
        match download.attempt(progress) {
            Ok(path) => return Ok(path),
            Err(Failure::Final(error)) => {
                download.forget_empty();
                return Err(error);
            }
            Err(Failure::Again { reason, error }) => {
                if attempt == config.retries {
                    download.forget_empty();
                    return Err(error.map_or_else(|| download.connection(reason), |error| *error));
                }
                std::thread::sleep(config.backoff * 2u32.saturating_pow(attempt));
                attempt += 1;
            }
        }
    }
}

/// Whether it is worth another try.
enum Failure {
    Final(HubError),
    Again { reason: String, error: Option<Box<HubError>> },
}

impl From<HubError> for Failure {
    fn from(error: HubError) -> Self {
        Self::Final(error)
    }
}

fn again(reason: impl ToString) -> Failure {
    Failure::Again { reason: reason.to_string(), error: None }
}

struct Download<'a> {
    config: &'a HubConfig,
    file: &'a RepoFile,
    sha256: Option<&'a str>,
    agent: Agent,
    /// The host that is being asked, for messages.
    host: String,
    commit: Option<String>,
    etag: Option<String>,
    size: Option<u64>,
}

impl<'a> Download<'a> {
    fn new(config: &'a HubConfig, file: &'a RepoFile, sha256: Option<&'a str>) -> Self {
        let agent = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .accept_encoding("identity")
            .user_agent(concat!("ghostzoo/", env!("CARGO_PKG_VERSION")))
            .timeout_connect(Some(config.timeout))
            .timeout_recv_response(Some(config.timeout))
            .timeout_per_read(Some(config.timeout))
            .build()
            .new_agent();
        Self { config, file, sha256, agent, host: config.endpoint.clone(), commit: None, etag: None, size: None }
    }

    fn connection(&self, reason: String) -> HubError {
        HubError::Connection {
            repo: self.file.repo.clone(),
            file: self.file.file.clone(),
            host: self.host.clone(),
            reason,
            folder: self.config.cache.clone(),
        }
    }

    /// The blob's name: the ETag where it is one, else a name made of what was asked for.
    fn key(&self) -> String {
        let is_safe =
            |etag: &&String| is_plain(etag) && etag.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b));
        let asked = || hex(&Sha256::digest(format!("{}\n{}\n{}", self.file.repo, self.file.revision, self.file.file)));
        self.etag.as_ref().filter(is_safe).cloned().unwrap_or_else(asked)
    }

    fn partial(&self) -> PathBuf {
        self.file.blob(self.config, &format!("{}.incomplete", self.key()))
    }

    /// Bytes that an earlier attempt left; none before the server named the file's content.
    fn resumable(&self) -> u64 {
        let length = || fs::metadata(self.partial()).map_or(0, |meta| meta.len());
        if self.etag.is_some() { length() } else { 0 }
    }

    /// Removes an empty partial file and the folders that were made for it.
    fn forget_empty(&self) {
        if self.etag.is_some() && self.resumable() == 0 {
            let _ = fs::remove_file(self.partial());
        }
        let folder = self.file.folder(self.config);
        for folder in [folder.join("blobs"), folder] {
            let _ = fs::remove_dir(folder);
        }
    }

    fn attempt(&mut self, progress: &mut dyn Progress) -> Result<PathBuf, Failure> {
        let (response, offset) = self.open()?;
        let (key, partial) = (self.key(), self.partial());
        let blob = self.file.blob(self.config, &key);
        let cache_error = |source| HubError::Cache { path: partial.clone(), source };
        if let Some(folder) = partial.parent() {
            fs::create_dir_all(folder).map_err(cache_error)?;
        }
        if !blob.exists() {
            let target = OpenOptions::new().create(true).append(true).open(&partial).map_err(cache_error)?;
            target.lock().map_err(cache_error)?;
            // Another process may have finished or continued while this one waited for the lock.
            let length = target.metadata().map_err(cache_error)?.len();
            if !blob.exists() {
                if length != offset {
                    if offset != 0 {
                        return Err(again("another process continued the download"));
                    }
                    target.set_len(0).map_err(cache_error)?;
                }
                self.receive(response, target, offset, progress)?;
                self.verify(&partial)?;
                fs::rename(&partial, &blob).map_err(cache_error)?;
            }
        }
        let commit =
            self.commit.clone().filter(|commit| is_plain(commit)).unwrap_or_else(|| self.file.revision.clone());
        Ok(self.file.place(self.config, &key, &commit)?)
    }

    /// Follows redirects to a response with the file's bytes from the returned offset on.
    fn open(&mut self) -> Result<(Response<Body>, u64), Failure> {
        let RepoFile { repo, revision, file } = self.file;
        let mut url = format!("{}/{repo}/resolve/{}/{file}", self.config.endpoint, revision.replace('/', "%2F"));
        for _ in 0..MAX_HOPS {
            let offset = self.resumable();
            let response = self.send(&url, offset)?;
            self.learn(response.headers());
            match response.status().as_u16() {
                301 | 302 | 303 | 307 | 308 => {
                    let Some(location) = text(response.headers(), "location") else {
                        return Err(again("a redirect without a location"));
                    };
                    url = join(&url, &location);
                }
                200 if offset == 0 && self.resumable() > 0 => {}
                200 => {
                    if offset > 0 {
                        // The server cannot resume.
                        fs::remove_file(self.partial())
                            .map_err(|source| HubError::Cache { path: self.partial(), source })?;
                    }
                    self.size = self.size.or_else(|| text(response.headers(), "content-length")?.parse().ok());
                    return Ok((response, 0));
                }
                206 => {
                    let range = text(response.headers(), "content-range").unwrap_or_default();
                    if !range.starts_with(&format!("bytes {offset}-")) {
                        let _ = fs::remove_file(self.partial());
                        return Err(again(format!("asked for bytes from {offset} on, got `{range}`")));
                    }
                    self.size = self.size.or_else(|| range.rsplit('/').next()?.parse().ok());
                    return Ok((response, offset));
                }
                416 => {
                    let _ = fs::remove_file(self.partial());
                    return Err(again("the partial file is longer than the file"));
                }
                status => return Err(self.refused(status)),
            }
        }
        Err(again("too many redirects"))
    }

    fn send(&mut self, url: &str, offset: u64) -> Result<Response<Body>, Failure> {
        let uri: Uri = url.parse().map_err(|error| again(format!("`{url}` is no address: {error}")))?;
        self.host = uri.authority().map_or_else(|| url.to_owned(), ToString::to_string);
        let mut request = self.agent.get(url);
        let endpoint: Option<Uri> = self.config.endpoint.parse().ok();
        let is_endpoint = endpoint.is_some_and(|e| e.authority() == uri.authority() && e.scheme() == uri.scheme());
        if let Some(token) = self.config.token.as_deref().filter(|_| is_endpoint) {
            request = request.header("Authorization", format!("Bearer {token}"));
        }
        if offset > 0 {
            request = request.header("Range", format!("bytes={offset}-"));
        }
        request.call().map_err(|error| again(plain(&error.to_string())))
    }

    /// What the first answers say about the file; a later hop does not overrule them.
    fn learn(&mut self, headers: &HeaderMap) {
        let unquoted = |etag: String| etag.trim_start_matches("W/").trim_matches('"').to_owned();
        let linked = text(headers, "x-linked-etag").or_else(|| text(headers, "etag")).map(unquoted);
        self.etag = self.etag.take().or(linked.filter(|etag| !etag.is_empty()));
        self.commit = self.commit.take().or_else(|| text(headers, "x-repo-commit"));
        self.size = self.size.or_else(|| text(headers, "x-linked-size")?.parse().ok());
    }

    fn refused(&self, status: u16) -> Failure {
        let RepoFile { repo, revision, file } = self.file.clone();
        let host = self.host.clone();
        match status {
            401 | 403 => {
                let advice = if self.config.token.is_some() {
                    "the token may not read it; accept the model's terms on its page, or set HF_TOKEN to another token"
                } else {
                    "set HF_TOKEN if it is private or gated; a misspelt repository is answered alike"
                };
                Failure::Final(HubError::Unauthorized { repo, file, host, status, advice })
            }
            404 => Failure::Final(HubError::NotFound { repo, revision, file, host }),
            429 | 500.. => Failure::Again {
                reason: format!("HTTP {status}"),
                error: Some(Box::new(HubError::Status { repo, file, host, status })),
            },
            _ => Failure::Final(HubError::Status { repo, file, host, status }),
        }
    }

    fn receive(
        &self,
        response: Response<Body>,
        mut target: File,
        offset: u64,
        progress: &mut dyn Progress,
    ) -> Result<(), Failure> {
        progress.start(&self.file.file, self.size, offset);
        let mut body = response.into_body().into_reader();
        let mut buffer = vec![0; 64 * 1024];
        let mut done = offset;
        let result = loop {
            let count = match body.read(&mut buffer) {
                Ok(0) => break Ok(()),
                Ok(count) => count,
                Err(error) => {
                    break Err(again(format!(
                        "the connection broke after {done} bytes ({})",
                        plain(&error.to_string())
                    )));
                }
            };
            if let Err(source) = target.write_all(&buffer[..count]) {
                break Err(HubError::Cache { path: self.partial(), source }.into());
            }
            done += count as u64;
            progress.advance(count as u64);
        };
        progress.finish();
        result?;
        target.sync_all().map_err(|source| HubError::Cache { path: self.partial(), source })?;
        match self.size {
            Some(size) if done < size => Err(again(format!("the connection closed after {done} of {size} bytes"))),
            Some(size) if done > size => {
                let _ = fs::remove_file(self.partial());
                Err(again(format!("{done} bytes arrived where {size} were announced")))
            }
            _ => Ok(()),
        }
    }

    fn verify(&self, partial: &Path) -> Result<(), HubError> {
        let is_sha256 = |etag: &&str| etag.len() == 64 && etag.bytes().all(|b| b.is_ascii_hexdigit());
        let Some(expected) = self.sha256.or(self.etag.as_deref().filter(is_sha256)) else { return Ok(()) };
        let cache_error = |source| HubError::Cache { path: partial.to_path_buf(), source };
        let mut hasher = Sha256::new();
        let mut file = File::open(partial).map_err(cache_error)?;
        let mut buffer = vec![0; 1 << 20];
        loop {
            match file.read(&mut buffer).map_err(cache_error)? {
                0 => break,
                count => hasher.update(&buffer[..count]),
            }
        }
        let found = hex(&hasher.finalize());
        if found.eq_ignore_ascii_case(expected) {
            return Ok(());
        }
        let _ = fs::remove_file(partial);
        let RepoFile { repo, file, .. } = self.file.clone();
        Err(HubError::Hash { repo, file, found, expected: expected.to_owned() })
    }
}

fn text(headers: &HeaderMap, name: &str) -> Option<String> {
    headers.get(name)?.to_str().ok().map(str::to_owned)
}

/// A redirect's target, absolute or relative to the host that sent it.
fn join(url: &str, location: &str) -> String {
    if location.contains("://") {
        return location.to_owned();
    }
    let host_end = url.find("://").map_or(0, |i| i + 3);
    let host_end = url[host_end..].find('/').map_or(url.len(), |i| host_end + i);
    format!("{}/{}", &url[..host_end], location.trim_start_matches('/'))
}

/// The first line of a library's message.
fn plain(message: &str) -> String {
    message.lines().next().unwrap_or_default().to_owned()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
