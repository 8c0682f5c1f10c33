//! The loss of a detector, as Ultralytics trains YOLOv8.

use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CustomOp1, DType, Device, Layout, Result, Shape, Storage, Tensor, bail};
use candle_vision::train::distributed::Communicator;
use ghostzoo_kernels::Real;
use rayon::prelude::*;

use super::Target;
use super::anchors::anchors;
use super::assign::{BoxTarget, Positive};
use super::image_loss::Image;
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

/// Of sums over this process's images, those over all images of the batch.
type Sum<'a> = &'a dyn Fn([f64; 3]) -> Result<[f64; 3]>;

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

    /// The loss of raw levels (n, 4 · 16 + nc, h, w), as [`crate::Yolo::forward_t`] gives them, for the objects of the
    /// n images. Computed on the CPU, wherever the levels are; the gradient by the levels is computed along with it.
    ///
    /// The loss of a batch with NaN among its class logits is NaN.
    ///
    /// # Errors
    /// Levels of another shape; an object of an image or class that is not there, or with a box that is not finite.
    pub fn forward(&self, levels: &[Tensor], targets: &[Target]) -> Result<Losses> {
        self.of(levels, targets, &Ok)
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
        let sum = |values: [f64; 3]| -> Result<[f64; 3]> {
            let sums = group.sum(&values.map(|value| weight * value))?;
            Ok([sums[0], sums[1], sums[2]])
        };
        let Losses { total, parts } = self.of(levels, targets, &sum)?;
        Ok(Losses { total: if weight == 1. { total } else { (total * weight)? }, parts })
    }

    fn of(&self, levels: &[Tensor], targets: &[Target], sum: Sum<'_>) -> Result<Losses> {
        let double = levels.iter().any(|level| level.dtype() == DType::F64);
        let dtype = if double { DType::F64 } else { DType::F32 };
        let levels: Vec<Tensor> = levels.iter().map(|level| level.to_dtype(dtype)).collect::<Result<_>>()?;
        let grid = self.grid(&levels)?;
        let images = levels[0].dim(0)?;
        let size = [0, 1].map(|axis| grid[0].0[1 - axis] as f64 * grid[0].1);
        let objects = self.objects(targets, images, size)?;
        let (parts, images, gradients) = match dtype {
            DType::F64 => self.run::<f64>(&levels, &grid, &objects, sum)?,
            _ => self.run::<f32>(&levels, &grid, &objects, sum)?,
        };
        let mut total = Tensor::zeros((), dtype, levels[0].device())?;
        for (index, (level, gradient)) in levels.iter().zip(gradients).enumerate() {
            let value = if index == 0 { images * parts.iter().sum::<f64>() } else { 0. };
            total = (total + with_gradient(level, value, gradient)?)?;
        }
        Ok(Losses { total, parts })
    }

    /// Height and width in cells of each level, and its stride.
    fn grid(&self, levels: &[Tensor]) -> Result<Vec<([usize; 2], f64)>> {
        if levels.len() != self.strides.len() || levels.is_empty() {
            bail!("a detector with strides {:?} has not {} levels", self.strides, levels.len())
        }
        let images = levels[0].dims().first();
        let mut grid = Vec::new();
        for (level, stride) in levels.iter().zip(&self.strides) {
            let (batch, channels, h, w) = level.dims4()?;
            if channels != 4 * REG_MAX + self.classes || Some(&batch) != images || batch * h * w == 0 {
                let expected = 4 * REG_MAX + self.classes;
                bail!("raw levels must be (n, {expected}, h, w) of the same images, got {:?}", level.dims())
            }
            grid.push(([h, w], *stride));
        }
        Ok(grid)
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

    /// The parts, and the gradient of the total by each level.
    fn run<T: Real>(
        &self,
        levels: &[Tensor],
        grid: &[([usize; 2], f64)],
        objects: &[Vec<BoxTarget>],
        sum: Sum<'_>,
    ) -> Result<([f64; 3], f64, Vec<Tensor>)> {
        let host = |level: &Tensor| level.detach().to_device(&Device::Cpu)?.contiguous();
        let host: Vec<Tensor> = levels.iter().map(host).collect::<Result<_>>()?;
        let storages: Vec<_> = host.iter().map(Tensor::storage_and_layout).collect();
        let mut raw: Vec<&[T]> = Vec::new();
        for (storage, layout) in &storages {
            let (Storage::Cpu(storage), Some((start, end))) = (&**storage, layout.contiguous_offsets()) else {
                bail!("a contiguous level on the CPU")
            };
            raw.push(&storage.as_slice::<T>()?[start..end]);
        }
        let channels = 4 * REG_MAX + self.classes;
        let sizes: Vec<usize> = grid.iter().map(|([h, w], _)| channels * h * w).collect();
        let anchors = anchors(grid);
        let least_side = *self.strides.get(1).unwrap_or(&self.strides[0]);

        let number = |image: usize| Image {
            levels: raw.iter().zip(&sizes).map(|(raw, size)| &raw[image * size..][..*size]).collect(),
            objects: &objects[image],
            anchors: &anchors,
        };
        let images: Vec<Image<T>> = (0..objects.len()).map(number).collect();
        let positives: Vec<Vec<Positive>> = images.par_iter().map(|image| image.positives(least_side)).collect();
        let scores = positives.iter().map(|positives| positives.iter().map(|positive| positive.score).sum::<f64>());
        let [scores, count, _] = sum([scores.sum::<f64>(), images.len() as f64, 0.])?;
        // A number below 1 becomes 1, NaN stays.
        let scale = 1. / if scores < 1. { 1. } else { scores };

        let mut gradients: Vec<Vec<T>> = raw.iter().map(|raw| vec![T::zero(); raw.len()]).collect();
        let mut by_image: Vec<Vec<&mut [T]>> = images.iter().map(|_| Vec::new()).collect();
        for (gradient, size) in gradients.iter_mut().zip(&sizes) {
            by_image.iter_mut().zip(gradient.chunks_exact_mut(*size)).for_each(|(all, part)| all.push(part));
        }
        let scales = [self.gains.boxes, self.gains.classes, self.gains.dfl].map(|gain| gain * scale);
        let total_scales = scales.map(|scale| scale * count);
        let weights = self.class_weights.as_deref();
        let work = images.par_iter().zip(&positives).zip(by_image);
        let sums: Vec<[f64; 3]> = work
            .map(|((image, positives), gradient)| image.terms(positives, total_scales, weights, gradient))
            .collect();
        let sums = sum([0, 1, 2].map(|part| sums.iter().map(|sums| sums[part]).sum::<f64>()))?;
        let parts = [0, 1, 2].map(|part| scales[part] * sums[part]);

        let tensor = |(gradient, level): (Vec<T>, &Tensor)| {
            Tensor::from_vec(gradient, level.shape(), &Device::Cpu)?.to_device(level.device())
        };
        Ok((parts, count, gradients.into_iter().zip(levels).map(tensor).collect::<Result<_>>()?))
    }
}

/// A scalar of `value` whose gradient by `xs` is `gradient`.
fn with_gradient(xs: &Tensor, value: f64, gradient: Tensor) -> Result<Tensor> {
    if xs.device().is_cpu() { xs.apply_op1(Known { value, gradient }) } else { compose(xs, value, &gradient) }
}

/// The same on any device: adds exactly 0, at the cost of some passes over the elements.
pub(super) fn compose(xs: &Tensor, value: f64, gradient: &Tensor) -> Result<Tensor> {
    (xs - xs.detach())?.mul(gradient)?.sum_all()? + value
}

/// A function whose value and gradient are known.
struct Known {
    value: f64,
    gradient: Tensor,
}

impl CustomOp1 for Known {
    fn name(&self) -> &'static str {
        "detection-loss"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, _: &Layout) -> Result<(CpuStorage, Shape)> {
        let value = match storage {
            CpuStorage::F64(_) => CpuStorage::F64(vec![self.value]),
            CpuStorage::F32(_) => CpuStorage::F32(vec![self.value as f32]),
            other => bail!("a loss of {:?}", other.dtype()),
        };
        Ok((value, ().into()))
    }

    fn bwd(&self, _: &Tensor, _: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        let scale = grad.to_dtype(DType::F64)?.to_scalar::<f64>()?;
        Ok(Some(if scale == 1. { self.gradient.clone() } else { (&self.gradient * scale)? }))
    }
}
