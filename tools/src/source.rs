//! Which images and videos the arguments name.

mod fetch;
mod glob;

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use candle_vision::image::{self, DecodeOptions, Decoded, ImageError};
use candle_vision::regular;
use candle_yolov8::data::lines;

use crate::cli::bytes;
use crate::output::safe_name;
use ghostzoo::samples::SampleImage;
use ghostzoo::video::{self, StdinFormat, VideoInput};

/// Endings of files that a folder or a glob takes for images. Formats that cannot be decoded are among them: they
/// are reported, not skipped.
const EXTENSIONS: [&str; 16] = [
    "avif", "bmp", "dng", "gif", "heic", "heif", "jfif", "jp2", "jpeg", "jpg", "mpo", "pfm", "png", "tif", "tiff",
    "webp",
];

/// Largest list file in bytes.
const MAX_LIST_BYTES: u64 = 64 << 20;

/// Most bytes of the name of what is saved of an image, before endings: file systems take 255 in all.
const MAX_STEM_BYTES: usize = 200;

/// What a command looks at.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Media {
    /// Images alone.
    Images,
    /// Videos too, and what is on stdin where it is one.
    Videos(Option<StdinFormat>),
}

impl Media {
    fn has_videos(self) -> bool {
        matches!(self, Self::Videos(_))
    }
}

/// One image, or what has several.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Source {
    /// A file.
    File(PathBuf),
    /// The images on stdin, one after another.
    Stdin,
    /// An image at an address of the web.
    Remote(String),
    /// A video, whose frames come one after another.
    Video(VideoInput),
    /// A camera or a stream, or what is listed beside such: it is read side by side with the others.
    Stream(VideoInput),
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
            Self::Remote(address) => VideoInput::Url(address.clone()).name(),
            Self::Video(VideoInput::File(path)) | Self::Stream(VideoInput::File(path)) => {
                bytes::shown(path.as_os_str())
            }
            Self::Video(input) | Self::Stream(input) => input.name(),
        }
    }

    /// The video or stream that it is.
    pub(crate) fn video(&self) -> Option<&VideoInput> {
        match self {
            Self::Video(input) | Self::Stream(input) => Some(input),
            _ => None,
        }
    }

    /// The file that it is.
    pub(crate) fn path(&self) -> Option<&Path> {
        match self {
            Self::File(path) | Self::Video(VideoInput::File(path)) | Self::Stream(VideoInput::File(path)) => Some(path),
            _ => None,
        }
    }

    /// The name, without ending, of what is saved of it.
    pub(crate) fn stem(&self) -> OsString {
        let stem = |path: &Path| shortened(path.file_stem().unwrap_or_default());
        match self {
            Self::File(path) => stem(path),
            Self::Stdin => "stdin".into(),
            Self::BuiltIn(image) => stem(Path::new(image.name)),
            Self::Video(VideoInput::File(path)) | Self::Stream(VideoInput::File(path)) => stem(path),
            Self::Video(VideoInput::Camera(number)) | Self::Stream(VideoInput::Camera(number)) => {
                format!("camera{number}").into()
            }
            Self::Video(VideoInput::Stdin(_)) => "stdin".into(),
            Self::Remote(_) | Self::Video(_) | Self::Stream(_) => {
                // The last part of its path says what it is, else its host; what a file's name cannot have is replaced.
                let address = self.label();
                let path = address.split(['?', '#']).next().unwrap_or_default();
                let path = path.split_once("://").map_or(path, |(_, path)| path).trim_end_matches('/');
                match path.rsplit_once('/') {
                    Some((_, name)) => stem(Path::new(&safe_name(name))),
                    None => safe_name(path.rsplit('@').next().unwrap_or_default()).into(),
                }
            }
        }
    }

    /// Reads and decodes the image, of the web where something comes within the time-out; those on stdin and the frames of videos
    /// are the reader's to take apart.
    pub(crate) fn decode(&self, options: &DecodeOptions, timeout: Duration) -> Result<Decoded> {
        match self {
            Self::File(path) => match fs::metadata(path) {
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => bail!(no_file(path)),
                Err(error) => Err(error).context("cannot read the file"),
                Ok(metadata) if metadata.is_dir() => bail!("a folder, where an image is expected"),
                Ok(metadata) if !metadata.is_file() => {
                    bail!("a pipe or a device, where an image is expected; `-` reads images from a pipe on stdin")
                }
                Ok(_) => match image::open_with(path, options) {
                    Err(ImageError::NotAnImage { .. }) if has_extension(path, &video::ENDINGS) => bail!(
                        "a video, where images are expected: `ffmpeg -i {} frames/%06d.jpg` writes its frames, and \
                         the folder `frames` is a source",
                        path.display()
                    ),
                    decoded => Ok(decoded?),
                },
            },
            Self::Stdin => bail!("stdin holds any number of images, which are split before they are decoded"),
            Self::BuiltIn(image) => Ok(image::decode_with(image.bytes, options)?),
            Self::Remote(address) => Ok(image::decode_with(&fetch::bytes(address, timeout)?, options)?),
            Self::Video(_) | Self::Stream(_) => bail!("a video has any number of images"),
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

/// The images that the arguments name, in their order; folders and globs in the order of file names, videos behind images.
pub(crate) fn expand(arguments: &[OsString], media: Media) -> Vec<SourceEntry> {
    let mut entries = Vec::new();
    let mut stdin_taken = false;
    for argument in arguments {
        let sources = if argument != "-" {
            of_argument(argument, media)
        } else if std::mem::replace(&mut stdin_taken, true) {
            Err(anyhow!("stdin is named twice; its images come once"))
        } else if let Media::Videos(Some(format)) = media {
            Ok(vec![Source::Video(VideoInput::Stdin(format)).into()])
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

fn of_argument(argument: &OsStr, media: Media) -> Result<Vec<SourceEntry>> {
    let path = Path::new(argument);
    match path.is_file() {
        true if has_extension(path, &["txt"]) => of_list(path, media),
        true if media.has_videos() && has_extension(path, &["streams"]) => of_streams(path),
        _ => of_path(argument, media),
    }
}

/// An image, a video, a folder or a glob.
fn of_path(argument: &OsStr, media: Media) -> Result<Vec<SourceEntry>> {
    let path = Path::new(argument);
    if path.is_dir() {
        return of_folder(path, media);
    }
    let video = if media.has_videos() { of_video(argument) } else { None };
    // Addresses have a `?` too; those and cameras are no files.
    let is_file = matches!(video, None | Some(Source::Video(VideoInput::File(_))));
    if is_file && !path.exists() && argument.to_string_lossy().contains(['*', '?', '[']) {
        return of_glob(argument, media);
    }
    if let Some(source) = video {
        return Ok(vec![source.into()]);
    }
    Ok(vec![entry(path.to_path_buf())])
}

/// A video, a camera, a stream, or an image of the web.
fn of_video(argument: &OsStr) -> Option<Source> {
    let input = VideoInput::parse(argument);
    match &input {
        VideoInput::File(path) => has_extension(path, &video::ENDINGS).then_some(Source::Video(input)),
        VideoInput::Url(address) => {
            let path = address.split(['?', '#']).next().unwrap_or_default();
            let is_web = address.get(..4).is_some_and(|scheme| scheme.eq_ignore_ascii_case("http"));
            Some(match input.is_live() {
                _ if is_web && has_extension(Path::new(path), &EXTENSIONS) => Source::Remote(address.clone()),
                Some(false) => Source::Video(input),
                _ => Source::Stream(input),
            })
        }
        _ => Some(Source::Stream(input)),
    }
}

fn of_folder(folder: &Path, media: Media) -> Result<Vec<SourceEntry>> {
    let cannot_read = || format!("cannot read the folder {}", folder.display());
    let mut files = Vec::new();
    for file in fs::read_dir(folder).with_context(cannot_read)? {
        files.push(file.with_context(cannot_read)?.path());
    }
    files.sort();
    let entries = of_files(files, media);
    if entries.is_empty() {
        bail!(
            "there is no image{} in this folder (subfolders are not searched; a glob such as '**/*.jpg' does that)",
            or_video(media)
        );
    }
    Ok(entries)
}

fn of_glob(pattern: &OsStr, media: Media) -> Result<Vec<SourceEntry>> {
    let entries = of_files(glob::matches(pattern)?, media);
    if entries.is_empty() {
        bail!("no image{} matches this glob", or_video(media));
    }
    Ok(entries)
}

fn or_video(media: Media) -> &'static str {
    if media.has_videos() { " or video" } else { "" }
}

/// The images among files, then the videos where they are looked at.
fn of_files(files: Vec<PathBuf>, media: Media) -> Vec<SourceEntry> {
    let videos = files.iter().filter(|path| media.has_videos() && is_visible(path, &video::ENDINGS)).cloned();
    let videos: Vec<SourceEntry> = videos.map(|path| Source::Video(VideoInput::File(path)).into()).collect();
    files.into_iter().filter(|path| is_visible(path, &EXTENSIONS)).map(entry).chain(videos).collect()
}

/// The lines of a list that are not blank.
fn listed(list: &Path) -> Result<Vec<String>> {
    let mut text = Vec::new();
    let file = regular::open(list).context("cannot read the list")?;
    file.take(MAX_LIST_BYTES).read_to_end(&mut text).context("cannot read the list")?;
    let text = bytes::of_file(text).context("cannot read the list")?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    Ok(lines(text).map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned).collect())
}

/// One image, folder or glob per line; relative to the list's folder, else to the working directory.
fn of_list(list: &Path, media: Media) -> Result<Vec<SourceEntry>> {
    let lines = listed(list)?;
    let folder = list.parent().unwrap_or(Path::new(""));
    if lines.is_empty() {
        bail!("the list names no image");
    }
    let mut entries = Vec::new();
    for line in lines {
        let path = beside(folder, &line, media);
        match of_path(path.as_os_str(), media) {
            Ok(sources) => entries.extend(sources),
            Err(error) => entries.push(SourceEntry { label: bytes::shown(path.as_os_str()), source: Err(error) }),
        }
    }
    Ok(entries)
}

/// One stream, camera or video per line, which are read side by side.
fn of_streams(list: &Path) -> Result<Vec<SourceEntry>> {
    let lines = listed(list)?;
    if lines.is_empty() {
        bail!("the list names no stream");
    }
    let folder = list.parent().unwrap_or(Path::new(""));
    let stream = |line: &String| Source::Stream(VideoInput::parse(beside(folder, line, Media::Videos(None)))).into();
    Ok(lines.iter().map(stream).collect())
}

/// What a line of a list names: an address or a camera, or a path by the list's folder where there is something.
fn beside(folder: &Path, line: &str, media: Media) -> PathBuf {
    let line = PathBuf::from(bytes::word(line));
    let beside = folder.join(&line);
    let is_elsewhere =
        media.has_videos() && matches!(VideoInput::parse(&line), VideoInput::Url(_) | VideoInput::Camera(_));
    if beside.exists() || !(line.exists() || is_elsewhere) { beside } else { line }
}

fn entry(path: PathBuf) -> SourceEntry {
    Source::File(path).into()
}

fn has_extension(path: &Path, among: &[&str]) -> bool {
    let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
    among.iter().any(|known| extension.eq_ignore_ascii_case(known))
}

/// A file, not hidden, whose name has one of some endings.
fn is_visible(path: &Path, endings: &[&str]) -> bool {
    let hidden = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
    !hidden && has_extension(path, endings) && path.is_file()
}

#[cfg(test)]
mod tests;
