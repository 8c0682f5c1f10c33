//! Which images the arguments name.

mod glob;

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail};
use candle_vision::image::{self, DecodeOptions, Decoded, ImageError};
use candle_vision::regular;
use candle_yolov8::data::lines;

use crate::cli::bytes;
use ghostzoo::samples::SampleImage;

/// Endings of files that a folder or a glob takes for images. Formats that cannot be decoded are among them: they
/// are reported, not skipped.
const EXTENSIONS: [&str; 16] = [
    "avif", "bmp", "dng", "gif", "heic", "heif", "jfif", "jp2", "jpeg", "jpg", "mpo", "pfm", "png", "tif", "tiff",
    "webp",
];

/// Endings of videos.
const VIDEOS: [&str; 11] = ["asf", "avi", "m4v", "mkv", "mov", "mp4", "mpeg", "mpg", "ts", "webm", "wmv"];

/// Largest list file in bytes.
const MAX_LIST_BYTES: u64 = 64 << 20;

/// Most bytes of the name of what is saved of an image, before endings: file systems take 255 in all.
const MAX_STEM_BYTES: usize = 200;

/// One image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Source {
    /// A file.
    File(PathBuf),
    /// The images on stdin, one after another.
    Stdin,
    /// An image of the program's own.
    BuiltIn(&'static SampleImage),
}

impl Source {
    /// What to call it in output.
    pub(crate) fn label(&self) -> String {
        match self {
            Self::File(path) => bytes::shown(path.as_os_str()),
            Self::Stdin => "-".to_owned(),
            Self::BuiltIn(image) => image.name.to_owned(),
        }
    }

    /// The name, without ending, of what is saved of it.
    pub(crate) fn stem(&self) -> OsString {
        let stem = |path: &Path| shortened(path.file_stem().unwrap_or_default());
        match self {
            Self::File(path) => stem(path),
            Self::Stdin => "stdin".into(),
            Self::BuiltIn(image) => stem(Path::new(image.name)),
        }
    }

    /// Reads and decodes the image; those on stdin are the reader's to split.
    pub(crate) fn decode(&self, options: &DecodeOptions) -> Result<Decoded> {
        match self {
            Self::File(path) => match fs::metadata(path) {
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => bail!(no_file(path)),
                Err(error) => Err(error).context("cannot read the file"),
                Ok(metadata) if metadata.is_dir() => bail!("a folder, where an image is expected"),
                Ok(metadata) if !metadata.is_file() => {
                    bail!("a pipe or a device, where an image is expected; `-` reads images from a pipe on stdin")
                }
                Ok(_) => match image::open_with(path, options) {
                    Err(ImageError::NotAnImage { .. }) if has_extension(path, &VIDEOS) => bail!(
                        "a video, where images are expected: `ffmpeg -i {} frames/%06d.jpg` writes its frames, and \
                         the folder `frames` is a source",
                        path.display()
                    ),
                    decoded => Ok(decoded?),
                },
            },
            Self::Stdin => bail!("stdin holds any number of images, which are split before they are decoded"),
            Self::BuiltIn(image) => Ok(image::decode_with(image.bytes, options)?),
        }
    }
}

/// A stem that leaves room for endings in a file name: where it is too long its first bytes, and a hash of all of them.
pub(crate) fn shortened(stem: &OsStr) -> OsString {
    if stem.len() <= MAX_STEM_BYTES {
        return stem.to_owned();
    }
    // FNV-1a: the same name on every machine.
    let add = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    let hash = stem.as_encoded_bytes().iter().fold(0xcbf2_9ce4_8422_2325, add);
    let hash = format!("-{hash:016x}");
    let text = bytes::text(stem);
    let ends = text.char_indices().map(|(at, given)| at + given.len_utf8());
    let fits = |end: &usize| bytes::word(&text[..*end]).len() <= MAX_STEM_BYTES - hash.len();
    let mut shortened = bytes::word(&text[..ends.take_while(fits).last().unwrap_or(0)]);
    shortened.push(hash);
    shortened
}

/// What to say of a file that is not there.
fn no_file(path: &Path) -> &'static str {
    let text = path.to_string_lossy();
    if text.contains("://") {
        "an address, which is not fetched: download the image, and name its file; `curl ADDRESS | ghostzoo detect -` takes \
         one from a pipe"
    } else if text.bytes().all(|byte| byte.is_ascii_digit()) {
        "there is no such file, and cameras are not read"
    } else {
        "there is no such file"
    }
}

/// An image, or what stands in the place of one: an argument or a list's line, and why it names none.
#[derive(Debug)]
pub(crate) struct SourceEntry {
    /// What to call it in output.
    pub(crate) label: String,
    /// The image.
    pub(crate) source: Result<Source>,
}

impl From<Source> for SourceEntry {
    fn from(source: Source) -> Self {
        Self { label: source.label(), source: Ok(source) }
    }
}

/// The images that the arguments name, in their order; folders and globs in the order of file names.
pub(crate) fn expand(arguments: &[OsString]) -> Vec<SourceEntry> {
    let mut entries = Vec::new();
    let mut stdin_taken = false;
    for argument in arguments {
        let sources = if argument != "-" {
            of_argument(argument)
        } else if std::mem::replace(&mut stdin_taken, true) {
            Err(anyhow!("stdin is named twice; its images come once"))
        } else {
            Ok(vec![Source::Stdin.into()])
        };
        match sources {
            Ok(sources) => entries.extend(sources),
            Err(error) => entries.push(SourceEntry { label: bytes::shown(argument), source: Err(error) }),
        }
    }
    entries
}

fn of_argument(argument: &OsStr) -> Result<Vec<SourceEntry>> {
    let path = Path::new(argument);
    if is_list(path) && path.is_file() { of_list(path) } else { of_path(argument) }
}

/// An image, a folder or a glob.
fn of_path(argument: &OsStr) -> Result<Vec<SourceEntry>> {
    let path = Path::new(argument);
    if path.is_dir() {
        return of_folder(path);
    }
    if !path.exists() && argument.to_string_lossy().contains(['*', '?', '[']) {
        return of_glob(argument);
    }
    Ok(vec![entry(path.to_path_buf())])
}

fn of_folder(folder: &Path) -> Result<Vec<SourceEntry>> {
    let cannot_read = || format!("cannot read the folder {}", folder.display());
    let mut images = Vec::new();
    for file in fs::read_dir(folder).with_context(cannot_read)? {
        let path = file.with_context(cannot_read)?.path();
        if is_image(&path) {
            images.push(path);
        }
    }
    if images.is_empty() {
        bail!("there is no image in this folder (subfolders are not searched; a glob such as '**/*.jpg' does that)");
    }
    images.sort();
    Ok(images.into_iter().map(entry).collect())
}

fn of_glob(pattern: &OsStr) -> Result<Vec<SourceEntry>> {
    let mut images = glob::matches(pattern)?;
    images.retain(|path| is_image(path));
    if images.is_empty() {
        bail!("no image matches this glob");
    }
    Ok(images.into_iter().map(entry).collect())
}

/// One image, folder or glob per line; relative to the list's folder, else to the working directory.
fn of_list(list: &Path) -> Result<Vec<SourceEntry>> {
    let mut text = Vec::new();
    let file = regular::open(list).context("cannot read the list")?;
    file.take(MAX_LIST_BYTES).read_to_end(&mut text).context("cannot read the list")?;
    let text = bytes::of_file(text).context("cannot read the list")?;
    let folder = list.parent().unwrap_or(Path::new(""));
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    let lines: Vec<&str> = lines(text).map(str::trim).filter(|line| !line.is_empty()).collect();
    if lines.is_empty() {
        bail!("the list names no image");
    }
    let mut entries = Vec::new();
    for line in lines {
        let line = PathBuf::from(bytes::word(line));
        let beside = folder.join(&line);
        let path = if beside.exists() || !line.exists() { beside } else { line };
        match of_path(path.as_os_str()) {
            Ok(sources) => entries.extend(sources),
            Err(error) => entries.push(SourceEntry { label: bytes::shown(path.as_os_str()), source: Err(error) }),
        }
    }
    Ok(entries)
}

fn entry(path: PathBuf) -> SourceEntry {
    Source::File(path).into()
}

fn has_extension(path: &Path, among: &[&str]) -> bool {
    let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
    among.iter().any(|known| extension.eq_ignore_ascii_case(known))
}

fn is_list(path: &Path) -> bool {
    has_extension(path, &["txt"])
}

/// A file, not hidden, whose name ends like an image's.
fn is_image(path: &Path) -> bool {
    let hidden = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
    !hidden && has_extension(path, &EXTENSIONS) && path.is_file()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The labels, or `!` before what failed, relative to `root`.
    fn labels(root: &Path, argument: &str) -> Vec<String> {
        let argument = if argument == "-" { argument.to_owned() } else { root.join(argument).display().to_string() };
        let shown = |entry: SourceEntry| {
            let mark = if entry.source.is_err() { "!" } else { "" };
            let label = entry.label.strip_prefix(&format!("{}/", root.display())).unwrap_or(&entry.label).to_owned();
            format!("{mark}{label}")
        };
        expand(&[argument.into()]).into_iter().map(shown).collect()
    }

    #[test]
    fn arguments_name_images() -> Result<()> {
        let root = tempfile::tempdir()?;
        let root = root.path();
        fs::create_dir_all(root.join("folder/below"))?;
        fs::create_dir(root.join("empty"))?;
        for name in
            ["folder/b.JPG", "folder/a.png", "folder/note.md", "folder/.hidden.jpg", "folder/below/c.jpg", "[x].bmp"]
        {
            fs::write(root.join(name), "")?;
        }
        fs::write(root.join("list.txt"), "\u{feff}folder/a.png\r\n\n  folder\nmissing.jpg\n")?;
        fs::write(root.join("old_mac.txt"), "folder/a.png\rfolder/b.JPG\r")?;
        fs::write(root.join("blank.txt"), "\n \n")?;
        let cases: [(&str, &[&str]); 12] = [
            ("folder", &["folder/a.png", "folder/b.JPG"]),
            ("folder/a.png", &["folder/a.png"]),
            ("folder/*", &["folder/a.png", "folder/b.JPG"]),
            ("folder/**/*.jpg", &["folder/below/c.jpg"]),
            ("[x].bmp", &["[x].bmp"]),
            ("none*.jpg", &["!none*.jpg"]),
            ("empty", &["!empty"]),
            ("missing.jpg", &["missing.jpg"]),
            ("list.txt", &["folder/a.png", "folder/a.png", "folder/b.JPG", "missing.jpg"]),
            ("old_mac.txt", &["folder/a.png", "folder/b.JPG"]),
            ("blank.txt", &["!blank.txt"]),
            ("-", &["-"]),
        ];
        for (argument, expected) in cases {
            assert_eq!(labels(root, argument), expected, "{argument}");
        }
        Ok(())
    }

    #[test]
    fn long_names_are_shortened_and_stay_apart() {
        let stem = |name: &str| bytes::shown(Source::File(PathBuf::from(name)).stem());
        let long = "é".repeat(120);
        let (one, two) = (stem(&format!("a/{long}1.jpg")), stem(&format!("a/{long}2.jpg")));
        assert!(one != two && one.len() <= MAX_STEM_BYTES && one.starts_with(&long[..180]), "{one} {two}");
        assert_eq!(one, stem(&format!("b/{long}1.png")));
        assert_eq!(stem(&format!("{}.jpg", "x".repeat(200))), "x".repeat(200));
    }

    #[test]
    fn stdin_is_read_once() {
        let entries = expand(&["-".into(), "-".into()]);
        assert!(entries[0].source.is_ok() && entries[1].source.is_err());
    }

    #[test]
    fn what_is_no_image_is_named_for_what_it_is() -> Result<()> {
        let folder = tempfile::tempdir()?;
        let film = folder.path().join("film.MP4");
        fs::write(&film, b"\0\0\0\x18ftypmp42")?;
        let refused = |path: &Path| {
            let decoded = Source::File(path.to_path_buf()).decode(&DecodeOptions::default());
            decoded.expect_err("no image").to_string()
        };
        assert!(refused(&film).starts_with("a video") && refused(&film).contains("ffmpeg -i"), "{}", refused(&film));
        assert!(refused(folder.path()).starts_with("a folder"));
        assert!(refused(Path::new("https://example.org/bus.jpg")).starts_with("an address"));
        assert!(refused(Path::new("0")).contains("cameras are not read"));
        assert_eq!(refused(Path::new("none.jpg")), "there is no such file");
        if cfg!(target_os = "linux") {
            assert!(refused(Path::new("/dev/zero")).starts_with("a pipe or a device"));
        }
        Ok(())
    }
}
