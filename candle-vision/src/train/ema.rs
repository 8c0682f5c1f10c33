//! An average of the weights over the steps of a training, which generalises better than the last weights.

use std::collections::BTreeMap;

use candle_core::{Result, Tensor};

use super::VarStore;
use ghostzoo_kernels::Update;

/// The share of the old average that an update keeps.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum EmaDecay {
    /// The same in each update: timm's `ModelEmaV3` without its warm-up.
    Constant(f64),
    /// `limit·(1 − e^(−t/tau))` in update `t`, counted from 1: the average follows the weights closely at first.
    Ramp {
        /// Approached after many updates.
        limit: f64,
        /// Updates until 63 % of it.
        tau: f64,
    },
}

impl EmaDecay {
    /// Ultralytics' `ModelEMA`.
    pub const ULTRALYTICS: Self = Self::Ramp { limit: 0.9999, tau: 2000. };

    /// In update `update`, counted from 1.
    #[must_use]
    pub fn at(self, update: u64) -> f64 {
        match self {
            Self::Constant(decay) => decay,
            Self::Ramp { limit, tau } => limit * (1. - (-(update as f64) / tau).exp()),
        }
    }
}

/// The exponential moving average of all of a model's tensors, running statistics included:
/// `e ← decay·e + (1 − decay)·w`.
#[derive(Debug)]
pub struct Ema {
    averages: VarStore,
    decay: EmaDecay,
    updates: u64,
}

impl Ema {
    /// Starts at the present values.
    pub fn new(variables: &VarStore, decay: EmaDecay) -> Result<Self> {
        Ok(Self { averages: variables.fork()?, decay, updates: 0 })
    }

    /// Takes in the values after a step.
    pub fn update(&mut self, variables: &VarStore) -> Result<()> {
        self.updates += 1;
        let rate = 1. - self.decay.at(self.updates);
        for (name, average) in self.averages.iter() {
            let Some(value) = variables.get(&name) else { candle_core::bail!("{name} is averaged, and gone") };
            Update::Step { rate, a: -1., b: 1., c: 0. }.apply(&average, &value, &value)?;
        }
        Ok(())
    }

    /// Number of updates.
    #[must_use]
    pub fn updates(&self) -> u64 {
        self.updates
    }

    /// Copies of the averages by name.
    pub fn tensors(&self) -> Result<BTreeMap<String, Tensor>> {
        self.averages.tensors()
    }

    /// Restores what [`Ema::tensors`] and [`Ema::updates`] gave. Fails, and changes nothing, where names or shapes differ.
    pub fn set_all(&mut self, tensors: &BTreeMap<String, Tensor>, updates: u64) -> Result<()> {
        self.averages.set_all(tensors)?;
        self.updates = updates;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::golden::{difference, golden, uniform};
    use super::*;
    use candle_core::{DType, Device};

    /// Rounding of 5 updates in f64, of values below 1.
    const TOLERANCE: f64 = 1e-14;

    const SHAPES: [(&str, &[usize]); 5] = [
        ("bn.bias", &[3]),
        ("bn.running_mean", &[3]),
        ("bn.running_var", &[3]),
        ("bn.weight", &[3]),
        ("conv.weight", &[3, 2, 1, 1]),
    ];

    fn variables() -> Result<VarStore> {
        let variables = VarStore::new(DType::F64, &Device::Cpu, 0);
        SHAPES.iter().try_for_each(|(name, dims)| variables.builder().get(*dims, name).map(|_| ()))?;
        Ok(variables)
    }

    fn fill(variables: &VarStore, update: usize) -> Result<()> {
        let values =
            SHAPES.iter().map(|(name, dims)| Ok(((*name).into(), uniform(&format!("{name}.{update}"), dims)?)));
        variables.set_all(&values.collect::<Result<_>>()?)
    }

    #[test]
    fn averages_equal_ultralytics_and_timms_and_resume() -> Result<()> {
        let golden = golden("averages");
        let cases = [
            ("ramp", EmaDecay::ULTRALYTICS, 0),
            ("ramp_late", EmaDecay::ULTRALYTICS, 3000),
            ("constant", EmaDecay::Constant(0.9), 0),
        ];
        for (case, decay, start) in cases {
            let variables = variables()?;
            fill(&variables, 0)?;
            let mut ema = Ema::new(&variables, decay)?;
            ema.set_all(&ema.tensors()?, start)?;
            for update in 1..=5 {
                fill(&variables, update)?;
                ema.update(&variables)?;
                if update == 2 {
                    let mut resumed = Ema::new(&variables, decay)?;
                    resumed.set_all(&ema.tensors()?, ema.updates())?;
                    ema = resumed;
                }
            }
            assert_eq!(ema.updates(), start + 5);
            for (name, average) in ema.tensors()? {
                let difference = difference(&average, &golden[case][&name])?;
                assert!(difference < TOLERANCE, "{case}: {name} is off by {difference:e}");
            }
            // The model keeps its own values.
            let weight = variables.get("conv.weight").expect("a variable");
            let own = (weight.as_tensor() - uniform("conv.weight.5", &[3, 2, 1, 1])?)?.abs()?.sum_all()?;
            assert_eq!(own.to_scalar::<f64>()?, 0.);
        }
        Ok(())
    }

    #[test]
    fn equal_values_stay_in_single_precision() -> Result<()> {
        let variables = VarStore::new(DType::F32, &Device::Cpu, 0);
        variables.builder().get_with_hints(1000, "weight", candle_nn::Init::Uniform { lo: -3., up: 3. })?;
        let mut ema = Ema::new(&variables, EmaDecay::Constant(0.9999))?;
        for _ in 0..1000 {
            ema.update(&variables)?;
        }
        let bits = |tensors: BTreeMap<String, Tensor>| tensors["weight"].to_vec1::<f32>();
        assert_eq!(bits(ema.tensors()?)?, bits(variables.tensors()?)?);
        Ok(())
    }
}
