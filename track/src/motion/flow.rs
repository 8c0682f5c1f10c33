//! Where points of one image lie in the next (Lucas and Kanade 1981; in pyramids: Bouguet, *Pyramidal Implementation of the Lucas
//! Kanade Feature Tracker*, 2000).
//!
//! From the coarsest level to the finest, a displacement is refined until the window around the point is most like the window at the
//! displaced place: with the gradients of the first, the sum of squared differences is a quadratic function of the step. Windows are
//! sampled bilinearly in fixed point, to 1/32 of a level, and may reach beyond the image: the border mirrors the image, with no
//! gradient. All sums are exact integers. Fixed point, borders and the rules for ending are those of OpenCV's
//! `calcOpticalFlowPyrLK` (Apache-2.0), followed so that points end where its points end.

use super::pyramid::{BORDER, Level, Pyramid};

/// The side of the window.
const WINDOW: usize = 21;
/// From the window's corner to its centre.
const HALF: f32 = (WINDOW as f32 - 1.0) * 0.5;
/// Columns of a stored window: those beyond [`WINDOW`] have no gradient and count nothing.
const LANES: usize = 24;
/// A stored window's pixels.
const AREA: usize = LANES * WINDOW;
/// Steps on a level, at most.
const MAX_STEPS: usize = 30;
/// A step whose squared length is at most this is the last.
const EPSILON_SQUARED: f64 = 0.01 * 0.01;
/// A step that takes the one before back, to this, is halved and the last.
const BACK_AND_FORTH: f32 = 0.01;
/// The least smaller eigenvalue, per pixel of the window, of a window to follow.
const MIN_EIGENVALUE: f32 = 1e-4;
/// Fractional bits of a bilinear weight.
const WEIGHT_BITS: u32 = 14;
/// Fractional bits of a sampled level.
const LEVEL_BITS: u32 = 5;
/// Sums of products of sampled levels and gradients, both times 32, to levels.
const SUM_SCALE: f32 = 1.0 / (1 << 20) as f32;

/// A window's rows.
type Pixels = [i16; AREA];

/// Where each point of the previous image lies in the next one; nothing for a point that is lost. The pyramids are of one size.
pub(super) fn track(previous: &Pyramid, next: &Pyramid, points: &[[f32; 2]]) -> Vec<Option<[f32; 2]>> {
    // Compiled for the widest vectors that the processor has; results are the same, as the sums are exact.
    pulp::Arch::new().dispatch(Track { previous, next, points })
}

struct Track<'a> {
    previous: &'a Pyramid,
    next: &'a Pyramid,
    points: &'a [[f32; 2]],
}

impl pulp::NullaryFnOnce for Track<'_> {
    type Output = Vec<Option<[f32; 2]>>;

    #[inline(always)]
    fn call(self) -> Self::Output {
        let mut window = Window::default();
        let mut found = Vec::with_capacity(self.points.len());
        for point in self.points {
            found.push(self.track(*point, &mut window));
        }
        found
    }
}

impl Track<'_> {
    #[inline(always)]
    fn track(&self, point: [f32; 2], window: &mut Window) -> Option<[f32; 2]> {
        let mut scale = 0.5_f32.powi(self.previous.levels.len() as i32);
        let mut to = point.map(|at| at * scale);
        let mut found = false;
        for (previous, next) in self.previous.levels.iter().zip(&self.next.levels).rev() {
            scale *= 2.0;
            to = to.map(|at| at * 2.0);
            // Only the finest level, the last, decides.
            found = window.take(previous, point.map(|at| at * scale)) && window.follow(next, &mut to);
        }
        found.then_some(to)
    }
}

/// The pixels around a point.
struct Window {
    levels: Pixels,
    /// By x and by y.
    gradients: [Pixels; 2],
    /// The sums of the gradient's products by x and x, x and y, y and y.
    tensor: [f32; 3],
    determinant: f32,
}

impl Default for Window {
    fn default() -> Self {
        Self { levels: [0; AREA], gradients: [[0; AREA]; 2], tensor: [0.0; 3], determinant: 0.0 }
    }
}

impl Window {
    /// Samples the window around a point; false if it lies outside the level or has too little texture.
    #[inline(always)]
    fn take(&mut self, level: &Level, centre: [f32; 2]) -> bool {
        let Some(place) = Place::new(level, centre.map(|at| at - HALF)) else { return false };
        self.levels = place.levels(level);
        for (axis, gradients) in self.gradients.iter_mut().enumerate() {
            *gradients = place.gradients(level, axis);
        }
        let [by_x, by_y] = &self.gradients;
        self.tensor = [sum_of_products(by_x, by_x), sum_of_products(by_x, by_y), sum_of_products(by_y, by_y)];
        let [xx, xy, yy] = self.tensor;
        self.determinant = xx * yy - xy * xy;
        let eigenvalue = (yy + xx - ((xx - yy) * (xx - yy) + 4.0 * xy * xy).sqrt()) / (2 * WINDOW * WINDOW) as f32;
        eigenvalue >= MIN_EIGENVALUE && self.determinant >= f32::EPSILON
    }

    /// Moves `centre` to where the level is most like the window; false if that leaves the level.
    #[inline(always)]
    fn follow(&self, level: &Level, centre: &mut [f32; 2]) -> bool {
        let [xx, xy, yy] = self.tensor;
        let inverse = 1.0 / self.determinant;
        let mut corner = centre.map(|at| at - HALF);
        let mut before: Option<[f32; 2]> = None;
        for _ in 0..MAX_STEPS {
            let Some(place) = Place::new(level, corner) else { return false };
            let [x, y] = self.differences(level, &place);
            let step = [(xy * y - yy * x) * inverse, (xy * x - xx * y) * inverse];
            corner = [corner[0] + step[0], corner[1] + step[1]];
            *centre = corner.map(|at| at + HALF);
            if step.iter().map(|&along| f64::from(along) * f64::from(along)).sum::<f64>() <= EPSILON_SQUARED {
                break;
            }
            if let Some([x, y]) = before
                && (step[0] + x).abs() < BACK_AND_FORTH
                && (step[1] + y).abs() < BACK_AND_FORTH
            {
                *centre = [centre[0] - step[0] * 0.5, centre[1] - step[1] * 0.5];
                break;
            }
            before = Some(step);
        }
        Place::new(level, centre.map(|at| at - HALF)).is_some()
    }

    /// The sums of the differences to the window, times the window's gradients by x and y.
    #[inline(always)]
    fn differences(&self, level: &Level, place: &Place) -> [f32; 2] {
        let mut differences = place.levels(level);
        for (difference, level) in differences.iter_mut().zip(&self.levels) {
            *difference -= level;
        }
        let [by_x, by_y] = &self.gradients;
        [sum_of_products(&differences, by_x), sum_of_products(&differences, by_y)]
    }
}

/// In levels and derivatives of levels. Each factor is at most 32 times 255, and one of two a derivative, of at most 16 times 255,
/// which is 0 in the columns that do not count: the products of three rows, 63, sum to less than 2^31.
#[inline(always)]
fn sum_of_products(a: &Pixels, b: &Pixels) -> f32 {
    let rows = a.as_chunks::<{ 3 * LANES }>().0.iter().zip(b.as_chunks::<{ 3 * LANES }>().0);
    let sums = rows.map(|(a, b)| a.iter().zip(b).map(|(&a, &b)| i32::from(a) * i32::from(b)).sum::<i32>());
    sums.map(i64::from).sum::<i64>() as f32 * SUM_SCALE
}

/// A window's corner between four pixels.
struct Place {
    column: usize,
    row: isize,
    /// Of the pixels above left, above right, below left, below right.
    weights: [i16; 4],
}

impl Place {
    /// Nothing if the window has no pixel of the level.
    fn new(level: &Level, corner: [f32; 2]) -> Option<Self> {
        let [x, y] = corner.map(f32::floor);
        let inside = |at: f32, side: usize| at >= -(WINDOW as f32) && at < side as f32;
        if !inside(x, level.width) || !inside(y, level.height) {
            return None;
        }
        let (a, b) = (corner[0] - x, corner[1] - y);
        let one = 1_i16 << WEIGHT_BITS;
        let weight = |share: f32| (share * f32::from(one)).round_ties_even() as i16;
        let [above_left, above_right, below_left] =
            [weight((1.0 - a) * (1.0 - b)), weight(a * (1.0 - b)), weight((1.0 - a) * b)];
        let weights = [above_left, above_right, below_left, one - above_left - above_right - below_left];
        Some(Self { column: (x as isize + BORDER as isize) as usize, row: y as isize, weights })
    }

    /// The window's levels, times 32.
    #[inline(always)]
    fn levels(&self, level: &Level) -> Pixels {
        let mut patch = [0; AREA + LANES + 1];
        for (y, out) in (self.row..).zip(patch.as_chunks_mut::<LANES>().0) {
            let row = &level.row(y)[self.column..][..LANES];
            out.iter_mut().zip(row).for_each(|(out, &pixel)| *out = i16::from(pixel));
        }
        self.interpolate::<{ WEIGHT_BITS - LEVEL_BITS }>(&patch)
    }

    /// The window's derivatives along an axis, times 32.
    #[inline(always)]
    fn gradients(&self, level: &Level, axis: usize) -> Pixels {
        let mut patch = [0; AREA + LANES + 1];
        for (y, out) in (self.row..).zip(patch.as_chunks_mut::<LANES>().0) {
            out.copy_from_slice(&level.gradient_row(axis, y)[self.column..][..LANES]);
        }
        let mut gradients = self.interpolate::<WEIGHT_BITS>(&patch);
        for row in gradients.as_chunks_mut::<LANES>().0 {
            row[WINDOW..].fill(0);
        }
        gradients
    }

    /// Between each pixel, the one right of it, and the two below; the last of a row, which does not count, has none right of it.
    #[inline(always)]
    fn interpolate<const DROPPED: u32>(&self, patch: &[i16; AREA + LANES + 1]) -> Pixels {
        let [w0, w1, w2, w3] = self.weights.map(i32::from);
        let mut pixels = [0; AREA];
        for (at, pixel) in pixels.iter_mut().enumerate() {
            let above = i32::from(patch[at]) * w0 + i32::from(patch[at + 1]) * w1;
            let below = i32::from(patch[at + LANES]) * w2 + i32::from(patch[at + LANES + 1]) * w3;
            *pixel = ((above + below + (1 << (DROPPED - 1))) >> DROPPED) as i16;
        }
        pixels
    }
}
