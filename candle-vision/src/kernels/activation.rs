//! Activations: the epilogue of a convolution, or an operation of their own.

use candle_core::{Result, Tensor, WithDType};

use super::real::{Real, map_in_place};

/// An element-wise activation, named as in PyTorch.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub enum Activation {
    /// `x`
    #[default]
    Identity,
    /// `max(x, 0)`
    Relu,
    /// `min(max(x, 0), 6)`
    Relu6,
    /// `x` where positive, else `slope * x`
    LeakyRelu(f32),
    /// `1 / (1 + exp(-x))`
    Sigmoid,
    /// `x * sigmoid(x)`
    Silu,
    /// `relu6(x + 3) / 6`
    HardSigmoid,
    /// `x * hard_sigmoid(x)`
    HardSwish,
    /// `x / 2 * (1 + erf(x / sqrt(2)))`
    Gelu,
}

impl Activation {
    /// One of each.
    #[cfg(test)]
    pub(crate) const ALL: [Self; 9] = [
        Self::Identity,
        Self::Relu,
        Self::Relu6,
        Self::LeakyRelu(0.1),
        Self::Sigmoid,
        Self::Silu,
        Self::HardSigmoid,
        Self::HardSwish,
        Self::Gelu,
    ];

    /// Applies the activation with candle's own differentiable operations, on any device and dtype.
    pub fn apply(self, xs: &Tensor) -> Result<Tensor> {
        match self {
            Self::Identity => Ok(xs.clone()),
            Self::Relu => xs.relu(),
            Self::Relu6 => xs.clamp(0f32, 6f32),
            Self::LeakyRelu(slope) => xs.relu()? - (xs.neg()?.relu()? * f64::from(slope))?,
            Self::Sigmoid => candle_nn::ops::sigmoid(xs),
            Self::Silu => xs * candle_nn::ops::sigmoid(xs)?,
            Self::HardSigmoid => hard_sigmoid(xs),
            Self::HardSwish => xs * hard_sigmoid(xs)?,
            Self::Gelu => xs.gelu_erf(),
        }
    }

    /// Applies the activation in place. Results do not depend on how a buffer is split into slices.
    pub(crate) fn apply_slice<T: Real>(self, xs: &mut [T]) {
        let (zero, one, three, six) = (T::zero(), T::one(), T::from_f32(3.), T::from_f32(6.));
        let hard_sigmoid = |x: T| (x + three).at_least(zero).at_most(six) / six;
        match self {
            Self::Identity => {}
            Self::Relu => map_in_place(xs, |x| x.at_least(zero)),
            Self::Relu6 => map_in_place(xs, |x| x.at_least(zero).at_most(six)),
            Self::LeakyRelu(slope) => {
                let slope = T::from_f32(slope);
                map_in_place(xs, |x| if x < zero { x * slope } else { x });
            }
            Self::Sigmoid => map_in_place(xs, |x| one / (one + (zero - x).exp_approx())),
            Self::Silu => map_in_place(xs, |x| x / (one + (zero - x).exp_approx())),
            Self::HardSigmoid => map_in_place(xs, hard_sigmoid),
            Self::HardSwish => map_in_place(xs, |x| x * hard_sigmoid(x)),
            Self::Gelu => {
                let (half, scale) = (T::from_f32(0.5), <T as WithDType>::from_f64(std::f64::consts::FRAC_1_SQRT_2));
                map_in_place(xs, |x| half * x * (one + (x * scale).erf()));
            }
        }
    }
}

fn hard_sigmoid(xs: &Tensor) -> Result<Tensor> {
    (xs + 3.)?.clamp(0f32, 6f32)? / 6.
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::{Device, Var};

    #[test]
    fn slice_and_tensor_forms_agree_from_tiny_to_saturated() -> Result<()> {
        let values: Vec<f32> = (-400..=400).map(|i| i as f32 * 0.25).chain([-1e-4, 0., 1e-4, -1e4, 1e4]).collect();
        let xs = Tensor::new(values.as_slice(), &Device::Cpu)?;
        for activation in Activation::ALL {
            let expected = activation.apply(&xs)?.to_vec1::<f32>()?;
            let mut got = values.clone();
            activation.apply_slice(&mut got);
            for ((x, got), expected) in values.iter().zip(&got).zip(&expected) {
                let bound = 2e-6 * (1. + x.abs().min(100.));
                assert!((got - expected).abs() <= bound, "{activation:?}({x}): {got} against {expected}");
            }
        }
        Ok(())
    }

    #[test]
    fn gradients_equal_central_differences_away_from_kinks() -> Result<()> {
        let values = [-7.3f64, -3.4, -1.2, -0.3, 0.4, 1.7, 3.6, 5.2, 8.1];
        for activation in Activation::ALL {
            let xs = Var::new(&values, &Device::Cpu)?;
            let grads = activation.apply(&xs)?.sum_all()?.backward()?;
            let grad = grads.get(&xs).expect("xs takes part in the sum").to_vec1::<f64>()?;
            let step = 1e-5;
            let shifted = |by: f64| activation.apply(&(xs.as_tensor() + by)?)?.to_vec1::<f64>();
            let (above, below) = (shifted(step)?, shifted(-step)?);
            for i in 0..values.len() {
                let numeric = (above[i] - below[i]) / (2. * step);
                assert!((grad[i] - numeric).abs() < 1e-6, "{activation:?} at {}: {} != {numeric}", values[i], grad[i]);
            }
        }
        Ok(())
    }
}
