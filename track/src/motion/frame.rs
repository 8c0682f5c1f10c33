//! Frames as 8-bit luma, and their halving.

use thiserror::Error;

/// Red, green and blue in luma, of [`LUMA_BITS`] fractional bits (ITU-R BT.601).
const LUMA: [u32; 3] = [9798, 19235, 3735];
const LUMA_BITS: u32 = 15;
/// Fractional bits of a weight of the resize.
const WEIGHT_ONE: f32 = 2048.0;

/// Why bytes are not a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum FrameError {
    /// Too few or too many bytes.
    #[error(
        "a frame of {width}x{height} pixels has {expected} bytes, but {given} were given: give whole rows without padding"
    )]
    Length {
        /// Pixels of a row.
        width: usize,
        /// Rows.
        height: usize,
        /// How many bytes such a frame has.
        expected: u128,
        /// How many bytes there were.
        given: usize,
    },
}

/// A borrowed frame of 8-bit luma.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GrayFrame<'a> {
    /// Pixels of a row.
    pub width: usize,
    /// Rows.
    pub height: usize,
    /// The rows from the top, `width` bytes each, without padding.
    pub pixels: &'a [u8],
}

impl<'a> GrayFrame<'a> {
    /// A frame of `height` rows of `width` bytes.
    ///
    /// # Errors
    /// [`FrameError::Length`] if `pixels` are not `width * height` bytes.
    pub fn new(width: usize, height: usize, pixels: &'a [u8]) -> Result<Self, FrameError> {
        check_len(width, height, 1, pixels.len())?;
        Ok(Self { width, height, pixels })
    }

    /// Whether there are as many bytes as the size says, and any.
    pub(super) fn is_whole(&self) -> bool {
        !self.pixels.is_empty() && check_len(self.width, self.height, 1, self.pixels.len()).is_ok()
    }
}

/// An owned frame of 8-bit luma, of a color image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GrayImage {
    width: usize,
    height: usize,
    pixels: Vec<u8>,
}

impl GrayImage {
    /// The luma of `height` rows of `width` RGB pixels of 3 bytes, as OpenCV's `cvtColor` with `COLOR_RGB2GRAY`, to the bit.
    ///
    /// # Errors
    /// [`FrameError::Length`] if `rgb` are not `3 * width * height` bytes.
    pub fn from_rgb(width: usize, height: usize, rgb: &[u8]) -> Result<Self, FrameError> {
        Self::from_channels(width, height, rgb, LUMA)
    }

    /// The luma of `height` rows of `width` BGR pixels of 3 bytes, as OpenCV's `cvtColor` with `COLOR_BGR2GRAY`, to the bit.
    ///
    /// # Errors
    /// [`FrameError::Length`] if `bgr` are not `3 * width * height` bytes.
    pub fn from_bgr(width: usize, height: usize, bgr: &[u8]) -> Result<Self, FrameError> {
        let [red, green, blue] = LUMA;
        Self::from_channels(width, height, bgr, [blue, green, red])
    }

    fn from_channels(width: usize, height: usize, bytes: &[u8], weights: [u32; 3]) -> Result<Self, FrameError> {
        check_len(width, height, 3, bytes.len())?;
        let luma = |pixel: &[u8; 3]| {
            let sum: u32 = pixel.iter().zip(weights).map(|(&level, weight)| u32::from(level) * weight).sum();
            ((sum + (1 << (LUMA_BITS - 1))) >> LUMA_BITS) as u8
        };
        Ok(Self { width, height, pixels: bytes.as_chunks::<3>().0.iter().map(luma).collect() })
    }

    /// The frame, borrowed.
    #[must_use]
    pub fn frame(&self) -> GrayFrame<'_> {
        GrayFrame { width: self.width, height: self.height, pixels: &self.pixels }
    }

    /// The frame at half its width and height, rounded down, as OpenCV's `resize` with `INTER_LINEAR`, to the bit: the mean of 2x2
    /// pixels where both sides are even, else two pixels per axis weighted in fixed point, as OpenCV 5.0 computes on x86. Nothing if a
    /// half is 0, or the bytes are not what the size says.
    pub(super) fn halved(source: &GrayFrame<'_>) -> Option<Self> {
        let [width, height] = [source.width / 2, source.height / 2];
        if !source.is_whole() || width == 0 || height == 0 {
            return None;
        }
        let pixels = if source.width.is_multiple_of(2) && source.height.is_multiple_of(2) {
            mean_of_squares(source)
        } else {
            interpolated(source, width, height)
        };
        Some(Self { width, height, pixels })
    }
}

fn check_len(width: usize, height: usize, channels: u128, given: usize) -> Result<(), FrameError> {
    let expected = (width as u128).saturating_mul(height as u128).saturating_mul(channels);
    if expected == given as u128 { Ok(()) } else { Err(FrameError::Length { width, height, expected, given }) }
}

fn mean_of_squares(source: &GrayFrame<'_>) -> Vec<u8> {
    let mut pixels = Vec::with_capacity(source.pixels.len() / 4);
    for rows in source.pixels.chunks_exact(2 * source.width) {
        let (above, below) = rows.split_at(source.width);
        let pairs = above.as_chunks::<2>().0.iter().zip(below.as_chunks::<2>().0);
        pixels.extend(pairs.map(|(above, below)| {
            let sum: u16 = above.iter().chain(below).map(|&level| u16::from(level)).sum();
            ((sum + 2) >> 2) as u8
        }));
    }
    pixels
}

fn interpolated(source: &GrayFrame<'_>, width: usize, height: usize) -> Vec<u8> {
    let columns: Vec<Tap> = (0..width).map(|x| Tap::new(x, source.width, width)).collect();
    let filtered = |y: usize| -> Vec<i32> {
        let row = &source.pixels[y * source.width..][..source.width];
        // The vertical pass does not use the low 4 bits.
        let filter =
            |tap: &Tap| (i32::from(row[tap.at[0]]) * tap.weights[0] + i32::from(row[tap.at[1]]) * tap.weights[1]) >> 4;
        columns.iter().map(filter).collect()
    };
    let mut pixels = Vec::with_capacity(width * height);
    for y in 0..height {
        let tap = Tap::new(y, source.height, height);
        let (above, below) = (filtered(tap.at[0]), filtered(tap.at[1]));
        pixels.extend(above.iter().zip(&below).map(|(above, below)| {
            let sum = ((above * tap.weights[0]) >> 16) + ((below * tap.weights[1]) >> 16);
            ((sum + 2) >> 2) as u8
        }));
    }
    pixels
}

/// The two pixels that a pixel of the result lies between, and their weights.
struct Tap {
    at: [usize; 2],
    weights: [i32; 2],
}

impl Tap {
    /// Halving never asks for a pixel outside: from 0.5 to `in_size - 1.5`.
    fn new(at: usize, in_size: usize, out_size: usize) -> Self {
        let scale = in_size as f64 / out_size as f64;
        let position = ((at as f64 + 0.5) * scale - 0.5) as f32;
        let first = (position as usize).min(in_size - 1);
        let fraction = position - first as f32;
        let weights = [1.0 - fraction, fraction].map(|weight| (weight * WEIGHT_ONE).round_ties_even() as i32);
        Self { at: [first, (first + 1).min(in_size - 1)], weights }
    }
}
