//! What a detector learns from the answers of another.

use candle_core::{DType, Result, Tensor, bail};
use candle_vision::train::distributed::Communicator;
use ghostzoo_kernels::Real;
use rayon::prelude::*;

use super::LossWeights;
use super::distill_terms::{box_terms, class_terms, confidences};
use super::raw_levels::{BatchSum, Computed, by_image, by_image_mut, cells, loss_dtype, with_elements};
use crate::modules::REG_MAX;

/// How far a student's answers are from its teacher's: another detector of the same classes and strides, of whatever widths.
///
/// With the teacher's probabilities t of an anchor's classes and the student's s, the classes' part is the sum of
/// |t − s| · BCE(s, t), in which the factor |t − s| is a constant for the gradient. The boxes' part is the sum of an anchor's
/// largest t times the Kullback-Leibler divergence of the student's distribution over 16 bins from the teacher's, the mean of
/// the four sides. Both sums are over all anchors, divided by the sum of their largest t, at least 1, and multiplied by the
/// gains of the class and of the distribution focal loss and by a weight of their own.
///
/// Source: Yang et al., <https://arxiv.org/abs/2308.14286> (classes); Zheng et al., <https://arxiv.org/abs/2102.12252> (boxes,
/// at temperature 1).
#[derive(Debug, Clone)]
pub struct DistillationLoss {
    classes: usize,
    gains: LossWeights,
    weight: f64,
}

/// The distillation loss of a batch.
#[derive(Debug, Clone)]
pub struct DistillationLosses {
    /// The scalar to differentiate: the sum of the parts times the number of images. `f64` for levels in `f64`, else
    /// `f32`.
    pub total: Tensor,
    /// Class and box part, with their gains and the weight.
    pub parts: [f64; 2],
}

impl DistillationLoss {
    /// For detectors of `classes` classes, times `weight`.
    pub fn new(classes: usize, gains: LossWeights, weight: f64) -> Self {
        Self { classes, gains, weight }
    }

    /// The loss of a student's raw levels (n, 4 · 16 + nc, h, w), as [`crate::Yolo::forward_t`] gives them, and of its
    /// teacher's for the same images. Computed on the CPU, wherever the levels are; the gradient by the student's levels is
    /// computed along with it, and the teacher's are constants.
    ///
    /// The loss of a batch with NaN among the logits is NaN.
    ///
    /// # Errors
    /// Levels of another shape, or of others than the teacher's.
    pub fn forward(&self, student: &[Tensor], teacher: &[Tensor]) -> Result<DistillationLosses> {
        self.of(student, teacher, BatchSum::ALONE)
    }

    /// The loss of the batch that the images of all processes of a group make up, as
    /// [`DetectionLoss::forward_together`](super::DetectionLoss::forward_together) has it.
    ///
    /// # Errors
    /// As [`DistillationLoss::forward`]; why the others' sums do not come.
    pub fn forward_together(
        &self,
        student: &[Tensor],
        teacher: &[Tensor],
        group: &Communicator,
        weight: f64,
    ) -> Result<DistillationLosses> {
        self.of(student, teacher, BatchSum::of(group, weight))
    }

    fn of(&self, student: &[Tensor], teacher: &[Tensor], batch: BatchSum<'_>) -> Result<DistillationLosses> {
        let dtype = loss_dtype(student);
        let of_dtype = |levels: &[Tensor]| levels.iter().map(|level| level.to_dtype(dtype)).collect::<Result<Vec<_>>>();
        let (student, teacher) = (of_dtype(student)?, of_dtype(teacher)?);
        let cells = self.cells(&student, &teacher)?;
        let (total, parts) = match dtype {
            DType::F64 => self.compute::<f64>(&student, &teacher, &cells, batch)?,
            _ => self.compute::<f32>(&student, &teacher, &cells, batch)?,
        };
        Ok(DistillationLosses { total, parts })
    }

    /// Cells of each level.
    fn cells(&self, student: &[Tensor], teacher: &[Tensor]) -> Result<Vec<usize>> {
        let dims = |levels: &[Tensor]| levels.iter().map(|level| level.dims().to_vec()).collect::<Vec<_>>();
        let (own, theirs) = (dims(student), dims(teacher));
        if own != theirs {
            bail!("a student and its teacher have levels of the same shapes, got {own:?} and {theirs:?}")
        }
        Ok(cells(student, self.classes)?.iter().map(|[h, w]| h * w).collect())
    }

    fn compute<T: Real>(
        &self,
        student: &[Tensor],
        teacher: &[Tensor],
        cells: &[usize],
        batch: BatchSum<'_>,
    ) -> Result<(Tensor, [f64; 2])> {
        let run = |own: &[&[T]]| with_elements(teacher, |theirs| self.run([own, theirs], cells, batch));
        with_elements(student, run)?.total(student, batch)
    }

    /// The loss of the student's and the teacher's levels whose elements are `raw`, of so many `cells` each.
    fn run<T: Real>(&self, raw: [&[&[T]]; 2], cells: &[usize], batch: BatchSum<'_>) -> Result<Computed<T, 2>> {
        let channels = 4 * REG_MAX + self.classes;
        let sizes: Vec<usize> = cells.iter().map(|cells| channels * cells).collect();
        let images = raw[0].first().zip(sizes.first()).map_or(0, |(level, size)| level.len() / size);
        let [own, theirs] = raw.map(|levels| by_image(levels, &sizes, images));
        let pairs = own.into_iter().zip(theirs);
        let pairs: Vec<Pair<T>> = pairs.map(|(student, teacher)| Pair { student, teacher, cells }).collect();
        let confidences: Vec<Vec<Vec<T>>> = pairs.par_iter().map(Pair::confidences).collect();
        let confidence = |image: &Vec<Vec<T>>| image.iter().flatten().map(|t| t.to_wide()).sum::<f64>();
        let [confidence, count] = batch.sum([confidences.iter().map(confidence).sum(), images as f64])?;
        // A number below 1 becomes 1, NaN stays.
        let scale = self.weight / if confidence < 1. { 1. } else { confidence };

        let mut gradients: Vec<Vec<T>> = raw[0].iter().map(|raw| vec![T::zero(); raw.len()]).collect();
        let gradients_by_image = by_image_mut(&mut gradients, &sizes, images);
        let scales = [self.gains.classes, self.gains.dfl].map(|gain| gain * scale);
        let total_scales = scales.map(|scale| scale * count);
        let work = pairs.par_iter().zip(&confidences).zip(gradients_by_image);
        let sums: Vec<[f64; 2]> =
            work.map(|((pair, confidences), gradient)| pair.terms(confidences, total_scales, gradient)).collect();
        let sums = batch.sum([0, 1].map(|part| sums.iter().map(|sums| sums[part]).sum::<f64>()))?;
        let parts = [0, 1].map(|part| scales[part] * sums[part]);
        Ok(Computed { parts, images: count, gradients })
    }
}

/// One image: its raw levels, each (4 · 16 + nc, cells), by both.
struct Pair<'a, T> {
    student: Vec<&'a [T]>,
    teacher: Vec<&'a [T]>,
    cells: &'a [usize],
}

impl<T: Real> Pair<'_, T> {
    /// The teacher's highest class probability at each anchor, by level.
    fn confidences(&self) -> Vec<Vec<T>> {
        let levels = self.teacher.iter().zip(self.cells);
        levels.map(|(level, &cells)| confidences(&level[4 * REG_MAX * cells..], cells)).collect()
    }

    /// Sums of the class and box terms; `gradient`, of the student's levels, becomes that of their sum weighted by `scales`.
    fn terms(&self, confidences: &[Vec<T>], scales: [f64; 2], gradient: Vec<&mut [T]>) -> [f64; 2] {
        let mut sums = [0.; 2];
        let levels = self.student.iter().zip(&self.teacher).zip(gradient);
        for (((student, teacher), gradient), confidences) in levels.zip(confidences) {
            let boxes = 4 * REG_MAX * confidences.len();
            let (box_gradient, class_gradient) = gradient.split_at_mut(boxes);
            sums[0] += class_terms(&student[boxes..], &teacher[boxes..], scales[0], class_gradient);
            sums[1] += box_terms(&student[..boxes], &teacher[..boxes], confidences, scales[1], box_gradient);
        }
        sums
    }
}
