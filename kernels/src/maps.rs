//! Feature maps as the training kernels read them: dense images, at any distance from each other.

use candle_core::{Device, Layout, Result, Shape, Storage, Tensor, bail};
use rayon::prelude::*;

use super::real::Real;

/// Elements that one task works on.
const RUN_ELEMENTS: usize = 16 * 1024;

/// (n, c, h, w) on the CPU whose images are dense: a tensor, or some of its channels.
#[derive(Clone, Copy)]
pub(crate) struct Maps<'a, T> {
    data: &'a [T],
    /// Elements from one image to the next.
    stride: usize,
    /// Elements per image.
    image: usize,
    batch: usize,
}

/// Elements of an image.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Run {
    image: usize,
    start: usize,
    len: usize,
}

impl Run {
    /// The same elements of other maps.
    pub(crate) fn of<'a, T>(&self, maps: Maps<'a, T>) -> &'a [T] {
        &maps.image(self.image)[self.start..][..self.len]
    }
}

impl<'a, T> Maps<'a, T> {
    /// The elements of a layout whose images are dense.
    pub(crate) fn of(data: &'a [T], layout: &Layout) -> Result<Self> {
        let Some(stride) = image_stride(layout) else { bail!("a CPU kernel got strided images: {layout:?}") };
        let batch = layout.dims().first().copied().unwrap_or(1);
        let image = layout.shape().elem_count() / batch.max(1);
        Ok(Self { data: &data[layout.start_offset()..], stride, image, batch })
    }

    /// Image `index`, (c, h, w).
    pub(crate) fn image(&self, index: usize) -> &'a [T] {
        &self.data[index * self.stride..][..self.image]
    }

    /// Dense maps whose parts `f(run, elements, result)` writes wholly, many at a time.
    pub(crate) fn map(&self, f: impl Fn(Run, &[T], &mut [T]) + Sync) -> Vec<T>
    where
        T: Real,
    {
        // SAFETY: the runs make up the buffer, and `f` writes each.
        let mut out = unsafe { unwritten(self.batch * self.image) };
        out.par_chunks_mut(self.image.max(1)).enumerate().for_each(|(image, out)| {
            let xs = self.image(image).par_chunks(RUN_ELEMENTS);
            out.par_chunks_mut(RUN_ELEMENTS).zip(xs).enumerate().for_each(|(index, (out, xs))| {
                f(Run { image, start: index * RUN_ELEMENTS, len: out.len() }, xs, out);
            });
        });
        out
    }

    /// All elements, where the whole is dense.
    pub(crate) fn elements(&self) -> &'a [T] {
        debug_assert!(self.stride == self.image || self.batch <= 1, "elements of strided images");
        &self.data[..self.batch * self.image]
    }

    /// Elements per image.
    pub(crate) fn image_len(&self) -> usize {
        self.image
    }

    /// Number of images.
    pub(crate) fn batch(&self) -> usize {
        self.batch
    }
}

/// Elements from one image to the next, where each image is dense.
fn image_stride(layout: &Layout) -> Option<usize> {
    let (dims, strides) = (layout.dims(), layout.stride());
    let mut expected = 1;
    for (dim, stride) in dims.iter().zip(strides).skip(1).rev() {
        if *dim != 1 && *stride != expected {
            return None;
        }
        expected *= dim;
    }
    Some(if dims.first() == Some(&1) { expected } else { *strides.first()? })
}

/// The tensor itself where its images are dense, else a dense copy.
pub(crate) fn with_dense_images(xs: &Tensor) -> Result<Tensor> {
    match image_stride(xs.layout()) {
        Some(stride) if stride >= xs.elem_count() / xs.dims()[0].max(1) => Ok(xs.clone()),
        _ => xs.contiguous(),
    }
}

/// Runs `f` on the elements of a tensor on the CPU whose images are dense ([`with_dense_images`]).
pub(crate) fn read<T: Real, R>(xs: &Tensor, f: impl FnOnce(Maps<'_, T>) -> Result<R>) -> Result<R> {
    let (storage, layout) = xs.storage_and_layout();
    let Storage::Cpu(storage) = &*storage else { bail!("a CPU kernel got a tensor of {:?}", xs.device()) };
    f(Maps::of(storage.as_slice::<T>()?, layout)?)
}

/// A buffer of zeros.
pub(crate) fn zeros<T: Real>(len: usize) -> Vec<T> {
    vec![T::zero(); len]
}

/// A buffer of any content.
///
/// # Safety
/// Each element is written before it is read.
#[expect(clippy::uninit_vec, reason = "the contract above")]
pub(crate) unsafe fn unwritten<T: Real>(len: usize) -> Vec<T> {
    let mut buffer = Vec::with_capacity(len);
    // SAFETY: the capacity is there, and nobody reads an element before it is written.
    unsafe {
        buffer.set_len(len);
    }
    buffer
}

/// A tensor on the CPU that owns `data`.
pub(crate) fn tensor<T: Real>(data: Vec<T>, shape: impl Into<Shape>) -> Result<Tensor> {
    Tensor::from_vec(data, shape.into(), &Device::Cpu)
}

/// Selects the element type of a CPU kernel by a tensor's dtype.
macro_rules! dispatch_dtype {
    ($name:expr, $dtype:expr, $t:ident => $body:expr) => {
        match $dtype {
            candle_core::DType::F32 => {
                type $t = f32;
                $body
            }
            candle_core::DType::F64 => {
                type $t = f64;
                $body
            }
            other => candle_core::bail!("{} has no CPU kernel for {other:?}", $name),
        }
    };
}
pub(crate) use dispatch_dtype;
