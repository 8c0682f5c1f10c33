use super::*;
use serde_json::Value;

/// Against numpy, which solves by another factorization: a part of the largest number of its kind.
const TOLERANCE: f64 = 1e-9;

fn numbers<const N: usize>(value: &Value) -> Option<[f64; N]> {
    let numbers: Option<Vec<f64>> = serde_json::from_value(value.clone()).unwrap();
    numbers.map(|numbers| numbers.try_into().unwrap())
}

/// Relative to each number's own deviation, for the means, and to the product of the two deviations, for the covariances.
fn assert_is(state: &BoxState, mean: [f64; 8], covariance: [f64; 36], place: &str) {
    let deviation: Vec<f64> = (0..8).map(|i| covariance[i * (i + 1) / 2 + i].sqrt()).collect();
    for i in 0..8 {
        let scale = mean[i].abs() + deviation[i];
        assert!((state.mean[i] - mean[i]).abs() <= TOLERANCE * scale, "mean {i}, {place}: {:?}, {mean:?}", state.mean);
        for j in 0..=i {
            let (ours, theirs) = (state.covariance[i][j], covariance[i * (i + 1) / 2 + j]);
            let scale = deviation[i] * deviation[j];
            assert!((ours - theirs).abs() <= TOLERANCE * scale, "covariance {i}, {j}, {place}: {ours}, {theirs}");
            assert!((ours - state.covariance[j][i]).abs() <= TOLERANCE * scale);
        }
    }
}

#[test]
fn a_filter_has_the_means_and_covariances_of_ultralytics_filters() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/golden/track/kalman.json");
    let cases: Vec<Value> = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    assert_eq!(cases.len(), 4);
    for (number, case) in cases.iter().enumerate() {
        let form = if case["form"] == "xyah" { BoxForm::Xyah } else { BoxForm::Xywh };
        let mut state = BoxState::new(form, numbers(&case["start"]).unwrap());
        for (count, step) in case["steps"].as_array().unwrap().iter().enumerate() {
            state.predict();
            if let Some(affine) = numbers(&step["affine"]) {
                state.warp(&affine);
            }
            if let Some(measurement) = numbers(&step["measurement"]) {
                state.update(measurement, step["confidence"].as_f64());
            }
            let (mean, covariance) = (numbers(&step["mean"]).unwrap(), numbers(&step["covariance"]).unwrap());
            assert_is(&state, mean, covariance, &format!("case {number}, step {count}"));
        }
    }
}

#[test]
fn a_box_is_where_its_mean_says() {
    assert_eq!(BoxState::new(BoxForm::Xyah, [100.0, 50.0, 0.5, 40.0]).xyxy(), [90.0, 30.0, 110.0, 70.0]);
    assert_eq!(BoxState::new(BoxForm::Xywh, [100.0, 50.0, 20.0, 40.0]).xyxy(), [90.0, 30.0, 110.0, 70.0]);
}

#[test]
fn boxes_of_any_finite_size_stay_finite() {
    for size in [1e-30, 1e-6, 1.0, 1e6, 1e30] {
        for (form, third) in [(BoxForm::Xyah, 1.0), (BoxForm::Xywh, size)] {
            let mut state = BoxState::new(form, [0.0, 0.0, third, size]);
            for _ in 0..20 {
                state.predict();
                state.update([size, -size, third, size], Some(1.0));
            }
            assert!(
                state.mean.iter().chain(state.covariance.as_flattened()).all(|v| v.is_finite()),
                "{size}: {state:?}"
            );
        }
    }
}
