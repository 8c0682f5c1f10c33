//! Which images of a batch are whose.

use std::ops::Range;

/// A process of several, which learns from its part of every batch. The default is one process alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shard {
    rank: usize,
    world_size: usize,
}

/// The images of a batch that a process learns from.
#[derive(Debug, Clone, PartialEq)]
pub struct BatchShard {
    /// Their places in the batch.
    pub images: Range<usize>,
    /// What their part in the sums over all processes is multiplied by.
    pub weight: f64,
}

impl Default for Shard {
    fn default() -> Self {
        Self { rank: 0, world_size: 1 }
    }
}

impl Shard {
    /// Process `rank`, from 0, of `world_size`; of none it is one alone.
    #[must_use]
    pub fn new(rank: usize, world_size: usize) -> Self {
        let world_size = world_size.max(1);
        Self { rank: rank.min(world_size - 1), world_size }
    }

    /// How many processes there are.
    #[must_use]
    pub fn world_size(self) -> usize {
        self.world_size
    }

    /// Its part of a batch of so many images: the next ones after those of the ranks before, and as many as the others have,
    /// or one more or less. A batch of fewer images than processes is computed by each of them as a whole, and counts
    /// once.
    #[must_use]
    pub fn of(self, images: usize) -> BatchShard {
        let Self { rank, world_size } = self;
        if images < world_size {
            return BatchShard { images: 0..images, weight: 1. / world_size as f64 };
        }
        BatchShard { images: images * rank / world_size..images * (rank + 1) / world_size, weight: 1. }
    }

    /// The fewest images that a process has of a batch of so many.
    #[must_use]
    pub fn fewest(self, images: usize) -> usize {
        if images < self.world_size { images } else { images / self.world_size }
    }
}

impl BatchShard {
    /// All of a batch of so many images.
    #[must_use]
    pub fn whole(images: usize) -> Self {
        Shard::default().of(images)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parts_of_a_batch_are_all_of_it_and_of_equal_size() {
        for world_size in 1..6 {
            for images in 0..20 {
                let parts: Vec<BatchShard> =
                    (0..world_size).map(|rank| Shard::new(rank, world_size).of(images)).collect();
                let counted: f64 = parts.iter().map(|part| part.images.len() as f64 * part.weight).sum();
                assert!((counted - images as f64).abs() < 1e-12, "{images} of {world_size}: {parts:?}");
                let fewest = parts.iter().map(|part| part.images.len()).min();
                assert_eq!(fewest, Some(Shard::new(0, world_size).fewest(images)));
                if images >= world_size {
                    let all: Vec<usize> = parts.iter().flat_map(|part| part.images.clone()).collect();
                    assert_eq!(all, (0..images).collect::<Vec<_>>());
                    assert!(parts.iter().all(|part| part.images.len() <= images.div_ceil(world_size)));
                } else {
                    assert!(parts.iter().all(|part| part.images == (0..images)));
                }
            }
        }
        assert_eq!(BatchShard::whole(3), BatchShard { images: 0..3, weight: 1. });
        assert_eq!(Shard::new(5, 0), Shard::default());
    }
}
