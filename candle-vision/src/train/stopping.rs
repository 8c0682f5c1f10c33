//! When a run has stopped getting better.

use serde::{Deserialize, Serialize};

/// Watches a run's fitness; the larger the better.
///
/// Source: Ultralytics' rule. An epoch counts as the best while no fitness above 0 was seen, so that a slow start does
/// not end a run.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct EarlyStopping {
    /// The best fitness seen.
    pub best: f64,
    /// Its epoch, from 1; 0 before the first.
    pub epoch: usize,
}

impl EarlyStopping {
    /// Takes in an epoch, counted from 1; whether it is the `patience`-th or a later one since the best. A patience of 0
    /// never ends.
    pub fn stops(&mut self, epoch: usize, fitness: f64, patience: usize) -> bool {
        if fitness > self.best || self.best == 0. {
            *self = Self { best: fitness, epoch };
        }
        self.has_run_out(epoch, patience)
    }

    /// Whether an epoch is the `patience`-th or a later one since the best.
    #[must_use]
    pub fn has_run_out(&self, epoch: usize, patience: usize) -> bool {
        patience > 0 && epoch - self.epoch.min(epoch) >= patience
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The epochs at which Ultralytics 8.4.190's `EarlyStopping(patience=3)` says stop.
    #[test]
    fn a_run_ends_after_its_patience_without_a_better_epoch() {
        let mut stopping = EarlyStopping::default();
        let fitness = [0., 0., 0., 0., 0., 0.1, 0.3, 0.2, 0.3, 0.1, 0.4];
        let stops: Vec<bool> = fitness.iter().enumerate().map(|(i, f)| stopping.stops(i + 1, *f, 3)).collect();
        let first = stops.iter().position(|stop| *stop);
        assert_eq!(first, Some(9), "epoch 10 is the third after epoch 7");
        assert_eq!(stopping, EarlyStopping { best: 0.4, epoch: 11 });
        assert!(!EarlyStopping { best: 1., epoch: 1 }.stops(1000, 0.5, 0), "0 never ends");
    }
}
