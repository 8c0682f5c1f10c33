//! Which class of one list is which of another.

use std::collections::HashMap;

/// The places of classes in another list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClassMatch {
    /// For each class, its number in the other list.
    pub places: Vec<Option<usize>>,
    /// Whether names decided; else numbers did.
    pub by_name: bool,
}

impl ClassMatch {
    /// Where the classes called `names` are among those called `others`, of which there are `count`.
    ///
    /// Names decide, without blanks around them and without case, where all of the shorter list are in the longer one, and no
    /// two are one. Else numbers do, as in Ultralytics: the same in both lists.
    #[must_use]
    pub fn new(names: &[String], others: &[String], count: usize) -> Self {
        Self::by_name(names, others).unwrap_or_else(|| {
            let places = (0..names.len()).map(|class| Some(class).filter(|class| *class < count)).collect();
            Self { places, by_name: false }
        })
    }

    fn by_name(names: &[String], others: &[String]) -> Option<Self> {
        let plain = |names: &[String]| names.iter().map(|name| name.trim().to_lowercase()).collect::<Vec<_>>();
        let (names, others) = (plain(names), plain(others));
        let numbered = |names: &[String]| -> HashMap<String, usize> {
            names.iter().enumerate().map(|(class, name)| (name.clone(), class)).collect()
        };
        let by_name = numbered(&others);
        let is_distinct = by_name.len() == others.len() && numbered(&names).len() == names.len();
        let places: Vec<_> = names.iter().map(|name| by_name.get(name).copied()).collect();
        let found = places.iter().flatten().count();
        let is_complete = found == names.len().min(others.len()) && found > 0;
        (is_complete && is_distinct).then_some(Self { places, by_name: true })
    }

    /// Whether every class keeps its number.
    #[must_use]
    pub fn is_identity(&self) -> bool {
        self.places.iter().enumerate().all(|(class, place)| *place == Some(class))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_decide_where_one_list_holds_the_other_and_numbers_elsewhere() {
        type Case<'a> = (&'a str, &'a str, usize, &'a [Option<usize>], bool);
        let cases: [Case<'_>; 10] = [
            ("a b c", "a b c", 3, &[Some(0), Some(1), Some(2)], true),
            ("Elk cat dog", "cat dog elk", 3, &[Some(2), Some(0), Some(1)], true),
            ("root a b c", "a b c", 3, &[None, Some(0), Some(1), Some(2)], true),
            ("c", "a b c", 3, &[Some(2)], true),
            ("a b c", "a c", 2, &[Some(0), None, Some(1)], true),
            ("a b x", "a b c", 3, &[Some(0), Some(1), Some(2)], false),
            ("x y z", "a b", 2, &[Some(0), Some(1), None], false),
            ("x", "a b", 2, &[Some(0)], false),
            ("a b", "", 1, &[Some(0), None], false),
            ("a A", "a b", 2, &[Some(0), Some(1)], false),
        ];
        for (names, others, count, places, by_name) in cases {
            let list = |names: &str| names.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
            let found = ClassMatch::new(&list(names), &list(others), count);
            assert_eq!(found, ClassMatch { places: places.to_vec(), by_name }, "{names} in {others}");
        }
    }
}
