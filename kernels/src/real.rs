//! The element types that the CPU kernels compute in.

use candle_core::{CpuStorage, WithDType};

use super::simd::{Isa, Job, Vector, Width};

/// `f32` or `f64`. The front doors widen half-precision tensors to `f32` before they reach a CPU kernel.
pub trait Real: WithDType + num_traits::Float + std::iter::Sum {
    /// `e^x`, within 2 units in the last place, NaN for NaN; saturates instead of overflowing.
    fn exp_approx(self) -> Self;
    /// The error function.
    fn erf(self) -> Self;
    /// Exact widening.
    fn to_wide(self) -> f64;
    /// The nearest value.
    fn nearest(x: f64) -> Self;
    /// The elements, if they are of this type.
    fn slice_mut(storage: &mut CpuStorage) -> Option<&mut [Self]>;

    /// Exact widening of a constant.
    fn from_f32(x: f32) -> Self {
        <Self as WithDType>::from_f64(f64::from(x))
    }

    /// The larger operand; NaN if `self` is NaN, as PyTorch's clamps have it.
    fn at_least(self, bound: Self) -> Self {
        if self < bound { bound } else { self }
    }

    /// The smaller operand; NaN if `self` is NaN.
    fn at_most(self, bound: Self) -> Self {
        if self > bound { bound } else { self }
    }
}

impl Real for f32 {
    /// Cody-Waite reduction and the degree-6 polynomial of Cephes' `expf`, free of branches so that loops vectorise.
    #[inline(always)]
    fn exp_approx(self) -> f32 {
        const ROUND: f32 = 12_582_912.; // 1.5 * 2^23: adding it leaves the nearest integer in the low mantissa bits
        let x = self.at_least(-87.336_54).at_most(88.376_26);
        let shifted = x * std::f32::consts::LOG2_E + ROUND;
        let n = shifted - ROUND;
        let r = (x - n * 0.693_359_4) + n * 2.121_944_4e-4;
        let mut p = 1.987_569_1e-4;
        for c in [1.398_199_9e-3, 8.333_452e-3, 4.166_579_6e-2, 0.166_666_65, 0.5] {
            p = p * r + c;
        }
        let two_to_n = f32::from_bits(shifted.to_bits().wrapping_sub(ROUND.to_bits()).wrapping_add(127) << 23);
        (p * r * r + r + 1.) * two_to_n
    }

    fn erf(self) -> f32 {
        candle_core::cpu::erf::erf_f32(self)
    }

    #[inline(always)]
    fn to_wide(self) -> f64 {
        f64::from(self)
    }

    #[inline(always)]
    fn nearest(x: f64) -> f32 {
        x as f32
    }

    fn slice_mut(storage: &mut CpuStorage) -> Option<&mut [f32]> {
        match storage {
            CpuStorage::F32(elements) => Some(elements),
            _ => None,
        }
    }
}

impl Real for f64 {
    fn exp_approx(self) -> f64 {
        self.exp()
    }

    fn erf(self) -> f64 {
        candle_core::cpu::erf::erf_f64(self)
    }

    #[inline(always)]
    fn to_wide(self) -> f64 {
        self
    }

    #[inline(always)]
    fn nearest(x: f64) -> f64 {
        x
    }

    fn slice_mut(storage: &mut CpuStorage) -> Option<&mut [f64]> {
        match storage {
            CpuStorage::F64(elements) => Some(elements),
            _ => None,
        }
    }
}

/// Replaces each element by `f(element)`, compiled for the widest vectors the machine has. What `f` captures by reference
/// would be read anew for each element.
#[inline]
pub(crate) fn map_in_place<T: Real>(xs: &mut [T], f: impl Fn(T) -> T) {
    widest(move || {
        for x in xs {
            *x = f(*x);
        }
    });
}

/// Runs `f` compiled for the widest vectors the machine has: `f` and what it calls must be inlined to gain from that, so it
/// is best a call of an `#[inline(always)]` function. Products and sums are not fused: results are the same on all machines.
#[inline(always)]
pub fn widest<R>(f: impl FnOnce() -> R) -> R {
    let mut result = None;
    // SAFETY: the instruction set is one of this machine; the job has no contract.
    unsafe { Isa::best().run(Width::Full, Call(f, &mut result)) }
    result.expect("a job runs once")
}

/// A function as a job.
struct Call<'a, F, R>(F, &'a mut Option<R>);

impl<R, F: FnOnce() -> R> Job for Call<'_, F, R> {
    #[inline(always)]
    unsafe fn run<V: Vector>(self) {
        *self.1 = Some(self.0());
    }
}

/// `Σ f(a, b)` over pairs that come in slices, both parts, in `f64` lanes: the same whatever the machine's vectors are.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Sums {
    lanes: [[f64; SUM_LANES]; 2],
}

/// As many as keep the additions of the widest vectors from waiting for each other.
const SUM_LANES: usize = 16;

impl Sums {
    /// Adds `f` of each pair.
    #[inline(always)]
    pub(crate) fn add<T: Real>(&mut self, a: &[T], b: &[T], f: impl Fn(f64, f64) -> [f64; 2]) {
        let [mut first, mut second] = self.lanes;
        let whole = a.len() / SUM_LANES * SUM_LANES;
        for (a, b) in a.chunks_exact(SUM_LANES).zip(b.chunks_exact(SUM_LANES)) {
            for lane in 0..SUM_LANES {
                let [x, y] = f(a[lane].to_wide(), b[lane].to_wide());
                first[lane] += x;
                second[lane] += y;
            }
        }
        let lanes = first.iter_mut().zip(&mut second);
        for ((first, second), (a, b)) in lanes.zip(a[whole..].iter().zip(&b[whole..])) {
            let [x, y] = f(a.to_wide(), b.to_wide());
            *first += x;
            *second += y;
        }
        self.lanes = [first, second];
    }

    /// The sums of all that was added.
    pub(crate) fn totals(&self) -> [f64; 2] {
        self.lanes.map(|lanes| lanes.iter().sum())
    }
}

/// [`Sums`] of one pair of slices.
#[inline(always)]
pub(crate) fn sums_of<T: Real>(a: &[T], b: &[T], f: impl Fn(f64, f64) -> [f64; 2]) -> [f64; 2] {
    let mut sums = Sums::default();
    sums.add(a, b, f);
    sums.totals()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_of_slices_are_those_of_all_elements() {
        let mut state = 1;
        let values: Vec<f32> = (0..70_001).map(|_| (2. + crate::seeded::splitmix(&mut state)) as f32).collect();
        let mut sums = Sums::default();
        let mut rest = values.as_slice();
        for len in [1, 63, 64, 65, 0, 2047, 2048, 4100, values.len()] {
            let (part, others) = rest.split_at(len.min(rest.len()));
            widest(|| sums.add(part, part, |a, b| [a, a * b]));
            rest = others;
        }
        let wide = |f: fn(f64) -> f64| values.iter().map(|x| f(x.to_wide())).sum::<f64>();
        for (got, exact) in sums.totals().into_iter().zip([wide(|x| x), wide(|x| x * x)]) {
            assert!((got - exact).abs() < 1e-12 * exact, "{got} instead of {exact}");
        }
    }

    #[test]
    fn exp_is_within_two_ulps_and_saturates() {
        let mut worst = 0.;
        for i in -870_000..=880_000 {
            let x = i as f32 * 1e-4;
            let exact = f64::from(x).exp();
            worst = f64::max(worst, (f64::from(x.exp_approx()) - exact).abs() / exact);
        }
        assert!(worst < 2. * f64::from(f32::EPSILON), "worst relative error {worst:e}");
        assert!(f32::INFINITY.exp_approx() > 2e38, "saturates high");
        assert!(f32::NEG_INFINITY.exp_approx() < 2e-38, "saturates low");
        assert!(f32::NAN.exp_approx().is_nan(), "keeps NaN");
    }
}
