//! Images in folders, in the order of torchvision's `ImageFolder`: by class, by folder below it, by name.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};

use super::DataError;
use super::error::{count, examples};
use super::files::{Ending, Skipped};
use super::listing::{Labels, Listing, Names, Origin};
use super::record::Store;

/// Most folders below one another.
const MAX_DEPTH: usize = 64;

/// Lists a folder. `flat`: class folders mean nothing.
pub(super) fn list(root: &Path, flat: bool) -> Result<Listing, DataError> {
    let mut walk = Walk::default();
    let top = walk.read(root, "")?;
    let has_classes = !flat && !top.folders.is_empty();
    let mut names = Names::default();
    let mut labels = Labels::default();
    let mut empty = Vec::new();
    let mut beside = 0;
    if has_classes {
        beside = top.images.len();
        for class in &top.folders {
            let before = names.len();
            for image in walk.below(root, class)? {
                names.push(&image);
                labels.push(class);
            }
            if names.len() == before {
                empty.push(class.as_str());
            }
        }
        if names.len() == 0 && beside > 0 {
            // Only the images at the top count: the folders are no classes.
            top.images.iter().for_each(|image| names.push(image));
            (beside, labels) = (0, Labels::default());
        }
    } else {
        walk = Walk::default();
        walk.below(root, "")?.iter().for_each(|image| names.push(image));
    }
    walk.check(root)?;
    let mut notes = walk.skipped.notes();
    if walk.loops > 0 {
        notes.push(format!("{} back to a folder already listed", count(walk.loops, "link leads", "links lead")));
    }
    if beside > 0 {
        notes.push(format!("{} beside the class folders, in no class", count(beside, "image lies", "images lie")));
    }
    if !empty.is_empty() && names.len() > 0 {
        notes.push(format!(
            "{} without images: {}",
            count(empty.len(), "folder is", "folders are"),
            examples(empty.iter().copied())
        ));
    }
    let labels = (!labels.texts().is_empty()).then(|| {
        // They count for the order of folders, and for nothing else.
        empty.iter().for_each(|class| labels.add(class));
        (labels, Origin::Folders)
    });
    Ok(Listing { names, labels, store: Store::Folder(root.to_path_buf()), notes })
}

/// One folder's entries, sorted.
struct Entries {
    folders: Vec<String>,
    images: Vec<String>,
}

/// The state of a search in depth.
#[derive(Default)]
struct Walk {
    skipped: Skipped,
    loops: usize,
    broken: Vec<String>,
    not_utf8: Vec<String>,
}

impl Walk {
    /// The entries of a folder; `relative` names it below the root.
    fn read(&mut self, folder: &Path, relative: &str) -> Result<Entries, DataError> {
        let io = |source| DataError::io("read the folder", folder, source);
        let mut entries = Entries { folders: Vec::new(), images: Vec::new() };
        for entry in fs::read_dir(folder).map_err(io)? {
            let entry = entry.map_err(io)?;
            let Ok(name) = entry.file_name().into_string() else {
                self.not_utf8.push(join(relative, &entry.file_name().to_string_lossy()));
                continue;
            };
            let kind = entry.file_type().map_err(io)?;
            let target = if kind.is_symlink() { fs::metadata(entry.path()).ok() } else { None };
            let is_folder = kind.is_dir() || target.as_ref().is_some_and(fs::Metadata::is_dir);
            if is_folder {
                if !name.starts_with('.') {
                    entries.folders.push(name);
                }
            } else if kind.is_symlink() && target.is_none() && Ending::of(&name) == Ending::Image {
                self.broken.push(join(relative, &name));
            } else if self.skipped.is_image(Ending::of(&name)) {
                entries.images.push(name);
            }
        }
        entries.folders.sort();
        entries.images.sort();
        Ok(entries)
    }

    /// All images in and below a folder of the root, as paths below the root. Each real folder is entered once, and a
    /// link to the root or above it not at all: it would bring in what is elsewhere below the root.
    fn below(&mut self, root: &Path, relative: &str) -> Result<Vec<String>, DataError> {
        let real_path =
            |folder: &Path| folder.canonicalize().map_err(|error| DataError::io("read the folder", folder, error));
        let real_root = real_path(root)?;
        let mut visited: HashSet<PathBuf> = HashSet::new();
        let mut found: Vec<(String, Vec<String>)> = Vec::new();
        let mut stack = vec![(relative.to_owned(), 0)];
        while let Some((relative, depth)) = stack.pop() {
            let folder = root.join(&relative);
            let real = real_path(&folder)?;
            let leads_up = !found.is_empty() && real_root.starts_with(&real);
            if leads_up || !visited.insert(real) {
                self.loops += 1;
                continue;
            }
            if depth > MAX_DEPTH {
                return Err(DataError::layout(&folder, format!("lies more than {MAX_DEPTH} folders deep")));
            }
            let entries = self.read(&folder, &relative)?;
            stack.extend(entries.folders.iter().rev().map(|name| (join(&relative, name), depth + 1)));
            found.push((relative, entries.images));
        }
        found.sort();
        let paths = |(folder, names): (String, Vec<String>)| names.into_iter().map(move |name| join(&folder, &name));
        Ok(found.into_iter().flat_map(paths).collect())
    }

    /// Fails if images were found that cannot be listed.
    fn check(&self, root: &Path) -> Result<(), DataError> {
        let lines = |names: &[String]| examples(names.iter().map(String::as_str));
        if !self.broken.is_empty() {
            let images = count(self.broken.len(), "image is a broken link", "images are broken links");
            return Err(DataError::damaged(root, format!("{images}: {}; restore or remove them", lines(&self.broken))));
        }
        if !self.not_utf8.is_empty() {
            let names = count(self.not_utf8.len(), "name is", "names are");
            return Err(DataError::layout(root, format!("{names} not UTF-8: {}; rename them", lines(&self.not_utf8))));
        }
        Ok(())
    }
}

fn join(folder: &str, name: &str) -> String {
    if folder.is_empty() { name.to_owned() } else { format!("{folder}/{name}") }
}
