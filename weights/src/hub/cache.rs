//! The layout of the cache: `models--org--name/{refs,blobs,snapshots}`.

use std::fs;
use std::io::Write;
use std::path::{Component, Path, PathBuf};

use ghostzoo_files::Pending;
use hf_hub::{Repo, RepoType};

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

    /// Whether the three names stay inside the cache's folder.
    pub(super) fn is_plain(&self) -> bool {
        let is_name = |part: &str| is_plain(part) && !part.contains('\\');
        self.repo.split('/').count() == 2
            && [&self.repo, &self.revision, &self.file].into_iter().all(|part| is_name(part))
    }

    /// Where the file lies in the cache, if it is there.
    pub fn cached(&self, config: &HubConfig) -> Option<PathBuf> {
        if !self.is_plain() {
            return None;
        }
        let by_commit = self.snapshot(config, &self.revision);
        if by_commit.exists() {
            return Some(by_commit);
        }
        let reference = fs::read_to_string(self.folder(config).join("refs").join(&self.revision)).ok()?;
        let commit = Some(reference.trim()).filter(|commit| is_commit(commit))?;
        Some(self.snapshot(config, commit)).filter(|path| path.exists())
    }

    /// Removes what a killed process left half-written of the revision's ref and of the file's place. A courtesy: no download
    /// fails for it.
    pub(super) fn sweep(&self, config: &HubConfig) {
        let places = [Some(self.folder(config).join("refs").join(&self.revision)), self.cached(config)];
        places.iter().flatten().for_each(|path| drop(ghostzoo_files::sweep(path)));
    }

    fn snapshot(&self, config: &HubConfig, commit: &str) -> PathBuf {
        self.folder(config).join("snapshots").join(commit).join(&self.file)
    }

    pub(super) fn blob(&self, config: &HubConfig, key: &str) -> PathBuf {
        self.folder(config).join("blobs").join(key)
    }

    /// Points the snapshot of `commit` and the revision's ref at a finished blob. `again`: another one may be there.
    pub(super) fn place(&self, config: &HubConfig, key: &str, commit: &str, again: bool) -> Result<PathBuf, HubError> {
        let snapshot = self.snapshot(config, commit);
        let failed = |source| HubError::Cache { path: snapshot.clone(), source };
        if let Some(folder) = snapshot.parent() {
            fs::create_dir_all(folder).map_err(failed)?;
        }
        let blob = self.blob(config, key);
        let up: PathBuf = std::iter::repeat_n("..", 2 + self.file.matches('/').count()).collect();
        let target = up.join("blobs").join(key);
        let is_another = || again && fs::canonicalize(&snapshot).ok() != fs::canonicalize(&blob).ok();
        if !snapshot.exists() || is_another() {
            ghostzoo_files::sweep(&snapshot).map_err(failed)?;
            // The link is read where it comes to lie.
            let linked = ghostzoo_files::link(&target, &snapshot).or_else(|_| fs::hard_link(&blob, &snapshot));
            linked.or_else(|_| copy(&blob, &snapshot)).map_err(failed)?;
        }
        if commit != self.revision {
            let path = self.folder(config).join("refs").join(&self.revision);
            write_ref(&path, commit).map_err(|source| HubError::Cache { path: path.clone(), source })?;
        }
        Ok(snapshot)
    }
}

fn copy(blob: &Path, snapshot: &Path) -> std::io::Result<()> {
    replace(snapshot, |file| std::io::copy(&mut fs::File::open(blob)?, file).map(drop))
}

fn write_ref(path: &Path, commit: &str) -> std::io::Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    replace(path, |file| file.write_all(commit.as_bytes()))
}

/// Writes a sibling file and renames it to `path`; others may read it, as all files of a shared cache.
fn replace(path: &Path, write: impl FnOnce(&mut Pending) -> std::io::Result<()>) -> std::io::Result<()> {
    ghostzoo_files::sweep(path)?;
    let mut file = Pending::create(path)?;
    write(&mut file)?;
    file.finish()
}

/// Whether a name stays inside the folder it is joined to.
pub(super) fn is_plain(name: &str) -> bool {
    !name.is_empty() && Path::new(name).components().all(|part| matches!(part, Component::Normal(_)))
}

/// Whether a name can be a commit's: one part of a path, of letters and digits.
pub(super) fn is_commit(name: &str) -> bool {
    !name.is_empty() && name.len() <= 64 && name.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_links_a_snapshot_is_a_whole_copy() {
        let folder = tempfile::tempdir().expect("folder");
        let (blob, snapshot) = (folder.path().join("blob"), folder.path().join("snapshot"));
        fs::write(&blob, b"weights").expect("written");
        copy(&blob, &snapshot).expect("copies");
        assert_eq!(fs::read(&snapshot).expect("readable"), b"weights");
        assert!(copy(&folder.path().join("none"), &folder.path().join("other")).is_err());
        assert_eq!(fs::read_dir(folder.path()).expect("folder").count(), 2, "no temporary file stays");
    }

    #[test]
    fn names_stay_inside_the_cache() {
        let is_plain = |repo: &str, revision: &str, file: &str| {
            RepoFile { repo: repo.to_owned(), revision: revision.to_owned(), file: file.to_owned() }.is_plain()
        };
        assert!(is_plain("org/name", "refs/pr/1", "sub/file.pt"));
        for (repo, revision, file) in [
            ("name", "main", "f"),
            ("a/b/c", "main", "f"),
            ("../b", "main", "f"),
            ("a/b", "..", "f"),
            ("a/b", "main", "/f"),
            ("a/b", "main", "x/../../f"),
            ("a/b", "main", "x\\..\\f"),
            ("a/b", "main", ""),
        ] {
            assert!(!is_plain(repo, revision, file), "{repo} {revision} {file}");
        }
    }
}
