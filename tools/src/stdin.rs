//! Images one after another in a stream, such as `cat a.jpg b.jpg` or ffmpeg's `-f image2pipe` gives.

use std::io::{ErrorKind, Read};

use anyhow::{Context, Result, anyhow};
use candle_vision::image::MAX_FILE_BYTES;

/// Most bytes that are read at a time.
const CHUNK: usize = 1 << 16;
/// What a PNG starts with.
const PNG: &[u8] = b"\x89PNG\r\n\x1a\n";

/// The files in a stream. JPEGs and PNGs end where they say so; what is neither goes to the end of the stream.
pub(crate) struct Files<R> {
    stream: R,
    bytes: Vec<u8>,
    given: usize,
    ended: bool,
}

impl<R: Read> Files<R> {
    pub(crate) fn new(stream: R) -> Self {
        Self { stream, bytes: Vec::new(), given: 0, ended: false }
    }

    /// Reads what is there, or waits for it; `false` at the stream's end.
    fn more(&mut self) -> Result<bool> {
        let length = self.bytes.len();
        self.bytes.resize(length + CHUNK, 0);
        let count = loop {
            match self.stream.read(&mut self.bytes[length..]) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                count => break count.context("cannot read stdin"),
            }
        };
        self.bytes.truncate(length + count.as_ref().map_or(0, |count| *count));
        Ok(count? > 0)
    }

    /// The next file, or `None` where only padding follows.
    fn file(&mut self) -> Result<Option<Vec<u8>>> {
        let mut end = End::default();
        loop {
            if self.given > 0 && end.at == 0 {
                let padding = self.bytes.iter().take_while(|byte| matches!(byte, 0 | b'\n' | b'\r')).count();
                self.bytes.drain(..padding);
            }
            if let Some(at) = end.find(&self.bytes) {
                let rest = self.bytes.split_off(at);
                return Ok(Some(std::mem::replace(&mut self.bytes, rest)));
            }
            if self.bytes.len() as u64 > MAX_FILE_BYTES {
                return Err(anyhow!("more than {MAX_FILE_BYTES} bytes on stdin without the end of an image"));
            }
            if !self.more()? {
                let rest = std::mem::take(&mut self.bytes);
                return Ok((self.given == 0 || !rest.is_empty()).then_some(rest));
            }
        }
    }
}

impl<R: Read> Iterator for Files<R> {
    /// How many files came before it, and its bytes.
    type Item = (usize, Result<Vec<u8>>);

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let file = self.file().transpose()?;
        self.ended = file.is_err();
        self.given += 1;
        Some((self.given - 1, file))
    }
}

/// Where a file ends, looked for in more and more of its bytes.
#[derive(Default)]
struct End {
    /// All before it is passed: whole segments, chunks, or compressed data.
    at: usize,
    /// In a JPEG's compressed data.
    in_data: bool,
    /// Further JPEGs that are parts of this file: a camera's other views and previews (CIPA DC-007, MPF).
    parts: usize,
    /// Between two such parts.
    between: bool,
}

impl End {
    fn find(&mut self, bytes: &[u8]) -> Option<usize> {
        match bytes {
            [0xff, 0xd8, ..] => self.of_jpeg(bytes),
            _ if bytes.starts_with(PNG) => self.of_png(bytes),
            _ => None,
        }
    }

    /// Segments as long as they say, then data until the end's marker; a thumbnail's markers lie within a segment.
    fn of_jpeg(&mut self, bytes: &[u8]) -> Option<usize> {
        loop {
            let rest = bytes.get(self.at..)?;
            if self.in_data {
                self.at += rest.iter().position(|byte| *byte == 0xff).unwrap_or(rest.len());
            }
            match (*bytes.get(self.at)?, *bytes.get(self.at + 1)?) {
                (0xff, 0xd9) if self.parts > 0 => {
                    self.parts -= 1;
                    self.at += 2;
                    (self.in_data, self.between) = (true, true);
                }
                (0xff, 0xd9) => return Some(self.at + 2),
                (0xff, 0xd8) if self.between => {
                    self.at += 2;
                    (self.in_data, self.between) = (false, false);
                }
                // Data that break off, and the next file.
                (0xff, 0xd8) if self.in_data && bytes.get(self.at + 2)? == &0xff => {
                    return Some(self.at);
                }
                (0xff, 0xff) => self.at += 1,
                (0xff, 0x00 | 0x01 | 0xd0..=0xd8) => self.at += 2,
                (0xff, marker) => {
                    let length = usize::from(u16::from_be_bytes([*bytes.get(self.at + 2)?, *bytes.get(self.at + 3)?]));
                    let segment = bytes.get(self.at + 4..self.at + 2 + length.max(2))?;
                    if marker == 0xe2 {
                        self.parts += further_parts(segment).unwrap_or(0);
                    }
                    self.at += 2 + length.max(2);
                    self.in_data = marker == 0xda;
                }
                _ => {
                    self.at += 1;
                    self.in_data = true;
                }
            }
        }
    }

    /// Chunks as long as they say, the last of which is IEND.
    fn of_png(&mut self, bytes: &[u8]) -> Option<usize> {
        self.at = self.at.max(PNG.len());
        loop {
            let length: [u8; 4] = bytes.get(self.at..self.at + 4)?.try_into().ok()?;
            let end = self.at.checked_add(12)?.checked_add(usize::try_from(u32::from_be_bytes(length)).ok()?)?;
            let is_last = bytes.get(self.at + 4..self.at + 8)? == b"IEND";
            if end > bytes.len() {
                return None;
            }
            self.at = end;
            if is_last {
                return Some(end);
            }
        }
    }
}

/// How many JPEGs follow the first in its file, by the segment `MPF`: a TIFF directory, whose entry 0xb001 counts them.
fn further_parts(segment: &[u8]) -> Option<usize> {
    let tiff = segment.strip_prefix(b"MPF\0")?;
    let is_little = tiff.starts_with(b"II");
    let number = |at: usize, length: usize| {
        let bytes = tiff.get(at..at.checked_add(length)?)?.iter();
        let join = |sum: usize, byte: &u8| (sum << 8) | usize::from(*byte);
        Some(if is_little { bytes.rev().fold(0, join) } else { bytes.fold(0, join) })
    };
    let directory = number(4, 4)?;
    let entries = (0..number(directory, 2)?).map(|entry| directory + 2 + 12 * entry);
    let mut counts = entries.filter(|at| number(*at, 2) == Some(0xb001));
    number(counts.next()? + 8, 4)?.checked_sub(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A JPEG with a thumbnail in a segment, stuffed bytes and a restart in its data.
    const JPEG: &[u8] = b"\xff\xd8\xff\xe1\0\x08\xff\xd8\xff\xd9ab\xff\xda\0\x04\0\0da\xff\0ta\xff\xd0more\xff\xd9";

    /// The lengths of the files in `bytes` given `step` at a time.
    fn lengths(bytes: &[u8], step: usize) -> Vec<usize> {
        struct Slow<'a>(&'a [u8], usize);
        impl Read for Slow<'_> {
            fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
                let step = self.1.min(into.len());
                (&mut self.0).take(step as u64).read(into)
            }
        }
        Files::new(Slow(bytes, step)).map(|(_, file)| file.expect("bytes").len()).collect()
    }

    #[test]
    fn files_end_where_they_say() {
        let png = [PNG, b"\0\0\0\x04IDATIENDsums", b"\0\0\0\0IENDsums"].concat();
        let cut = &JPEG[..JPEG.len() - 2];
        for step in [1, 7, 4096] {
            assert_eq!(
                lengths(&[JPEG, JPEG, &png, JPEG].concat(), step),
                [JPEG.len(), JPEG.len(), png.len(), JPEG.len()]
            );
            assert_eq!(lengths(&[JPEG, b"\r\n\0\0", JPEG, b"\n"].concat(), step), [JPEG.len(), JPEG.len()]);
            assert_eq!(lengths(&[JPEG, b"a video"].concat(), step), [JPEG.len(), 7]);
            assert_eq!(lengths(&[cut, JPEG].concat(), step), [cut.len(), JPEG.len()]);
            assert_eq!(lengths(b"BM, to the end", step), [14]);
            assert_eq!(lengths(b"", step), [0]);
        }
    }

    #[test]
    fn a_stream_longer_than_what_is_read_at_a_time_is_split_too() {
        let large = [&JPEG[..JPEG.len() - 2], &vec![7; 3 * CHUNK], b"\xff\xd9"].concat();
        assert_eq!(
            lengths(&[large.as_slice(), &large, JPEG].concat(), 1 << 20),
            [large.len(), large.len(), JPEG.len()]
        );
    }

    #[test]
    fn a_file_of_a_live_stream_is_given_before_more_comes() {
        struct Live(bool);
        impl Read for Live {
            fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
                assert!(!std::mem::replace(&mut self.0, true), "nothing more is waited for");
                into[..JPEG.len()].copy_from_slice(JPEG);
                Ok(JPEG.len())
            }
        }
        let (_, file) = Files::new(Live(false)).next().expect("a file");
        assert_eq!(file.expect("bytes"), JPEG);
    }

    #[test]
    fn the_views_of_one_photograph_stay_together() {
        let directory =
            b"MPF\0MM\0*\0\0\0\x08\0\x02\xb0\0\0\x07\0\0\0\x040100\xb0\x01\0\x04\0\0\0\x01\0\0\0\x02\0\0\0\0";
        assert_eq!(further_parts(directory), Some(1));
        let length = u8::try_from(directory.len() + 2).expect("short");
        let first = [&JPEG[..2], &[0xff, 0xe2, 0, length], directory, &JPEG[2..]].concat();
        let file = [&first, b"\0\0".as_slice(), JPEG].concat();
        assert_eq!(lengths(&[&file, JPEG].concat(), 5), [file.len(), JPEG.len()]);
    }

    #[test]
    fn a_stream_that_fails_says_so_and_ends() {
        struct Broken;
        impl Read for Broken {
            fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
                Err(std::io::ErrorKind::BrokenPipe.into())
            }
        }
        let mut files = Files::new(Broken);
        let (_, file) = files.next().expect("an error");
        assert!(file.expect_err("broken").to_string().contains("stdin"));
        assert!(files.next().is_none());
    }
}
