//! A task that several processes train.

use std::ops::Range;

use candle_vision::train::distributed::{Communicator, Shard};

use crate::error::{Result, request};

/// The processes that train a task together; the default is one alone.
#[derive(Debug, Clone, Default)]
pub(super) struct Parallel {
    pub(super) group: Option<Communicator>,
    pub(super) sync_bn: bool,
}

impl Parallel {
    pub(super) fn new(group: Option<&Communicator>, sync_bn: bool) -> Self {
        Self { group: group.cloned(), sync_bn }
    }

    /// Whether what was prepared for one serves the other.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        match (&self.group, &other.group) {
            (None, None) => true,
            (Some(one), Some(other_group)) => one.is_same(other_group) && self.sync_bn == other.sync_bn,
            _ => false,
        }
    }

    pub(super) fn shard(&self) -> Shard {
        self.group.as_ref().map(Communicator::shard).unwrap_or_default()
    }

    /// This process's part of so many batches to validate, the next ones after those of the ranks before.
    pub(super) fn part(&self, batches: usize) -> Range<usize> {
        let (rank, count) = self.group.as_ref().map_or((0, 1), |group| (group.rank(), group.world_size()));
        batches * rank / count..batches * (rank + 1) / count
    }

    /// Refuses a batch that the processes cannot divide.
    ///
    /// # Errors
    /// What to give instead.
    pub(super) fn check(&self, batch: usize) -> Result<()> {
        let count = self.shard().world_size();
        if !batch.is_multiple_of(count) {
            let next = batch.next_multiple_of(count);
            return Err(request(format!(
                "`options.recipe.batch` {batch} is that of all {count} processes together, and no multiple of {count}: give {next}"
            )));
        }
        Ok(())
    }

    /// The fewest images of one process, of batches of `batch` and a last one, that batch norms take moments of; `images` are
    /// those of an epoch.
    pub(super) fn fewest(&self, images: usize, batch: usize) -> usize {
        let of = |count: usize| if self.sync_bn { count } else { self.shard().fewest(count) };
        let last = images % batch.max(1);
        let whole = of(batch.min(images));
        if last == 0 { whole } else { whole.min(of(last)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_vision::train::distributed::LocalGroup;

    #[test]
    fn batches_are_divided_or_refused() -> Result<()> {
        let alone = Parallel::default();
        alone.check(7)?;
        assert_eq!((alone.fewest(9, 4), alone.fewest(8, 4), alone.fewest(3, 4)), (1, 4, 3));
        let group = LocalGroup::new(4).into_iter().next().map(Communicator::new);
        let four = Parallel::new(group.as_ref(), false);
        four.check(8)?;
        let error = four.check(6).expect_err("not divided").to_string();
        assert!(error.ends_with("6 is that of all 4 processes together, and no multiple of 4: give 8"), "{error}");
        assert_eq!((four.fewest(16, 8), four.fewest(13, 8), four.fewest(11, 8)), (2, 1, 2));
        assert_eq!(Parallel::new(group.as_ref(), true).fewest(13, 8), 5);
        assert_eq!((four.part(7), four.part(3), alone.part(7)), (0..1, 0..0, 0..7));
        assert!(four.is_same(&four.clone()) && !four.is_same(&alone) && alone.is_same(&Parallel::new(None, true)));
        Ok(())
    }
}
