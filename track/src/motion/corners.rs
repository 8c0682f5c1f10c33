//! Corners to follow (Shi and Tomasi, *Good Features to Track*, 1994).
//!
//! A pixel's strength is the smaller eigenvalue of the sum, over the 3x3 pixels around it, of the outer products of the gradient, by
//! Sobel's filters. Corners are the pixels stronger than a hundredth of the strongest one and no weaker than the eight around them,
//! without the image's outermost pixels. The strongest come first; of equal ones the last in reading order.
//!
//! Single precision rounds as OpenCV 5.0 does on x86 with AVX2, so that the corners of images with repeated texture are the same and
//! in the same order: by fused multiplication and addition, but for the columns that are left of blocks of 32.

use super::pyramid::{BORDER, Level};

/// How many corners there are at most.
pub(super) const MAX_CORNERS: usize = 400;
/// The strength of the weakest corner, as part of the strongest's.
const QUALITY_LEVEL: f64 = 0.01;
/// Levels to gradients: Sobel's weights sum to 4 on a side, 9 pixels are summed as 3 x 3, levels go to 255.
const SCALE: f32 = (1.0 / (4.0 * 3.0 * 255.0)) as f32;
/// Columns that OpenCV computes at once.
const BLOCK: usize = 32;

/// The corners' columns and rows.
pub(super) fn corners(image: &Level) -> Vec<[f32; 2]> {
    let width = image.width;
    // Compiled for the widest vectors that the processor has; each operation rounds alike in all.
    let strengths = pulp::Arch::new().dispatch(Strengths(image));
    let strongest = strengths.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let threshold = (f64::from(strongest) * QUALITY_LEVEL) as f32;
    let mut found: Vec<(f32, usize)> = Vec::new();
    for y in 1..image.height.saturating_sub(1) {
        let [above, here, below] = [y - 1, y, y + 1].map(|y| &strengths[y * width..][..width]);
        for (x, ((above, here), below)) in above.windows(3).zip(here.windows(3)).zip(below.windows(3)).enumerate() {
            let strength = here[1];
            if strength > threshold && above.iter().chain(here).chain(below).all(|&other| other <= strength) {
                found.push((strength, y * width + x + 1));
            }
        }
    }
    let strongest_first = |a: &(f32, usize), b: &(f32, usize)| b.0.total_cmp(&a.0).then(b.1.cmp(&a.1));
    if found.len() > MAX_CORNERS {
        found.select_nth_unstable_by(MAX_CORNERS, strongest_first);
        found.truncate(MAX_CORNERS);
    }
    found.sort_unstable_by(strongest_first);
    found.iter().map(|&(_, at)| [(at % width) as f32, (at / width) as f32]).collect()
}

struct Strengths<'a>(&'a Level);

impl pulp::NullaryFnOnce for Strengths<'_> {
    type Output = Vec<f32>;

    #[inline(always)]
    fn call(self) -> Self::Output {
        strengths(self.0)
    }
}

/// Row by row, the smaller eigenvalue of each pixel.
#[inline(always)]
fn strengths(image: &Level) -> Vec<f32> {
    let (width, height) = (image.width, image.height);
    let smoothed = smoothed(image);
    let mut strengths = Vec::with_capacity(width * height);
    let mut products = Products::new(width);
    // The sums of the rows y - 1, y and y + 1 of the loop below, each at its row modulo 3.
    let mut sums = [(); 3].map(|()| [(); 3].map(|()| vec![0.0_f64; width]));
    products.sum(image, &smoothed, 0, &mut sums[0]);
    for y in 0..height {
        if y + 1 < height {
            products.sum(image, &smoothed, y + 1, &mut sums[(y + 1) % 3]);
        }
        let [above, here, below] = [mirrored_before(y, height), y, mirrored_after(y, height)].map(|y| &sums[y % 3]);
        let sum = |plane: usize| {
            let rows = above[plane].iter().zip(&here[plane]).zip(&below[plane]);
            rows.map(|((above, here), below)| (above + here + below) as f32)
        };
        strengths.extend(sum(0).zip(sum(1)).zip(sum(2)).map(|((xx, xy), yy)| {
            let (a, c) = (xx * 0.5, yy * 0.5);
            (a + c) - ((a - c) * (a - c) + xy * xy).sqrt()
        }));
    }
    strengths
}

/// Each pixel by 1 2 1 with those left and right, scaled.
#[inline(always)]
fn smoothed(image: &Level) -> Vec<f32> {
    let width = image.width;
    let fused = width - width % BLOCK;
    let mut smoothed = Vec::with_capacity(width * image.height);
    for y in 0..image.height as isize {
        let row = &image.row(y)[BORDER - 1..][..width + 2];
        let (blocks, rest) = (&row[..fused + 2], &row[fused..]);
        smoothed.extend(blocks.windows(3).map(|w| {
            let left = f32::from(w[0]) * SCALE;
            multiply_add(f32::from(w[2]), SCALE, multiply_add(f32::from(w[1]), 2.0 * SCALE, left))
        }));
        smoothed.extend(
            rest.windows(3)
                .map(|w| f32::from(w[0]) * SCALE + f32::from(w[1]) * (2.0 * SCALE) + f32::from(w[2]) * SCALE),
        );
    }
    smoothed
}

/// `a * b + c`, rounded once. In double precision, which holds the sums of scaled 8-bit levels exactly and which, other than
/// `f32::mul_add`, all processors compute in vectors.
#[inline(always)]
fn multiply_add(a: f32, b: f32, c: f32) -> f32 {
    (f64::from(a) * f64::from(b) + f64::from(c)) as f32
}

/// A row of the gradient's products with itself.
struct Products {
    /// By x and x, x and y, y and y, with one pixel more on both sides.
    rows: [Vec<f32>; 3],
}

impl Products {
    fn new(width: usize) -> Self {
        Self { rows: [(); 3].map(|()| vec![0.0; width + 2]) }
    }

    /// The products of row `y`, of three pixels beside each other, into `sums`.
    #[inline(always)]
    fn sum(&mut self, image: &Level, smoothed: &[f32], y: usize, sums: &mut [Vec<f64>; 3]) {
        let (width, height) = (image.width, image.height);
        let [above, here, below] =
            [y as isize - 1, y as isize, y as isize + 1].map(|y| &image.row(y)[BORDER - 1..][..width + 2]);
        let slope = |w: &[u8]| f32::from(w[2]) - f32::from(w[0]);
        let by_x = above.windows(3).zip(here.windows(3)).zip(below.windows(3)).map(|((above, here), below)| {
            multiply_add(slope(above) + slope(below), SCALE, slope(here) * (2.0 * SCALE))
        });
        let smoothed_row = |y: usize| &smoothed[y * width..][..width];
        let rows = smoothed_row(mirrored_after(y, height)).iter().zip(smoothed_row(mirrored_before(y, height)));
        let by_y = rows.map(|(below, above)| below - above);
        let [xx, xy, yy] = &mut self.rows;
        for (x, (by_x, by_y)) in by_x.zip(by_y).enumerate() {
            xx[x + 1] = by_x * by_x;
            xy[x + 1] = by_x * by_y;
            yy[x + 1] = by_y * by_y;
        }
        for (row, sums) in self.rows.iter_mut().zip(sums) {
            row[0] = row[1 + mirrored_after(0, width)];
            row[width + 1] = row[1 + mirrored_before(width - 1, width)];
            for (sum, w) in sums.iter_mut().zip(row.windows(3)) {
                *sum = w.iter().map(|&product| f64::from(product)).sum();
            }
        }
    }
}

/// The place before `at`; the second for the first, as a mirror shows it.
fn mirrored_before(at: usize, len: usize) -> usize {
    if at == 0 { 1.min(len - 1) } else { at - 1 }
}

/// The place after `at`; the last but one for the last.
fn mirrored_after(at: usize, len: usize) -> usize {
    if at + 1 == len { len.saturating_sub(2) } else { at + 1 }
}
