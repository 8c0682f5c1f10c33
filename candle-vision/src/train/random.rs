//! Random numbers that depend on where they are used, and on nothing that happened before.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// A source of random numbers whose values are the same on every machine and in every release.
pub type Stream = ChaCha8Rng;

/// The random numbers of one place: `place` names it, by the purpose, the epoch and the sample's number for instance.
///
/// Streams of different places are independent, so a run that starts again at any place draws what it would have drawn
/// there: no random state has to be saved, and results do not depend on the number of threads.
#[must_use]
pub fn stream(seed: u64, place: &[u64]) -> Stream {
    place.iter().fold(ChaCha8Rng::seed_from_u64(seed), |mut parent, part| {
        parent.set_stream(*part);
        ChaCha8Rng::from_seed(parent.random())
    })
}

/// Passes over so many numbers, as [`dropout`](super::dropout) draws them: one for an element.
pub fn skip(rng: &mut Stream, numbers: usize) {
    for _ in 0..numbers {
        let _: f64 = rng.random();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_has_one_stream_of_its_own() {
        let draw = |seed, place: &[u64]| stream(seed, place).random::<u64>();
        assert_eq!(draw(0, &[1, 2]), draw(0, &[1, 2]));
        let all = [draw(0, &[1, 2]), draw(1, &[1, 2]), draw(0, &[2, 1]), draw(0, &[1]), draw(0, &[1, 3]), draw(0, &[])];
        let mut distinct = all.to_vec();
        distinct.sort_unstable();
        distinct.dedup();
        assert_eq!(distinct.len(), all.len());
    }
}
