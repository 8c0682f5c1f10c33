//! Activations: the epilogue of a convolution, or an operation of their own.

use candle_core::{DType, Result, Tensor, WithDType};

use super::autograd::{Gradient, differentiable};
use super::gpu::train;
use super::is_stock;
use super::maps::{dispatch_dtype, read, tensor, with_dense_images};
use super::real::{Real, map_in_place, widest};

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

    /// Applies the activation, on any device and floating-point dtype.
    pub fn apply(self, xs: &Tensor) -> Result<Tensor> {
        if self != Self::Identity && xs.dtype() == DType::F32 && xs.rank() == 4 && train::takes(xs) {
            return train::activate(xs, self);
        }
        let wide = matches!(xs.dtype(), DType::F32 | DType::F64);
        if self == Self::Identity || !wide || !xs.device().is_cpu() || is_stock() {
            return self.compose(xs);
        }
        let kept = with_dense_images(&xs.detach())?;
        dispatch_dtype!("activation", xs.dtype(), T => {
            let ys = read::<T, _>(&kept, |xs| Ok(xs.map(|_, xs, ys| {
                ys.copy_from_slice(xs);
                self.apply_slice(ys);
            })))?;
            differentiable(ys, xs.shape(), &[xs], move |grad, _| {
                let of_xs = read::<T, _>(&kept, |xs| read::<T, _>(grad, |grad| {
                    Ok(grad.map(|run, grad, of_xs| {
                        of_xs.copy_from_slice(grad);
                        self.times_derivative(run.of(xs), of_xs);
                    }))
                }))?;
                Ok(vec![Some(Gradient::Own(tensor(of_xs, kept.shape())?))])
            })
        })
    }

    /// [`Activation::apply`] composed of candle's own operations.
    fn compose(self, xs: &Tensor) -> Result<Tensor> {
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
        let hard_sigmoid = move |x: T| (x + three).at_least(zero).at_most(six) / six;
        match self {
            Self::Identity => {}
            Self::Relu => map_in_place(xs, move |x| x.at_least(zero)),
            Self::Relu6 => map_in_place(xs, move |x| x.at_least(zero).at_most(six)),
            Self::LeakyRelu(slope) => {
                let slope = T::from_f32(slope);
                map_in_place(xs, move |x| if x < zero { x * slope } else { x });
            }
            Self::Sigmoid => map_in_place(xs, move |x| one / (one + (zero - x).exp_approx())),
            Self::Silu => map_in_place(xs, move |x| x / (one + (zero - x).exp_approx())),
            Self::HardSigmoid => map_in_place(xs, hard_sigmoid),
            Self::HardSwish => map_in_place(xs, move |x| x * hard_sigmoid(x)),
            Self::Gelu => {
                let (half, scale) = (T::from_f32(0.5), <T as WithDType>::from_f64(std::f64::consts::FRAC_1_SQRT_2));
                map_in_place(xs, move |x| half * x * (one + (x * scale).erf()));
            }
        }
    }

    /// Multiplies `grads` by the derivative at `xs`; at kinks it is PyTorch's.
    pub(crate) fn times_derivative<T: Real>(self, xs: &[T], grads: &mut [T]) {
        let (zero, one, three, six) = (T::zero(), T::one(), T::from_f32(3.), T::from_f32(6.));
        let sigmoid = move |x: T| one / (one + (zero - x).exp_approx());
        let inside = move |x: T, low: T, high: T, y: T| if x > low && x < high { y } else { zero };
        match self {
            Self::Identity => {}
            Self::Relu => scale_by(xs, grads, move |x| if x > zero { one } else { zero }),
            Self::Relu6 => scale_by(xs, grads, move |x| inside(x, zero, six, one)),
            Self::LeakyRelu(slope) => {
                let slope = T::from_f32(slope);
                scale_by(xs, grads, move |x| if x > zero { one } else { slope });
            }
            Self::Sigmoid => scale_by(xs, grads, move |x| sigmoid(x) * (one - sigmoid(x))),
            Self::Silu => scale_by(xs, grads, move |x| {
                let s = sigmoid(x);
                s * (one + x * (one - s))
            }),
            Self::HardSigmoid => scale_by(xs, grads, move |x| inside(x, zero - three, three, one / six)),
            Self::HardSwish => {
                let half = T::from_f32(0.5);
                let middle = move |x: T| if x < three { x / three + half } else { one };
                scale_by(xs, grads, move |x| if x > zero - three { middle(x) } else { zero });
            }
            Self::Gelu => {
                let half = T::from_f32(0.5);
                let scale = <T as WithDType>::from_f64(std::f64::consts::FRAC_1_SQRT_2);
                // 1 / sqrt(2 · pi)
                let density = <T as WithDType>::from_f64(0.398_942_280_401_432_7);
                scale_by(xs, grads, move |x| {
                    half * (one + (x * scale).erf()) + x * density * (zero - half * x * x).exp_approx()
                });
            }
        }
    }
}

/// Each gradient times the derivative at its `x`. What `derivative` captures by reference would be read anew for each element.
fn scale_by<T: Real>(xs: &[T], grads: &mut [T], derivative: impl Fn(T) -> T) {
    widest(move || {
        for (grad, x) in grads.iter_mut().zip(xs) {
            *grad *= derivative(*x);
        }
    });
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
