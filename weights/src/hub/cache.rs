//! The layout of the cache: `models--org--name/{refs,blobs,snapshots}`.

use std::fs;
use std::io::Write;
use std::path::{Component, Path, PathBuf};

use hf_hub::{Cache, Repo, RepoType};

use super::{HubConfig, HubError};

/// A file of a repository at a revision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RepoFile {
    /// `organisation/name`.
    pub repo: String,
    /// Branch, tag or commit.
    pub revision: String,
    /// Path in the repository, with `/` between its parts.
    pub file: String,
}

impl RepoFile {
    fn folder_name(&self) -> String {
        Repo::new(self.repo.clone(), RepoType::Model).folder_name()
    }

    /// The repository's folder in the cache.
    pub(super) fn folder(&self, config: &HubConfig) -> PathBuf {
        config.cache.join(self.folder_name())
    }

    /// Where the file lies in the cache, if it is there.
    pub fn cached(&self, config: &HubConfig) -> Option<PathBuf> {
        if !is_plain(&self.file) || !is_plain(&self.revision) {
            return None;
        }
        let repo = Repo::with_revision(self.repo.clone(), RepoType::Model, self.revision.clone());
        let by_ref = || Cache::new(config.cache.clone()).repo(repo).get(&self.file);
        let by_commit = self.snapshot(config, &self.revision);
        if by_commit.exists() { Some(by_commit) } else { by_ref() }
    }

    fn snapshot(&self, config: &HubConfig, commit: &str) -> PathBuf {
        self.folder(config).join("snapshots").join(commit).join(&self.file)
    }

    pub(super) fn blob(&self, config: &HubConfig, key: &str) -> PathBuf {
        self.folder(config).join("blobs").join(key)
    }

    /// Points the snapshot of `commit` and the revision's ref at a finished blob.
    pub(super) fn place(&self, config: &HubConfig, key: &str, commit: &str) -> Result<PathBuf, HubError> {
        let snapshot = self.snapshot(config, commit);
        let failed = |source| HubError::Cache { path: snapshot.clone(), source };
        if let Some(folder) = snapshot.parent() {
            fs::create_dir_all(folder).map_err(failed)?;
        }
        if !snapshot.exists() {
            let _ = fs::remove_file(&snapshot);
            let up: PathBuf = std::iter::repeat_n("..", 2 + self.file.matches('/').count()).collect();
            let linked = link(&up.join("blobs").join(key), &snapshot);
            if linked.is_err() && !snapshot.exists() {
                fs::copy(self.blob(config, key), &snapshot).map_err(failed)?;
            }
        }
        if commit != self.revision {
            let path = self.folder(config).join("refs").join(&self.revision);
            write_ref(&path, commit).map_err(|source| HubError::Cache { path: path.clone(), source })?;
        }
        Ok(snapshot)
    }
}

#[cfg(unix)]
fn link(target: &Path, link: &Path) -> std::io::Result<()> {
    std::os::unix::fs::symlink(target, link)
}

#[cfg(not(unix))]
fn link(_: &Path, _: &Path) -> std::io::Result<()> {
    Err(std::io::ErrorKind::Unsupported.into())
}

fn write_ref(path: &Path, commit: &str) -> std::io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(folder)?;
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    file.write_all(commit.as_bytes())?;
    file.persist(path)?;
    Ok(())
}

/// Whether a name stays inside the folder it is joined to.
pub(super) fn is_plain(name: &str) -> bool {
    !name.is_empty() && Path::new(name).components().all(|part| matches!(part, Component::Normal(_)))
}
