//! Elementwise updates of tensors in place: what optimizers and averages are made of.
//!
//! On the CPU in `f32` and `f64`, and on CUDA in `f32`, an update is one pass over its operands, without a temporary; elsewhere it composes
//! candle's operations. Elements do not depend on one another, so results do not depend on the number of threads.

use candle_core::{CpuStorage, DType, InplaceOp3, Layout, Result, Tensor, Var, WithDType, bail};
use num_traits::Float;
use rayon::prelude::*;

use crate::gpu::train as gpu;
use crate::{is_stock, widest};

/// Elements that one thread updates at a time.
const CHUNK: usize = 1 << 14;

/// What becomes of each element `x` of a tensor, given the elements `y` and `z` of two more.
#[derive(Debug, Clone, Copy)]
#[expect(missing_docs, reason = "each field is a factor of its formula")]
pub enum Update {
    /// `a·x + b·y + c·z`
    Linear { a: f64, b: f64, c: f64 },
    /// `x + rate·(a·x + b·y + c·z)`, whose small steps keep their size where `1 + rate·a` would be rounded
    Step { rate: f64, a: f64, b: f64, c: f64 },
    /// `x + rate·(y·z − x)`
    Product { rate: f64 },
    /// `a·x + b·y / (√(z + inner)·scale + outer)`
    Quotient { a: f64, b: f64, inner: f64, scale: f64, outer: f64 },
    /// `max(a·x, |y| + floor)`
    Largest { a: f64, floor: f64 },
    /// `x + b·y / z`
    Ratio { b: f64 },
}

impl Update {
    /// Updates `xs`; `ys` and `zs` have its shape and dtype, and other storage.
    ///
    /// # Errors
    /// If shapes or dtypes differ, or the dtype is neither `f32` nor `f64` and candle cannot compute in it.
    pub fn apply(self, xs: &Var, ys: &Tensor, zs: &Tensor) -> Result<()> {
        if xs.dtype() == DType::F32 && gpu::takes(xs) {
            let (operation, factors) = self.numbered();
            return gpu::update(xs, ys, zs, operation, factors);
        }
        let is_real = matches!(xs.dtype(), DType::F32 | DType::F64);
        if !xs.device().is_cpu() || !is_real || is_stock() {
            return xs.set(&self.compose(&xs.as_detached_tensor(), ys, zs)?);
        }
        xs.inplace_op3(&ys.contiguous()?, &zs.contiguous()?, &self)
    }

    /// Its number and its factors in `update.h`.
    fn numbered(self) -> (u32, [f64; 5]) {
        match self {
            Self::Linear { a, b, c } => (0, [a, b, c, 0., 0.]),
            Self::Step { rate, a, b, c } => (1, [a, b, c, rate, 0.]),
            Self::Product { rate } => (2, [0., 0., 0., rate, 0.]),
            Self::Quotient { a, b, inner, scale, outer } => (3, [a, b, inner, scale, outer]),
            Self::Largest { a, floor } => (4, [a, 0., 0., 0., floor]),
            Self::Ratio { b } => (5, [0., b, 0., 0., 0.]),
        }
    }

    fn compose(self, xs: &Tensor, ys: &Tensor, zs: &Tensor) -> Result<Tensor> {
        let sum = |a, b, c| ((xs * a)? + (ys * b)?)? + (zs * c)?;
        match self {
            Self::Linear { a, b, c } => sum(a, b, c),
            Self::Step { rate, a, b, c } => xs + (sum(a, b, c)? * rate)?,
            Self::Product { rate } => xs + (((ys * zs)? - xs)? * rate)?,
            Self::Quotient { a, b, inner, scale, outer } => {
                (xs * a)? + ((ys * b)? / (((zs + inner)?.sqrt()? * scale)? + outer)?)?
            }
            Self::Largest { a, floor } => (xs * a)?.maximum(&(ys.abs()? + floor)?),
            Self::Ratio { b } => xs + ((ys * b)? / zs)?,
        }
    }

    fn slices<T: Float + WithDType>(self, xs: &mut [T], ys: &[T], zs: &[T]) {
        let chunks = xs.par_chunks_mut(CHUNK).zip(ys.par_chunks(CHUNK)).zip(zs.par_chunks(CHUNK));
        chunks.for_each(|((xs, ys), zs)| match self {
            Self::Linear { a, b, c } => {
                let [a, b, c] = [a, b, c].map(T::from_f64);
                each(xs, ys, zs, move |x, y, z| a * x + b * y + c * z);
            }
            Self::Step { rate, a, b, c } => {
                let [rate, a, b, c] = [rate, a, b, c].map(T::from_f64);
                each(xs, ys, zs, move |x, y, z| x + rate * (a * x + b * y + c * z));
            }
            Self::Product { rate } => {
                let rate = T::from_f64(rate);
                each(xs, ys, zs, move |x, y, z| x + rate * (y * z - x));
            }
            Self::Quotient { a, b, inner, scale, outer } => {
                let [a, b, inner, scale, outer] = [a, b, inner, scale, outer].map(T::from_f64);
                each(xs, ys, zs, move |x, y, z| a * x + b * y / ((z + inner).sqrt() * scale + outer));
            }
            Self::Largest { a, floor } => {
                let [a, floor] = [a, floor].map(T::from_f64);
                each(xs, ys, zs, move |x, y, _| Float::max(a * x, y.abs() + floor));
            }
            Self::Ratio { b } => {
                let b = T::from_f64(b);
                each(xs, ys, zs, move |x, y, z| x + b * y / z);
            }
        });
    }
}

/// Replaces each `x` by `f(x, y, z)`, compiled for the widest vectors the machine has.
#[inline]
fn each<T: Copy>(xs: &mut [T], ys: &[T], zs: &[T], f: impl Fn(T, T, T) -> T) {
    widest(move || xs.iter_mut().zip(ys).zip(zs).for_each(|((x, y), z)| *x = f(*x, *y, *z)));
}

fn part<'a, T: WithDType>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [T]> {
    let Some((start, end)) = layout.contiguous_offsets() else { bail!("an update got a strided operand: {layout:?}") };
    Ok(&storage.as_slice::<T>()?[start..end])
}

impl InplaceOp3 for Update {
    fn name(&self) -> &'static str {
        "update"
    }

    fn cpu_fwd(
        &self,
        xs: &mut CpuStorage,
        xs_layout: &Layout,
        ys: &CpuStorage,
        ys_layout: &Layout,
        zs: &CpuStorage,
        zs_layout: &Layout,
    ) -> Result<()> {
        if xs_layout.shape() != ys_layout.shape() || xs_layout.shape() != zs_layout.shape() {
            bail!("an update of {:?} got {:?} and {:?}", xs_layout.shape(), ys_layout.shape(), zs_layout.shape())
        }
        let Some((start, end)) = xs_layout.contiguous_offsets() else {
            bail!("an update got a strided tensor: {xs_layout:?}")
        };
        match xs {
            CpuStorage::F32(xs) => self.slices(&mut xs[start..end], part(ys, ys_layout)?, part(zs, zs_layout)?),
            CpuStorage::F64(xs) => self.slices(&mut xs[start..end], part(ys, ys_layout)?, part(zs, zs_layout)?),
            _ => bail!("updates on the CPU compute in f32 and f64"),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gpu::emulate::{EmulatedGpu, with_emulated};
    use crate::with_candle_ops;
    use candle_core::{D, Device, Shape};

    /// Rounding of f64 at values below 10.
    const TOLERANCE: f64 = 1e-14;

    fn tensor(name: &str, shape: &Shape) -> Result<Tensor> {
        crate::seeded::uniform(name, shape, &Device::Cpu)?.to_dtype(DType::F64)
    }

    #[test]
    fn both_paths_compute_the_formula_and_leave_the_operands() -> Result<()> {
        // More than one chunk, and a part of one.
        let shape = Shape::from((7, 2500));
        let (ys, zs) = (tensor("y", &shape)?, tensor("z", &shape)?.abs()?);
        let values = |t: &Tensor| t.flatten_all()?.to_vec1::<f64>();
        let (before, y, z) = (values(&tensor("x", &shape)?)?, values(&ys)?, values(&zs)?);
        type Formula = fn(f64, f64, f64) -> f64;
        let cases: [(Update, Formula); 6] = [
            (Update::Linear { a: 0.5, b: -2., c: 3. }, |x, y, z| 0.5 * x - 2. * y + 3. * z),
            (Update::Step { rate: 0.1, a: 0.5, b: -2., c: 3. }, |x, y, z| x + 0.1 * (0.5 * x - 2. * y + 3. * z)),
            (Update::Product { rate: 0.1 }, |x, y, z| 0.9 * x + 0.1 * y * z),
            (Update::Quotient { a: 0.5, b: -2., inner: 0.1, scale: 3., outer: 0.2 }, |x, y, z| {
                0.5 * x - 2. * y / ((z + 0.1).sqrt() * 3. + 0.2)
            }),
            (Update::Largest { a: 0.9, floor: 0.01 }, |x, y, _| f64::max(0.9 * x, y.abs() + 0.01)),
            // Its quotients reach 1e4.
            (Update::Ratio { b: 1e-4 }, |x, y, z| x + 1e-4 * y / z),
        ];
        for (update, formula) in cases {
            for stock in [false, true] {
                let xs = Var::from_tensor(&tensor("x", &shape)?)?;
                let apply = || update.apply(&xs, &ys, &zs);
                if stock {
                    with_candle_ops(apply)?
                } else {
                    apply()?
                }
                for (i, x) in values(&xs)?.into_iter().enumerate() {
                    let expected = formula(before[i], y[i], z[i]);
                    assert!((x - expected).abs() < TOLERANCE, "{update:?} {stock}: {x} != {expected}");
                }
            }
        }
        assert_eq!((values(&ys)?, values(&zs)?), (y, z));
        Ok(())
    }

    #[test]
    fn a_gpus_kernel_computes_the_same() -> Result<()> {
        let (shape, single) = (Shape::from((3, 701)), |t: Tensor| t.to_dtype(DType::F32));
        let (ys, zs) = (single(tensor("y", &shape)?)?, single(tensor("z", &shape)?.abs()?)?);
        for update in [
            Update::Linear { a: 0.5, b: -2., c: 3. },
            Update::Step { rate: 0.1, a: 0.5, b: -2., c: 3. },
            Update::Product { rate: 0.1 },
            Update::Quotient { a: 0.5, b: -2., inner: 0.1, scale: 3., outer: 0.2 },
            Update::Largest { a: 0.9, floor: 0.01 },
            Update::Ratio { b: 1e-4 },
        ] {
            let updated = || {
                let xs = Var::from_tensor(&single(tensor("x", &shape)?)?)?;
                update.apply(&xs, &ys, &zs)?;
                xs.flatten_all()?.to_vec1::<f32>()
            };
            for kind in EmulatedGpu::ALL {
                let Some(emulated) = with_emulated(kind, updated) else { return Ok(()) };
                for (x, expected) in emulated?.into_iter().zip(updated()?) {
                    let bound = 1e-6 * expected.abs().max(1.);
                    assert!((x - expected).abs() < bound, "{kind:?}, {update:?}: {x} != {expected}");
                }
            }
        }
        Ok(())
    }

    #[test]
    fn a_strided_operand_is_read_in_its_order_and_a_wrong_shape_is_refused() -> Result<()> {
        let xs = Var::new(&[[1f32, 2.], [3., 4.]], &Device::Cpu)?;
        let ys = Tensor::new(&[[10f32, 20.], [30., 40.]], &Device::Cpu)?;
        let linear = Update::Linear { a: 1., b: 1., c: 0. };
        linear.apply(&xs, &ys.transpose(0, 1)?, &ys)?;
        assert_eq!(xs.to_vec2::<f32>()?, [[11., 32.], [23., 44.]]);
        let error = linear.apply(&xs, &ys.sum(D::Minus1)?, &ys).expect_err("one dimension is lost").to_string();
        assert!(error.contains("an update of [2, 2] got [2]"), "{error}");
        Ok(())
    }
}
