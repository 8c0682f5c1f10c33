//! How a detector is trained: Ultralytics' hyperparameters, and what follows from them.

use std::fmt;
use std::str::FromStr;

use candle_vision::train::optim::{Algorithm, Config};
use candle_vision::train::schedule::UltralyticsSchedule;
use serde::{Deserialize, Serialize};

use super::LossWeights;
use crate::OptionError;

/// Ultralytics' hyperparameters of the optimizer and the loss, with its defaults.
///
/// ```
/// use candle_yolov8::train::Recipe;
///
/// let mut recipe = Recipe::default().epochs(30).batch(8);
/// recipe.lr0 = 0.005;
/// assert_eq!(recipe.schedule(10).learning_rate, 0.005);
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Recipe {
    /// Passes over the data.
    pub epochs: usize,
    /// Images of a batch.
    pub batch: usize,
    /// The rule of a step.
    pub optimizer: Optimizer,
    /// First learning rate.
    pub lr0: f64,
    /// Last learning rate, as a share of the first.
    pub lrf: f64,
    /// Momentum, or the first beta of Adam and its kin.
    pub momentum: f64,
    /// Decay of weights at the nominal batch.
    pub weight_decay: f64,
    /// Epochs in which the rate rises.
    pub warmup_epochs: f64,
    /// Momentum at the start.
    pub warmup_momentum: f64,
    /// Rate of the biases at the start.
    pub warmup_bias_lr: f64,
    /// Whether the rate falls along a cosine.
    pub cos_lr: bool,
    /// Images that a step should see.
    pub nbs: usize,
    /// Weight of the box loss.
    #[serde(rename = "box")]
    pub box_gain: f64,
    /// Weight of the class loss.
    #[serde(rename = "cls")]
    pub cls_gain: f64,
    /// Weight of the loss of box distributions.
    #[serde(rename = "dfl")]
    pub dfl_gain: f64,
    /// Power of the inverse frequencies that classes are weighted by, 0 to 1: see [`class_weights`](super::class_weights).
    pub cls_pw: f64,
    /// What batch norms lose of their weights at each step, as a multiple of the rate: see
    /// [`TrainState::slim`](candle_vision::train::TrainState::slim).
    pub slim: Option<f64>,
}

impl Default for Recipe {
    fn default() -> Self {
        Self {
            epochs: 100,
            batch: 16,
            optimizer: Optimizer::Auto,
            lr0: 0.01,
            lrf: 0.01,
            momentum: 0.937,
            weight_decay: 0.0005,
            warmup_epochs: 3.,
            warmup_momentum: 0.8,
            warmup_bias_lr: 0.1,
            cos_lr: false,
            nbs: 64,
            box_gain: 7.5,
            cls_gain: 0.5,
            dfl_gain: 1.5,
            cls_pw: 0.,
            slim: None,
        }
    }
}

/// An optimizer that detectors are trained with, by Ultralytics' names in any case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Optimizer {
    /// By the length of the run.
    #[default]
    Auto,
    /// With Nesterov's momentum.
    Sgd,
    /// SGD, with an orthogonalised momentum for matrices and convolutions.
    MuSgd,
    /// Adam whose decay is apart from the gradient.
    AdamW,
    /// Adam.
    Adam,
    /// Adam with the largest gradient in the place of the mean square.
    Adamax,
    /// Adam with Nesterov's momentum.
    NAdam,
    /// Adam that does not adapt before its averages are long enough.
    RAdam,
    /// By the mean square of the gradients.
    RmsProp,
}

impl fmt::Display for Optimizer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Auto => "auto",
            Self::Sgd => "SGD",
            Self::MuSgd => "MuSGD",
            Self::AdamW => "AdamW",
            Self::Adam => "Adam",
            Self::Adamax => "Adamax",
            Self::NAdam => "NAdam",
            Self::RAdam => "RAdam",
            Self::RmsProp => "RMSProp",
        })
    }
}

impl TryFrom<String> for Optimizer {
    type Error = OptionError;

    fn try_from(name: String) -> Result<Self, OptionError> {
        name.parse()
    }
}

impl From<Optimizer> for String {
    fn from(optimizer: Optimizer) -> Self {
        optimizer.to_string()
    }
}

impl FromStr for Optimizer {
    type Err = OptionError;

    fn from_str(text: &str) -> Result<Self, OptionError> {
        match text.to_ascii_lowercase().as_str() {
            "auto" => Ok(Self::Auto),
            "sgd" => Ok(Self::Sgd),
            "musgd" => Ok(Self::MuSgd),
            "adamw" => Ok(Self::AdamW),
            "adam" => Ok(Self::Adam),
            "adamax" => Ok(Self::Adamax),
            "nadam" => Ok(Self::NAdam),
            "radam" => Ok(Self::RAdam),
            "rmsprop" => Ok(Self::RmsProp),
            _ => Err(OptionError::Optimizer(text.to_owned())),
        }
    }
}

/// Updates up to which `auto` takes AdamW.
const SHORT_RUN: usize = 10_000;

impl Recipe {
    /// Passes over the data.
    #[must_use]
    pub fn epochs(self, epochs: usize) -> Self {
        Self { epochs, ..self }
    }

    /// Images of a batch.
    #[must_use]
    pub fn batch(self, batch: usize) -> Self {
        Self { batch, ..self }
    }

    /// The recipe with `auto` replaced by what it stands for, for a training set of `images` of `classes`.
    ///
    /// Ultralytics' rule: up to 10,000 updates AdamW at `round(0.002·5 / (4 + classes), 6)`, above MuSGD at 0.01; no rate of
    /// its own for biases in both. The momentum is 0.9, but that a warm-up leads MuSGD's to the recipe's. The warm-up is cut
    /// to leave the last epoch, so that it does not grow when the run is extended.
    #[must_use]
    pub fn resolve(&self, images: usize, classes: usize) -> Self {
        let warmup_epochs = self.warmup_epochs.min(self.epochs.saturating_sub(1) as f64);
        if self.optimizer != Optimizer::Auto {
            return Self { warmup_epochs, ..self.clone() };
        }
        let updates = images.div_ceil(self.batch.max(self.nbs).max(1)) * self.epochs;
        let fitted = (0.002 * 5. / (4 + classes) as f64 * 1e6).round_ties_even() / 1e6;
        let is_long = updates > SHORT_RUN;
        let (optimizer, lr0) = if is_long { (Optimizer::MuSgd, 0.01) } else { (Optimizer::AdamW, fitted) };
        let momentum = if is_long && warmup_epochs > 0. { self.momentum } else { 0.9 };
        Self { optimizer, lr0, momentum, warmup_bias_lr: 0., warmup_epochs, ..self.clone() }
    }

    /// The course of rates and momentum, for epochs of `batches`.
    #[must_use]
    pub fn schedule(&self, batches: usize) -> UltralyticsSchedule {
        UltralyticsSchedule {
            learning_rate: self.lr0,
            final_fraction: self.lrf,
            is_cosine: self.cos_lr,
            momentum: self.momentum,
            warmup_epochs: self.warmup_epochs,
            warmup_momentum: self.warmup_momentum,
            warmup_bias_rate: self.warmup_bias_lr,
            epochs: self.epochs,
            batches,
            batch: self.batch,
            nominal_batch: self.nbs,
        }
    }

    /// The optimizer, for epochs of `batches`.
    ///
    /// # Errors
    /// `auto`, which [`Recipe::resolve`] replaces.
    pub fn optimizer(&self, batches: usize) -> Result<Config, OptionError> {
        let algorithm = match self.optimizer {
            Optimizer::Sgd => Algorithm::Sgd { nesterov: true },
            Optimizer::MuSgd => Algorithm::MU_SGD,
            Optimizer::AdamW => Algorithm::ADAM_W,
            Optimizer::Adam => Algorithm::ADAM,
            Optimizer::Adamax => Algorithm::ADAMAX,
            Optimizer::NAdam => Algorithm::N_ADAM,
            Optimizer::RAdam => Algorithm::R_ADAM,
            Optimizer::RmsProp => Algorithm::RMSPROP,
            Optimizer::Auto => return Err(OptionError::Unresolved),
        };
        let weight_decay = self.schedule(batches).weight_decay(self.weight_decay);
        Ok(Config::new(algorithm, self.lr0).momentum(self.momentum).weight_decay(weight_decay))
    }

    /// The weights of the losses.
    #[must_use]
    pub fn gains(&self) -> LossWeights {
        LossWeights { boxes: self.box_gain, classes: self.cls_gain, dfl: self.dfl_gain }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn optimizers_are_found_by_ultralytics_names_in_any_case() -> Result<(), OptionError> {
        for (name, algorithm) in [
            ("SGD", Algorithm::Sgd { nesterov: true }),
            ("MuSGD", Algorithm::MU_SGD),
            ("Adam", Algorithm::ADAM),
            ("AdamW", Algorithm::ADAM_W),
            ("Adamax", Algorithm::ADAMAX),
            ("NAdam", Algorithm::N_ADAM),
            ("RAdam", Algorithm::R_ADAM),
            ("RMSProp", Algorithm::RMSPROP),
        ] {
            for text in [name.to_owned(), name.to_lowercase(), name.to_uppercase()] {
                let optimizer: Optimizer = text.parse()?;
                assert_eq!(
                    (optimizer.to_string(), serde_json::to_value(optimizer).unwrap()),
                    (name.into(), name.into())
                );
                assert_eq!(serde_json::from_value::<Optimizer>(text.into()).unwrap(), optimizer);
                let recipe = Recipe { optimizer, ..Default::default() }.resolve(10, 1);
                // Only `auto` changes the rate, and decay is the nominal batch's for all of them.
                let expected = Config::new(algorithm, 0.01).momentum(0.937).weight_decay(0.0005);
                assert_eq!(recipe.optimizer(1)?, expected);
            }
        }
        Ok(())
    }

    #[test]
    fn auto_is_adamw_for_short_runs_and_musgd_for_long_ones() {
        let recipe = Recipe::default();
        let short = recipe.resolve(205, 3);
        assert_eq!((short.optimizer, short.lr0, short.momentum), (Optimizer::AdamW, 0.001429, 0.9));
        assert_eq!(short.warmup_bias_lr, 0.);
        // 118,287 images of 80 classes: 1,849 updates an epoch.
        assert_eq!(Recipe { epochs: 5, ..recipe.clone() }.resolve(118_287, 80).optimizer, Optimizer::AdamW);
        let long = Recipe { epochs: 6, ..recipe.clone() }.resolve(118_287, 80);
        assert_eq!((long.optimizer, long.lr0, long.momentum), (Optimizer::MuSgd, 0.01, 0.937));
        assert_eq!(Recipe { epochs: 5, ..recipe.clone() }.resolve(118_287, 80).lr0, 0.000119);
        let sgd = Recipe { optimizer: Optimizer::Sgd, lr0: 0.3, ..recipe.clone() };
        assert_eq!(sgd.resolve(1, 1), sgd, "only auto is replaced");
        assert_eq!(Recipe { epochs: 2, ..sgd }.resolve(1, 1).warmup_epochs, 1.);
        assert_eq!(recipe.optimizer(1), Err(OptionError::Unresolved));
        assert!("lion".parse::<Optimizer>().is_err());
    }
}
