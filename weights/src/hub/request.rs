//! One request for a file's bytes, through the redirects that lead to them.

use std::time::Duration;

use ureq::http::{HeaderMap, Response, Uri};
use ureq::{Agent, Body};

use super::{HubConfig, HubError, RepoFile};

/// Most redirects between the Hub's name for a file and the file.
const MAX_HOPS: usize = 10;

/// Most characters of a server's words in a message.
const MOST_SHOWN: usize = 160;

/// A failed attempt, and whether another one is worth its time.
pub(super) enum Failure {
    Final(Box<HubError>),
    /// May pass; the server may have named a wait.
    Again(Box<HubError>, Option<Duration>),
}

impl Failure {
    pub(super) fn into_error(self) -> HubError {
        let (Self::Final(error) | Self::Again(error, _)) = self;
        *error
    }

    /// Whether a later run may go on where this one stopped.
    pub(super) fn may_pass(&self) -> bool {
        matches!(self, Self::Again(..))
    }
}

impl From<HubError> for Failure {
    fn from(error: HubError) -> Self {
        Self::Final(Box::new(error))
    }
}

/// An answer that carries bytes of the file.
pub(super) struct Answer {
    pub(super) host: String,
    /// Where it came from, without a query, which may hold a signature.
    pub(super) address: String,
    pub(super) commit: Option<String>,
    /// Without quotes and without the mark of a weak tag.
    pub(super) etag: Option<String>,
    /// Length of the whole file.
    pub(super) size: Option<u64>,
    /// The first byte that the body holds.
    pub(super) start: u64,
    pub(super) body: Body,
}

/// Asks for one file.
pub(super) struct Client<'a> {
    config: &'a HubConfig,
    file: &'a RepoFile,
    agent: Agent,
    endpoint: Uri,
    /// A server that never answered is not asked again: there is no network, or no such host.
    has_answered: bool,
}

impl<'a> Client<'a> {
    pub(super) fn new(config: &'a HubConfig, file: &'a RepoFile) -> Result<Self, HubError> {
        let is_http = |uri: &Uri| matches!(uri.scheme_str(), Some("http" | "https")) && uri.host().is_some();
        let endpoint = config.endpoint.parse().ok().filter(is_http);
        let endpoint = endpoint.ok_or_else(|| HubError::Endpoint { endpoint: config.endpoint.clone() })?;
        if config.token.as_ref().is_some_and(|token| !token.bytes().all(|byte| byte.is_ascii_graphic())) {
            return Err(HubError::Token);
        }
        let agent = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .accept_encoding("identity")
            .user_agent(concat!("ghostzoo/", env!("CARGO_PKG_VERSION")))
            .timeout_resolve(Some(config.timeout))
            .timeout_connect(Some(config.timeout))
            .timeout_recv_response(Some(config.timeout))
            .timeout_per_read(Some(config.timeout))
            .build()
            .new_agent();
        Ok(Self { config, file, agent, endpoint, has_answered: false })
    }

    /// Asks for the bytes from `from` on. A server that knows no ranges answers with the whole file.
    pub(super) fn get(&mut self, from: u64) -> Result<Answer, Failure> {
        let RepoFile { repo, revision, file } = self.file;
        let revision = encode(revision).replace('/', "%2F");
        let mut url = format!("{}/{}/resolve/{revision}/{}", self.config.endpoint, encode(repo), encode(file));
        let mut facts = Facts::default();
        for _ in 0..MAX_HOPS {
            let wrong =
                |host: String, reason: String| HubError::Answer { file: file.clone(), host, reason: shown(&reason) };
            let uri: Uri = url.parse().map_err(|_| wrong(self.endpoint_host(), format!("`{url}` is no address")))?;
            let host = host(&uri);
            let response = self.send(&uri, &host, from)?;
            facts.read(response.headers());
            match response.status().as_u16() {
                301 | 302 | 303 | 307 | 308 => {
                    let location = text(response.headers(), "location");
                    let target = location.and_then(|location| join(&uri, &location));
                    url = target.ok_or_else(|| wrong(host, "a redirect to nowhere".to_owned()))?;
                    if uri.scheme_str() == Some("https") && !url.starts_with("https://") {
                        return Err(wrong(host_of(&url), "a redirect from https to http".to_owned()).into());
                    }
                }
                200 | 206 => return self.accept(response, facts, (host, unsigned(&uri)), from),
                status => return Err(self.refused(status, host, response.headers())),
            }
        }
        let reason = format!("more than {MAX_HOPS} redirects");
        Err(HubError::Answer { file: file.clone(), host: host_of(&url), reason }.into())
    }

    fn accept(
        &self,
        response: Response<Body>,
        facts: Facts,
        (host, address): (String, String),
        from: u64,
    ) -> Result<Answer, Failure> {
        let headers = response.headers();
        let wrong = |reason: String| HubError::Answer {
            file: self.file.file.clone(),
            host: host.clone(),
            reason: shown(&reason),
        };
        if let Some(encoding) = text(headers, "content-encoding").filter(|e| !e.eq_ignore_ascii_case("identity")) {
            return Err(wrong(format!("the body is in `{encoding}` encoding, which was not asked for")).into());
        }
        let (start, length) = if response.status().as_u16() == 206 {
            let range = text(headers, "content-range").unwrap_or_default();
            let (start, total) = parse_range(&range).ok_or_else(|| wrong(format!("the range is `{range}`")))?;
            if start != from {
                return Err(wrong(format!("bytes from {from} on were asked for, the range is `{range}`")).into());
            }
            (start, total)
        } else {
            (0, text(headers, "content-length").and_then(|length| length.parse().ok()))
        };
        let etag = facts.linked_etag.or(facts.etag);
        let size = facts.linked_size.or(length);
        Ok(Answer { host, address, commit: facts.commit, etag, size, start, body: response.into_body() })
    }

    fn send(&mut self, uri: &Uri, host: &str, from: u64) -> Result<Response<Body>, Failure> {
        let mut request = self.agent.get(uri);
        let is_endpoint = self.endpoint.authority() == uri.authority() && self.endpoint.scheme() == uri.scheme();
        if let Some(token) = self.config.token.as_deref().filter(|_| is_endpoint) {
            request = request.header("Authorization", format!("Bearer {token}"));
        }
        if from > 0 {
            request = request.header("Range", format!("bytes={from}-"));
        }
        match request.call() {
            Ok(response) => {
                self.has_answered = true;
                Ok(response)
            }
            Err(error) => {
                let failed = Box::new(self.broken(host.to_owned(), plain(&error)));
                let was_reached = self.has_answered || !is_unreachable(&error);
                Err(if was_reached { Failure::Again(failed, None) } else { Failure::Final(failed) })
            }
        }
    }

    pub(super) fn broken(&self, host: String, reason: String) -> HubError {
        let RepoFile { repo, file, .. } = self.file.clone();
        HubError::Connection { repo, file, host, reason, folder: self.config.cache.clone() }
    }

    fn endpoint_host(&self) -> String {
        host(&self.endpoint)
    }

    fn refused(&self, status: u16, host: String, headers: &HeaderMap) -> Failure {
        let RepoFile { repo, revision, file } = self.file.clone();
        // Another host refuses when its signed address is too old; the endpoint gives a new one.
        let is_endpoint = host == self.endpoint_host();
        match status {
            401 | 403 if is_endpoint => {
                let advice = if self.config.token.is_some() {
                    "the token may not read it; accept the model's terms on its page, or set HF_TOKEN to another token"
                } else {
                    "set HF_TOKEN if it is private or gated; a misspelt repository is answered alike"
                };
                HubError::Unauthorized { repo, file, host, status, advice }.into()
            }
            404 => HubError::NotFound { repo, revision, file, host }.into(),
            401 | 403 | 408 | 416 | 429 | 500.. => {
                let wait = text(headers, "retry-after").and_then(|seconds| seconds.parse().ok());
                let wait = wait.map(|seconds| Duration::from_secs(seconds).min(self.config.longest_wait));
                Failure::Again(Box::new(HubError::Status { repo, file, host, status }), wait)
            }
            _ => HubError::Status { repo, file, host, status }.into(),
        }
    }
}

/// What the answers on the way say about the file; the Hub's word stands over that of a later hop.
#[derive(Default)]
struct Facts {
    commit: Option<String>,
    linked_etag: Option<String>,
    linked_size: Option<u64>,
    /// The last answer's own tag.
    etag: Option<String>,
}

impl Facts {
    fn read(&mut self, headers: &HeaderMap) {
        let tag = |name| text(headers, name).map(|tag| tag.trim_start_matches("W/").trim_matches('"').to_owned());
        let tag = |name| tag(name).filter(|tag| !tag.is_empty());
        self.commit = self.commit.take().or_else(|| text(headers, "x-repo-commit"));
        self.linked_etag = self.linked_etag.take().or_else(|| tag("x-linked-etag"));
        self.linked_size = self.linked_size.or_else(|| text(headers, "x-linked-size")?.parse().ok());
        self.etag = tag("etag");
    }
}

fn text(headers: &HeaderMap, name: &str) -> Option<String> {
    headers.get(name)?.to_str().ok().map(str::to_owned)
}

fn host(uri: &Uri) -> String {
    uri.authority().map_or_else(String::new, ToString::to_string)
}

/// An address without its query.
fn unsigned(uri: &Uri) -> String {
    shown(&format!("{}://{}{}", uri.scheme_str().unwrap_or("http"), host(uri), uri.path()))
}

fn host_of(url: &str) -> String {
    url.parse().map_or_else(|_| url.to_owned(), |uri| host(&uri))
}

/// `bytes START-END/TOTAL`, the total perhaps `*`.
fn parse_range(range: &str) -> Option<(u64, Option<u64>)> {
    let (span, total) = range.strip_prefix("bytes ")?.split_once('/')?;
    Some((span.split_once('-')?.0.parse().ok()?, total.parse().ok()))
}

/// A redirect's target, which may be relative to the address that sent it.
fn join(from: &Uri, location: &str) -> Option<String> {
    let (scheme, authority) = (from.scheme_str()?, from.authority()?);
    let before =
        location.split(['/', '?', '#']).next().filter(|before| !before.is_empty() || location.starts_with('/'))?;
    if let Some((other, _)) = before.split_once(':') {
        let is_http = other.eq_ignore_ascii_case("http") || other.eq_ignore_ascii_case("https");
        return is_http.then(|| format!("{}{}", other.to_ascii_lowercase(), &location[other.len()..]));
    }
    Some(match location.strip_prefix('/') {
        Some(rest) if rest.starts_with('/') => format!("{scheme}:{location}"),
        Some(_) => format!("{scheme}://{authority}{location}"),
        None => {
            let folder = from.path().rsplit_once('/').map_or("", |(folder, _)| folder);
            format!("{scheme}://{authority}{folder}/{location}")
        }
    })
}

/// A server's words on one line, without what would steer a terminal.
fn shown(words: &str) -> String {
    let mut shown: String =
        words.chars().take(MOST_SHOWN).map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect();
    if words.chars().nth(MOST_SHOWN).is_some() {
        shown += "…";
    }
    shown
}

/// Percent-encodes all but the unreserved characters and `/`.
fn encode(path: &str) -> String {
    let mut encoded = String::with_capacity(path.len());
    for byte in path.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => encoded.push(byte.into()),
            _ => encoded += &format!("%{byte:02X}"),
        }
    }
    encoded
}

/// Whether no connection came about.
fn is_unreachable(error: &ureq::Error) -> bool {
    use std::io::ErrorKind;
    match error {
        ureq::Error::HostNotFound | ureq::Error::ConnectionFailed | ureq::Error::ConnectProxyFailed(_) => true,
        ureq::Error::Tls(_) | ureq::Error::Rustls(_) => true,
        ureq::Error::Timeout(phase) => matches!(phase, ureq::Timeout::Resolve | ureq::Timeout::Connect),
        // A name that cannot be looked up has no kind of its own.
        ureq::Error::Io(error) => !matches!(
            error.kind(),
            ErrorKind::UnexpectedEof
                | ErrorKind::ConnectionReset
                | ErrorKind::ConnectionAborted
                | ErrorKind::BrokenPipe
                | ErrorKind::TimedOut
        ),
        _ => false,
    }
}

/// The reason in words, on one line.
pub(super) fn plain(error: &ureq::Error) -> String {
    let message = match error {
        ureq::Error::HostNotFound => "no such host".to_owned(),
        ureq::Error::Timeout(ureq::Timeout::Resolve | ureq::Timeout::Connect) => "no connection in time".to_owned(),
        ureq::Error::Timeout(_) => "no data in time".to_owned(),
        ureq::Error::Io(error) => error.to_string(),
        error => error.to_string(),
    };
    shown(message.lines().next().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redirects_are_joined_as_a_browser_does() {
        let from: Uri = "https://hub.example:8443/org/model/resolve/main/a.pt?x=1".parse().expect("address");
        for (location, target) in [
            ("https://cdn.example/b?u=1", "https://cdn.example/b?u=1"),
            ("//cdn.example/b", "https://cdn.example/b"),
            ("/api/b?next=http://x/", "https://hub.example:8443/api/b?next=http://x/"),
            ("b.pt", "https://hub.example:8443/org/model/resolve/main/b.pt"),
            ("HTTPS://cdn.example/B", "https://cdn.example/B"),
            ("b/c:d", "https://hub.example:8443/org/model/resolve/main/b/c:d"),
        ] {
            assert_eq!(join(&from, location).as_deref(), Some(target));
        }
        for other in ["ftp://cdn.example/b", "file:///b", "data:,b", "javascript:b", "", "#b"] {
            assert_eq!(join(&from, other), None, "{other}");
        }
    }

    #[test]
    fn ranges_and_paths_are_taken_literally() {
        assert_eq!(parse_range("bytes 5-9/10"), Some((5, Some(10))));
        assert_eq!(parse_range("bytes 5-9/*"), Some((5, None)));
        assert_eq!(parse_range("bytes */10"), None);
        assert_eq!(parse_range(""), None);
        assert_eq!(encode("a b/ü#?.pt"), "a%20b/%C3%BC%23%3F.pt");
    }
}
