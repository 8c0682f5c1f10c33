//! Losses of classifiers and of detectors' class scores, stable at any size of the logits.

mod bce;

use candle_core::{D, DType, Device, Result, Tensor, bail};

pub use bce::bce_with_logits;

/// Logarithm of the softmax over the last dimension.
pub fn log_softmax(xs: &Tensor) -> Result<Tensor> {
    // The maximum cancels, and so would its gradient.
    let shifted = xs.broadcast_sub(&xs.max_keepdim(D::Minus1)?.detach())?;
    shifted.broadcast_sub(&shifted.exp()?.sum_keepdim(D::Minus1)?.log()?)
}

/// Distributions over the classes (n, num_classes): `1 − smoothing` on each image's class and `smoothing` on all alike.
///
/// PyTorch's `label_smoothing`, and what timm mixes. Source: Szegedy et al., <https://arxiv.org/abs/1512.00567>.
pub fn class_targets(
    classes: &[u32],
    num_classes: usize,
    smoothing: f64,
    dtype: DType,
    device: &Device,
) -> Result<Tensor> {
    let mut targets = vec![smoothing / num_classes as f64; classes.len() * num_classes];
    for (index, class) in classes.iter().enumerate() {
        match targets[index * num_classes..][..num_classes].get_mut(*class as usize) {
            Some(target) => *target += 1. - smoothing,
            None => bail!("image {index} of the batch has class {class}, of {num_classes} from 0"),
        }
    }
    Tensor::from_vec(targets, (classes.len(), num_classes), &Device::Cpu)?.to_dtype(dtype)?.to_device(device)
}

/// `−Σ target·log softmax(logits)`, averaged over the batch: logits and targets (n, num_classes) to a scalar.
///
/// The targets are distributions: of [`class_targets`], or mixed as mixup and CutMix do.
pub fn cross_entropy(logits: &Tensor, targets: &Tensor) -> Result<Tensor> {
    (log_softmax(logits)? * targets)?.sum(D::Minus1)?.mean_all()?.neg()
}

/// Kullback-Leibler divergence of the student's distribution from the teacher's, both at `temperature`, times its square
/// and averaged over the batch: logits (n, num_classes) to a scalar. The teacher gets no gradient.
///
/// Source: Hinton et al., <https://arxiv.org/abs/1503.02531>.
pub fn distill_soft(student: &Tensor, teacher: &Tensor, temperature: f64) -> Result<Tensor> {
    let student = log_softmax(&(student / temperature)?)?;
    let teacher = log_softmax(&(teacher.detach() / temperature)?)?;
    let divergence = (teacher.exp()? * (&teacher - student)?)?.sum(D::Minus1)?.mean_all()?;
    divergence * (temperature * temperature)
}

/// [`cross_entropy`] with the teacher's most likely class: logits (n, num_classes) to a scalar.
///
/// Source: Touvron et al., DeiT, <https://arxiv.org/abs/2012.12877>.
pub fn distill_hard(student: &Tensor, teacher: &Tensor) -> Result<Tensor> {
    let classes = teacher.detach().argmax(D::Minus1)?.to_vec1::<u32>()?;
    let targets = class_targets(&classes, student.dim(D::Minus1)?, 0., student.dtype(), student.device())?;
    cross_entropy(student, &targets)
}

/// `(1 − alpha)·task + alpha·distillation`, as GhostNetV3 mixes the two: <https://arxiv.org/abs/2404.11202>.
pub fn distilled(task: &Tensor, distillation: &Tensor, alpha: f64) -> Result<Tensor> {
    (task * (1. - alpha))? + (distillation * alpha)?
}

#[cfg(test)]
mod tests;
