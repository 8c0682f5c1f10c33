//! OpenCV's `cv2.warpAffine` and `cv2.warpPerspective` with `INTER_LINEAR` and a constant border, on 8-bit RGB.
//!
//! A pixel (x, y) of the output is read at (X / W, Y / W) of the source, where
//! `[X, Y, W] = inverse(matrix) · [x, y, 1]` and W = 1 for an affine matrix. Bit-equal with OpenCV 5.0 on x86 with
//! AVX2, for widths that are multiples of 32: the inverse is computed in `f64`, then rounded to `f32`; what a row adds
//! is rounded twice; the product with x and the three interpolations once.

use image::{Rgb, RgbImage};

/// Magnitude of a position in the source beyond which nothing lies.
const FARTHEST: f32 = 1e9;
/// 1.5 * 2^23: numbers of this size have no fraction.
const ROUNDING: f32 = 12_582_912.;

/// Warps by a matrix that carries pixels of the source to pixels of the output, of `size` = [height, width]. What lies
/// beyond the source has the level `border`. A singular matrix reads one pixel everywhere, as with OpenCV.
#[must_use]
pub fn warp_affine(source: &RgbImage, matrix: &[[f32; 3]; 2], size: [usize; 2], border: u8) -> RgbImage {
    let [[a, b, c], [d, e, f]] = matrix.map(|row| row.map(f64::from));
    let determinant = a * e - b * d;
    let scale = if determinant == 0. { 0. } else { 1. / determinant };
    let [a, b, d, e] = [e * scale, b * -scale, d * -scale, a * scale];
    let inverse = [[a, b, -a * c - b * f], [d, e, -d * c - e * f]];
    warp::<false>(source, [inverse[0], inverse[1], [0., 0., 1.]], size, border)
}

/// As [`warp_affine`], by a matrix with perspective.
#[must_use]
pub fn warp_perspective(source: &RgbImage, matrix: &[[f32; 3]; 3], size: [usize; 2], border: u8) -> RgbImage {
    warp::<true>(source, inverse(matrix), size, border)
}

/// The inverse by cofactors; zeros for a singular matrix.
fn inverse(matrix: &[[f32; 3]; 3]) -> [[f64; 3]; 3] {
    let m = matrix.map(|row| row.map(f64::from));
    let cofactor = |row: usize, column: usize| {
        let ([a, b], [c, d]) = ([(row + 1) % 3, (row + 2) % 3], [(column + 1) % 3, (column + 2) % 3]);
        m[a][c] * m[b][d] - m[a][d] * m[b][c]
    };
    let determinant: f64 = (0..3).map(|column| m[0][column] * cofactor(0, column)).sum();
    let scale = if determinant == 0. { 0. } else { 1. / determinant };
    std::array::from_fn(|row| std::array::from_fn(|column| cofactor(column, row) * scale))
}

fn warp<const PERSPECTIVE: bool>(source: &RgbImage, inverse: [[f64; 3]; 3], size: [usize; 2], border: u8) -> RgbImage {
    let [height, width] = size;
    let mut out = RgbImage::from_pixel(width as u32, height as u32, Rgb([border; 3]));
    if width > 0 && !source.is_empty() {
        let inverse = inverse.map(|row| row.map(|value| value as f32));
        let size = [source.height() as usize, source.width() as usize];
        let (taps, pixels) = (Taps { levels: source, size, border }, out.as_chunks_mut::<3>().0);
        pulp::Arch::new().dispatch(Fill::<PERSPECTIVE> { taps, inverse, width, pixels });
    }
    out
}

/// The output, row by row.
struct Fill<'a, const PERSPECTIVE: bool> {
    taps: Taps<'a>,
    inverse: [[f32; 3]; 3],
    width: usize,
    pixels: &'a mut [[u8; 3]],
}

impl<const PERSPECTIVE: bool> pulp::NullaryFnOnce for Fill<'_, PERSPECTIVE> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let Self { taps, inverse: [across, down, depth], width, pixels } = self;
        let (mut places, mut levels) = (vec![Place::default(); width], vec![[0; 4]; width]);
        for (y, line) in pixels.chunks_exact_mut(width).enumerate() {
            let [left, top, near] = [across, down, depth].map(|row| y as f32 * row[1] + row[2]);
            for (x, place) in places.iter_mut().enumerate() {
                let x = x as f32;
                let (mut column, mut row) = (x.mul_add(across[0], left), x.mul_add(down[0], top));
                if PERSPECTIVE {
                    let distance = x.mul_add(depth[0], near);
                    (column, row) = (column / distance, row / distance);
                }
                *place = Place::new(column, row);
            }
            for (level, place) in levels.iter_mut().zip(&places) {
                *level = taps.read(place);
            }
            for (pixel, &[r, g, b, _]) in line.iter_mut().zip(&levels) {
                *pixel = [r, g, b];
            }
        }
    }
}

/// A position in the source: the pixel left above it, and how far it lies from that.
#[derive(Debug, Clone, Copy, Default)]
struct Place {
    left: i32,
    top: i32,
    right_part: f32,
    lower_part: f32,
}

impl Place {
    #[inline(always)]
    fn new(x: f32, y: f32) -> Self {
        // What is far or no number is far to the left.
        let x = if (x.abs() < FARTHEST) & (y.abs() < FARTHEST) { x } else { -FARTHEST };
        let (left, top) = (x.floor(), y.floor());
        Self { left: left as i32, top: top as i32, right_part: x - left, lower_part: y - top }
    }
}

/// The pixels to read from.
struct Taps<'a> {
    levels: &'a [u8],
    /// [height, width].
    size: [usize; 2],
    border: u8,
}

impl Taps<'_> {
    /// The levels between the four pixels around a position, and a fourth without meaning: four make a vector.
    #[inline(always)]
    fn read(&self, place: &Place) -> [u8; 4] {
        let &Place { left, top, right_part, lower_part } = place;
        let [height, width] = self.size;
        // A negative number wraps to a large one. The four bytes read per pixel reach into the next.
        let is_inside = (left as usize) < width.saturating_sub(2) && (top as usize) < height - 1;
        let [a, b, c, d] = if is_inside {
            let first = 3 * (top as usize * width + left as usize);
            let (above, below) = (&self.levels[first..][..7], &self.levels[first + 3 * width..][..7]);
            [
                [above[0], above[1], above[2], above[3]],
                [above[3], above[4], above[5], above[6]],
                [below[0], below[1], below[2], below[3]],
                [below[3], below[4], below[5], below[6]],
            ]
        } else {
            let is_beyond = |at: i32, side: usize| at < -1 || at >= side as i32;
            if is_beyond(left, width) || is_beyond(top, height) {
                return [self.border; 4];
            }
            [self.at(left, top), self.at(left + 1, top), self.at(left, top + 1), self.at(left + 1, top + 1)]
        };
        let level =
            between(between(floats(a), floats(b), right_part), between(floats(c), floats(d), right_part), lower_part);
        // Of each sum, the lowest bits are the level, rounded to even.
        let mut levels = [0; 4];
        for (out, level) in levels.iter_mut().zip(level) {
            *out = (level + ROUNDING).to_bits() as u8;
        }
        levels
    }

    /// A pixel of the source or of its border.
    fn at(&self, x: i32, y: i32) -> [u8; 4] {
        let [height, width] = self.size;
        if (x as usize) >= width || (y as usize) >= height {
            return [self.border; 4];
        }
        let first = 3 * (y as usize * width + x as usize);
        [self.levels[first], self.levels[first + 1], self.levels[first + 2], 0]
    }
}

#[inline(always)]
fn floats(levels: [u8; 4]) -> [f32; 4] {
    let [a, b, c, d] = levels;
    [f32::from(a), f32::from(b), f32::from(c), f32::from(d)]
}

#[inline(always)]
fn between(mut from: [f32; 4], to: [f32; 4], part: f32) -> [f32; 4] {
    for (from, to) in from.iter_mut().zip(to) {
        *from = part.mul_add(to - *from, *from);
    }
    from
}

#[cfg(test)]
#[path = "warp_tests.rs"]
mod tests;
