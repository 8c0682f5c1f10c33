//! How a classifier is trained: timm's hyperparameters, and what follows from them.

use candle_vision::train::optim::Config;
use candle_vision::train::schedule::{LrCurve, TimmSchedule};
use serde::{Deserialize, Serialize};

use super::{Optimizer, Schedule};

/// timm's hyperparameters of the optimizer and the loss, with its defaults.
///
/// ```
/// use candle_ghostnet::train::Recipe;
///
/// let mut recipe = Recipe::default().epochs(30).batch(64);
/// recipe.warmup_epochs = 1.5;
/// assert_eq!(recipe.schedule(10).warmup, 15);
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
    pub opt: Optimizer,
    /// Rate after the warm-up; by the batch where it is not given, see [`Recipe::rate`].
    pub lr: Option<f64>,
    /// Momentum, or the first beta of Adam.
    pub momentum: f64,
    /// Decay of what has more than one dimension and is no bias.
    pub weight_decay: f64,
    /// Norm that gradients are clipped to.
    pub clip_grad: Option<f64>,
    /// How the rate falls.
    pub sched: Schedule,
    /// Epochs in which the rate rises, a part of one too.
    pub warmup_epochs: f64,
    /// Rate at the start of the warm-up.
    pub warmup_lr: f64,
    /// Rate at the end of the cosine.
    pub min_lr: f64,
    /// Epochs between steps.
    pub decay_epochs: f64,
    /// What a step multiplies the rate by.
    pub decay_rate: f64,
    /// Whether an average of the weights is measured and saved instead of the last ones.
    pub model_ema: bool,
    /// What an update keeps of that average.
    pub model_ema_decay: f64,
    /// Share of the classifier's inputs that training drops.
    pub drop: f64,
    /// Share of each label that is spread over all classes.
    pub smoothing: f64,
    /// Share of the teacher's answers in the loss, where there is a teacher.
    pub distill_alpha: f64,
    /// Temperature of the student's and the teacher's answers.
    pub distill_temperature: f64,
    /// What batch norms lose of their weights at each step, as a multiple of the rate: see
    /// [`TrainState::slim`](candle_vision::train::TrainState::slim).
    pub slim: Option<f64>,
}

impl Default for Recipe {
    fn default() -> Self {
        Self {
            epochs: 100,
            batch: 128,
            opt: Optimizer::Sgd,
            lr: None,
            momentum: 0.9,
            weight_decay: 2e-5,
            clip_grad: None,
            sched: Schedule::Cosine,
            warmup_epochs: 5.,
            warmup_lr: 1e-5,
            min_lr: 0.,
            decay_epochs: 90.,
            decay_rate: 0.1,
            model_ema: false,
            model_ema_decay: 0.9998,
            drop: 0.,
            smoothing: 0.1,
            distill_alpha: 0.5,
            distill_temperature: 1.,
            slim: None,
        }
    }
}

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

    /// Rate after the warm-up: as given, else timm's 0.1 per 256 images of a batch, for Adam per the root of them.
    #[must_use]
    pub fn rate(&self) -> f64 {
        let share = self.batch as f64 / 256.;
        self.lr.unwrap_or_else(|| 0.1 * self.opt.rate_share(share))
    }

    /// The optimizer.
    #[must_use]
    pub fn optimizer(&self) -> Config {
        let Self { opt, momentum, weight_decay, .. } = *self;
        Config::new(opt.algorithm(), self.rate()).momentum(momentum).weight_decay(weight_decay)
    }

    /// The course of the rate by steps, for epochs of `batches`. The cosine begins with the end of the warm-up and ends with
    /// the last step.
    #[must_use]
    pub fn schedule(&self, batches: usize) -> TimmSchedule {
        let steps = self.epochs * batches;
        let warmup = ((self.warmup_epochs * batches as f64) as usize).min(steps);
        let course = match self.sched {
            Schedule::Cosine => LrCurve::Cosine { length: steps - warmup, min_rate: self.min_lr },
            Schedule::Step => LrCurve::Step { length: self.decay_epochs * batches as f64, factor: self.decay_rate },
        };
        TimmSchedule {
            learning_rate: self.rate(),
            warmup,
            warmup_rate: self.warmup_lr,
            warmup_prefix: self.sched == Schedule::Cosine,
            course,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_follows_the_batch() {
        let recipe = Recipe { batch: 64, ..Default::default() };
        assert_eq!(recipe.rate(), 0.025);
        assert_eq!(Recipe { opt: Optimizer::AdamW, ..recipe.clone() }.rate(), 0.05);
        assert_eq!(Recipe { lr: Some(0.3), ..recipe }.rate(), 0.3);
    }

    /// `tests/oracle`'s reference recipe: a warm-up from 0 over a twentieth of the steps, then half a cosine over the rest.
    #[test]
    fn a_cosine_fills_the_steps_behind_the_warm_up() {
        let recipe = Recipe { epochs: 30, lr: Some(0.1), warmup_epochs: 1.5, warmup_lr: 0., ..Default::default() };
        let (schedule, steps, warm) = (recipe.schedule(390), 30 * 390, 30 * 390 / 20);
        for step in [0, 1, 300, warm - 1, warm, warm + 1, 5000, steps - 1] {
            let expected = if step < warm {
                0.1 * step as f64 / warm as f64
            } else {
                let angle = std::f64::consts::PI * (step - warm) as f64 / (steps - warm) as f64;
                0.1 * 0.5 * (1. + angle.cos())
            };
            assert!((schedule.rate(step) - expected).abs() < 1e-15, "{step}: {} {expected}", schedule.rate(step));
        }
    }
}
