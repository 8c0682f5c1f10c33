//! The choices of a recipe, by timm's names.

use std::fmt;
use std::str::FromStr;

use candle_vision::train::optim::Algorithm;
use serde::{Deserialize, Serialize};

/// A name that is none of a recipe's choices.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OptionError {
    /// No optimizer is called so.
    #[error("`{0}` is no optimizer here: give sgd, adamw, adam or rmsproptf")]
    Optimizer(String),
    /// No schedule is called so.
    #[error("`{0}` is no schedule here: give cosine or step")]
    Schedule(String),
}

/// An optimizer that classifiers are trained with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Optimizer {
    /// With Nesterov's momentum.
    #[default]
    Sgd,
    /// Adam whose decay is apart from the gradient.
    AdamW,
    /// Adam.
    Adam,
    /// By the mean square of the gradients, as TensorFlow has it.
    RmsPropTf,
}

impl Optimizer {
    /// The rule of a step.
    #[must_use]
    pub fn algorithm(self) -> Algorithm {
        match self {
            Self::Sgd => Algorithm::Sgd { nesterov: true },
            Self::AdamW => Algorithm::ADAM_W,
            Self::Adam => Algorithm::ADAM,
            Self::RmsPropTf => Algorithm::RMSPROP_TF,
        }
    }

    /// What the rate is multiplied by where a batch is `share` of the nominal one: for Adam the root of it.
    pub(super) fn rate_share(self, share: f64) -> f64 {
        match self {
            Self::AdamW | Self::Adam => share.sqrt(),
            Self::Sgd | Self::RmsPropTf => share,
        }
    }
}

impl fmt::Display for Optimizer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Sgd => "sgd",
            Self::AdamW => "adamw",
            Self::Adam => "adam",
            Self::RmsPropTf => "rmsproptf",
        })
    }
}

impl FromStr for Optimizer {
    type Err = OptionError;

    fn from_str(name: &str) -> Result<Self, OptionError> {
        match name {
            "sgd" => Ok(Self::Sgd),
            "adamw" => Ok(Self::AdamW),
            "adam" => Ok(Self::Adam),
            "rmsproptf" => Ok(Self::RmsPropTf),
            _ => Err(OptionError::Optimizer(name.to_owned())),
        }
    }
}

impl TryFrom<String> for Optimizer {
    type Error = OptionError;

    fn try_from(name: String) -> Result<Self, OptionError> {
        name.parse()
    }
}

impl From<Optimizer> for String {
    fn from(choice: Optimizer) -> Self {
        choice.to_string()
    }
}

/// How the rate falls behind the warm-up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Schedule {
    /// Along half a cosine.
    #[default]
    Cosine,
    /// By a factor every few epochs.
    Step,
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Cosine => "cosine",
            Self::Step => "step",
        })
    }
}

impl FromStr for Schedule {
    type Err = OptionError;

    fn from_str(name: &str) -> Result<Self, OptionError> {
        match name {
            "cosine" => Ok(Self::Cosine),
            "step" => Ok(Self::Step),
            _ => Err(OptionError::Schedule(name.to_owned())),
        }
    }
}

impl TryFrom<String> for Schedule {
    type Error = OptionError;

    fn try_from(name: String) -> Result<Self, OptionError> {
        name.parse()
    }
}

impl From<Schedule> for String {
    fn from(choice: Schedule) -> Self {
        choice.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn choices_are_read_and_written_as_timm_s_names() {
        for name in ["sgd", "adamw", "adam", "rmsproptf"] {
            let optimizer: Optimizer = name.parse().unwrap();
            assert_eq!((optimizer.to_string().as_str(), serde_json::to_value(optimizer).unwrap()), (name, name.into()));
            assert_eq!(serde_json::from_value::<Optimizer>(name.into()).unwrap(), optimizer);
        }
        for name in ["cosine", "step"] {
            let schedule: Schedule = name.parse().unwrap();
            assert_eq!((schedule.to_string().as_str(), serde_json::to_value(schedule).unwrap()), (name, name.into()));
            assert_eq!(serde_json::from_value::<Schedule>(name.into()).unwrap(), schedule);
        }
        let message = "`lion` is no optimizer here: give sgd, adamw, adam or rmsproptf";
        assert_eq!(serde_json::from_value::<Optimizer>("lion".into()).unwrap_err().to_string(), message);
        let message = "`poly` is no schedule here: give cosine or step";
        assert_eq!("poly".parse::<Schedule>().unwrap_err().to_string(), message);
    }
}
