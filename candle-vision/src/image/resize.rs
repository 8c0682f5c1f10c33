//! Pillow's antialiased resize on 8-bit RGB, to the bit.
//!
//! The filter is stretched by the scale when shrinking, so every input pixel counts. One pass per axis, each in fixed
//! point: weights of 22 fractional bits, then rounding and clipping to 8 bits. The order of the passes is that of
//! Pillow 13 ([`vertical_first`]). Source of the arithmetic: Pillow's `Resample.c` (MIT-CMU).

use std::fmt;
use std::ops::Range;
use std::str::FromStr;

use image::RgbImage;
use rayon::prelude::*;

/// Fractional bits of a weight: 32 less 8 for the level and 2 for the filter's overshoot.
const PRECISION_BITS: u32 = 32 - 8 - 2;
/// One half, which turns the final shift into rounding.
const HALF: i32 = 1 << (PRECISION_BITS - 1);
/// Rows that the horizontal pass filters together.
const ROWS: usize = 8;
/// Bytes that the vertical pass filters together.
const BYTES: usize = 32;
/// Fewest tasks of [`ROWS`] or of one row that a thread takes.
const MIN_TASKS: usize = 8;

/// How pixels between pixels are computed; timm's and PIL's names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Interpolation {
    /// The pixel under the centre; no antialiasing.
    Nearest,
    /// Triangle filter, support 1.
    Bilinear,
    /// Keys' cubic with a = -0.5, support 2.
    Bicubic,
}

impl fmt::Display for Interpolation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Nearest => "nearest",
            Self::Bilinear => "bilinear",
            Self::Bicubic => "bicubic",
        })
    }
}

/// A name that is no [`Interpolation`]'s.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown interpolation {0:?}; one of nearest, bilinear, bicubic")]
pub struct UnknownInterpolation(pub String);

impl FromStr for Interpolation {
    type Err = UnknownInterpolation;

    fn from_str(name: &str) -> Result<Self, UnknownInterpolation> {
        match name {
            "nearest" => Ok(Self::Nearest),
            "bilinear" => Ok(Self::Bilinear),
            "bicubic" => Ok(Self::Bicubic),
            _ => Err(UnknownInterpolation(name.to_owned())),
        }
    }
}

/// A part of the output, so that a crop costs only what it shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Window {
    pub(super) rows: Range<usize>,
    pub(super) columns: Range<usize>,
}

/// Resizes to `size` = [height, width], as PIL's `Image.resize`. An empty source gives black.
#[must_use]
pub fn resize(source: &RgbImage, size: [usize; 2], interpolation: Interpolation) -> RgbImage {
    let [height, width] = size;
    resize_window(source, size, &Window { rows: 0..height, columns: 0..width }, interpolation)
}

/// The `window` of the image resized to `size` = [height, width].
pub(super) fn resize_window(
    source: &RgbImage,
    size: [usize; 2],
    window: &Window,
    interpolation: Interpolation,
) -> RgbImage {
    let [height, width] = size;
    let (in_width, in_height) = (source.width() as usize, source.height() as usize);
    let mut out = RgbImage::new(window.columns.len() as u32, window.rows.len() as u32);
    if out.is_empty() || source.is_empty() {
        return out;
    }
    if interpolation == Interpolation::Nearest {
        let rows = nearest(in_height, height, &window.rows);
        let columns = nearest(in_width, width, &window.columns);
        for (out_row, y) in out.chunks_exact_mut(columns.len() * 3).zip(rows) {
            let row = &source.as_raw()[y * in_width * 3..][..in_width * 3];
            for (pixel, &x) in out_row.chunks_exact_mut(3).zip(&columns) {
                pixel.copy_from_slice(&row[x * 3..x * 3 + 3]);
            }
        }
        return out;
    }
    let horizontal = Taps::new(in_width, width, &window.columns, interpolation);
    let vertical = Taps::new(in_height, height, &window.rows, interpolation);
    let (rows, columns) = (vertical.input.clone(), horizontal.input.clone());
    let row_bytes = in_width * 3;
    let input = &source.as_raw()[rows.start * row_bytes..rows.end * row_bytes];
    let out_bytes = window.columns.len() * 3;
    if vertical_first([in_height, in_width], size) {
        let mut between = vec![0; window.rows.len() * columns.len() * 3];
        filter_columns(&input[columns.start * 3..], row_bytes, &vertical, &mut between, columns.len() * 3);
        filter_rows(&between, columns.len() * 3, 0, &horizontal, &mut out, out_bytes);
    } else {
        let mut between = vec![0; rows.len() * out_bytes];
        filter_rows(input, row_bytes, columns.start, &horizontal, &mut between, out_bytes);
        filter_columns(&between, out_bytes, &vertical, &mut out, out_bytes);
    }
    out
}

/// Whether Pillow 13 filters columns before rows; earlier releases always begin with the rows. Sizes are [height, width].
fn vertical_first(source: [usize; 2], size: [usize; 2]) -> bool {
    let lost = |axis: usize| source[axis] as i64 - size[axis] as i64;
    lost(0) > 0 && lost(0) > 2 * lost(1)
}

/// Filters along x: rows of `row_bytes` from `input`, of which the taps' input begins at pixel `start`, to rows of
/// `out_bytes`.
fn filter_rows(input: &[u8], row_bytes: usize, start: usize, taps: &Taps, out: &mut [u8], out_bytes: usize) {
    out.par_chunks_mut(ROWS * out_bytes)
        .zip(input.par_chunks(ROWS * row_bytes))
        .with_min_len(MIN_TASKS)
        .for_each(|(out, input)| filter_band(input, row_bytes, start, taps, out, out_bytes));
}

/// Filters up to [`ROWS`] rows. They are interleaved first, so that one weight meets many levels.
fn filter_band(input: &[u8], row_bytes: usize, start: usize, taps: &Taps, out: &mut [u8], out_bytes: usize) {
    const LANES: usize = 3 * ROWS;
    let mut lanes = vec![0u8; taps.input.len() * LANES];
    for (lane, row) in input.chunks_exact(row_bytes).enumerate() {
        let pixels = row[start * 3..].as_chunks::<3>().0;
        for (place, [r, g, b]) in lanes.as_chunks_mut::<LANES>().0.iter_mut().zip(pixels) {
            (place[lane], place[ROWS + lane], place[2 * ROWS + lane]) = (*r, *g, *b);
        }
    }
    let lanes = lanes.as_chunks::<LANES>().0;
    for x in 0..taps.first.len() {
        let (first, weights) = taps.of(x);
        let mut sums = [HALF; LANES];
        for (levels, &weight) in lanes[first..].iter().zip(weights) {
            accumulate(&mut sums, levels, weight);
        }
        let levels = sums.map(clip);
        for (lane, row) in out.chunks_exact_mut(out_bytes).enumerate() {
            for channel in 0..3 {
                row[x * 3 + channel] = levels[channel * ROWS + lane];
            }
        }
    }
}

/// Filters along y: rows `stride` bytes apart, the first of which is the taps' first, to rows of `out_bytes`.
fn filter_columns(input: &[u8], stride: usize, taps: &Taps, out: &mut [u8], out_bytes: usize) {
    out.par_chunks_exact_mut(out_bytes).enumerate().with_min_len(MIN_TASKS).for_each(|(y, out)| {
        let (first, weights) = taps.of(y);
        for (at, out) in (0..out_bytes).step_by(BYTES).zip(out.chunks_mut(BYTES)) {
            let mut sums = [HALF; BYTES];
            for (row, &weight) in (first..).zip(weights) {
                let rest = &input[row * stride + at..];
                match rest.first_chunk() {
                    Some(levels) => accumulate(&mut sums, levels, weight),
                    None => {
                        let mut levels = [0; BYTES];
                        levels[..rest.len()].copy_from_slice(rest);
                        accumulate(&mut sums, &levels, weight);
                    }
                }
            }
            out.copy_from_slice(&sums.map(clip)[..out.len()]);
        }
    });
}

/// `sums += weight * levels`. Cannot overflow: the weights' magnitudes sum to less than 2 and a level is below 2^8.
#[inline(always)]
fn accumulate<const N: usize>(sums: &mut [i32; N], levels: &[u8; N], weight: i32) {
    for (sum, &level) in sums.iter_mut().zip(levels) {
        *sum = sum.wrapping_add(weight.wrapping_mul(i32::from(level)));
    }
}

#[inline(always)]
fn clip(sum: i32) -> u8 {
    (sum >> PRECISION_BITS).clamp(0, 255) as u8
}

/// The input pixels and weights behind each output pixel of one axis.
struct Taps {
    /// First input pixel per output pixel, counted from `input.start`.
    first: Vec<usize>,
    /// End of each output pixel's weights in `weights`.
    ends: Vec<usize>,
    weights: Vec<i32>,
    /// All input pixels that any output pixel needs.
    input: Range<usize>,
}

impl Taps {
    fn new(in_size: usize, out_size: usize, window: &Range<usize>, interpolation: Interpolation) -> Self {
        let scale = in_size as f64 / out_size as f64;
        let stretch = scale.max(1.0);
        let support = stretch * if interpolation == Interpolation::Bicubic { 2.0 } else { 1.0 };
        let filter = if interpolation == Interpolation::Bicubic { bicubic } else { triangle };
        let mut taps = Self { first: Vec::new(), ends: Vec::new(), weights: Vec::new(), input: in_size..0 };
        let mut exact = Vec::new();
        for x in window.clone() {
            let center = (x as f64 + 0.5) * scale;
            let first = (center - support + 0.5).max(0.0) as usize;
            let end = ((center + support + 0.5) as usize).min(in_size);
            exact.clear();
            exact.extend((first..end).map(|i| filter((i as f64 - center + 0.5) * (1.0 / stretch))));
            let total: f64 = exact.iter().sum();
            taps.weights
                .extend(exact.iter().map(|&weight| fixed_point(if total == 0.0 { weight } else { weight / total })));
            taps.first.push(first);
            taps.ends.push(taps.weights.len());
            taps.input = taps.input.start.min(first)..taps.input.end.max(end);
        }
        taps.first.iter_mut().for_each(|first| *first -= taps.input.start);
        taps
    }

    fn of(&self, x: usize) -> (usize, &[i32]) {
        let start = if x == 0 { 0 } else { self.ends[x - 1] };
        (self.first[x], &self.weights[start..self.ends[x]])
    }
}

fn fixed_point(weight: f64) -> i32 {
    let scaled = weight * f64::from(1 << PRECISION_BITS);
    (if weight < 0.0 { scaled - 0.5 } else { scaled + 0.5 }) as i32
}

fn triangle(x: f64) -> f64 {
    (1.0 - x.abs()).max(0.0)
}

fn bicubic(x: f64) -> f64 {
    const A: f64 = -0.5;
    let x = x.abs();
    if x < 1.0 {
        ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0
    } else if x < 2.0 {
        (((x - 5.0) * x + 8.0) * x - 4.0) * A
    } else {
        0.0
    }
}

/// Input pixel per output pixel. The position is summed step by step, as Pillow does: the rounding is part of the result.
fn nearest(in_size: usize, out_size: usize, window: &Range<usize>) -> Vec<usize> {
    let scale = in_size as f64 / out_size as f64;
    let positions = std::iter::successors(Some(scale * 0.5), |at| Some(at + scale));
    positions.take(window.end).skip(window.start).map(|at| (at as usize).min(in_size - 1)).collect()
}

#[cfg(test)]
#[path = "resize_tests.rs"]
mod tests;
