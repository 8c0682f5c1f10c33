//! The markers of a JPEG: its header, and whether its scans are what every decoder agrees upon.

use super::ImageError;

const START_OF_IMAGE: u8 = 0xD8;
const END_OF_IMAGE: u8 = 0xD9;
const START_OF_SCAN: u8 = 0xDA;
const QUANTIZATION_TABLES: u8 = 0xDB;
const RESTART_INTERVAL: u8 = 0xDD;
const HUFFMAN_TABLES: u8 = 0xC4;
const ARITHMETIC_CONDITIONING: u8 = 0xCC;
const JPEG_EXTENSION: u8 = 0xC8;
const COMMENT: u8 = 0xFE;
/// Segments of libjpeg's own begin so.
const ADOBE: &[u8] = b"Adobe";
const EXIF: &[u8] = b"Exif\0\0";
/// A coefficient of which no bit was sent.
const UNSENT: u8 = u8::MAX;

/// What stands before the first scan.
#[derive(Debug)]
pub(super) struct Header<'a> {
    /// [width, height] in pixels.
    pub(super) size: [u32; 2],
    pub(super) components: Vec<Component>,
    /// The TIFF structures of the EXIF segments.
    pub(super) exif: Vec<&'a [u8]>,
    /// Baseline (0xC0), extended (0xC1), progressive (0xC2) and others.
    frame_marker: u8,
    precision: u8,
    has_jfif: bool,
    adobe_transform: Option<u8>,
    restart_interval: usize,
    /// Where the marker of the first scan stands.
    scan_at: usize,
    /// Whether segments follow each other without bytes between them.
    is_tidy: bool,
}

/// One colour channel of the file.
#[derive(Debug, Clone, Copy)]
pub(super) struct Component {
    id: u8,
    /// Horizontal and vertical sampling factor.
    sampling: [usize; 2],
}

/// Reads up to the first scan, past stray bytes, as libjpeg does.
///
/// # Errors
/// `Truncated` or `Corrupt`.
pub(super) fn header(bytes: &[u8]) -> Result<Header<'_>, ImageError> {
    let corrupt = |reason: &str| ImageError::Corrupt { format: "JPEG", reason: reason.into() };
    let cut = || ImageError::Truncated { format: "JPEG", reason: "it ends before its pixel data".into() };
    let mut header = Header {
        size: [0; 2],
        components: Vec::new(),
        exif: Vec::new(),
        frame_marker: 0,
        precision: 0,
        has_jfif: false,
        adobe_transform: None,
        restart_interval: 0,
        scan_at: 0,
        is_tidy: true,
    };
    let mut at = 2;
    loop {
        let (marker, place) = next_marker(bytes, at).ok_or_else(cut)?;
        header.is_tidy &= place == at;
        match marker {
            START_OF_SCAN if header.components.is_empty() => return Err(corrupt("its pixels come before their size")),
            START_OF_SCAN => {
                header.scan_at = place;
                return Ok(header);
            }
            START_OF_IMAGE => return Err(corrupt("it begins a second time")),
            END_OF_IMAGE => return Err(corrupt("it ends before its pixel data")),
            0x01 | 0xD0..=0xD7 => at = place + 2,
            _ => {
                let content = segment(bytes, place).ok_or_else(cut)?;
                header.read(marker, content).ok_or_else(|| corrupt("a segment of its header is too short"))?;
                at = place + 4 + content.len();
            }
        }
    }
}

impl<'a> Header<'a> {
    fn read(&mut self, marker: u8, content: &'a [u8]) -> Option<()> {
        match marker {
            HUFFMAN_TABLES | ARITHMETIC_CONDITIONING | JPEG_EXTENSION => {}
            0xC0..=0xCF if self.components.is_empty() => {
                let [precision, h1, h0, w1, w0, count, rest @ ..] = content else { return None };
                self.frame_marker = marker;
                self.precision = *precision;
                self.size = [u16::from_be_bytes([*w1, *w0]), u16::from_be_bytes([*h1, *h0])].map(u32::from);
                let described = rest.as_chunks::<3>().0.get(..usize::from(*count))?;
                let component = |&[id, factors, _]: &[u8; 3]| Component {
                    id,
                    sampling: [factors >> 4, factors & 15].map(usize::from),
                };
                self.components = described.iter().map(component).collect();
            }
            0xC0..=0xCF => return None,
            0xE0 => self.has_jfif |= content.starts_with(b"JFIF\0"),
            0xE1 => self.exif.extend(content.strip_prefix(EXIF)),
            0xEE if content.starts_with(ADOBE) => self.adobe_transform = content.get(11).copied(),
            RESTART_INTERVAL => {
                let &[high, low] = content else { return None };
                self.restart_interval = usize::from(u16::from_be_bytes([high, low]));
            }
            _ => {}
        }
        Some(())
    }

    /// Whether the file has nothing upon which decoders disagree: Huffman coding of 8 bits, usual sampling and colours,
    /// every coefficient sent once, restart markers in their places, and nothing between or behind them but the end.
    pub(super) fn is_plain(&self, bytes: &[u8]) -> bool {
        self.is_tidy && self.has_usual_channels() && Scans::new(self).are_plain(bytes)
    }

    fn has_usual_channels(&self) -> bool {
        let is_usual = matches!(self.frame_marker, 0xC0..=0xC2) && self.precision == 8;
        let colors = match &self.components[..] {
            [grey] => grey.sampling.iter().all(|factor| (1..=4).contains(factor)),
            [luma, chroma @ ..] if chroma.len() == 2 => {
                let ids = self.components.iter().map(|component| component.id);
                let is_named = if self.has_jfif { self.adobe_transform.is_none() } else { ids.eq([1, 2, 3]) };
                matches!(luma.sampling, [1 | 2 | 4, 1 | 2])
                    && chroma.iter().all(|component| component.sampling == [1, 1])
                    && (is_named || matches!(self.adobe_transform, Some(0 | 1)))
            }
            all if all.len() == 4 => {
                all.iter().all(|component| component.sampling == [1, 1]) && matches!(self.adobe_transform, Some(0 | 2))
            }
            _ => false,
        };
        is_usual && colors
    }
}

/// The scans of a file while they are walked through.
struct Scans<'h, 'a> {
    header: &'h Header<'a>,
    restart_interval: usize,
    /// The lowest bit that was sent of each coefficient of each component.
    sent: Vec<[u8; 64]>,
}

impl<'h, 'a> Scans<'h, 'a> {
    fn new(header: &'h Header<'a>) -> Self {
        let sent = vec![[UNSENT; 64]; header.components.len()];
        Self { header, restart_interval: header.restart_interval, sent }
    }

    fn are_plain(mut self, bytes: &[u8]) -> bool {
        let mut at = self.header.scan_at;
        loop {
            let Some(&[0xFF, marker]) = bytes.get(at..).and_then(|rest| rest.first_chunk()) else { return false };
            if marker == END_OF_IMAGE {
                return self.sent.iter().flatten().all(|&bit| bit == 0);
            }
            let Some(content) = segment(bytes, at) else { return false };
            at += 4 + content.len();
            match marker {
                HUFFMAN_TABLES | QUANTIZATION_TABLES | COMMENT | 0xE0..=0xEF => {}
                RESTART_INTERVAL => match content {
                    &[high, low] => self.restart_interval = usize::from(u16::from_be_bytes([high, low])),
                    _ => return false,
                },
                START_OF_SCAN => {
                    let Some(end) = self.scan(content).and_then(|units| self.end_of_data(bytes, at, units)) else {
                        return false;
                    };
                    at = end;
                }
                _ => return false,
            }
        }
    }

    /// Takes note of what a scan sends; how many units its data have.
    fn scan(&mut self, content: &[u8]) -> Option<usize> {
        let (&count, rest) = content.split_first()?;
        let (selected, &[from, to, bits]) = rest.split_last_chunk::<3>()?;
        if selected.len() != 2 * usize::from(count) || from > to || to > 63 {
            return None;
        }
        let (previous, bit) = (bits >> 4, bits & 15);
        let mut indices = Vec::new();
        for &[id, _] in selected.as_chunks::<2>().0 {
            let index = self.header.components.iter().position(|component| component.id == id)?;
            indices.push(index);
            for sent in &mut self.sent[index][usize::from(from)..=usize::from(to)] {
                let follows = if previous == 0 { *sent == UNSENT } else { *sent == previous && bit + 1 == previous };
                if !follows {
                    return None;
                }
                *sent = bit;
            }
        }
        let all = &self.header.components;
        let most = |axis: usize| all.iter().map(|component| component.sampling[axis]).max().unwrap_or(1);
        let units = |axis: usize| {
            let pixels = self.header.size[axis] as usize;
            match indices[..] {
                [index] => (pixels * all[index].sampling[axis]).div_ceil(most(axis)).div_ceil(8),
                _ => pixels.div_ceil(8 * most(axis)),
            }
        };
        (!indices.is_empty()).then(|| units(0) * units(1))
    }

    /// Where the marker behind the data that begin at `at` stands, if their restart markers are as they should be.
    fn end_of_data(&self, bytes: &[u8], mut at: usize, units: usize) -> Option<usize> {
        let expected = match self.restart_interval {
            0 => 0,
            interval => units.div_ceil(interval).saturating_sub(1),
        };
        let mut restarts = 0;
        loop {
            at += bytes.get(at..)?.iter().position(|&byte| byte == 0xFF)?;
            match *bytes.get(at + 1)? {
                0 => {}
                marker @ 0xD0..=0xD7 if usize::from(marker - 0xD0) == restarts % 8 => restarts += 1,
                _ => return (restarts == expected).then_some(at),
            }
            at += 2;
        }
    }
}

/// Whether the file has an end, behind a scan.
///
/// # Errors
/// `Truncated`.
pub(super) fn check_end(bytes: &[u8]) -> Result<(), ImageError> {
    let (mut at, mut in_scan) = (2, false);
    while let Some((marker, place)) = next_marker(bytes, at) {
        match marker {
            END_OF_IMAGE => return Ok(()),
            0x01 | 0xD0..=0xD8 => at = place + 2,
            _ => {
                let Some(content) = segment(bytes, place) else { break };
                at = place + 4 + content.len();
                in_scan |= marker == START_OF_SCAN;
            }
        }
    }
    let reason = if in_scan { "its pixel data has no end" } else { "it ends before its pixel data" };
    Err(ImageError::Truncated { format: "JPEG", reason: reason.into() })
}

/// The next marker from `at` on, and where its 0xFF stands.
fn next_marker(bytes: &[u8], mut at: usize) -> Option<(u8, usize)> {
    loop {
        at += bytes.get(at..)?.iter().position(|&byte| byte == 0xFF)?;
        match *bytes.get(at + 1)? {
            0xFF => at += 1,
            0 => at += 2,
            marker => return Some((marker, at)),
        }
    }
}

/// The content of the segment whose marker stands at `at`.
fn segment(bytes: &[u8], at: usize) -> Option<&[u8]> {
    let &length = bytes.get(at + 2..)?.first_chunk()?;
    let length = usize::from(u16::from_be_bytes(length)).checked_sub(2)?;
    bytes.get(at + 4..)?.get(..length)
}
