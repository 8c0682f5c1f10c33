//! Feature maps as the training kernels read them: dense pictures, at any distance from each other.

use candle_core::{Device, Layout, Result, Shape, Storage, Tensor, bail};
use rayon::prelude::*;

use super::real::Real;

/// Elements that one task works on.
const RUN_ELEMENTS: usize = 16 * 1024;

/// (n, c, h, w) on the CPU whose pictures are dense: a tensor, or some of its channels.
#[derive(Clone, Copy)]
pub(crate) struct Maps<'a, T> {
    data: &'a [T],
    /// Elements from one picture to the next.
    stride: usize,
    /// Elements per picture.
    picture: usize,
    batch: usize,
}

/// Elements of a picture.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Run {
    picture: usize,
    start: usize,
    len: usize,
}

impl Run {
    /// The same elements of other maps.
    pub(crate) fn of<'a, T>(&self, maps: Maps<'a, T>) -> &'a [T] {
        &maps.picture(self.picture)[self.start..][..self.len]
    }
}

impl<'a, T> Maps<'a, T> {
    /// The elements of a layout whose pictures are dense.
    pub(crate) fn of(data: &'a [T], layout: &Layout) -> Result<Self> {
        let Some(stride) = picture_stride(layout) else { bail!("a CPU kernel got strided pictures: {layout:?}") };
        let batch = layout.dims().first().copied().unwrap_or(1);
        let picture = layout.shape().elem_count() / batch.max(1);
        Ok(Self { data: &data[layout.start_offset()..], stride, picture, batch })
    }

    /// Picture `index`, (c, h, w).
    pub(crate) fn picture(&self, index: usize) -> &'a [T] {
        &self.data[index * self.stride..][..self.picture]
    }

    /// Dense maps whose parts `f(run, elements, result)` writes wholly, many at a time.
    pub(crate) fn map(&self, f: impl Fn(Run, &[T], &mut [T]) + Sync) -> Vec<T>
    where
        T: Real,
    {
        // SAFETY: the runs make up the buffer, and `f` writes each.
        let mut out = unsafe { unwritten(self.batch * self.picture) };
        out.par_chunks_mut(self.picture.max(1)).enumerate().for_each(|(picture, out)| {
            let xs = self.picture(picture).par_chunks(RUN_ELEMENTS);
            out.par_chunks_mut(RUN_ELEMENTS).zip(xs).enumerate().for_each(|(index, (out, xs))| {
                f(Run { picture, start: index * RUN_ELEMENTS, len: out.len() }, xs, out);
            });
        });
        out
    }

    /// All elements, where the whole is dense.
    pub(crate) fn elements(&self) -> &'a [T] {
        debug_assert!(self.stride == self.picture || self.batch <= 1, "elements of strided pictures");
        &self.data[..self.batch * self.picture]
    }

    /// Elements per picture.
    pub(crate) fn picture_len(&self) -> usize {
        self.picture
    }

    /// Number of pictures.
    pub(crate) fn batch(&self) -> usize {
        self.batch
    }
}

/// Elements from one picture to the next, where each picture is dense.
fn picture_stride(layout: &Layout) -> Option<usize> {
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

/// The tensor itself where its pictures are dense, else a dense copy.
pub(crate) fn with_dense_pictures(xs: &Tensor) -> Result<Tensor> {
    match picture_stride(xs.layout()) {
        Some(stride) if stride >= xs.elem_count() / xs.dims()[0].max(1) => Ok(xs.clone()),
        _ => xs.contiguous(),
    }
}

/// Runs `f` on the elements of a tensor on the CPU whose pictures are dense ([`with_dense_pictures`]).
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
