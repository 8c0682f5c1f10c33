//! Batches of changing sizes.

use std::ops::Range;

use candle_vision::train::stream;
use rand::Rng;
use rayon::prelude::*;

/// Place of the random numbers.
const SIZE: u64 = u64::from_be_bytes(*b"det-size");

/// The sizes that batches are scaled to, one for each iteration: a function of the seed and the iteration's number.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MultiScale {
    /// Longer side of the batches as they are made.
    pub imgsz: usize,
    /// How far sizes go from there, as a share of it: Ultralytics' `multi_scale`, 0 to 1.
    pub share: f64,
    /// What sides are multiples of.
    pub stride: usize,
    /// Of the random numbers.
    pub seed: u64,
}

impl MultiScale {
    /// What a size is drawn from, each number as probable; the size is the largest multiple of the stride up to it.
    #[must_use]
    pub fn range(&self) -> Range<usize> {
        let Self { imgsz, share, stride, .. } = *self;
        let low = (imgsz as f64 * (1. - share)) as usize;
        let high = (imgsz as f64 * (1. + share) + stride as f64) as usize;
        low.max(stride)..high
    }

    /// The smallest size.
    #[must_use]
    pub fn least(&self) -> usize {
        self.round(self.range().start)
    }

    /// The longer side of the batch of an iteration.
    #[must_use]
    pub fn size(&self, iteration: usize) -> usize {
        let range = self.range();
        let drawn = stream(self.seed, &[SIZE, iteration as u64]).random_range(range.start as u64..range.end as u64);
        self.round(drawn as usize)
    }

    /// [height, width] of a batch of this shape at a size: each side scaled and rounded up to a multiple of the stride.
    #[must_use]
    pub fn shape(&self, size: usize, shape: [usize; 2]) -> [usize; 2] {
        let longer = shape[0].max(shape[1]);
        if size == longer {
            return shape;
        }
        let factor = size as f64 / longer as f64;
        shape.map(|side| (side as f64 * factor / self.stride as f64).ceil() as usize * self.stride)
    }

    fn round(&self, size: usize) -> usize {
        size / self.stride * self.stride
    }
}

/// Planes of `from` = [height, width] scaled to `to`, linearly between the middles of pixels: PyTorch's
/// `interpolate(mode="bilinear", align_corners=False)`, whose values it has but for rounding.
pub(super) fn resize_bilinear(planes: &[f32], from: [usize; 2], to: [usize; 2]) -> Vec<f32> {
    let [rows, columns] = [0, 1].map(|axis| taps(from[axis], to[axis]));
    let (area, size) = (from[0] * from[1], to[0] * to[1]);
    let mut scaled = vec![0.; planes.len() / area.max(1) * size];
    let work = scaled.par_chunks_exact_mut(size.max(1)).zip(planes.par_chunks_exact(area.max(1)));
    work.for_each(|(scaled, plane)| {
        for (row, out) in rows.iter().zip(scaled.chunks_exact_mut(to[1])) {
            let [above, below] = row.places.map(|y| &plane[y * from[1]..][..from[1]]);
            for (column, out) in columns.iter().zip(out) {
                let across = |line: &[f32]| {
                    let [left, right] = column.places.map(|x| line[x]);
                    column.weights[0] * left + column.weights[1] * right
                };
                *out = row.weights[0] * across(above) + row.weights[1] * across(below);
            }
        }
    });
    scaled
}

/// The two pixels that one lies between.
struct Tap {
    places: [usize; 2],
    weights: [f32; 2],
}

fn taps(from: usize, to: usize) -> Vec<Tap> {
    let scale = from as f32 / to as f32;
    let tap = |place: usize| {
        // Fused, as PyTorch's vector code does it: rounded twice, it would be off by the epsilon of the place.
        let middle = scale.mul_add(place as f32 + 0.5, -0.5).max(0.);
        let first = (middle as usize).min(from - 1);
        let share = (middle - first as f32).clamp(0., 1.);
        Tap { places: [first, (first + 1).min(from - 1)], weights: [1. - share, share] }
    };
    (0..to).map(tap).collect()
}

#[cfg(test)]
mod tests {
    use crate::seeded;
    use candle_core::{Device, Shape};
    use serde::Deserialize;

    use super::*;
    use crate::train::golden::options;

    #[derive(Deserialize)]
    struct Case {
        imgsz: usize,
        share: f64,
        shape: [usize; 2],
        range: [usize; 2],
        value: usize,
        out: [usize; 2],
        mean: f64,
        samples: Vec<f64>,
    }

    #[test]
    fn sizes_shapes_and_pixels_are_those_of_ultralytics() {
        let cases: Vec<Case> = options("multi_scale");
        assert_eq!(cases.len(), 8);
        for (number, case) in cases.into_iter().enumerate() {
            let scale = MultiScale { imgsz: case.imgsz, share: case.share, stride: 32, seed: 0 };
            assert_eq!(scale.range(), case.range[0]..case.range[1], "{number}");
            assert_eq!(scale.shape(scale.round(case.value), case.shape), case.out, "{number}");
            let shape = Shape::from(3 * case.shape[0] * case.shape[1]);
            let noise = seeded::uniform(&format!("multi {number}"), &shape, &Device::Cpu).unwrap();
            let levels = noise.to_vec1::<f32>().unwrap().into_iter().map(|level| ((level + 1.) * 128.) as u8);
            let values: Vec<f32> = levels.map(|level| f32::from(level) / 255.).collect();
            let found = resize_bilinear(&values, case.shape, case.out);
            assert_eq!(found.len(), 3 * case.out[0] * case.out[1]);
            let mean = found.iter().copied().map(f64::from).sum::<f64>() / found.len() as f64;
            assert!((mean - case.mean).abs() < 1e-7, "{number}: {mean} is not {}", case.mean);
            for (index, expected) in case.samples.iter().enumerate() {
                let place = index * found.len() / case.samples.len();
                let gap = (f64::from(found[place]) - expected).abs();
                // Three roundings of f32 below 1, in another order.
                assert!(gap < 1.8e-7, "{number}: {} is not {expected}", found[place]);
            }
        }
    }

    #[test]
    fn a_size_is_a_function_of_seed_and_iteration_and_each_is_as_probable() {
        let scale = MultiScale { imgsz: 128, share: 0.5, stride: 32, seed: 3 };
        let sizes: Vec<usize> = (0..4000).map(|iteration| scale.size(iteration)).collect();
        assert_eq!(sizes, (0..4000).map(|iteration| scale.size(iteration)).collect::<Vec<_>>());
        let other = MultiScale { seed: 4, ..scale };
        assert!((0..64).any(|iteration| other.size(iteration) != sizes[iteration]));
        assert_eq!(scale.least(), 64);
        for size in [64, 96, 128, 160, 192] {
            let count = sizes.iter().filter(|found| **found == size).count() as f64;
            // Five standard errors of 4000 draws with probability 1/5.
            assert!((count - 800.).abs() < 5. * (4000f64 * 0.2 * 0.8).sqrt(), "{size}: {count}");
        }
    }
}
