use super::super::golden::{golden, number, numbers};
use super::super::optim::{Algorithm, Config, ParamGroup};
use super::*;
use candle_core::Result;
use serde_json::Value;

/// Rounding in f64 of values below 1.
const TOLERANCE: f64 = 1e-15;

fn count(value: &Value) -> usize {
    number(value) as usize
}

/// The schedule of a recorded training.
fn schedule(course: &Value) -> UltralyticsSchedule {
    let settings = &course["settings"];
    UltralyticsSchedule {
        learning_rate: number(&settings["lr0"]),
        final_fraction: number(&settings["lrf"]),
        is_cosine: settings["cos_lr"].as_bool().unwrap_or(false),
        momentum: number(&settings["momentum"]),
        warmup_epochs: number(&settings["warmup_epochs"]),
        warmup_momentum: 0.8,
        warmup_bias_rate: settings["warmup_bias_lr"].as_f64().unwrap_or(0.1),
        epochs: count(&settings["epochs"]),
        batches: count(&course["batches"]),
        batch: count(&settings["batch"]),
        nominal_batch: count(&settings["nbs"]),
    }
}

/// The rate of Ultralytics' group `name`.
fn rate(schedule: &UltralyticsSchedule, name: &str, iteration: usize) -> f64 {
    let (name, factor) = name.strip_suffix("_boosted").map_or((name, 1.), |name| (name, 3.));
    let role = match name {
        "weight" | "muon" => ParamKind::Weight,
        "bn" => ParamKind::Undecayed,
        "bias" => ParamKind::Bias,
        other => panic!("no group {other}"),
    };
    schedule.rate(role, factor, iteration)
}

#[test]
fn every_iteration_is_that_of_ultralytics_trainer() {
    let golden = golden("schedules");
    for course in golden["ultralytics"].as_array().expect("trainings") {
        let schedule = schedule(course);
        let settings = &course["settings"];
        let algorithm = match settings["optimizer"].as_str() {
            Some("SGD") => Algorithm::Sgd { nesterov: true },
            Some("MuSGD") => Algorithm::MU_SGD,
            Some("AdamW") => Algorithm::ADAM_W,
            Some("NAdam") => Algorithm::N_ADAM,
            Some("RMSProp") => Algorithm::RMSPROP,
            other => panic!("no optimizer {other:?}"),
        };
        let decay = schedule.weight_decay(5e-4);
        assert!((decay - number(&course["weight_decay"])).abs() < TOLERANCE, "{settings}: decay {decay}");
        let rates = course["rates"].as_array().expect("rates");
        assert_eq!(rates.len(), schedule.epochs * schedule.batches);
        for (iteration, rates) in rates.iter().enumerate() {
            for (name, expected) in rates.as_object().expect("groups") {
                let rate = rate(&schedule, name, iteration);
                let close = (rate - number(expected)).abs() < TOLERANCE;
                assert!(close, "{settings}: rate {rate} of {name} in {iteration} is not {expected}");
            }
            assert_eq!(course["momentum"][iteration].is_null(), algorithm.has_betas(), "{settings}");
            if let Some(expected) = course["momentum"][iteration].as_f64() {
                let momentum = schedule.momentum(iteration);
                let close = (momentum - expected).abs() < TOLERANCE;
                assert!(close, "{settings}: momentum {momentum} in {iteration} is not {expected}");
            }
            assert_eq!(
                schedule.accumulate(iteration),
                count(&course["accumulate"][iteration]),
                "{settings} {iteration}"
            );
            assert_eq!(
                Some(schedule.is_step(iteration)),
                course["steps"][iteration].as_bool(),
                "{settings} {iteration}"
            );
        }
    }
}

#[test]
fn adams_betas_are_not_warmed_up() -> Result<()> {
    let schedule = schedule(&golden("schedules")["ultralytics"][0]);
    for (algorithm, warmed) in [
        (Algorithm::ADAM_W, false),
        (Algorithm::ADAM, false),
        (Algorithm::ADAMAX, false),
        (Algorithm::N_ADAM, false),
        (Algorithm::R_ADAM, false),
        (Algorithm::RMSPROP, true),
        (Algorithm::Sgd { nesterov: true }, true),
    ] {
        let config = Config { algorithm, learning_rate: 1., momentum: 0.9, weight_decay: 0. };
        let groups = vec![ParamGroup::new(ParamKind::Bias, &config, Vec::new())];
        let mut optimizer = GroupedOptimizer::of_groups(algorithm, groups)?;
        schedule.apply(&mut optimizer, 0);
        let group = &optimizer.groups()[0];
        assert_eq!((group.learning_rate, group.momentum), (0.1, if warmed { 0.8 } else { 0.9 }), "{algorithm:?}");
    }
    Ok(())
}

#[test]
fn every_time_is_that_of_timms_schedulers() {
    for course in golden("schedules")["timm"].as_array().expect("schedules") {
        let warmup_prefix = course["prefix"].as_bool().expect("a flag");
        for (name, shape) in [
            ("cosine", LrCurve::Cosine { length: 20, min_rate: 0.01 }),
            ("step", LrCurve::Step { length: 2.4, factor: 0.9 }),
        ] {
            let schedule =
                TimmSchedule { learning_rate: 0.4, warmup: 5, warmup_rate: 0.001, warmup_prefix, course: shape };
            for (time, expected) in numbers(&course[name]).into_iter().enumerate() {
                let rate = schedule.rate(time);
                assert!((rate - expected).abs() < TOLERANCE, "{name} {warmup_prefix} at {time}: {rate} != {expected}");
            }
        }
    }
}
