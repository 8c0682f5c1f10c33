//! A part of a set, held back from training.

/// Which of the named images are held back: of each class that share, rounded half to even, of two or more images at
/// least one and never all; of a class of one image none. `classes` is as long as `names`.
///
/// Names and seed alone decide: neither the order, nor the machine, nor the other classes. Images of one name in one class
/// follow their order.
#[must_use]
pub fn held_out(names: &[impl AsRef<str>], classes: &[usize], share: f64, seed: u64) -> Vec<bool> {
    let name = |index: usize| names[index].as_ref();
    let mut order: Vec<usize> = (0..names.len()).collect();
    order.sort_by_cached_key(|&index| (classes[index], rank(name(index), seed), name(index).to_owned(), index));
    let mut held = vec![false; names.len()];
    for class in order.chunk_by(|one, two| classes[*one] == classes[*two]) {
        let count = match class.len() {
            1 => 0,
            len => ((len as f64 * share).round_ties_even() as usize).clamp(1, len - 1),
        };
        class[..count].iter().for_each(|&index| held[index] = true);
    }
    held
}

/// A number that the name and the seed decide: FNV-1a, mixed by splitmix64's last steps.
fn rank(name: &str, seed: u64) -> u64 {
    let step = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01B3);
    let hash = name.as_bytes().iter().chain(&seed.to_le_bytes()).fold(0xCBF2_9CE4_8422_2325, step);
    let mixed = (hash ^ (hash >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn names(count: usize) -> Vec<String> {
        (0..count).map(|number| format!("images/{number:06}.jpg")).collect()
    }

    #[test]
    fn names_and_seed_alone_decide_what_is_held_back() {
        let all = names(200);
        let chosen = |names: &[String], seed: u64| -> BTreeSet<String> {
            let held = held_out(names, &vec![0; names.len()], 0.2, seed);
            names.iter().zip(held).filter(|(_, held)| *held).map(|(name, _)| name.clone()).collect()
        };
        let first = chosen(&all, 0);
        assert_eq!(first.len(), 40);
        let turned: Vec<String> = all.iter().rev().cloned().collect();
        assert_eq!(chosen(&turned, 0), first, "in any order");
        assert_ne!(chosen(&all, 1), first, "another seed");
        // Neither the beginning nor the end of a film.
        let later = first.iter().filter(|name| name.as_str() >= "images/000100.jpg").count();
        assert!((10..=30).contains(&later), "{later}");
        let fewer: BTreeSet<String> = chosen(&all[..190], 0);
        assert!(fewer.difference(&first).count() <= 4, "an image more moves few others");
        let numbers: Vec<usize> = (0..200).filter(|&number| first.contains(&all[number])).take(8).collect();
        assert_eq!(numbers, FIRST, "on every machine");
    }

    /// Computed by the same rule in Python's integers.
    const FIRST: [usize; 8] = [0, 2, 3, 11, 13, 16, 19, 25];

    #[test]
    fn each_class_gives_its_share() {
        let classes: Vec<usize> = [(0, 100), (1, 10), (2, 3), (3, 2), (4, 1)]
            .into_iter()
            .flat_map(|(class, count)| std::iter::repeat_n(class, count))
            .collect();
        let held = held_out(&names(classes.len()), &classes, 0.25, 7);
        let count = |class: usize| classes.iter().zip(&held).filter(|(one, held)| **one == class && **held).count();
        // 2.5 to the even 2; a class of two gives one, a class of one none.
        assert_eq!([0, 1, 2, 3, 4].map(count), [25, 2, 1, 1, 0]);
        assert_eq!(held_out(&names(2), &[0, 0], 0.99, 0).iter().filter(|held| **held).count(), 1, "never all");
        assert_eq!(held_out(&["a", "a", "a", "a"], &[0; 4], 0.5, 0), [true, true, false, false], "equal names");
        assert!(held_out(&[""; 0], &[], 0.5, 0).is_empty());
    }
}
