//! OpenCV's `cv2.resize(.., interpolation=cv2.INTER_LINEAR)` on 8-bit RGB, to the bit.
//!
//! No antialiasing: two pixels per axis, whatever the scale. Weights are of 11 fractional bits. The horizontal pass is
//! exact in 32 bits; the vertical pass drops the low 4 bits of its input, multiplies, drops 16, adds the two rows and
//! rounds the last 2. Halving both sides exactly is the mean of 2x2 pixels instead. As OpenCV 4.11 and 5.0 compute on x86.

use image::RgbImage;
use rayon::prelude::*;

use ghostzoo_kernels::letterbox::Scaling;

/// 1.0 as a weight.
const ONE: f32 = 2048.0;
/// Output rows that one task makes, reusing the input rows it has filtered.
const BAND: usize = 32;

/// Resizes to `size` = [height, width] as `cv2.resize` with `INTER_LINEAR`. An empty source gives black.
#[must_use]
pub fn resize_bilinear(source: &RgbImage, size: [usize; 2]) -> RgbImage {
    let mut out = RgbImage::new(size[1] as u32, size[0] as u32);
    resize_bilinear_into(source, size, &mut out, size[1] * 3);
    out
}

/// [`resize_bilinear`] on the calling thread alone: for threads that work beside others.
#[must_use]
pub fn resize_bilinear_alone(source: &RgbImage, size: [usize; 2]) -> RgbImage {
    let mut out = RgbImage::new(size[1] as u32, size[0] as u32);
    if let Some(bands) = Bands::new(source, size, size[1] * 3) {
        out.chunks_mut(bands.len()).enumerate().for_each(|(band, out)| bands.fill(band, out));
    }
    out
}

/// Resizes into the first `width` pixels of each row of `out`, whose rows lie `stride` bytes apart.
pub(super) fn resize_bilinear_into(source: &RgbImage, size: [usize; 2], out: &mut [u8], stride: usize) {
    if let Some(bands) = Bands::new(source, size, stride) {
        out.par_chunks_mut(bands.len()).enumerate().for_each(|(band, out)| bands.fill(band, out));
    }
}

/// How a GPU resizes an image.
pub(super) fn scaling(source: &RgbImage, [height, width]: [usize; 2]) -> Scaling {
    match [source.height() as usize, source.width() as usize] {
        size if size == [height, width] => Scaling::AsItIs,
        size if size == [2 * height, 2 * width] => Scaling::Halved,
        _ => Scaling::Filtered,
    }
}

/// How many words a GPU resizes an image by.
pub(super) fn words_len(source: &RgbImage, [height, width]: [usize; 2]) -> usize {
    4 * (height + width) + source.as_raw().len().div_ceil(4)
}

/// What a GPU resizes an image by: of each column and then of each row of the result two positions in the image and their
/// weights, then the image's bytes, four to a word, the first the lowest. Writes all of [`words_len`] words.
pub(super) fn write_words(source: &RgbImage, [height, width]: [usize; 2], words: &mut [u32]) {
    let (in_height, in_width) = (source.height() as usize, source.width() as usize);
    let taps = |tap: Tap, in_size: usize| {
        let last = in_size as i64 - 1;
        let [first, second] = [tap.first, tap.first + 1].map(|at| at.clamp(0, last) as u32);
        let [near, far] = tap.weights.map(|weight| u32::from(weight.unsigned_abs()));
        [first, second, near, far]
    };
    let (of_taps, of_bytes) = words.split_at_mut(4 * (height + width));
    let (of_columns, of_rows) = of_taps.as_chunks_mut::<4>().0.split_at_mut(width);
    for (x, words) in of_columns.iter_mut().enumerate() {
        *words = taps(Tap::inside(x, in_width, width), in_width);
    }
    for (y, words) in of_rows.iter_mut().enumerate() {
        *words = taps(Tap::new(y, in_height, height), in_height);
    }
    let (whole, rest) = source.as_chunks::<4>();
    for (word, bytes) in of_bytes.iter_mut().zip(whole) {
        *word = u32::from_le_bytes(*bytes);
    }
    if !rest.is_empty() {
        let mut last = [0; 4];
        last[..rest.len()].copy_from_slice(rest);
        of_bytes[whole.len()] = u32::from_le_bytes(last);
    }
}

/// A resize in tasks of [`BAND`] output rows.
struct Bands<'a> {
    source: &'a RgbImage,
    size: [usize; 2],
    stride: usize,
    columns: Vec<Tap>,
}

impl<'a> Bands<'a> {
    /// Nothing if there is no pixel to read or to write.
    fn new(source: &'a RgbImage, size: [usize; 2], stride: usize) -> Option<Self> {
        let [height, width] = size;
        if height == 0 || width == 0 || source.is_empty() {
            return None;
        }
        let columns = (0..width).map(|x| Tap::inside(x, source.width() as usize, width)).collect();
        Some(Self { source, size, stride, columns })
    }

    /// Bytes from one band's begin to the next.
    fn len(&self) -> usize {
        self.stride * BAND
    }

    fn row(&self, y: usize) -> &[u8] {
        let stride = self.source.width() as usize * 3;
        &self.source.as_raw()[y * stride..][..stride]
    }

    /// Fills the rows of a band that lie within the output.
    fn fill(&self, band: usize, out: &mut [u8]) {
        let [height, width] = self.size;
        let (in_height, in_width) = (self.source.height() as usize, self.source.width() as usize);
        let rows = (band * BAND..height).zip(out.chunks_mut(self.stride)).map(|(y, row)| (y, &mut row[..width * 3]));
        if (in_height, in_width) == (height, width) {
            rows.for_each(|(y, out)| out.copy_from_slice(self.row(y)));
        } else if (in_height, in_width) == (2 * height, 2 * width) {
            rows.for_each(|(y, out)| halve(self.row(2 * y), self.row(2 * y + 1), out));
        } else {
            self.filter(rows);
        }
    }

    fn filter<'out>(&self, rows: impl Iterator<Item = (usize, &'out mut [u8])>) {
        let [height, width] = self.size;
        let in_height = self.source.height() as usize;
        let mut above = Filtered::new(width);
        let mut below = Filtered::new(width);
        for (y, out) in rows {
            let tap = Tap::new(y, in_height, height);
            let last = in_height as i64 - 1;
            let [first, second] = [tap.first, tap.first + 1].map(|y| y.clamp(0, last) as usize);
            if below.row == Some(first) {
                std::mem::swap(&mut above, &mut below);
            }
            above.fill(first, self.row(first), &self.columns);
            below.fill(second, self.row(second), &self.columns);
            blend(&above.values, &below.values, tap.weights, out);
        }
    }
}

/// The left of the two pixels that an output pixel lies between, and their weights.
struct Tap {
    first: i64,
    weights: [i16; 2],
}

impl Tap {
    fn new(x: usize, in_size: usize, out_size: usize) -> Self {
        let (floor, fraction) = Self::position(x, in_size, out_size);
        Self { first: floor, weights: Self::weights(fraction) }
    }

    /// As `new`, with the pixels beyond an edge replaced by full weight on the edge pixel.
    fn inside(x: usize, in_size: usize, out_size: usize) -> Self {
        let (floor, fraction) = Self::position(x, in_size, out_size);
        let last = in_size as i64 - 1;
        let fraction = if floor < 0 || floor >= last { 0.0 } else { fraction };
        Self { first: floor.clamp(0, last), weights: Self::weights(fraction) }
    }

    /// Pixel and fraction; f32 after the position is known, as OpenCV.
    fn position(x: usize, in_size: usize, out_size: usize) -> (i64, f32) {
        let scale = 1.0 / (out_size as f64 / in_size as f64);
        let position = ((x as f64 + 0.5) * scale - 0.5) as f32;
        let floor = position.floor();
        (floor as i64, position - floor)
    }

    fn weights(fraction: f32) -> [i16; 2] {
        [1.0 - fraction, fraction].map(|weight| (weight * ONE).round_ties_even() as i16)
    }
}

/// A horizontally filtered row, without its low 4 bits, which the vertical pass does not use: at most 2040 * 16.
struct Filtered {
    row: Option<usize>,
    values: Vec<i16>,
}

impl Filtered {
    fn new(width: usize) -> Self {
        Self { row: None, values: vec![0; width * 3] }
    }

    fn fill(&mut self, y: usize, row: &[u8], columns: &[Tap]) {
        if self.row == Some(y) {
            return;
        }
        self.row = Some(y);
        let pixels = row.as_chunks::<3>().0;
        let last = pixels.len() - 1;
        for (out, tap) in self.values.as_chunks_mut::<3>().0.iter_mut().zip(columns) {
            let first = tap.first as usize;
            let (left, right) = (pixels[first], pixels[(first + 1).min(last)]);
            let [near, far] = tap.weights.map(i32::from);
            for channel in 0..3 {
                let sum = i32::from(left[channel]).wrapping_mul(near) + i32::from(right[channel]).wrapping_mul(far);
                out[channel] = (sum >> 4) as i16;
            }
        }
    }
}

fn blend(above: &[i16], below: &[i16], [near, far]: [i16; 2], out: &mut [u8]) {
    let high = |value: i16, weight: i16| (i32::from(value).wrapping_mul(i32::from(weight)) >> 16) as i16;
    for ((out, &above), &below) in out.iter_mut().zip(above).zip(below) {
        *out = (high(above, near).wrapping_add(high(below, far)).wrapping_add(2) >> 2) as u8;
    }
}

fn halve(above: &[u8], below: &[u8], out: &mut [u8]) {
    let pairs = above.as_chunks::<6>().0.iter().zip(below.as_chunks::<6>().0);
    for (out, (above, below)) in out.as_chunks_mut::<3>().0.iter_mut().zip(pairs) {
        for channel in 0..3 {
            let levels = [above[channel], above[channel + 3], below[channel], below[channel + 3]];
            out[channel] = ((levels.map(u16::from).iter().sum::<u16>() + 2) >> 2) as u8;
        }
    }
}
