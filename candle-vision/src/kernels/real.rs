//! The element types that the CPU kernels compute in.

use candle_core::WithDType;

/// `f32` or `f64`. The front doors widen half-precision tensors to `f32` before they reach a CPU kernel.
pub(crate) trait Real: WithDType + num_traits::Float + std::iter::Sum {
    /// `e^x`, within 2 units in the last place, NaN for NaN; saturates instead of overflowing.
    fn exp_approx(self) -> Self;
    /// The error function.
    fn erf(self) -> Self;

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
}

impl Real for f64 {
    fn exp_approx(self) -> f64 {
        self.exp()
    }

    fn erf(self) -> f64 {
        candle_core::cpu::erf::erf_f64(self)
    }
}

/// Replaces each element by `f(element)`, compiled for the widest vectors the machine has.
#[inline]
pub(crate) fn map_in_place<T: Real>(xs: &mut [T], f: impl Fn(T) -> T) {
    pulp::Arch::new().dispatch(|| {
        for x in xs {
            *x = f(*x);
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

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
