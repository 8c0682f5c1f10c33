//! A run by several processes: what they agree on.

use std::collections::BTreeMap;

use candle_core::Tensor;
use candle_vision::train::distributed::{Communicator, Traffic};
use serde_json::{Value, json};

use super::fingerprints;
use super::options::FitOptions;
use super::record::{self, CHANGEABLE};
use super::state::{self, Saved};
use super::task::TrainTask;
use crate::error::{Context as _, Error, Result, chain, request};

/// Options that may differ between runs, but not between the processes of one.
const COMMON: [&str; 3] = ["epochs", "time", "patience"];
/// Options that may differ between the processes of a run.
const OWN: [&str; 1] = ["device"];

/// The processes of a run, or one alone.
#[derive(Clone, Copy)]
pub(super) struct Ranks<'a>(Option<&'a Communicator>);

impl<'a> Ranks<'a> {
    pub(super) fn of(options: &'a FitOptions) -> Self {
        Self::new(options.group.as_ref())
    }

    pub(super) fn new(group: Option<&'a Communicator>) -> Self {
        Self(group)
    }

    /// Whether this process writes the run's files.
    pub(super) fn is_main(self) -> bool {
        self.0.is_none_or(Communicator::is_main)
    }

    /// Whether there is no other.
    pub(super) fn is_alone(self) -> bool {
        self.0.is_none()
    }

    /// What was given to the others so far, where there are others.
    pub(super) fn traffic(self) -> Option<Traffic> {
        self.0.map(Communicator::traffic)
    }

    /// Runs `f`; where it fails the others are told, so that none waits for this process.
    ///
    /// # Errors
    /// As `f`.
    pub(super) fn guarded<T>(self, f: impl FnOnce() -> Result<T>) -> Result<T> {
        let result = f();
        let (Some(group), Err(error)) = (self.0, &result) else { return result };
        if let Some(failed) = group.failed() {
            // Whatever was being done.
            group.abort("it lost the others");
            return Err(failed)
                .context("the processes do not go on together; the state that was last saved can be resumed");
        }
        if !group.has_agreed() {
            group.abort(&chain(error));
        }
        result
    }

    /// A result where all processes have one; else the error of the first that has none, on all of them.
    ///
    /// # Errors
    /// What one of them gave.
    pub(super) fn together<T>(self, result: Result<T>) -> Result<T> {
        let Some(group) = self.0 else { return result };
        let kind = result.as_ref().err().map_or(0., |error| if error.is_request() { 1. } else { 2. });
        let kinds = group.gather(&[kind])?;
        let Some(rank) = kinds.iter().position(|kind| kind[0] > 0.) else { return result };
        let text = result.as_ref().err().map(|error| chain(error)).unwrap_or_default();
        let said = group.broadcast(rank, text.into_bytes())?;
        group.agree();
        if rank == group.rank() {
            return result;
        }
        let (said, who) = (String::from_utf8_lossy(&said), format!("rank {rank}"));
        let said = if said.starts_with(&who) { said.into_owned() } else { format!("{who}: {said}") };
        Err(if kinds[rank][0] > 1. { Error::Invalid(said) } else { request(said) })
    }

    /// The first process's bytes; the others need not make any.
    ///
    /// # Errors
    /// What keeps the first from making them, told to all.
    pub(super) fn broadcast(self, make: impl FnOnce() -> Result<Vec<u8>>) -> Result<Vec<u8>> {
        match self.0 {
            None => make(),
            Some(group) => {
                let made = self.together(if group.is_main() { make() } else { Ok(Vec::new()) })?;
                Ok(group.broadcast(0, made)?)
            }
        }
    }

    /// The first process's numbers, which it alone computes.
    ///
    /// # Errors
    /// As [`Ranks::broadcast`].
    pub(super) fn numbers(self, make: impl FnOnce() -> Result<Vec<f64>>) -> Result<Vec<f64>> {
        if self.0.is_none() {
            return make();
        }
        let bytes = self.broadcast(|| Ok(make()?.into_iter().flat_map(f64::to_le_bytes).collect()))?;
        Ok(bytes.chunks_exact(8).filter_map(|bytes| bytes.try_into().ok()).map(f64::from_le_bytes).collect())
    }

    /// What each process gave, in the order of ranks; nothing where one of them gave nothing.
    ///
    /// # Errors
    /// That of the first that failed, on all of them.
    pub(super) fn shares(self, own: Result<Option<Vec<u8>>>) -> Result<Option<Vec<Vec<u8>>>> {
        let own = self.together(own)?;
        let Some(group) = self.0 else { return Ok(own.map(|own| vec![own])) };
        let ended = group.gather(&[f64::from(own.is_none())])?.iter().any(|ended| ended[0] > 0.);
        let Some(own) = own.filter(|_| !ended) else { return Ok(None) };
        let of = |rank: usize| {
            let given = if rank == group.rank() { own.clone() } else { Vec::new() };
            Ok(group.broadcast(rank, given)?)
        };
        (0..group.world_size()).map(of).collect::<Result<_>>().map(Some)
    }

    /// The first process's tensors, in the place of one's own: batch norms may have other statistics elsewhere.
    ///
    /// # Errors
    /// As [`Ranks::broadcast`].
    pub(super) fn tensors(self, own: BTreeMap<String, Tensor>) -> Result<BTreeMap<String, Tensor>> {
        if self.is_alone() {
            return Ok(own);
        }
        let bytes = self.broadcast(|| state::tensors_to_bytes(&own))?;
        if self.is_main() { Ok(own) } else { state::tensors_from_bytes("what rank 0 sent", &bytes) }
    }

    /// Of the signs that a step ends with: whether any process is asked to end, and what the first one's clock says.
    ///
    /// # Errors
    /// Why the others do not come.
    pub(super) fn signs(self, is_asked: bool, by_clock: [bool; 2]) -> Result<(bool, [bool; 2])> {
        let Some(group) = self.0 else { return Ok((is_asked, by_clock)) };
        let all = group.gather(&[is_asked, by_clock[0], by_clock[1]].map(f64::from))?;
        Ok((all.iter().any(|signs| signs[0] > 0.), [1, 2].map(|at| all[0][at] > 0.)))
    }

    /// Refuses processes of other versions, numbers, options or data than the first one's.
    ///
    /// # Errors
    /// The first that differs, and in what.
    pub(super) fn check_equal<T: TrainTask>(self, task: &T, options: &FitOptions) -> Result<()> {
        let Some(group) = self.0 else { return Ok(()) };
        let items = task.images();
        let files = items.each_ref().map(|items| fingerprints::of(items));
        let facts = json!({
            "version": env!("CARGO_PKG_VERSION"), "task": T::NAME, "processes": group.world_size(),
            "record": record::of(task, options)?, "validate": options.validate, "sync_bn": options.sync_bn,
            "data": task.data(), "files": files,
        });
        let text = facts.to_string();
        // As they read from a text, which may not keep the last digit of a number.
        let facts: Value = serde_json::from_str(&text)?;
        let first: Value = serde_json::from_slice(&self.broadcast(|| Ok(text.into_bytes()))?)?;
        let rank = group.rank();
        let pairs =
            ["version", "task", "processes", "validate", "sync_bn"].map(|name| (name, &facts[name], &first[name]));
        let records = facts["record"].as_object().into_iter().flatten();
        let options = records.filter(|(name, _)| {
            let name = name.as_str();
            COMMON.contains(&name) || !(CHANGEABLE.contains(&name) || OWN.contains(&name))
        });
        let options = options.map(|(name, value)| (name.as_str(), value, &first["record"][name]));
        let differs = pairs.into_iter().chain(options).find(|(_, own, first)| own != first);
        let said = match differs {
            Some((name, own, first)) => {
                Some(format!("rank {rank} has `{name}` {own}, and rank 0 {first}: start all with the same"))
            }
            None => {
                let mut differing = record::differing(&first["data"], &facts["data"]);
                for (number, split) in ["training", "validation"].into_iter().enumerate() {
                    let pair = [&first["files"][number], &files[number]];
                    differing.extend(fingerprints::differing(split, pair[0], pair[1], &items[number]));
                }
                let text = differing.join(", ").replace(" then, ", " of rank 0, ").replace(" now", " of this one");
                (!differing.is_empty()).then(|| format!("rank {rank} has other data than rank 0: other {text}"))
            }
        };
        self.together(said.map_or(Ok(()), |said| Err(request(said))))
    }

    /// Refuses processes that decided otherwise than the first.
    ///
    /// # Errors
    /// The first that did.
    pub(super) fn check_decided(self, decided: &Value) -> Result<()> {
        let Some(group) = self.0 else { return Ok(()) };
        let first: Value = serde_json::from_slice(&self.broadcast(|| Ok(serde_json::to_vec(decided)?))?)?;
        // As it reads from a text.
        let own: Value = serde_json::from_str(&decided.to_string())?;
        let rank = group.rank();
        let same = if own == first {
            Ok(())
        } else {
            Err(request(format!("rank {rank} begins otherwise than rank 0: {own}, not {first}")))
        };
        self.together(same)
    }

    /// What the first process has of a run; the others need not have any.
    ///
    /// # Errors
    /// As [`Ranks::broadcast`]; what no run writes.
    pub(super) fn share(self, make: impl FnOnce() -> Result<Saved>) -> Result<Saved> {
        let mut own = None;
        let bytes = self.broadcast(|| {
            let (progress, tensors) = own.insert(make()?);
            // One process alone needs no copy.
            if self.0.is_some() { state::to_bytes(progress, tensors) } else { Ok(Vec::new()) }
        })?;
        match own {
            Some(own) => Ok(own),
            None => state::from_bytes("what rank 0 sent", &bytes),
        }
    }
}

/// How many processes a run has, and whether their batch norms are synchronised.
pub(super) fn processes(options: &FitOptions) -> (usize, bool) {
    let count = options.group.as_ref().map_or(1, Communicator::world_size);
    (count, options.sync_bn)
}

/// What it means that other processes go on with a run.
pub(super) fn changed(before: (usize, bool), now: (usize, bool)) -> Option<String> {
    if before == now || (before.0 == 1 && now.0 == 1) {
        return None;
    }
    let of = |(count, is_synchronised): (usize, bool)| match (count, is_synchronised) {
        (1, _) => "one process".to_owned(),
        (count, true) => format!("{count} processes with synchronised batch norms"),
        (count, false) => format!("{count} processes"),
    };
    // One process has the whole batch, and so have all together that synchronise.
    let is_whole = |(count, is_synchronised): (usize, bool)| count == 1 || is_synchronised;
    let effect = match is_whole(before) && is_whole(now) {
        true => "sums are rounded otherwise, and nothing else changes",
        false => "batches, rates and sums are the same, but batch norms take the moments of other parts of a batch",
    };
    Some(format!("the run goes on with {} in place of {}: {effect}", of(now), of(before)))
}

/// What a step of the others' gradients and sums costs, for steps that took so many seconds.
pub(super) fn cost([before, after]: [Traffic; 2], steps: usize, seconds: f64) -> String {
    let bytes = (after.bytes - before.bytes) as f64 / steps.max(1) as f64;
    let share = (after.time - before.time).as_secs_f64() / seconds.max(f64::MIN_POSITIVE);
    format!(
        "{:.2} MB a step went to the other processes; {:.1} % of the time was spent on that",
        bytes / 1e6,
        100. * share
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_changes_with_the_number_of_processes_is_said() {
        assert_eq!(changed((2, false), (2, false)), None);
        assert_eq!(changed((1, false), (1, true)), None);
        let said = |before, now| changed(before, now).expect("a change");
        assert_eq!(
            said((4, true), (1, false)),
            "the run goes on with one process in place of 4 processes with synchronised batch norms: sums are rounded \
             otherwise, and nothing else changes"
        );
        assert!(said((1, false), (2, false)).ends_with("batch norms take the moments of other parts of a batch"));
        assert!(
            said((2, false), (4, false))
                .starts_with("the run goes on with 4 processes in place of 2 processes: batches")
        );
    }

    #[test]
    fn the_cost_of_a_step_is_bytes_and_a_share_of_the_time() {
        let traffic = |bytes, millis| {
            let mut traffic = Traffic::default();
            (traffic.bytes, traffic.time) = (bytes, std::time::Duration::from_millis(millis));
            traffic
        };
        let said = cost([traffic(1_000_000, 500), traffic(6_000_000, 1000)], 4, 10.);
        assert_eq!(said, "1.25 MB a step went to the other processes; 5.0 % of the time was spent on that");
    }
}
