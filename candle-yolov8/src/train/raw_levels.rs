//! Raw levels as the losses read them, sums over a batch, and scalars whose gradients are known.

use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CustomOp1, DType, Device, Layout, Result, Shape, Storage, Tensor, bail};
use candle_vision::train::distributed::Communicator;
use ghostzoo_kernels::Real;

use crate::modules::REG_MAX;

/// The type that a loss of levels computes in: `f64` where one of them is of that, else `f32`.
pub(super) fn loss_dtype(levels: &[Tensor]) -> DType {
    if levels.iter().any(|level| level.dtype() == DType::F64) { DType::F64 } else { DType::F32 }
}

/// Height and width in cells of levels (n, 4 · 16 + `classes`, h, w).
///
/// # Errors
/// No level, levels of another shape or of differing numbers of images.
pub(super) fn cells(levels: &[Tensor], classes: usize) -> Result<Vec<[usize; 2]>> {
    let images = levels.first().and_then(|level| level.dims().first());
    let size = |level: &Tensor| {
        let (batch, channels, h, w) = level.dims4()?;
        let expected = 4 * REG_MAX + classes;
        if channels != expected || Some(&batch) != images || batch * h * w == 0 {
            bail!("raw levels must be (n, {expected}, h, w) of the same images, got {:?}", level.dims())
        }
        Ok([h, w])
    };
    if levels.is_empty() {
        bail!("a detector without levels")
    }
    levels.iter().map(size).collect()
}

/// What `read` makes of the elements of levels, in row-major order.
///
/// # Errors
/// Levels of another type than `T`; as `read`.
pub(super) fn with_elements<T: Real, R>(levels: &[Tensor], read: impl FnOnce(&[&[T]]) -> Result<R>) -> Result<R> {
    let host = |level: &Tensor| level.detach().to_device(&Device::Cpu)?.contiguous();
    let host: Vec<Tensor> = levels.iter().map(host).collect::<Result<_>>()?;
    let storages: Vec<_> = host.iter().map(Tensor::storage_and_layout).collect();
    let mut elements: Vec<&[T]> = Vec::new();
    for (storage, layout) in &storages {
        let (Storage::Cpu(storage), Some((start, end))) = (&**storage, layout.contiguous_offsets()) else {
            bail!("a contiguous level on the CPU")
        };
        elements.push(&storage.as_slice::<T>()?[start..end]);
    }
    read(&elements)
}

/// By image, its part of each level, of which an image takes `sizes` elements.
pub(super) fn by_image<'a, T>(levels: &[&'a [T]], sizes: &[usize], images: usize) -> Vec<Vec<&'a [T]>> {
    let part = |image: usize| levels.iter().zip(sizes).map(move |(level, size)| &level[image * size..][..*size]);
    (0..images).map(|image| part(image).collect()).collect()
}

/// [`by_image`], to be written to.
pub(super) fn by_image_mut<'a, T>(levels: &'a mut [Vec<T>], sizes: &[usize], images: usize) -> Vec<Vec<&'a mut [T]>> {
    let mut by_image: Vec<Vec<&mut [T]>> = (0..images).map(|_| Vec::new()).collect();
    for (level, size) in levels.iter_mut().zip(sizes) {
        by_image.iter_mut().zip(level.chunks_exact_mut(*size)).for_each(|(all, part)| all.push(part));
    }
    by_image
}

/// What is summed of this process's images to what all images of a batch come to.
#[derive(Clone, Copy)]
pub(super) struct BatchSum<'a> {
    /// The processes, and what this one's images count in the batch.
    group: Option<(&'a Communicator, f64)>,
}

impl<'a> BatchSum<'a> {
    /// Of one process, which has all images.
    pub(super) const ALONE: Self = Self { group: None };

    /// Of a group, in which these images count `weight` times.
    pub(super) fn of(group: &'a Communicator, weight: f64) -> Self {
        Self { group: Some((group, weight)) }
    }

    /// Sums over all images of the batch, of those over this process's.
    ///
    /// # Errors
    /// Why the others' do not come.
    pub(super) fn sum<const N: usize>(self, values: [f64; N]) -> Result<[f64; N]> {
        let Some((group, weight)) = self.group else { return Ok(values) };
        let sums = group.sum(&values.map(|value| weight * value))?;
        <[f64; N]>::try_from(sums).or_else(|sums| bail!("the processes gave {} sums, not {N}", sums.len()))
    }

    /// A scalar of these images as its gradient is to count.
    fn weighted(self, total: Tensor) -> Result<Tensor> {
        match self.group {
            Some((_, weight)) if weight != 1. => total * weight,
            _ => Ok(total),
        }
    }
}

/// What a loss of `N` parts comes to over a batch.
pub(super) struct Computed<T, const N: usize> {
    /// The parts, with their gains.
    pub(super) parts: [f64; N],
    /// The images of the batch.
    pub(super) images: f64,
    /// Of the sum of the parts times the number of images, by each of this process's levels.
    pub(super) gradients: Vec<Vec<T>>,
}

impl<T: Real, const N: usize> Computed<T, N> {
    /// The sum of the parts times the number of images, a scalar with its gradients by the levels; and the parts.
    ///
    /// # Errors
    /// Gradients of others than these levels.
    pub(super) fn total(self, levels: &[Tensor], batch: BatchSum<'_>) -> Result<(Tensor, [f64; N])> {
        let (mut total, mut value) = (None, self.images * self.parts.iter().sum::<f64>());
        for (level, gradient) in levels.iter().zip(self.gradients) {
            let gradient = Tensor::from_vec(gradient, level.shape(), &Device::Cpu)?.to_device(level.device())?;
            let part = with_gradient(level, std::mem::take(&mut value), gradient)?;
            total = Some(match total {
                None => part,
                Some(total) => (total + part)?,
            });
        }
        match total {
            Some(total) => Ok((batch.weighted(total)?, self.parts)),
            None => bail!("a loss of no level"),
        }
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
