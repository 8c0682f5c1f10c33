//! Decoded images in files beside the images, as Ultralytics' `cache=disk` keeps them.
//!
//! The pixels of `a.jpg` are numpy's array in `a.npy`: version 1.0, `uint8`, of shape (height, width, 3), blue first. A file
//! is of use while its time of modification is that of its image, which it gets when it is written: an image that is
//! replaced, by an older one too, is decoded anew. Ultralytics reads these files, and what it wrote is written anew.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use candle_vision::image::RgbImage;
use ghostzoo_files::Pending;

/// What numpy begins a file of version 1.0 with.
const MAGIC: &[u8] = b"\x93NUMPY\x01\x00";
/// What stands around height and width in its description.
const BEFORE_SIDES: &str = "{'descr': '|u1', 'fortran_order': False, 'shape': (";
const AFTER_SIDES: &str = ", 3), }";
/// Pixels begin at a multiple of this.
const ALIGNMENT: usize = 64;
/// Digits that numpy leaves room for where an array may grow.
const GROWTH: usize = 21;

/// Where the pixels of an image lie.
pub(super) fn path(image: &Path) -> PathBuf {
    image.with_extension("npy")
}

/// The pixels of an image of `size` = [height, width]; nothing where there are none, or those of another image.
pub(super) fn read(image: &Path, size: [usize; 2]) -> Option<RgbImage> {
    let mut file = File::open(path(image)).ok()?;
    let metadata = file.metadata().ok()?;
    let head = head(size);
    let bytes = 3 * size[0] * size[1];
    if metadata.modified().ok()? != modified(image).ok()? || metadata.len() != (head.len() + bytes) as u64 {
        return None;
    }
    let mut found = vec![0; head.len()];
    file.read_exact(&mut found).ok()?;
    let mut pixels = vec![0; bytes];
    file.read_exact(&mut pixels).ok()?;
    exchange(&mut pixels);
    RgbImage::from_raw(size[1] as u32, size[0] as u32, pixels).filter(|_| found == head)
}

/// Keeps the pixels of an image; its file appears whole or not at all.
///
/// # Errors
/// `AlreadyExists` where the file's place is taken by what is no array of an image; a folder that cannot be written, a full
/// disk.
pub(super) fn write(image: &Path, pixels: &RgbImage) -> io::Result<()> {
    let modified = modified(image)?;
    let path = path(image);
    if is_other(&path)? {
        return Err(io::ErrorKind::AlreadyExists.into());
    }
    let mut file = Pending::create(&path)?;
    file.write_all(&head([pixels.height() as usize, pixels.width() as usize]))?;
    let mut levels = pixels.as_raw().clone();
    exchange(&mut levels);
    file.write_all(&levels)?;
    file.file().set_modified(modified)?;
    file.rename()
}

/// Removes what a killed process left half-written beside the images of a folder.
///
/// # Errors
/// A leftover that cannot be removed.
pub(super) fn sweep(folder: &Path) -> io::Result<()> {
    ghostzoo_files::sweep_folder(folder, |name| name.ends_with(".npy"))
}

/// Whether there is something that may be dear to somebody: anything but an array of an image, whole or cut.
fn is_other(path: &Path) -> io::Result<bool> {
    let mut head = Vec::new();
    match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(error),
        Ok(file) if !file.metadata()?.is_file() => return Ok(true),
        Ok(file) => file.take(2 * ALIGNMENT as u64).read_to_end(&mut head)?,
    };
    let text = head.get(MAGIC.len() + 2..).map(String::from_utf8_lossy).unwrap_or_default();
    let sides = text.strip_prefix(BEFORE_SIDES).and_then(|rest| rest.split_once(AFTER_SIDES)).map(|(sides, _)| sides);
    let is_image = sides.is_some_and(|sides| {
        let sides = sides.split(", ").map(str::parse::<usize>).collect::<Vec<_>>();
        sides.len() == 2 && sides.iter().all(Result::is_ok)
    });
    Ok(!(head.starts_with(MAGIC) && is_image))
}

fn modified(image: &Path) -> io::Result<SystemTime> {
    fs::metadata(image)?.modified()
}

/// Red for blue, and back.
fn exchange(pixels: &mut [u8]) {
    pixels.as_chunks_mut::<3>().0.iter_mut().for_each(|pixel| pixel.swap(0, 2));
}

/// What stands before the pixels of an image of [height, width].
fn head([height, width]: [usize; 2]) -> Vec<u8> {
    let mut text = format!("{BEFORE_SIDES}{height}, {width}{AFTER_SIDES}");
    text += &" ".repeat(GROWTH.saturating_sub(height.to_string().len()));
    let whole = (MAGIC.len() + 2 + text.len() + 1).next_multiple_of(ALIGNMENT);
    let length = whole - MAGIC.len() - 2;
    let mut head = MAGIC.to_vec();
    head.extend((length as u16).to_le_bytes());
    head.extend(text.bytes());
    head.resize(whole - 1, b' ');
    head.push(b'\n');
    head
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use candle_vision::image::{Rgb, save};

    use super::*;

    fn image(folder: &Path, level: u8) -> (PathBuf, RgbImage) {
        let path = folder.join("a.b.png");
        let pixels = RgbImage::from_fn(7, 5, |x, y| Rgb([level, x as u8, y as u8]));
        save(&pixels, &path).unwrap();
        (path, pixels)
    }

    #[test]
    fn a_file_is_that_of_numpy() {
        let folder = tempfile::tempdir().unwrap();
        let (path, pixels) = image(folder.path(), 9);
        write(&path, &pixels).unwrap();
        let bytes = fs::read(folder.path().join("a.b.npy")).unwrap();
        // numpy.save of an array of shape (5, 7, 3), in numpy 2.5.
        let mut expected =
            b"\x93NUMPY\x01\x00v\x00{'descr': '|u1', 'fortran_order': False, 'shape': (5, 7, 3), }".to_vec();
        expected.resize(127, b' ');
        expected.push(b'\n');
        assert_eq!(bytes[..128], expected);
        assert_eq!((bytes.len(), &bytes[128..134]), (128 + 105, &[0, 0, 9, 0, 1, 9][..]));
        assert_eq!(read(&path, [5, 7]), Some(pixels));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2, "nothing else is left");
    }

    #[test]
    fn what_is_no_array_of_an_image_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let (path, pixels) = image(folder.path(), 9);
        let npy = super::path(&path);
        write(&path, &pixels).unwrap();
        let whole = fs::read(&npy).unwrap();
        let text = |bytes: &[u8], from: &str, to: &str| {
            let place = bytes.windows(from.len()).position(|part| part == from.as_bytes()).unwrap();
            [&bytes[..place], to.as_bytes(), &bytes[place + from.len()..]].concat()
        };
        // A depth map, an image of four channels, a film, something else, nothing.
        let others = [
            text(&whole, "|u1", "<f4"),
            text(&whole, "7, 3)", "7, 4)"),
            text(&whole, "(5, 7,", "(2, 5, 7,"),
            b"my notes".to_vec(),
            Vec::new(),
        ];
        for other in others {
            fs::write(&npy, &other).unwrap();
            assert_eq!(write(&path, &pixels).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
            assert!(read(&path, [5, 7]).is_none() && fs::read(&npy).unwrap() == other);
        }
        for stale in [whole[..whole.len() - 1].to_vec(), text(&whole, "(5, 7,", "(50, 70,")] {
            fs::write(&npy, stale).unwrap();
            write(&path, &pixels).unwrap();
            assert_eq!(fs::read(&npy).unwrap(), whole);
        }
    }

    #[test]
    fn pixels_of_an_image_that_changed_are_not_used() {
        let folder = tempfile::tempdir().unwrap();
        let (path, pixels) = image(folder.path(), 9);
        let now = modified(&path).unwrap();
        write(&path, &pixels).unwrap();
        assert_eq!(modified(&super::path(&path)).unwrap(), now);
        for other in [now + Duration::from_secs(5), now - Duration::from_secs(5)] {
            image(folder.path(), 8);
            File::options().append(true).open(&path).unwrap().set_modified(other).unwrap();
            assert_eq!(read(&path, [5, 7]), None, "the image is newer, or older");
        }
        File::options().append(true).open(&path).unwrap().set_modified(now).unwrap();
        assert_eq!(read(&path, [7, 5]), None, "the shape is another");
        let npy = super::path(&path);
        let whole = fs::read(&npy).unwrap();
        let keep = |bytes: &[u8]| {
            fs::write(&npy, bytes).unwrap();
            File::options().append(true).open(&npy).unwrap().set_modified(now).unwrap();
        };
        keep(&whole[..whole.len() - 1]);
        assert_eq!(read(&path, [5, 7]), None, "it is cut");
        keep(&[b"\x93NUMPY\x02", &whole[7..]].concat());
        assert_eq!(read(&path, [5, 7]), None, "it is of another version");
        keep(&whole);
        assert!(read(&path, [5, 7]).is_some());
    }
}
