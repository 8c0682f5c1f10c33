//! Affine maps of an image onto a canvas of its own size: PIL's `Image.transform(size, AFFINE, ..)`, to the bit.

use image::{Rgb, RgbImage};

/// How levels between pixels are computed; without antialiasing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resample {
    /// Between 2x2 pixels.
    Bilinear,
    /// Keys' cubic with a = -1 between 4x4 pixels, as PIL's `transform` has it (its `resize` has a = -0.5).
    Bicubic,
}

/// The map from a pixel of the output to its place in the input: `[a, b, c, d, e, f]` for
/// `(a x + b y + c, d x + e y + f)`, in pixels, with the centre of the first pixel at (0.5, 0.5).
pub type Affine = [f64; 6];

/// Turns by `degrees` counterclockwise about the image's centre: the map of PIL's `Image.rotate`.
#[must_use]
pub fn rotation(degrees: f64, [height, width]: [usize; 2]) -> Affine {
    // PIL rounds to 15 decimals through the decimal text, as this does.
    let round = |value: f64| format!("{value:.15}").parse().unwrap_or(value);
    let angle = -degrees.rem_euclid(360.).to_radians();
    let [cos, sin]: [f64; 2] = [round(angle.cos()), round(angle.sin())];
    let minus_sin = round(-angle.sin());
    let (x, y) = (width as f64 / 2., height as f64 / 2.);
    [cos, sin, cos * -x + sin * -y + 0. + x, minus_sin, cos, minus_sin * -x + cos * -y + 0. + y]
}

/// The image mapped; pixels whose place is outside the image become `fill`.
#[must_use]
pub fn affine(image: &RgbImage, map: &Affine, filter: Resample, fill: [u8; 3]) -> RgbImage {
    let mut out = RgbImage::from_pixel(image.width(), image.height(), Rgb(fill));
    match filter {
        Resample::Bilinear => fill_rows::<2>(image, map, &mut out, bilinear),
        Resample::Bicubic => fill_rows::<4>(image, map, &mut out, bicubic),
    }
    out
}

/// The channels of a pixel side by side, and one more that a vector has anyway.
type Lanes = [f64; 4];

/// Maps with a filter of `N`x`N` pixels; `mix` is what it does along one axis.
fn fill_rows<const N: usize>(
    image: &RgbImage,
    &[a, b, c, d, e, f]: &Affine,
    out: &mut RgbImage,
    mix: impl Fn([Lanes; N], f64) -> Lanes,
) {
    let (width, height) = (image.width() as usize, image.height() as usize);
    if width == 0 || height == 0 {
        return;
    }
    let pixels = image.as_chunks::<3>().0;
    let before = (N / 2 - 1) as i64;
    for (y, row) in out.as_chunks_mut::<3>().0.chunks_exact_mut(width).enumerate() {
        let y = y as f64 + 0.5;
        for (x, pixel) in row.iter_mut().enumerate() {
            let x = x as f64 + 0.5;
            let (at_x, at_y) = (a * x + b * y + c, d * x + e * y + f);
            if !(at_x >= 0. && at_x < width as f64 && at_y >= 0. && at_y < height as f64) {
                continue;
            }
            let (left, dx) = split(at_x - 0.5);
            let (top, dy) = split(at_y - 0.5);
            let clip = |at: i64, size: usize| at.clamp(0, size as i64 - 1) as usize;
            let columns: [usize; N] = std::array::from_fn(|i| clip(left - before + i as i64, width));
            let along_x = std::array::from_fn(|i| {
                let row = &pixels[clip(top - before + i as i64, height) * width..][..width];
                mix(columns.map(|column| lanes(row[column])), dx)
            });
            let [red, green, blue, _] = mix(along_x, dy);
            *pixel = [red, green, blue].map(|level| level as u8);
        }
    }
}

#[inline(always)]
fn lanes([red, green, blue]: [u8; 3]) -> Lanes {
    [red, green, blue, 0].map(f64::from)
}

/// The pixel before a place above -1, and the way from it.
#[inline(always)]
fn split(at: f64) -> (i64, f64) {
    let floor = at as i64 - i64::from(at < 0.);
    (floor, at - floor as f64)
}

#[inline(always)]
fn bilinear([a, b]: [Lanes; 2], t: f64) -> Lanes {
    std::array::from_fn(|i| a[i] + (b[i] - a[i]) * t)
}

#[inline(always)]
fn bicubic([a, b, c, d]: [Lanes; 4], t: f64) -> Lanes {
    std::array::from_fn(|i| {
        let (a, b, c, d) = (a[i], b[i], c[i], d[i]);
        b + t * (c - a + t * (2. * (a - b) + c - d + t * (b - a - c + d)))
    })
}
