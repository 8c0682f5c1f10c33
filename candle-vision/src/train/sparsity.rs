//! Training towards few channels.

use candle_core::{Result, Tensor};

use super::VarStore;
use super::optim::ParamGroup;

/// Moves the weights of batch norms towards 0 by `slim` times their rate, and no further than 0: the proximal step of the penalty
/// `slim · Σ|weight|` that network slimming ([Liu et al. 2017](https://arxiv.org/abs/1708.06519)) adds to a loss. Apart from the
/// gradients it is the same for every optimizer, as a decoupled decay is, and what is 0 is so exactly.
pub(super) fn shrink_batch_norms(variables: &VarStore, groups: &[ParamGroup], slim: f64) -> Result<()> {
    for group in groups {
        let amount = slim * group.learning_rate;
        for (name, weight) in &group.parameters {
            let norm =
                name.strip_suffix("weight").filter(|norm| variables.get(&format!("{norm}running_mean")).is_some());
            if norm.is_some() {
                let value: Tensor = weight.as_detached_tensor();
                weight.set(&(&value - value.clamp(-amount, amount)?)?)?;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device};
    use candle_nn::Init;

    use super::super::optim::{Algorithm, Config, timm_groups};
    use super::*;

    #[test]
    fn batch_norms_move_to_zero_and_nothing_else_does() -> Result<()> {
        let variables = VarStore::new(DType::F64, &Device::Cpu, 0);
        for name in ["bn.weight", "bn.bias", "bn.running_mean", "conv.weight", "fc.bias"] {
            variables.builder().get_with_hints(4, name, Init::Const(0.))?;
            variables.get(name).expect("a variable").set(&Tensor::new(&[0.5, -0.002, 0.01, -0.3], &Device::Cpu)?)?;
        }
        let mut groups = timm_groups(variables.parameters(), &Config::new(Algorithm::ADAM_W, 1.));
        groups.iter_mut().for_each(|group| group.learning_rate = 0.1);
        shrink_batch_norms(&variables, &groups, 0.1)?;
        for (name, var) in variables.iter() {
            let expected = if name == "bn.weight" { [0.49, 0., 0., -0.29] } else { [0.5, -0.002, 0.01, -0.3] };
            let found = var.to_vec1::<f64>()?;
            assert!(found.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-15), "{name}: {found:?}");
        }
        assert_eq!(variables.get("bn.weight").expect("a variable").to_vec1::<f64>()?[1..3], [0., 0.], "exactly");
        Ok(())
    }
}
