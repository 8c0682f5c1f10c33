//! What the CPU paths of all operations share: operand access, dtype dispatch and disjoint parallel writes.

use candle_core::{DType, Result, Tensor, bail};

/// Runs `op` on `f32` copies of half-precision operands and rounds its result back; `f32` and `f64` pass through.
pub(crate) fn with_compute_dtype(
    name: &str,
    xs: &Tensor,
    op: impl FnOnce(&Tensor) -> Result<Tensor>,
) -> Result<Tensor> {
    match xs.dtype() {
        DType::F32 | DType::F64 => op(xs),
        DType::F16 | DType::BF16 => op(&xs.to_dtype(DType::F32)?)?.to_dtype(xs.dtype()),
        dtype => bail!("{name} computes in floating point, got {dtype:?}"),
    }
}

/// Selects the element type of a CPU kernel from its first operand's storage.
macro_rules! dispatch_real {
    ($name:expr, $storage:expr, $t:ident => $body:expr) => {
        match $storage {
            candle_core::CpuStorage::F32(_) => {
                type $t = f32;
                $body
            }
            candle_core::CpuStorage::F64(_) => {
                type $t = f64;
                $body
            }
            other => {
                use candle_core::backend::BackendStorage as _;
                candle_core::bail!("{} has no CPU kernel for {:?}", $name, other.dtype())
            }
        }
    };
}
pub(crate) use dispatch_real;

/// A buffer whose disjoint parts are written by many threads at once.
pub(crate) struct DisjointSliceMut<'a, T> {
    start: *mut T,
    len: usize,
    _buffer: std::marker::PhantomData<&'a mut [T]>,
}

// SAFETY: `DisjointSliceMut` hands out parts only through `slice_mut`, whose contract makes concurrent parts disjoint.
unsafe impl<T: Send> Sync for DisjointSliceMut<'_, T> {}

impl<'a, T> DisjointSliceMut<'a, T> {
    pub(crate) fn new(buffer: &'a mut [T]) -> Self {
        Self { start: buffer.as_mut_ptr(), len: buffer.len(), _buffer: std::marker::PhantomData }
    }

    /// The part `[offset, offset + len)`.
    ///
    /// # Safety
    /// No two parts alive at the same time may overlap.
    #[expect(clippy::mut_from_ref, reason = "disjoint parts of one exclusive borrow, by the contract above")]
    pub(crate) unsafe fn slice_mut(&self, offset: usize, len: usize) -> &mut [T] {
        assert!(offset.checked_add(len).is_some_and(|end| end <= self.len), "part ends past the buffer");
        // SAFETY: the range lies in the borrowed buffer (checked above) and the caller keeps parts disjoint.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(offset), len) }
    }

    /// The address of element `offset`, for a strided write that stays inside the buffer.
    pub(crate) fn at(&self, offset: usize) -> *mut T {
        assert!(offset < self.len, "address past the buffer");
        self.start.wrapping_add(offset)
    }
}
