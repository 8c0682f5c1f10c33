//! Learning rate, momentum and accumulation as pure functions of where a training is, so that a run which starts again
//! has nothing to restore.

use super::optim::{GroupedOptimizer, ParamKind};

/// Ultralytics' schedule: a line or half a cosine over the epochs, after a warm-up over the first iterations.
///
/// An iteration is a batch, counted from 0 over all epochs.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct UltralyticsSchedule {
    /// Rate after the warm-up (`lr0`).
    pub learning_rate: f64,
    /// What is left of it after the last epoch (`lrf`).
    pub final_fraction: f64,
    /// Whether it falls as a cosine (`cos_lr`) instead of a line.
    pub is_cosine: bool,
    /// Momentum after the warm-up.
    pub momentum: f64,
    /// Epochs of the warm-up; the last epoch is never part of it.
    pub warmup_epochs: f64,
    /// Momentum in iteration 0 (`warmup_momentum`).
    pub warmup_momentum: f64,
    /// Rate of the biases in iteration 0 (`warmup_bias_lr`); that of everything else is 0.
    pub warmup_bias_rate: f64,
    /// Epochs of the whole training.
    pub epochs: usize,
    /// Batches of an epoch.
    pub batches: usize,
    /// Images of a batch.
    pub batch: usize,
    /// Images that a step should see (`nbs`).
    pub nominal_batch: usize,
}

impl UltralyticsSchedule {
    /// Iterations of the warm-up.
    #[must_use]
    pub fn warmup_iterations(&self) -> usize {
        let epochs = self.warmup_epochs.min(self.epochs.saturating_sub(1) as f64);
        (epochs.max(0.) * self.batches as f64).round_ties_even() as usize
    }

    /// What the rate is multiplied by in an epoch.
    #[must_use]
    pub fn fraction(&self, epoch: usize) -> f64 {
        if self.is_cosine {
            cosine(epoch, self.epochs, self.final_fraction)
        } else {
            linear(epoch, self.epochs, self.final_fraction)
        }
    }

    /// Rate of a group of this role and factor in an iteration.
    #[must_use]
    pub fn rate(&self, role: ParamKind, factor: f64, iteration: usize) -> f64 {
        let target = self.learning_rate * factor * self.fraction(iteration / self.batches.max(1));
        let start = if role == ParamKind::Bias { self.warmup_bias_rate } else { 0. };
        self.warm(start, target, iteration)
    }

    /// Momentum in an iteration.
    #[must_use]
    pub fn momentum(&self, iteration: usize) -> f64 {
        self.warm(self.warmup_momentum, self.momentum, iteration)
    }

    /// Batches whose gradients are added up for a step, in an iteration: 1 at first, [`nominal_batch`] images after the
    /// warm-up.
    ///
    /// [`nominal_batch`]: UltralyticsSchedule::nominal_batch
    #[must_use]
    pub fn accumulate(&self, iteration: usize) -> usize {
        let target = self.uncapped_accumulate().min((self.batches * self.epochs).max(1));
        (self.warm(1., target as f64, iteration).round_ties_even() as usize).max(1)
    }

    /// Whether a step follows an iteration: as soon as [`UltralyticsSchedule::accumulate`] iterations have passed since
    /// the last.
    #[must_use]
    pub fn is_step(&self, iteration: usize) -> bool {
        let warmup = self.warmup_iterations();
        let mut next = 0;
        for i in 0..=iteration.min(warmup) {
            // `next` is the first iteration after the last step.
            if i + 1 - next >= self.accumulate(i) {
                next = i + 1;
            }
        }
        let since = iteration + 1 - next;
        if iteration <= warmup { since == 0 } else { since.is_multiple_of(self.accumulate(iteration)) }
    }

    /// `weight_decay` for the images that a step really sees.
    #[must_use]
    pub fn weight_decay(&self, weight_decay: f64) -> f64 {
        weight_decay * (self.batch * self.uncapped_accumulate()) as f64 / self.nominal_batch as f64
    }

    /// Sets the rates of an iteration, and the momentum of the algorithms that have one: the betas of Adam and its
    /// kin stay.
    pub fn apply(&self, optimizer: &mut GroupedOptimizer, iteration: usize) {
        let has_momentum = !optimizer.algorithm().has_betas();
        for group in optimizer.groups_mut() {
            group.learning_rate = self.rate(group.role, group.rate_factor, iteration);
            if has_momentum {
                group.momentum = self.momentum(iteration);
            }
        }
    }

    fn uncapped_accumulate(&self) -> usize {
        ((self.nominal_batch as f64 / self.batch as f64).round_ties_even() as usize).max(1)
    }

    fn warm(&self, start: f64, target: f64, iteration: usize) -> f64 {
        let warmup = self.warmup_iterations();
        if iteration >= warmup {
            return target;
        }
        start + (target - start) / warmup as f64 * iteration as f64
    }
}

/// `max(1 − epoch / epochs, 0)·(1 − last) + last`.
#[must_use]
pub fn linear(epoch: usize, epochs: usize, last: f64) -> f64 {
    (1. - epoch as f64 / epochs as f64).max(0.) * (1. - last) + last
}

/// Half a cosine from 1 in epoch 0 to `last` in epoch `epochs`.
#[must_use]
pub fn cosine(epoch: usize, epochs: usize, last: f64) -> f64 {
    let angle = std::f64::consts::PI * epoch as f64 / epochs as f64;
    ((1. - angle.cos()) / 2.).max(0.) * (last - 1.) + 1.
}

/// timm's schedules: a linear warm-up, then half a cosine or steps. Times are epochs or updates, as the caller counts.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TimmSchedule {
    /// Rate after the warm-up.
    pub learning_rate: f64,
    /// Length of the warm-up.
    pub warmup: usize,
    /// Rate at time 0, where there is a warm-up.
    pub warmup_rate: f64,
    /// Whether the course after the warm-up starts with its end (`warmup_prefix`) instead of at time 0.
    pub warmup_prefix: bool,
    /// The course after the warm-up.
    pub course: LrCurve,
}

/// How a [`TimmSchedule`] falls.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum LrCurve {
    /// Half a cosine.
    Cosine {
        /// Its length; the rate stays at `min_rate` afterwards.
        length: usize,
        /// Its end.
        min_rate: f64,
    },
    /// By `factor` at every multiple of `length`.
    Step {
        /// Time between two steps.
        length: f64,
        /// What a step multiplies the rate by.
        factor: f64,
    },
}

impl TimmSchedule {
    /// Rate at a time.
    #[must_use]
    pub fn rate(&self, time: usize) -> f64 {
        if time < self.warmup {
            return self.warmup_rate + (self.learning_rate - self.warmup_rate) / self.warmup as f64 * time as f64;
        }
        let time = if self.warmup_prefix { time - self.warmup } else { time };
        match self.course {
            LrCurve::Cosine { length, min_rate } if time < length => {
                let angle = std::f64::consts::PI * time as f64 / length as f64;
                min_rate + 0.5 * (self.learning_rate - min_rate) * (1. + angle.cos())
            }
            LrCurve::Cosine { min_rate, .. } => min_rate,
            LrCurve::Step { length, factor } => self.learning_rate * factor.powf((time as f64 / length).floor()),
        }
    }
}

#[cfg(test)]
#[path = "schedule_tests.rs"]
mod tests;
