//! A run's arguments: what may be given away, and what `--resume` may change.

use std::path::Path;

use anyhow::{Context, Result};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::error::usage;

/// What may differ when a run goes on: nothing of it decides a batch or a step, but for the end. The data may lie elsewhere,
/// and are compared.
const CHANGEABLE: [&str; 9] = ["data", "epochs", "time", "patience", "workers", "cache", "save_period", "val", "plots"];

/// The arguments as a checkpoint holds them, which may be given away: of whole paths the last part.
pub(crate) fn shared(args: &impl Serialize) -> Result<Value> {
    let mut args = serde_json::to_value(args)?;
    for value in args.as_object_mut().context("arguments are pairs")?.values_mut() {
        if let Value::String(text) = value
            && let (true, Some(name)) = (Path::new(text).is_absolute(), Path::new(text).file_name())
        {
            *text = name.to_string_lossy().into_owned();
        }
    }
    Ok(args)
}

/// What differs between the facts of two data sets, by name; of numbers, both. Facts that an older run has not do not differ.
pub(crate) fn differing(then: &Value, now: &Value) -> Vec<String> {
    let facts = |value: &Value| value.as_object().cloned().unwrap_or_default();
    let then = facts(then);
    let differing = facts(now).into_iter().filter(|(name, value)| then.get(name).is_some_and(|before| before != value));
    let shown = differing.map(|(name, value)| match then.get(&name) {
        Some(Value::Number(before)) => format!("{name} ({before} then, {value} now)"),
        _ => name,
    });
    shown.collect()
}

/// The arguments of a run that goes on: the saved ones, and those of `given` that are in `explicit`, by their names on the
/// command line.
///
/// # Errors
/// An explicit argument that a run cannot change, with what to do.
pub(crate) fn resumed<A: Serialize + DeserializeOwned>(saved: &Value, given: &A, explicit: &[String]) -> Result<A> {
    let (mut merged, given) = (saved.clone(), serde_json::to_value(given)?);
    let target = merged.as_object_mut().context("saved arguments are pairs")?;
    // A run of an older release has not the options that came after it.
    for (name, value) in given.as_object().context("arguments are pairs")? {
        if !explicit.contains(name) {
            target.entry(name.clone()).or_insert_with(|| value.clone());
        }
    }
    for name in explicit {
        let Some(value) = given.get(name) else { continue };
        if target.get(name) == Some(value) {
            continue;
        }
        if !CHANGEABLE.contains(&name.as_str()) {
            return Err(usage(format!(
                "--{} is {} in this run and cannot change: leave it out, or start a run of its own from the run's weights",
                name.replace('_', "-"),
                target.get(name).map_or_else(|| "not set".to_owned(), Value::to_string),
            )));
        }
        target.insert(name.clone(), value.clone());
    }
    serde_json::from_value(merged).context("the run was begun by another version, whose arguments differ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[cfg(unix)]
    #[test]
    fn a_checkpoint_does_not_tell_its_makers_folders() -> Result<()> {
        let args = json!({"data": "/home/me/set/data.yaml", "model": "yolov8n", "epochs": 3, "project": null});
        assert_eq!(shared(&args)?, json!({"data": "data.yaml", "model": "yolov8n", "epochs": 3, "project": null}));
        Ok(())
    }

    #[test]
    fn what_differs_is_named() {
        let facts = |images: usize, labels: &str| json!({"classes": ["a", "b"], "pictures": images, "labels": labels});
        assert_eq!(differing(&facts(8, "x"), &facts(9, "y")).join(", "), "images (8 then, 9 now), labels");
        assert_eq!(differing(&facts(8, "x"), &facts(8, "y")), ["labels"]);
        assert!(differing(&json!({"labels": "x"}), &facts(8, "x")).is_empty(), "an older run does not know more");
    }

    #[test]
    fn a_run_keeps_its_arguments_but_for_those_that_may_change() -> Result<()> {
        let saved = json!({"epochs": 3, "lr0": 0.01});
        let resume = |given: Value, explicit: &[&str]| {
            resumed(&saved, &given, &explicit.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>())
        };
        assert_eq!(resume(json!({"epochs": 100, "lr0": 0.5}), &[])?, saved);
        assert_eq!(resume(json!({"epochs": 5, "lr0": 0.5}), &["epochs", "quiet"])?["epochs"], 5);
        assert_eq!(resume(json!({"epochs": 5, "lr0": 0.01}), &["lr0"])?, saved, "the same value is no change");
        let error = resume(json!({"epochs": 5, "lr0": 0.5}), &["lr0"]).expect_err("another rate");
        assert!(error.to_string().starts_with("--lr0 is 0.01 in this run and cannot change"), "{error}");
        Ok(())
    }
}
