//! Where the Hub is, where its cache is, and who asks. The environment is read in one place.

use std::path::PathBuf;
use std::time::Duration;

use super::HubError;

/// The settings of `huggingface_hub`, resolved. Its `Debug` form does not show the token.
#[derive(Clone)]
#[non_exhaustive]
pub struct HubConfig {
    /// Base address, without a final slash.
    pub endpoint: String,
    /// The folder of `models--org--name` folders.
    pub cache: PathBuf,
    /// Sent to the endpoint's host and to no other.
    pub token: Option<String>,
    /// Never send a request.
    pub offline: bool,
    /// How often a request that failed on the way is tried again.
    pub retries: u32,
    /// Wait before the first retry; each further one doubles it.
    pub backoff: Duration,
    /// Longest wait for a connection, and for the next bytes of one.
    pub timeout: Duration,
    /// A connection that brings fewer bytes than [`least_bytes`](Self::least_bytes) in this time is given up.
    pub rate_window: Duration,
    /// Fewest bytes of a body in [`rate_window`](Self::rate_window).
    pub least_bytes: u64,
    /// Longest body of a server that does not announce its length.
    pub most_unannounced: u64,
    /// Longest wait that a server's `Retry-After` may ask for.
    pub longest_wait: Duration,
}

impl std::fmt::Debug for HubConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { endpoint, cache, token, offline, retries, backoff, timeout, .. } = self;
        let Self { rate_window, least_bytes, most_unannounced, longest_wait, .. } = self;
        f.debug_struct("HubConfig")
            .field("endpoint", endpoint)
            .field("cache", cache)
            .field("token", &token.as_ref().map(|_| "..."))
            .field("offline", offline)
            .field("retries", retries)
            .field("backoff", backoff)
            .field("timeout", timeout)
            .field("rate_window", rate_window)
            .field("least_bytes", least_bytes)
            .field("most_unannounced", most_unannounced)
            .field("longest_wait", longest_wait)
            .finish()
    }
}

impl HubConfig {
    /// The Hub's own address, a cache, no token, and the defaults of `huggingface_hub`; nothing of the environment.
    #[must_use]
    pub fn new(cache: impl Into<PathBuf>) -> Self {
        Self {
            endpoint: "https://huggingface.co".to_owned(),
            cache: cache.into(),
            token: None,
            offline: false,
            retries: 3,
            backoff: Duration::from_millis(500),
            timeout: Duration::from_secs(20),
            rate_window: Duration::from_secs(60),
            least_bytes: 60 << 10,
            most_unannounced: 16 << 30,
            longest_wait: Duration::from_secs(10),
        }
    }

    /// Base address; slashes at its end are left out.
    #[must_use]
    pub fn endpoint(self, endpoint: impl AsRef<str>) -> Self {
        Self { endpoint: endpoint.as_ref().trim_end_matches('/').to_owned(), ..self }
    }

    /// Sent to the endpoint's host and to no other.
    #[must_use]
    pub fn token(self, token: impl Into<Option<String>>) -> Self {
        Self { token: token.into(), ..self }
    }

    /// Whether no request is ever sent.
    #[must_use]
    pub fn offline(self, offline: bool) -> Self {
        Self { offline, ..self }
    }

    /// How often a request that failed on the way is tried again.
    #[must_use]
    pub fn retries(self, retries: u32) -> Self {
        Self { retries, ..self }
    }

    /// Wait before the first retry; each further one doubles it.
    #[must_use]
    pub fn backoff(self, backoff: Duration) -> Self {
        Self { backoff, ..self }
    }

    /// Longest wait for a connection, and for the next bytes of one.
    #[must_use]
    pub fn timeout(self, timeout: Duration) -> Self {
        Self { timeout, ..self }
    }

    /// Time in which a connection brings [`least_bytes`](Self::least_bytes), or is given up.
    #[must_use]
    pub fn rate_window(self, rate_window: Duration) -> Self {
        Self { rate_window, ..self }
    }

    /// Fewest bytes of a body in [`rate_window`](Self::rate_window).
    #[must_use]
    pub fn least_bytes(self, least_bytes: u64) -> Self {
        Self { least_bytes, ..self }
    }

    /// Longest body of a server that does not announce its length.
    #[must_use]
    pub fn most_unannounced(self, most_unannounced: u64) -> Self {
        Self { most_unannounced, ..self }
    }

    /// Longest wait that a server's `Retry-After` may ask for.
    #[must_use]
    pub fn longest_wait(self, longest_wait: Duration) -> Self {
        Self { longest_wait, ..self }
    }

    /// Reads `HF_ENDPOINT`, `HF_HUB_CACHE` (or `HUGGINGFACE_HUB_CACHE`), `HF_HOME`, `HF_TOKEN`, `HF_TOKEN_PATH` and
    /// `HF_HUB_OFFLINE`, with the defaults of `huggingface_hub`.
    ///
    /// # Errors
    /// [`HubError::NoHome`] where no variable says where the cache is.
    pub fn from_env() -> Result<Self, HubError> {
        Self::from_lookup(|name| std::env::var(name).ok().filter(|value| !value.is_empty()))
    }

    /// [`HubConfig::from_env`] with another source of variables.
    ///
    /// # Errors
    /// [`HubError::NoHome`], as there.
    pub fn from_lookup(variable: impl Fn(&str) -> Option<String>) -> Result<Self, HubError> {
        let home = variable("HF_HOME").map(PathBuf::from).or_else(|| {
            let home = || variable("HOME").or_else(|| variable("USERPROFILE"));
            let cache = variable("XDG_CACHE_HOME").map(PathBuf::from);
            Some(cache.or_else(|| Some(PathBuf::from(home()?).join(".cache")))?.join("huggingface"))
        });
        let in_home = |name: &str| home.as_ref().map(|home| home.join(name));
        let cache = variable("HF_HUB_CACHE").or_else(|| variable("HUGGINGFACE_HUB_CACHE")).map(PathBuf::from);
        let cache = cache.or_else(|| in_home("hub")).ok_or(HubError::NoHome)?;
        let token_file = variable("HF_TOKEN_PATH").map(PathBuf::from).or_else(|| in_home("token"));
        let stored = || std::fs::read_to_string(token_file?).ok();
        let token = variable("HF_TOKEN").or_else(stored).map(|token| token.trim().to_owned());
        let is_true = |value: String| matches!(value.to_ascii_uppercase().as_str(), "1" | "ON" | "YES" | "TRUE");
        let config = Self {
            token: token.filter(|token| !token.is_empty()),
            offline: variable("HF_HUB_OFFLINE").is_some_and(is_true),
            ..Self::new(cache)
        };
        Ok(match variable("HF_ENDPOINT") {
            Some(endpoint) => config.endpoint(endpoint),
            None => config,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(variables: &[(&str, &str)]) -> HubConfig {
        let find = |name: &str| variables.iter().find(|(n, _)| *n == name).map(|(_, value)| (*value).to_owned());
        HubConfig::from_lookup(find).expect("a cache")
    }

    #[test]
    fn the_environment_means_what_it_means_to_huggingface_hub() {
        let plain = config(&[("HOME", "/home/me")]);
        assert_eq!(plain.endpoint, "https://huggingface.co");
        assert_eq!(plain.cache, PathBuf::from("/home/me/.cache/huggingface/hub"));
        assert_eq!((plain.token.as_deref(), plain.offline), (None, false));
        let all = [
            ("HF_ENDPOINT", "http://mirror/"),
            ("HF_HOME", "/hf"),
            ("HF_TOKEN", " secret\n"),
            ("HF_HUB_OFFLINE", "true"),
        ];
        let set = config(&all);
        assert_eq!((set.endpoint.as_str(), set.cache), ("http://mirror", PathBuf::from("/hf/hub")));
        assert_eq!((set.token.as_deref(), set.offline), (Some("secret"), true));
        assert!(!format!("{:?}", config(&all)).contains("secret"));
        assert_eq!(config(&[("HF_HOME", "/hf"), ("HF_HUB_CACHE", "/cache")]).cache, PathBuf::from("/cache"));
        assert!(!config(&[("HOME", "/me"), ("HF_HUB_OFFLINE", "0")]).offline);

        let folder = tempfile::tempdir().expect("folder");
        std::fs::write(folder.path().join("token"), "stored\n").expect("written");
        let stored = config(&[("HF_HOME", folder.path().to_str().expect("path"))]);
        assert_eq!(stored.token.as_deref(), Some("stored"));
    }
}
