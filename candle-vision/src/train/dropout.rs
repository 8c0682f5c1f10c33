//! Dropout.

use candle_core::{Device, Result, Tensor};
use rand::Rng;

use super::Stream;

/// Zeroes each element with probability `rate` below 1, as `rng` draws in row-major order, and divides the others by
/// `1 − rate`; the gradient follows. A rate of 0 draws nothing.
///
/// Source: Srivastava et al., <https://jmlr.org/papers/v15/srivastava14a.html>.
pub fn dropout(xs: &Tensor, rate: f64, rng: &mut Stream) -> Result<Tensor> {
    if !(0. ..1.).contains(&rate) {
        candle_core::bail!("a dropout rate is in 0..1, got {rate}")
    }
    if rate == 0. {
        return Ok(xs.clone());
    }
    let kept = (1. / (1. - rate)) as f32;
    let mask = (0..xs.elem_count()).map(|_| if rng.random::<f64>() < rate { 0. } else { kept }).collect();
    let mask = Tensor::from_vec(mask, xs.shape(), &Device::Cpu)?;
    xs * mask.to_dtype(xs.dtype())?.to_device(xs.device())?
}

#[cfg(test)]
mod tests {
    use super::super::stream;
    use super::*;
    use candle_core::Var;

    #[test]
    fn the_drawn_share_is_dropped_and_gradients_follow() -> Result<()> {
        let xs = Var::ones((40, 250), candle_core::DType::F32, &Device::Cpu)?;
        let draw = |index| dropout(&xs, 0.2, &mut stream(3, &[index]));
        let ys = draw(0)?;
        let values = ys.flatten_all()?.to_vec1::<f32>()?;
        assert!(values.iter().all(|y| *y == 0. || *y == 1.25), "zero or 1 / 0.8");
        // Five standard deviations of the count of 10⁴ draws.
        let lost = values.iter().filter(|y| **y == 0.).count() as f64;
        assert!((lost - 2000.).abs() < 200., "{lost} of 10000 dropped");
        let grads = ys.sum_all()?.backward()?;
        assert_eq!(grads.get(&xs).expect("a gradient").flatten_all()?.to_vec1::<f32>()?, values);
        assert_eq!(draw(0)?.flatten_all()?.to_vec1::<f32>()?, values);
        assert_ne!(draw(1)?.flatten_all()?.to_vec1::<f32>()?, values);
        Ok(())
    }

    #[test]
    fn what_others_draw_is_passed_over() -> Result<()> {
        let xs = Tensor::ones((6, 5), candle_core::DType::F32, &Device::Cpu)?;
        let whole = dropout(&xs, 0.5, &mut stream(4, &[]))?.to_vec2::<f32>()?;
        let mut rng = stream(4, &[]);
        super::super::skip(&mut rng, 20);
        assert_eq!(dropout(&xs.narrow(0, 4, 2)?, 0.5, &mut rng)?.to_vec2::<f32>()?, whole[4..]);
        Ok(())
    }

    #[test]
    fn a_rate_of_zero_changes_nothing_and_one_is_refused() -> Result<()> {
        let xs = Tensor::new(&[1f32, 2.], &Device::Cpu)?;
        assert_eq!(dropout(&xs, 0., &mut stream(0, &[]))?.to_vec1::<f32>()?, [1., 2.]);
        for rate in [1., -0.1, f64::NAN] {
            assert!(dropout(&xs, rate, &mut stream(0, &[])).is_err(), "{rate}");
        }
        Ok(())
    }
}
