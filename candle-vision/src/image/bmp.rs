//! BMPs of 16 bits per pixel and run lengths, which Pillow 13 and OpenCV 5.0 read each in their own way.
//!
//! | | Pillow | OpenCV |
//! |---|---|---|
//! | 5 and 6 bits of a channel | scaled to 0..=255, rounded down | shifted up |
//! | pixels that run lengths skip | the first colour of the palette | the same |
//! | data that end early, with or without their mark | refused | the first colour of the palette |
//! | a run beyond the row | cut | goes on in the next row |
//! | the end of an empty row | nothing | an empty row |

use image::RgbImage;

use super::{ImageError, Reference};

const FILE_HEADER_BYTES: usize = 14;
/// Values of the header's field "compression".
const UNCOMPRESSED: u32 = 0;
const RUN_LENGTHS_8: u32 = 1;
const RUN_LENGTHS_4: u32 = 2;
const BIT_FIELDS: u32 = 3;

const MASKS_555: [u32; 3] = [0x7C00, 0x3E0, 0x1F];
const MASKS_565: [u32; 3] = [0xF800, 0x7E0, 0x1F];

/// A file of one of these kinds, or `None`.
pub(super) fn read(bytes: &[u8]) -> Option<Bitmap<'_>> {
    let header = Header::read(bytes)?;
    let masks = match (header.bits, header.compression) {
        (16, UNCOMPRESSED) => Some(MASKS_555),
        (16, BIT_FIELDS) => {
            let mask = |index: usize| u32_at(bytes, FILE_HEADER_BYTES + 40 + 4 * index);
            Some([mask(0)?, mask(1)?, mask(2)?]).filter(|masks| [MASKS_555, MASKS_565].contains(masks))
        }
        (8, RUN_LENGTHS_8) | (4, RUN_LENGTHS_4) => return Some(Bitmap { bytes, header, masks: None }),
        _ => None,
    };
    masks.map(|masks| Bitmap { bytes, header, masks: Some(masks) })
}

/// A file whose header was read.
pub(super) struct Bitmap<'a> {
    bytes: &'a [u8],
    header: Header,
    /// Of pixels of 16 bits; else they are runs of palette indices.
    masks: Option<[u32; 3]>,
}

impl Bitmap<'_> {
    /// [width, height] in pixels.
    pub(super) fn size(&self) -> [u32; 2] {
        [self.header.width as u32, self.header.height as u32]
    }

    /// The pixels, whose number was checked before.
    pub(super) fn decode(&self, reference: Reference) -> Result<RgbImage, ImageError> {
        let mut pixels = match self.masks {
            Some(masks) => self.header.high_color(self.bytes, masks, reference)?,
            None => self.header.run_lengths(self.bytes, reference)?,
        };
        if !self.header.is_top_down {
            pixels = pixels.chunks_exact(3 * self.header.width).rev().flatten().copied().collect();
        }
        let [width, height] = self.size();
        Ok(RgbImage::from_raw(width, height, pixels).expect("three levels per pixel"))
    }
}

struct Header {
    width: usize,
    height: usize,
    is_top_down: bool,
    bits: u16,
    compression: u32,
    /// Where the palette and the pixels begin.
    palette_at: usize,
    colors: usize,
    pixels_at: usize,
}

impl Header {
    fn read(bytes: &[u8]) -> Option<Self> {
        let size = u32_at(bytes, FILE_HEADER_BYTES)? as usize;
        if size < 40 {
            return None;
        }
        let field = |at: usize| u32_at(bytes, FILE_HEADER_BYTES + at);
        let (width, height) = (field(4)? as i32, field(8)? as i32);
        let header = Self {
            width: usize::try_from(width).ok()?,
            height: height.unsigned_abs() as usize,
            is_top_down: height < 0,
            bits: u16::try_from(field(12)? >> 16).ok()?,
            compression: field(16)?,
            palette_at: FILE_HEADER_BYTES + size,
            colors: field(32)? as usize,
            pixels_at: u32_at(bytes, 10)? as usize,
        };
        (header.width > 0 && header.height > 0).then_some(header)
    }

    /// Pixels of 16 bits, whose channels lie under `masks`.
    fn high_color(&self, bytes: &[u8], masks: [u32; 3], reference: Reference) -> Result<Vec<u8>, ImageError> {
        let stride = (2 * self.width).next_multiple_of(4);
        let last = stride * (self.height - 1) + 2 * self.width;
        let data = bytes.get(self.pixels_at..).and_then(|data| data.get(..last)).ok_or_else(cut)?;
        let level = |pixel: u16, mask: u32| {
            let (value, most) = ((u32::from(pixel) & mask) >> mask.trailing_zeros(), mask >> mask.trailing_zeros());
            match reference {
                Reference::Pillow => (value * 255 / most) as u8,
                Reference::OpenCv => (value << most.leading_zeros().saturating_sub(24)) as u8,
            }
        };
        let rows = data.chunks(stride).flat_map(|row| row[..2 * self.width].as_chunks::<2>().0);
        Ok(rows.flat_map(|&pixel| masks.map(|mask| level(u16::from_le_bytes(pixel), mask))).collect())
    }

    /// Runs of palette indices of 8 or 4 bits.
    fn run_lengths(&self, bytes: &[u8], reference: Reference) -> Result<Vec<u8>, ImageError> {
        let colors = match self.colors {
            0 => 1 << self.bits,
            colors => colors.min(1 << self.bits),
        };
        let palette = bytes.get(self.palette_at..).and_then(|palette| palette.get(..4 * colors)).ok_or_else(cut)?;
        let mut indices = vec![0; self.width * self.height];
        let data = bytes.get(self.pixels_at..).unwrap_or_default();
        let filled = Runs { data, width: self.width, is_nibbles: self.bits == 4 }.read(&mut indices, reference);
        if filled < indices.len() && reference == Reference::Pillow {
            return Err(cut());
        }
        let palette = palette.as_chunks::<4>().0;
        let color = |index: &u8| match palette.get(usize::from(*index)) {
            Some(&[blue, green, red, _]) => [red, green, blue],
            None => [0; 3],
        };
        Ok(indices.iter().flat_map(color).collect())
    }
}

struct Runs<'a> {
    data: &'a [u8],
    width: usize,
    /// Whether each byte holds two indices.
    is_nibbles: bool,
}

impl Runs<'_> {
    /// Fills in the indices from the first; how far the data reach.
    fn read(mut self, indices: &mut [u8], reference: Reference) -> usize {
        let mut at = 0;
        // A row that a run has filled ends once, there or by its mark.
        let mut row_is_new = false;
        while at < indices.len() {
            let Some((&[count, value], rest)) = self.data.split_first_chunk() else { break };
            self.data = rest;
            let left = indices.len() - at;
            match (count, value) {
                (0, 0) => {
                    let skips_empty_row = reference == Reference::OpenCv && !row_is_new;
                    if at % self.width != 0 || skips_empty_row {
                        at += (self.width - at % self.width).min(left);
                    }
                    row_is_new = false;
                }
                (0, 1) => break,
                (0, 2) => {
                    let Some((&[right, up], rest)) = self.data.split_first_chunk() else { break };
                    self.data = rest;
                    at += (usize::from(right) + usize::from(up) * self.width).min(left);
                    row_is_new = false;
                }
                (0, count) => {
                    let bytes = if self.is_nibbles { usize::from(count).div_ceil(2) } else { usize::from(count) };
                    let Some(literal) = self.data.get(..bytes) else { break };
                    for index in (0..usize::from(count)).take(left) {
                        indices[at + index] =
                            self.index(literal[if self.is_nibbles { index / 2 } else { index }], index);
                    }
                    at += usize::from(count).min(left);
                    self.data = self.data.get(bytes.next_multiple_of(2)..).unwrap_or_default();
                    row_is_new = at % self.width == 0;
                }
                (count, value) => {
                    let room = match reference {
                        Reference::Pillow if row_is_new => 0,
                        Reference::Pillow => self.width - at % self.width,
                        Reference::OpenCv => left,
                    };
                    let count = usize::from(count).min(room);
                    (0..count).for_each(|index| indices[at + index] = self.index(value, index));
                    at += count;
                    row_is_new = at % self.width == 0 && (row_is_new || count > 0);
                }
            }
        }
        at
    }

    /// The `number`th index of a byte that holds one or two.
    fn index(&self, byte: u8, number: usize) -> u8 {
        match (self.is_nibbles, number % 2) {
            (false, _) => byte,
            (true, 0) => byte >> 4,
            (true, _) => byte & 15,
        }
    }
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn cut() -> ImageError {
    ImageError::Truncated { format: "BMP", reason: "the data ends too early".into() }
}
