//! What a path names: a folder of images, tar files or Parquet files; and which split of them.

use std::ffi::OsStr;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use super::DataError;
use super::error::{count, examples};
use super::files::Ending;

/// Names of the splits that images are evaluated on, the preferred first; each row one split.
const SPLITS: [&[&str]; 3] =
    [&["val", "valid", "validation", "eval", "evaluation"], &["test", "testing"], &["train", "training"]];

/// Rows of [`SPLITS`] that are taken without being asked for.
const HELD_OUT: usize = 2;

/// A layout, not yet read.
#[derive(Debug)]
pub(super) enum Found {
    /// A folder of images, or of class folders.
    Folder(PathBuf),
    /// Tar files in order.
    Tars(Vec<PathBuf>),
    /// Parquet files in order.
    Tables(Vec<PathBuf>),
}

/// Finds what to list, and notes on what was chosen.
pub(super) fn locate(path: &Path, split: Option<&str>) -> Result<(Found, Vec<String>), DataError> {
    match fs::metadata(path) {
        Ok(metadata) if metadata.is_dir() => in_folder(path, split),
        Ok(_) => Ok((of_files(path, vec![path.to_path_buf()])?, Vec::new())),
        Err(error) if error.kind() == ErrorKind::NotFound => match fs::read_link(path) {
            Ok(target) => {
                Err(DataError::not_found(path, format!("a link to {}, which is not there", target.display())))
            }
            Err(_) => in_glob(path, split),
        },
        Err(error) => Err(DataError::io("read", path, error)),
    }
}

fn in_glob(path: &Path, split: Option<&str>) -> Result<(Found, Vec<String>), DataError> {
    let Some(pattern) = path.to_str().filter(|text| text.contains(['*', '?', '['])) else {
        let hint = if path.to_string_lossy().contains('{') { "; braces are not expanded, use * or ?" } else { "" };
        return Err(DataError::not_found(path, format!("there is no such file or folder{hint}")));
    };
    let paths =
        glob::glob(pattern).map_err(|error| DataError::not_found(path, format!("is no valid glob: {error}")))?;
    let mut files = Vec::new();
    for file in paths {
        let file = file.map_err(|error| DataError::io("search", path, error.into()))?;
        if file.is_file() {
            files.push(file);
        }
    }
    if files.is_empty() {
        return Err(DataError::not_found(path, "no file matches this glob"));
    }
    let (files, notes) = of_split(path, files, split)?;
    Ok((of_files(path, files)?, notes))
}

/// What one folder holds, by names alone.
#[derive(Default)]
struct Content {
    folders: Vec<String>,
    tars: Vec<PathBuf>,
    tables: Vec<PathBuf>,
    images: usize,
}

fn read_folder(folder: &Path) -> Result<Content, DataError> {
    let io = |source| DataError::io("read the folder", folder, source);
    let mut content = Content::default();
    for entry in fs::read_dir(folder).map_err(io)? {
        let path = entry.map_err(io)?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if name.starts_with('.') {
            continue;
        }
        if path.is_dir() {
            content.folders.push(name);
        } else if has_ending(&path, "tar") {
            content.tars.push(path);
        } else if has_ending(&path, "parquet") {
            content.tables.push(path);
        } else if Ending::of(&name) == Ending::Image {
            content.images += 1;
        }
    }
    content.folders.sort();
    content.tars.sort();
    content.tables.sort();
    Ok(content)
}

fn in_folder(folder: &Path, split: Option<&str>) -> Result<(Found, Vec<String>), DataError> {
    let mut root = folder.to_path_buf();
    let mut content = read_folder(&root)?;
    let mut notes = Vec::new();
    let holds_shards = |content: &Content| !(content.tars.is_empty() && content.tables.is_empty());
    if content.images == 0 && !holds_shards(&content) && content.folders.iter().any(|name| name == "data") {
        let below = root.join("data");
        let inner = read_folder(&below)?;
        if holds_shards(&inner) {
            (root, content) = (below, inner);
        }
    }
    let subfolder = match split {
        Some(wanted) => content.folders.iter().find(|name| is_split(name, wanted)),
        None => {
            SPLITS[..HELD_OUT].iter().find_map(|row| content.folders.iter().find(|name| row.contains(&name.as_str())))
        }
    };
    let mut split = split;
    if let Some(name) = subfolder.cloned() {
        root.push(&name);
        content = read_folder(&root)?;
        notes.push(format!("the images are those of the folder `{name}`"));
        split = None;
    }
    let shards = match (content.tars.is_empty(), content.tables.is_empty()) {
        (true, true) => None,
        (false, true) => Some(content.tars),
        (true, false) => Some(content.tables),
        (false, false) => {
            let found = format!(
                "holds {} and {}; give one kind by a glob",
                count(content.tars.len(), "tar file", "tar files"),
                count(content.tables.len(), "Parquet file", "Parquet files")
            );
            return Err(DataError::layout(&root, found));
        }
    };
    if let Some(files) = shards {
        if content.images > 0 {
            let images = count(content.images, "image", "images");
            return Err(DataError::layout(&root, format!("holds {images} beside shards; give the shards by a glob")));
        }
        let (files, chosen) = of_split(&root, files, split)?;
        notes.extend(chosen);
        return Ok((of_files(&root, files)?, notes));
    }
    let is_named_so =
        |wanted: &str| root.file_name().and_then(OsStr::to_str).is_some_and(|name| is_split(name, wanted));
    if let Some(wanted) = split.filter(|wanted| !is_named_so(wanted)) {
        let found = match content.folders.as_slice() {
            [] => "it has no folders".to_owned(),
            folders => format!("its folders are {}", examples(folders.iter().map(String::as_str))),
        };
        return Err(DataError::layout(&root, format!("has no folder for the split `{wanted}`; {found}")));
    }
    Ok((Found::Folder(root), notes))
}

/// Keeps the shards of one split, if their names tell splits apart.
fn of_split(place: &Path, files: Vec<PathBuf>, split: Option<&str>) -> Result<(Vec<PathBuf>, Vec<String>), DataError> {
    let words = |file: &PathBuf| -> Vec<String> {
        let stem = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        stem.split(|c: char| !c.is_alphanumeric()).map(str::to_owned).collect()
    };
    let is_of = |file: &PathBuf, wanted: &str| words(file).iter().any(|word| is_split(word, wanted));
    let total = files.len();
    let wanted = match split {
        Some(wanted) => wanted,
        None => {
            let known = SPLITS.iter().map(|row| row[0]);
            let present: Vec<&str> = known.filter(|name| files.iter().any(|file| is_of(file, name))).collect();
            match present.first().copied() {
                Some(first) if present.len() > 1 || SPLITS[..HELD_OUT].iter().any(|row| row[0] == first) => first,
                _ => return Ok((files, Vec::new())),
            }
        }
    };
    let kept: Vec<PathBuf> = files.into_iter().filter(|file| is_of(file, wanted)).collect();
    if kept.is_empty() {
        return Err(DataError::layout(
            place,
            format!("none of {} is of the split `{wanted}`", count(total, "shard", "shards")),
        ));
    }
    let note = (kept.len() < total)
        .then(|| format!("{} of {total} shards are of the split `{wanted}`, the others unread", kept.len()));
    Ok((kept, note.into_iter().collect()))
}

/// Whether a name is that of the split or a synonym.
fn is_split(name: &str, wanted: &str) -> bool {
    name == wanted || SPLITS.iter().any(|row| row.contains(&name) && row.contains(&wanted))
}

fn has_ending(path: &Path, ending: &str) -> bool {
    path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case(ending))
}

/// Files that are all tar or all Parquet.
fn of_files(place: &Path, files: Vec<PathBuf>) -> Result<Found, DataError> {
    for file in &files {
        let length = fs::metadata(file).map_err(|error| DataError::io("read", file, error))?.len();
        let name = file.file_name().unwrap_or_default().to_string_lossy().to_ascii_lowercase();
        let reason = if length == 0 {
            "the file is empty"
        } else if [".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".tar.zst", ".zip", ".gz", ".zst"]
            .iter()
            .any(|end| name.ends_with(end))
        {
            "is compressed; unpack it"
        } else if Ending::of(&name) == Ending::Image {
            "is one image; give a folder, a tar file or a Parquet file"
        } else if !has_ending(file, "tar") && !has_ending(file, "parquet") {
            "is no folder, tar file or Parquet file"
        } else {
            continue;
        };
        return Err(DataError::layout(file, reason));
    }
    let tars = files.iter().filter(|file| has_ending(file, "tar")).count();
    match tars {
        0 => Ok(Found::Tables(files)),
        tars if tars == files.len() => Ok(Found::Tars(files)),
        tars => {
            let found =
                format!("matches {} and {}; give one kind", count(tars, "tar file", "tar files"), files.len() - tars);
            Err(DataError::layout(place, format!("{found} of them")))
        }
    }
}
