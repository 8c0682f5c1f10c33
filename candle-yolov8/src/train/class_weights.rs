//! Weights against rare and frequent classes.

/// What the class loss is weighted by, for classes of so many objects in training: `(1 / count)^power` divided by its mean
/// over all classes, so that the weights' mean is 1. A class without an object has the mean of the others'.
///
/// Nothing where all weights are 1: for a power of 0, and where there is no object. Ultralytics' `cls_pw`, which computes
/// them in `f32`.
#[must_use]
pub fn class_weights(counts: &[usize], power: f64) -> Option<Vec<f64>> {
    let present = counts.iter().filter(|&&count| count > 0);
    let raw = |count: usize| (1. / count as f64).powf(power);
    let number = present.clone().count();
    if power == 0. || number == 0 {
        return None;
    }
    let absent = present.map(|&count| raw(count)).sum::<f64>() / number as f64;
    let weights: Vec<f64> = counts.iter().map(|&count| if count > 0 { raw(count) } else { absent }).collect();
    let mean = weights.iter().sum::<f64>() / weights.len() as f64;
    Some(weights.into_iter().map(|weight| weight / mean).collect())
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Deserialize)]
    struct Case {
        counts: Vec<usize>,
        power: f64,
        weights: Option<Vec<f64>>,
    }

    #[test]
    fn weights_are_those_of_ultralytics_trainer() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/golden/train/class_weights.json");
        let cases: Vec<Case> = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
        assert!(cases.len() >= 6);
        for Case { counts, power, weights } in cases {
            match (class_weights(&counts, power), weights) {
                (None, None) => (),
                (Some(found), Some(expected)) => {
                    assert_eq!(found.len(), expected.len());
                    for (found, expected) in found.iter().zip(expected) {
                        // It computes in f32.
                        assert!((found - expected).abs() < 3e-7 * expected, "{counts:?}, {power}: {found} {expected}");
                    }
                }
                (found, expected) => panic!("{counts:?}, {power}: {found:?} is not {expected:?}"),
            }
        }
    }
}
