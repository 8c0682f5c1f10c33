//! Which files a glob names.
//!
//! `**` follows links, and takes each folder once, so that links in a loop have an end.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::fs::{self, FileType, Metadata};
use std::path::{Component, Path, PathBuf};

use anyhow::{Context, Result, anyhow};
use glob::Pattern;

use crate::cli::bytes;

/// What the pattern names, in the order of paths. A folder that `**` reaches by several names goes by that with the
/// fewest links.
pub(super) fn matches(pattern: impl AsRef<OsStr>) -> Result<Vec<PathBuf>> {
    let invalid = |error| anyhow!("not a valid glob: {error}");
    let pattern = pattern.as_ref();
    Pattern::new(&bytes::text(pattern)).map_err(invalid)?;
    let mut found = vec![PathBuf::new()];
    for component in Path::new(pattern).components() {
        found = match component {
            Component::Normal(name) if name == "**" => folders(found)?,
            Component::Normal(name) if name.to_string_lossy().contains(['*', '?', '[']) => {
                let name = Pattern::new(&bytes::text(name)).map_err(invalid)?;
                let mut below = Vec::new();
                for folder in found {
                    let children = children(&folder)?.into_iter().map(|(child, _)| child);
                    below.extend(
                        children
                            .filter(|child| child.file_name().is_some_and(|given| name.matches(&bytes::text(given)))),
                    );
                }
                below
            }
            Component::CurDir => found,
            named => found.into_iter().map(|path| path.join(named)).filter(|path| path.exists()).collect(),
        };
    }
    found.sort();
    found.dedup();
    Ok(found)
}

/// The folders among `roots` and below them, each once.
fn folders(roots: Vec<PathBuf>) -> Result<Vec<PathBuf>> {
    let mut visited = HashSet::new();
    let mut folders = Vec::new();
    let mut todo = roots;
    while !todo.is_empty() {
        let mut links = Vec::new();
        while let Some(folder) = todo.pop() {
            // A link to nothing is no folder.
            let Ok(metadata) = fs::metadata(here(&folder)) else { continue };
            if !metadata.is_dir() || !visited.insert(identity(&folder, &metadata)?) {
                continue;
            }
            for (child, kind) in children(&folder)? {
                if kind.is_symlink() {
                    links.push(child);
                } else if kind.is_dir() {
                    todo.push(child);
                }
            }
            folders.push(folder);
        }
        links.sort_by(|left, right| right.cmp(left));
        todo = links;
    }
    Ok(folders)
}

/// What is in a folder, and of which kind, links not followed; nothing is in what is no folder.
fn children(folder: &Path) -> Result<Vec<(PathBuf, FileType)>> {
    if !here(folder).is_dir() {
        return Ok(Vec::new());
    }
    let cannot_read = || format!("cannot read the folder {}", here(folder).display());
    let mut children = Vec::new();
    for child in fs::read_dir(here(folder)).with_context(cannot_read)? {
        let child = child.with_context(cannot_read)?;
        children.push((folder.join(child.file_name()), child.file_type().with_context(cannot_read)?));
    }
    Ok(children)
}

/// The path to read: nothing is the working folder.
fn here(path: &Path) -> &Path {
    if path.as_os_str().is_empty() { Path::new(".") } else { path }
}

/// What a folder has alone: its device and inode.
#[cfg(unix)]
fn identity(_: &Path, metadata: &Metadata) -> Result<(u64, u64)> {
    use std::os::unix::fs::MetadataExt;
    Ok((metadata.dev(), metadata.ino()))
}

/// What a folder has alone: its path without links.
#[cfg(not(unix))]
fn identity(folder: &Path, _: &Metadata) -> Result<PathBuf> {
    let folder = here(folder);
    fs::canonicalize(folder).with_context(|| format!("cannot read the folder {}", folder.display()))
}

#[cfg(all(test, unix))]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn loops_of_links_have_an_end() -> Result<()> {
        let root = tempfile::tempdir()?;
        let root = root.path();
        fs::create_dir_all(root.join("z/deep"))?;
        fs::write(root.join("z/deep/one.jpg"), "")?;
        fs::write(root.join("top.jpg"), "")?;
        // Every link multiplies the paths below it where folders are taken by name.
        for name in ["a", "b", "c"] {
            symlink("..", root.join("z").join(name))?;
            symlink("z", root.join(name))?;
        }
        symlink("nowhere", root.join("dangling"))?;
        let shown = |pattern: &str| -> Result<Vec<String>> {
            let found = matches(format!("{}/{pattern}", Pattern::escape(&root.to_string_lossy())))?;
            let below = |path: PathBuf| path.strip_prefix(root).unwrap_or(&path).display().to_string();
            Ok(found.into_iter().map(below).collect())
        };
        assert_eq!(shown("**/*.jpg")?, ["top.jpg", "z/deep/one.jpg"]);
        assert_eq!(shown("**/deep/**/*.jpg")?, ["z/deep/one.jpg"]);
        assert_eq!(shown("a/**/one.*")?, ["a/deep/one.jpg"]);
        assert_eq!(shown("[ab]/d*p/one.jpg")?, ["a/deep/one.jpg", "b/deep/one.jpg"]);
        assert!(shown("z**").is_err_and(|error| error.to_string().starts_with("not a valid glob")));
        Ok(())
    }

    #[test]
    fn a_glob_without_a_folder_starts_in_the_working_folder() -> Result<()> {
        assert_eq!(matches("./Cargo.*")?, [Path::new("Cargo.toml")]);
        assert_eq!(matches("sr?/**/glob.rs")?, [Path::new("src/source/glob.rs")]);
        Ok(())
    }
}
