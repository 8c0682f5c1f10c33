//! The loss of a detector, as Ultralytics trains YOLOv8.

use candle_core::{DType, Result, Tensor, bail};
use candle_vision::train::distributed::Communicator;
use ghostzoo_kernels::Real;
use rayon::prelude::*;

use super::Target;
use super::anchors::anchors;
use super::assign::{BoxTarget, Positive};
use super::image_loss::Image;
use super::raw_levels::{BatchSum, Computed, by_image, by_image_mut, cells, loss_dtype, with_elements};
use crate::modules::REG_MAX;

/// What each part of the loss is multiplied by.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LossWeights {
    /// Of `1 − CIoU` of boxes.
    pub boxes: f64,
    /// Of the binary cross entropy of classes.
    pub classes: f64,
    /// Of the distribution focal loss of the boxes' sides.
    pub dfl: f64,
}

impl Default for LossWeights {
    fn default() -> Self {
        Self { boxes: 7.5, classes: 0.5, dfl: 1.5 }
    }
}

/// The loss of a batch.
#[derive(Debug, Clone)]
pub struct Losses {
    /// The scalar to differentiate: the sum of the parts times the number of images. `f64` for levels in `f64`, else
    /// `f32`.
    pub total: Tensor,
    /// Box, class and DFL loss with their gains.
    pub parts: [f64; 3],
}

/// Task-aligned assignment, then CIoU and distribution focal loss of the positive anchors' boxes and binary cross entropy
/// of all anchors' classes, each divided by the sum of the scores that were assigned, at least 1.
///
/// Source: Jocher et al., YOLOv8; Feng et al., <https://arxiv.org/abs/2108.07755>; Zheng et al.,
/// <https://arxiv.org/abs/1911.08287>; Li et al., <https://arxiv.org/abs/2006.04388>.
#[derive(Debug, Clone)]
pub struct DetectionLoss {
    classes: usize,
    strides: Vec<f64>,
    gains: LossWeights,
    /// One per class; none where all are 1.
    class_weights: Option<Vec<f64>>,
}

impl DetectionLoss {
    /// For a detector of `classes` classes with levels of `strides` pixels per cell, the finest first.
    pub fn new(classes: usize, strides: &[f64], gains: LossWeights) -> Self {
        Self { classes, strides: strides.to_vec(), gains, class_weights: None }
    }

    /// Multiplies the cross entropy of each class by its weight, at every anchor.
    ///
    /// # Errors
    /// As many weights as there are classes are wanted, all of them finite and above 0.
    pub fn with_class_weights(self, weights: Vec<f64>) -> Result<Self> {
        if weights.len() != self.classes || !weights.iter().all(|weight| weight.is_finite() && *weight > 0.) {
            bail!("the weights of {} classes must be as many numbers above 0, not {weights:?}", self.classes)
        }
        Ok(Self { class_weights: Some(weights), ..self })
    }

    /// What the parts are multiplied by.
    pub(super) fn gains(&self) -> LossWeights {
        self.gains
    }

    /// The loss of raw levels (n, 4 · 16 + nc, h, w), as [`crate::Yolo::forward_t`] gives them, for the objects of the
    /// n images. Computed on the CPU, wherever the levels are; the gradient by the levels is computed along with it.
    ///
    /// The loss of a batch with NaN among its class logits is NaN.
    ///
    /// # Errors
    /// Levels of another shape; an object of an image or class that is not there, or with a box that is not finite.
    pub fn forward(&self, levels: &[Tensor], targets: &[Target]) -> Result<Losses> {
        self.of(levels, targets, BatchSum::ALONE)
    }

    /// The loss of the batch that the images of all processes of a group make up, of which these are this one's: `parts` are
    /// the same on all of them, and the gradients by their levels are those of the loss of all images, so that a sum over
    /// processes is the gradient by a weight. What is summed of these images is multiplied by `weight`:
    /// [`BatchShard::weight`](candle_vision::train::distributed::BatchShard::weight).
    ///
    /// # Errors
    /// As [`DetectionLoss::forward`]; why the others' sums do not come.
    pub fn forward_together(
        &self,
        levels: &[Tensor],
        targets: &[Target],
        group: &Communicator,
        weight: f64,
    ) -> Result<Losses> {
        self.of(levels, targets, BatchSum::of(group, weight))
    }

    fn of(&self, levels: &[Tensor], targets: &[Target], batch: BatchSum<'_>) -> Result<Losses> {
        let dtype = loss_dtype(levels);
        let levels: Vec<Tensor> = levels.iter().map(|level| level.to_dtype(dtype)).collect::<Result<_>>()?;
        let grid = self.grid(&levels)?;
        let images = levels[0].dim(0)?;
        let size = [0, 1].map(|axis| grid[0].0[1 - axis] as f64 * grid[0].1);
        let objects = self.objects(targets, images, size)?;
        let (total, parts) = match dtype {
            DType::F64 => self.compute::<f64>(&levels, &grid, &objects, batch)?,
            _ => self.compute::<f32>(&levels, &grid, &objects, batch)?,
        };
        Ok(Losses { total, parts })
    }

    /// Height and width in cells of each level, and its stride.
    fn grid(&self, levels: &[Tensor]) -> Result<Vec<([usize; 2], f64)>> {
        if levels.len() != self.strides.len() {
            bail!("a detector with strides {:?} has not {} levels", self.strides, levels.len())
        }
        Ok(cells(levels, self.classes)?.into_iter().zip(self.strides.iter().copied()).collect())
    }

    /// The objects of each image, boxes in pixels of an input of `size`, width and height.
    fn objects(&self, targets: &[Target], images: usize, size: [f64; 2]) -> Result<Vec<Vec<BoxTarget>>> {
        let mut objects = vec![Vec::new(); images];
        for (index, target) in targets.iter().enumerate() {
            let Some(objects) = objects.get_mut(target.image) else {
                bail!("object {index} belongs to image {} of a batch of {images}", target.image)
            };
            if target.class >= self.classes {
                bail!("object {index} has class {}, but the detector has {} classes", target.class, self.classes)
            }
            if !target.xywhn.iter().all(|length| length.is_finite()) {
                bail!("object {index} has no finite box: {:?}", target.xywhn)
            }
            let [x, y, w, h] = target.xywhn.map(f64::from);
            let ([x, w], [y, h]) = ([x, w].map(|x| x * size[0]), [y, h].map(|y| y * size[1]));
            let xyxy = [x - w / 2., y - h / 2., x + w / 2., y + h / 2.];
            objects.push(BoxTarget { class: target.class, xyxy });
        }
        Ok(objects)
    }

    fn compute<T: Real>(
        &self,
        levels: &[Tensor],
        grid: &[([usize; 2], f64)],
        objects: &[Vec<BoxTarget>],
        batch: BatchSum<'_>,
    ) -> Result<(Tensor, [f64; 3])> {
        with_elements::<T, _>(levels, |raw| self.run(raw, grid, objects, batch))?.total(levels, batch)
    }

    /// The loss of the levels whose elements are `raw`.
    fn run<T: Real>(
        &self,
        raw: &[&[T]],
        grid: &[([usize; 2], f64)],
        objects: &[Vec<BoxTarget>],
        batch: BatchSum<'_>,
    ) -> Result<Computed<T, 3>> {
        let channels = 4 * REG_MAX + self.classes;
        let sizes: Vec<usize> = grid.iter().map(|([h, w], _)| channels * h * w).collect();
        let anchors = anchors(grid);
        let least_side = *self.strides.get(1).unwrap_or(&self.strides[0]);

        let parts = by_image(raw, &sizes, objects.len()).into_iter().zip(objects);
        let images: Vec<Image<T>> =
            parts.map(|(levels, objects)| Image { levels, objects, anchors: &anchors }).collect();
        let positives: Vec<Vec<Positive>> = images.par_iter().map(|image| image.positives(least_side)).collect();
        let scores = positives.iter().map(|positives| positives.iter().map(|positive| positive.score).sum::<f64>());
        let [scores, count] = batch.sum([scores.sum::<f64>(), images.len() as f64])?;
        // A number below 1 becomes 1, NaN stays.
        let scale = 1. / if scores < 1. { 1. } else { scores };

        let mut gradients: Vec<Vec<T>> = raw.iter().map(|raw| vec![T::zero(); raw.len()]).collect();
        let gradients_by_image = by_image_mut(&mut gradients, &sizes, images.len());
        let scales = [self.gains.boxes, self.gains.classes, self.gains.dfl].map(|gain| gain * scale);
        let total_scales = scales.map(|scale| scale * count);
        let weights = self.class_weights.as_deref();
        let work = images.par_iter().zip(&positives).zip(gradients_by_image);
        let sums: Vec<[f64; 3]> = work
            .map(|((image, positives), gradient)| image.terms(positives, total_scales, weights, gradient))
            .collect();
        let sums = batch.sum([0, 1, 2].map(|part| sums.iter().map(|sums| sums[part]).sum::<f64>()))?;
        let parts = [0, 1, 2].map(|part| scales[part] * sums[part]);
        Ok(Computed { parts, images: count, gradients })
    }
}
