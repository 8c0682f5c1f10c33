//! From what a user types to a checkpoint: on the disk, or built into the program.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use crate::checkpoint::Checkpoint;
use crate::error::Error;
use crate::progress::DownloadProgress;
use crate::registry::{Location, ModelEntry, Registry};
use crate::shipped::Bundled;

/// Why a model could not be found.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ResolveError {
    /// It looks like a path and there is no such file.
    #[error("no such file: {}", path.display())]
    NoSuchFile {
        /// What was asked for.
        path: PathBuf,
    },
    /// It is no registry name.
    #[error("unknown model `{name}`{}; `Registry` lists all names", suggestion(nearest))]
    Unknown {
        /// What was asked for.
        name: String,
        /// The names most like it.
        nearest: Vec<String>,
    },
    /// `hf://` in another form than `hf://org/repo[@revision]/file`.
    #[error("`{name}` is not of the form hf://organisation/repository[@revision]/file")]
    BadAddress {
        /// What was asked for.
        name: String,
    },
    /// The Hub or its cache.
    #[cfg(feature = "hub")]
    #[error(transparent)]
    Hub(#[from] crate::hub::HubError),
    /// This build cannot reach the Hub.
    #[error(
        "`{name}` is {file} of {repo} on the Hub, and this build has no `hub` feature: download it and give its path"
    )]
    NoHub {
        /// What was asked for.
        name: String,
        /// Repository.
        repo: String,
        /// File in the repository.
        file: String,
    },
    /// This build has no checkpoints in it.
    #[error(
        "`{name}` is built in by the feature `shipped` of ghostzoo-weights, and this program was built without it: give a file"
    )]
    NotBuiltIn {
        /// What was asked for.
        name: String,
    },
}

fn suggestion(nearest: &[String]) -> String {
    match nearest {
        [] => String::new(),
        names => format!(": did you mean {}?", names.join(", ")),
    }
}

/// Where a checkpoint's bytes are.
#[derive(Debug, Clone, PartialEq)]
pub enum CheckpointSource {
    /// A file.
    File(PathBuf),
    /// In the program.
    Bundled(Bundled),
}

impl CheckpointSource {
    /// Reads the checkpoint, as [`crate::read`] does.
    ///
    /// # Errors
    /// [`Error`], as for [`crate::read`].
    pub fn read(&self) -> Result<Checkpoint, Error> {
        match self {
            Self::File(path) => crate::read(path),
            Self::Bundled(shipped) => shipped.read(),
        }
    }
}

/// A model's files.
#[derive(Debug, Clone, PartialEq)]
pub struct ResolvedModel {
    /// The checkpoint.
    pub origin: CheckpointSource,
    /// timm's `config.json` beside it, where there is one.
    pub config: Option<PathBuf>,
    /// The registry's entry, where the model was named.
    pub entry: Option<ModelEntry>,
    /// The registry's name or the address, where the files are in the Hub's cache and can be downloaded again.
    pub cached_as: Option<String>,
}

/// How to look for a model.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct ResolveOptions {
    /// The Hub's settings; from the environment where `None`.
    #[cfg(feature = "hub")]
    pub hub: Option<crate::hub::HubConfig>,
    /// Download a file of the Hub even where the cache has it.
    pub again: bool,
}

impl ResolveOptions {
    /// The defaults.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The Hub's settings; from the environment where `None`.
    #[cfg(feature = "hub")]
    #[must_use]
    pub fn hub(self, hub: impl Into<Option<crate::hub::HubConfig>>) -> Self {
        Self { hub: hub.into(), ..self }
    }

    /// Whether a file of the Hub is downloaded even where the cache has it.
    #[must_use]
    pub fn again(self, again: bool) -> Self {
        Self { again, ..self }
    }
}

/// Finds `model`: a file's path, a name of the registry, or `hf://organisation/repository[@revision]/file`.
///
/// # Errors
/// [`ResolveError`], each variant one line with what to do.
pub fn resolve(
    model: impl AsRef<OsStr>,
    options: &ResolveOptions,
    progress: &mut dyn DownloadProgress,
) -> Result<ResolvedModel, ResolveError> {
    let path = Path::new(model.as_ref());
    let name = path.to_str();
    if let Some((name, address)) = name.and_then(|name| Some((name, name.strip_prefix("hf://")?))) {
        let (repo, revision, file) =
            parse_address(address).ok_or_else(|| ResolveError::BadAddress { name: name.to_owned() })?;
        return from_hub(name, [&repo, &revision, &file], None, None, options, progress);
    }
    if path.is_file() {
        let config = path.with_file_name("config.json");
        let config = config.is_file().then_some(config);
        return Ok(ResolvedModel {
            origin: CheckpointSource::File(path.to_path_buf()),
            config,
            entry: None,
            cached_as: None,
        });
    }
    // Only a file has a name that is not UTF-8.
    let Some(model) = name else { return Err(ResolveError::NoSuchFile { path: path.to_path_buf() }) };
    let registry = Registry::builtin();
    if let Some(entry) = registry.find(model) {
        return match &entry.place {
            Location::Hub { repo, revision, file } => {
                from_hub(model, [repo, revision, file], entry.sha256.as_deref(), Some(entry), options, progress)
            }
            Location::Bundled { .. } => {
                let shipped = entry.shipped().ok_or_else(|| ResolveError::NotBuiltIn { name: model.to_owned() })?;
                let entry = Some(entry.clone());
                Ok(ResolvedModel { origin: CheckpointSource::Bundled(shipped), config: None, entry, cached_as: None })
            }
        };
    }
    const FILES: [&str; 5] = ["safetensors", "pt", "pth", "bin", "tar"];
    let has_extension = path.extension().and_then(|e| e.to_str()).is_some_and(|e| FILES.contains(&e));
    if has_extension || model.contains(['/', '\\']) {
        return Err(ResolveError::NoSuchFile { path: path.to_path_buf() });
    }
    let nearest = registry.nearest(model).into_iter().map(str::to_owned).collect();
    Err(ResolveError::Unknown { name: model.to_owned(), nearest })
}

/// `org/repo[@revision]/file`.
fn parse_address(address: &str) -> Option<(String, String, String)> {
    let (organisation, rest) = address.split_once('/')?;
    let (repo, file) = rest.split_once('/')?;
    let (repo, revision) = repo.split_once('@').unwrap_or((repo, "main"));
    let parts = [organisation, repo, revision, file];
    let are_plain = parts.iter().all(|part| !part.is_empty() && !part.split('/').any(|p| p.is_empty() || p == ".."));
    are_plain.then(|| (format!("{organisation}/{repo}"), revision.to_owned(), file.to_owned()))
}

#[cfg(feature = "hub")]
fn from_hub(
    name: &str,
    [repo, revision, file]: [&String; 3],
    sha256: Option<&str>,
    entry: Option<&ModelEntry>,
    options: &ResolveOptions,
    progress: &mut dyn DownloadProgress,
) -> Result<ResolvedModel, ResolveError> {
    use crate::hub::{HubConfig, HubError, RepoFile, fetch, fetch_with, refetch};
    let from_env;
    let config = match &options.hub {
        Some(config) => config,
        None => {
            from_env = HubConfig::from_env()?;
            &from_env
        }
    };
    let place = RepoFile { repo: repo.clone(), revision: revision.clone(), file: file.clone() };
    let was_cached = place.cached(config).is_some();
    let beside = match file.rsplit_once('/') {
        Some((folder, _)) => format!("{folder}/config.json"),
        None => "config.json".to_owned(),
    };
    let is_classifier = entry.is_none_or(|entry| entry.task == crate::registry::Task::Classify);
    // A repository may have no config.json; it is asked for once, along with the weights.
    let again = options.again;
    let (path, config) = fetch_with(config, &place, sha256, again, progress, |revision, progress| {
        let beside = RepoFile { repo: repo.clone(), revision: revision.to_owned(), file: beside };
        match beside.cached(config) {
            Some(path) if !again => Ok(Some(path)),
            None if (was_cached && !again) || !is_classifier => Ok(None),
            _ => {
                let fetch = if again { refetch } else { fetch };
                match fetch(config, &beside, None, progress) {
                    Ok(path) => Ok(Some(path)),
                    Err(HubError::NotFound { .. }) => Ok(None),
                    Err(error) => Err(error),
                }
            }
        }
    })?;
    Ok(ResolvedModel {
        origin: CheckpointSource::File(path),
        config,
        entry: entry.cloned(),
        cached_as: Some(entry.map_or(name, |entry| &entry.name).to_owned()),
    })
}

#[cfg(not(feature = "hub"))]
fn from_hub(
    name: &str,
    [repo, _, file]: [&String; 3],
    _: Option<&str>,
    _: Option<&ModelEntry>,
    _: &ResolveOptions,
    _: &mut dyn DownloadProgress,
) -> Result<ResolvedModel, ResolveError> {
    Err(ResolveError::NoHub { name: name.to_owned(), repo: repo.clone(), file: file.clone() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_taken_apart() {
        let parse = |address| parse_address(address).map(|(r, v, f)| format!("{r} {v} {f}"));
        assert_eq!(
            parse("timm/ghostnet_100.in1k/model.safetensors").as_deref(),
            Some("timm/ghostnet_100.in1k main model.safetensors")
        );
        assert_eq!(parse("a/b@v1.0/sub/c.pt").as_deref(), Some("a/b v1.0 sub/c.pt"));
        for wrong in ["a", "a/b", "a/b/", "/b/c", "a/b@/c", "a/b/../../c", "a/b@../c/d"] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn paths_and_names_are_told_apart() {
        let find = |model: &str| resolve(model, &ResolveOptions::default(), &mut crate::progress::NoProgress);
        assert!(matches!(find("no/such/model"), Err(ResolveError::NoSuchFile { .. })));
        assert!(matches!(find("best.pt"), Err(ResolveError::NoSuchFile { .. })));
        let error = find("yolo8n").expect_err("unknown").to_string();
        assert!(error.contains("did you mean yolov8n"), "{error}");
        assert!(matches!(find("hf://one"), Err(ResolveError::BadAddress { .. })));
    }

    #[test]
    fn a_shipped_name_is_found_in_the_program_or_said_not_to_be_there() {
        for entry in Registry::builtin().shipped(crate::Task::Detect) {
            let found = resolve(&entry.name, &ResolveOptions::default(), &mut crate::progress::NoProgress);
            if cfg!(feature = "shipped") {
                let found = found.expect("built in");
                assert!(matches!(found.origin, CheckpointSource::Bundled(_)), "{found:?}");
                assert_eq!((found.entry.as_ref(), found.config), (Some(entry), None));
            } else {
                let error = found.expect_err("not built in").to_string();
                assert!(error.contains(&entry.name) && error.contains("feature `shipped`"), "{error}");
            }
        }
    }
}
