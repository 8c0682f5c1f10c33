//! What a task makes when it is prepared, and the batches that it takes.

use std::mem;
use std::time::Duration;

use serde_json::Value;

use super::task::Plan;
use crate::error::{Context as _, Error, Result, request};

/// What the steps of a plan need, or nothing yet.
pub(super) struct Prepared<T>(Option<Made<T>>);

struct Made<T> {
    value: T,
    plan: Plan,
    /// Whether nothing was trained or loaded since it was made.
    is_fresh: bool,
}

impl<T> Default for Prepared<T> {
    fn default() -> Self {
        Self(None)
    }
}

impl<T> Prepared<T> {
    /// The same where it was made for this plan and not changed since, else what `make` gives. By what was `decided` for a run
    /// it is always made. The old one is dropped first.
    ///
    /// # Errors
    /// As `make`.
    pub(super) fn renewed(
        self,
        plan: &Plan,
        decided: Option<&Value>,
        make: impl FnOnce() -> Result<T>,
    ) -> Result<Self> {
        let keeps = |made: &Made<T>| decided.is_none() && made.plan == *plan && made.is_fresh;
        if self.0.as_ref().is_some_and(keeps) {
            return Ok(self);
        }
        drop(self);
        Ok(Self(Some(Made { value: make()?, plan: *plan, is_fresh: true })))
    }

    /// What was made, where it was.
    pub(super) fn made(&self) -> Option<&T> {
        self.0.as_ref().map(|made| &made.value)
    }

    /// What was made.
    ///
    /// # Errors
    /// Where nothing was.
    pub(super) fn get(&self) -> Result<&T> {
        self.made().context(ABSENT)
    }

    /// What was made, to be changed: from now on it is not fresh.
    ///
    /// # Errors
    /// Where nothing was made.
    pub(super) fn get_mut(&mut self) -> Result<&mut T> {
        let made = self.0.as_mut().context(ABSENT)?;
        made.is_fresh = false;
        Ok(&mut made.value)
    }
}

const ABSENT: &str = "the task is not prepared";

/// The batches `E` of the epoch that a run is in.
pub(super) struct Batches<E> {
    epoch: Option<E>,
    /// The next step, counted over all epochs.
    pub(super) iteration: usize,
}

impl<E> Default for Batches<E> {
    fn default() -> Self {
        Self { epoch: None, iteration: 0 }
    }
}

impl<E> Batches<E> {
    /// Takes up the batches that `make` gives, from the step `iteration` on. Those before end first, with their threads.
    ///
    /// # Errors
    /// As `make`.
    pub(super) fn begin<F: Into<Error>>(
        &mut self,
        iteration: usize,
        make: impl FnOnce() -> Result<E, F>,
    ) -> Result<()> {
        drop(mem::replace(self, Self { epoch: None, iteration }));
        self.epoch = Some(make().map_err(Into::into)?);
        Ok(())
    }

    /// The next batch, and how long it was waited for; `waited` says so of all batches of the epoch.
    ///
    /// # Errors
    /// Why there is none.
    pub(super) fn next<B, F: Into<Error>>(&mut self, waited: fn(&E) -> Duration) -> Result<(B, Duration)>
    where
        E: Iterator<Item = Result<B, F>>,
    {
        let epoch = self.epoch.as_mut().context("an epoch that was not begun")?;
        let before = waited(epoch);
        let batch = epoch.next().context("an epoch ended before its last batch")?.map_err(Into::into)?;
        Ok((batch, waited(epoch) - before))
    }
}

/// Refuses batches of no image.
///
/// # Errors
/// A batch of 0.
pub(super) fn ensure_batch(batch: usize) -> Result<()> {
    match batch {
        0 => Err(request("a batch has at least one image")),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_fresh_serves_an_equal_plan_and_nothing_else() -> Result<()> {
        let plan = Plan { epochs: 3, is_timed: false };
        let mut prepared = Prepared::default();
        assert_eq!(prepared.get().expect_err("nothing").to_string(), ABSENT);
        assert_eq!(prepared.get_mut().expect_err("nothing").to_string(), ABSENT);
        prepared = prepared.renewed(&plan, None, || Ok(1))?.renewed(&plan, None, || Ok(2))?;
        assert_eq!(prepared.get()?, &1, "nothing happened since");
        prepared = prepared.renewed(&Plan { epochs: 4, ..plan }, None, || Ok(3))?;
        assert_eq!(prepared.get()?, &3, "another plan");
        prepared = prepared.renewed(&Plan { epochs: 4, ..plan }, Some(&Value::Null), || Ok(4))?;
        assert_eq!(prepared.get()?, &4, "a run that goes on");
        *prepared.get_mut()? += 1;
        prepared = prepared.renewed(&Plan { epochs: 4, ..plan }, None, || Ok(6))?;
        assert_eq!(prepared.get()?, &6, "a step was made");
        let failed = prepared.renewed(&plan, None, || Err(Error::Invalid("no data".to_owned())));
        assert_eq!(failed.err().map(|error| error.to_string()).as_deref(), Some("no data"));
        Ok(())
    }

    #[test]
    fn batches_come_from_the_epoch_that_was_begun() -> Result<()> {
        type Epoch = std::vec::IntoIter<Result<u32>>;
        let waited: fn(&Epoch) -> Duration = |rest| Duration::from_secs(10 - rest.len() as u64);
        let mut batches = Batches::<Epoch>::default();
        let error = batches.next(waited).expect_err("no epoch");
        assert_eq!(error.to_string(), "an epoch that was not begun");
        batches.begin::<Error>(7, || Ok(vec![Ok(5), Err(Error::Invalid("damaged".to_owned()))].into_iter()))?;
        assert_eq!((batches.iteration, batches.next(waited)?), (7, (5, Duration::from_secs(1))));
        assert_eq!(batches.next(waited).expect_err("a batch").to_string(), "damaged");
        let error = batches.next(waited).expect_err("the end");
        assert_eq!(error.to_string(), "an epoch ended before its last batch");
        Ok(())
    }
}
