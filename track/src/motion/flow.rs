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
/// The side of a stored window: its columns beyond [`WINDOW`] have no gradient and count nothing.
const LANES: usize = 24;
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

/// Where each point of the previous image lies in the next one; nothing for a point that is lost. The pyramids are of one size.
pub(super) fn track(previous: &Pyramid, next: &Pyramid, points: &[[f32; 2]]) -> Vec<Option<[f32; 2]>> {
    let mut window = Window::default();
    let mut levels: Vec<(&Level, &Level)> = previous.levels.iter().zip(&next.levels).collect();
    levels.reverse();
    let track = |&point: &[f32; 2]| {
        let mut scale = 0.5_f32.powi(levels.len() as i32);
        let mut to = point.map(|at| at * scale);
        let mut found = false;
        for &(previous, next) in &levels {
            scale *= 2.0;
            to = to.map(|at| at * 2.0);
            // Only the finest level, the last, decides.
            found = window.take(previous, point.map(|at| at * scale)) && window.follow(next, &mut to);
        }
        found.then_some(to)
    };
    points.iter().map(track).collect()
}

/// The pixels around a point.
struct Window {
    levels: [[i16; LANES]; WINDOW],
    /// By x and by y.
    gradients: [[[i16; LANES]; 2]; WINDOW],
    /// The sums of the gradient's products by x and x, x and y, y and y.
    tensor: [f32; 3],
    determinant: f32,
}

impl Default for Window {
    fn default() -> Self {
        Self { levels: [[0; LANES]; WINDOW], gradients: [[[0; LANES]; 2]; WINDOW], tensor: [0.0; 3], determinant: 0.0 }
    }
}

impl Window {
    /// Samples the window around a point; false if it lies outside the level or has too little texture.
    fn take(&mut self, level: &Level, centre: [f32; 2]) -> bool {
        let Some(place) = Place::new(level, centre.map(|at| at - HALF)) else { return false };
        let mut sums = [0_i64; 3];
        for (y, (levels, gradients)) in self.levels.iter_mut().zip(&mut self.gradients).enumerate() {
            *levels = place.levels(level, y);
            for (axis, gradients) in gradients.iter_mut().enumerate() {
                *gradients = place.gradients(level, axis, y);
            }
            let [by_x, by_y] = &*gradients;
            for (sum, (a, b)) in sums.iter_mut().zip([(by_x, by_x), (by_x, by_y), (by_y, by_y)]) {
                *sum += i64::from(dot(a, b));
            }
        }
        self.tensor = sums.map(|sum| sum as f32 * SUM_SCALE);
        let [xx, xy, yy] = self.tensor;
        self.determinant = xx * yy - xy * xy;
        let eigenvalue = (yy + xx - ((xx - yy) * (xx - yy) + 4.0 * xy * xy).sqrt()) / (2 * WINDOW * WINDOW) as f32;
        eigenvalue >= MIN_EIGENVALUE && self.determinant >= f32::EPSILON
    }

    /// Moves `centre` to where the level is most like the window; false if that leaves the level.
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
    fn differences(&self, level: &Level, place: &Place) -> [f32; 2] {
        let mut sums = [0_i64; 2];
        for (y, (levels, gradients)) in self.levels.iter().zip(&self.gradients).enumerate() {
            let mut differences = place.levels(level, y);
            for (difference, level) in differences.iter_mut().zip(levels) {
                *difference -= level;
            }
            for (sum, gradients) in sums.iter_mut().zip(gradients) {
                *sum += i64::from(dot(&differences, gradients));
            }
        }
        sums.map(|sum| sum as f32 * SUM_SCALE)
    }
}

/// At most 21 products of less than 2^25: no sum overflows.
fn dot(a: &[i16; LANES], b: &[i16; LANES]) -> i32 {
    a.iter().zip(b).map(|(&a, &b)| i32::from(a) * i32::from(b)).sum()
}

/// A window's corner between four pixels.
struct Place {
    column: usize,
    row: isize,
    /// Of the pixels above left, above right, below left, below right.
    weights: [i32; 4],
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
        let one = 1 << WEIGHT_BITS;
        let weight = |share: f32| (share * one as f32).round_ties_even() as i32;
        let [above_left, above_right, below_left] =
            [weight((1.0 - a) * (1.0 - b)), weight(a * (1.0 - b)), weight((1.0 - a) * b)];
        let weights = [above_left, above_right, below_left, one - above_left - above_right - below_left];
        Some(Self { column: (x as isize + BORDER as isize) as usize, row: y as isize, weights })
    }

    /// Row `y` of the window, times 32.
    fn levels(&self, level: &Level, y: usize) -> [i16; LANES] {
        let row = self.row + y as isize;
        let [above, below] = [row, row + 1].map(|row| &level.row(row)[self.column..][..LANES + 1]);
        self.interpolate::<u8, { WEIGHT_BITS - LEVEL_BITS }>(above, below)
    }

    /// Row `y` of the window's derivatives along an axis, times 32.
    fn gradients(&self, level: &Level, axis: usize, y: usize) -> [i16; LANES] {
        let row = self.row + y as isize;
        let [above, below] = [row, row + 1].map(|row| &level.gradient_row(axis, row)[self.column..][..LANES + 1]);
        let mut gradients = self.interpolate::<i16, WEIGHT_BITS>(above, below);
        gradients[WINDOW..].fill(0);
        gradients
    }

    fn interpolate<T: Copy + Into<i32>, const DROPPED: u32>(&self, above: &[T], below: &[T]) -> [i16; LANES] {
        let [w0, w1, w2, w3] = self.weights;
        let (above, below) = (&above[..LANES + 1], &below[..LANES + 1]);
        std::array::from_fn(|x| {
            let sum = above[x].into() * w0 + above[x + 1].into() * w1 + below[x].into() * w2 + below[x + 1].into() * w3;
            ((sum + (1 << (DROPPED - 1))) >> DROPPED) as i16
        })
    }
}
