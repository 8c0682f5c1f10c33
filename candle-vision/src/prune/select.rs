//! Which channels to remove.

use std::collections::BTreeSet;

use super::Dependencies;

/// What the least important channels are looked for in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Scope {
    /// All layers: those that count less lose more. `global_pruning` of Torch-Pruning.
    #[default]
    Global,
    /// Each layer by itself: all lose the same share.
    Uniform,
}

/// How many channels go, and how many stay.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct PruneRule {
    /// Share of the channels to remove, from 0 to 1.
    pub ratio: f64,
    /// What they are looked for in.
    pub scope: Scope,
    /// Channels that stay of each group, where it has so many; a tenth of it stays in any case.
    pub min_channels: usize,
    /// What the channels that stay of each group are a multiple of, where it has so many.
    pub round_to: usize,
}

impl PruneRule {
    /// A share of all channels: 8 of each group stay, in multiples of 8.
    #[must_use]
    pub fn new(ratio: f64) -> Self {
        Self { ratio, scope: Scope::Global, min_channels: 8, round_to: 8 }
    }

    /// Share of the channels to remove, from 0 to 1.
    #[must_use]
    pub fn ratio(self, ratio: f64) -> Self {
        Self { ratio, ..self }
    }

    /// What the least important channels are looked for in.
    #[must_use]
    pub fn scope(self, scope: Scope) -> Self {
        Self { scope, ..self }
    }

    /// Channels that stay of each group.
    #[must_use]
    pub fn min_channels(self, min_channels: usize) -> Self {
        Self { min_channels, ..self }
    }

    /// What the channels that stay of each group are a multiple of; 1 for any number.
    #[must_use]
    pub fn round_to(self, round_to: usize) -> Self {
        Self { round_to, ..self }
    }

    /// Channels that stay of a group of `len`, of which `kept` were wanted.
    fn kept(&self, kept: usize, len: usize) -> usize {
        let least = self.min_channels.max(len.div_ceil(10)).max(1).min(len);
        let step = self.round_to.max(1);
        let rounded = if kept == len { len } else { (kept + step / 2) / step * step };
        rounded.max(least.next_multiple_of(step)).min(len)
    }
}

impl Dependencies {
    /// The channels to remove, by their numbers: the least important by `importance`, which has an entry for each channel; those of
    /// which nothing is known stay.
    ///
    /// Groups round to their own numbers, so that the share that goes is about the rule's. Equal importances go by number.
    #[must_use]
    pub fn select(&self, importance: &[Option<f64>], rule: &PruneRule) -> BTreeSet<usize> {
        let known = |channel: &&usize| importance.get(**channel).is_some_and(Option::is_some);
        let order = |a: &usize, b: &usize| {
            let of = |channel: usize| importance[channel].unwrap_or(f64::INFINITY);
            of(*a).total_cmp(&of(*b)).then(a.cmp(b))
        };
        // Each group's channels that may go, the least important first.
        let sorted: Vec<(usize, Vec<usize>)> = self
            .groups()
            .iter()
            .map(|group| {
                let mut channels: Vec<usize> = group.iter().filter(known).copied().collect();
                channels.sort_by(order);
                (group.len(), channels)
            })
            .collect();
        let share = |len: usize| (rule.ratio.clamp(0., 1.) * len as f64).round() as usize;
        let gone: Vec<usize> = match rule.scope {
            Scope::Uniform => sorted.iter().map(|(len, _)| share(*len)).collect(),
            Scope::Global => {
                let mut all: Vec<(usize, usize)> = sorted
                    .iter()
                    .enumerate()
                    .flat_map(|(group, (_, channels))| channels.iter().map(move |channel| (*channel, group)))
                    .collect();
                all.sort_by(|(a, _), (b, _)| order(a, b));
                let mut left = share(sorted.iter().map(|(len, _)| len).sum());
                let mut gone = vec![0; sorted.len()];
                for (_, group) in all {
                    let (len, _) = sorted[group];
                    let least = rule.kept(0, len);
                    if left > 0 && len - gone[group] > least {
                        gone[group] += 1;
                        left -= 1;
                    }
                }
                gone
            }
        };
        let of_group = |((len, channels), gone): (&(usize, Vec<usize>), usize)| {
            let goes = len - rule.kept(len - gone.min(*len), *len);
            channels.iter().take(goes).copied().collect::<Vec<_>>()
        };
        sorted.iter().zip(gone).flat_map(of_group).collect()
    }
}

#[cfg(test)]
#[path = "select_tests.rs"]
mod tests;
