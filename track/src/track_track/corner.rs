//! Directions in which the corners of a box move.

use std::f64::consts::PI;

/// Keeps the direction of a corner at rest finite, in pixels.
const LEAST_DISPLACEMENT: f64 = 1e-5;

/// x and y for each corner: left top, left bottom, right top, right bottom. A vector is as long as the corner's way is straight: 1
/// at most, 0 at rest.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct CornerDirections([[f64; 2]; 4]);

impl CornerDirections {
    /// Unit vectors from the corners of a box (left, top, right, bottom) to those of another; zero for a corner at rest.
    pub(super) fn between(from: &[f64; 4], to: &[f64; 4]) -> Self {
        Self([[0, 1], [0, 3], [2, 1], [2, 3]].map(|[horizontal, vertical]| {
            let (x, y) = (to[horizontal] - from[horizontal], to[vertical] - from[vertical]);
            let length = (x * x + y * y).sqrt() + LEAST_DISPLACEMENT;
            [x / length, y / length]
        }))
    }

    /// Adds `part` of the vectors of `other`.
    pub(super) fn add(&mut self, other: &Self, part: f64) {
        for (sum, term) in self.0.iter_mut().zip(&other.0) {
            *sum = [sum[0] + part * term[0], sum[1] + part * term[1]];
        }
    }

    /// Mean of the corners' angles to `other`, in units of π: from 0 to 1. A corner at rest is halfway.
    pub(super) fn angle_to(&self, other: &Self) -> f64 {
        let angle = |(a, b): (&[f64; 2], &[f64; 2])| (a[0] * b[0] + a[1] * b[1]).clamp(-1.0, 1.0).acos();
        self.0.iter().zip(&other.0).map(angle).sum::<f64>() / (4.0 * PI)
    }
}
