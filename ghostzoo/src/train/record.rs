//! What the files of a run say of how it was started.

use std::path::Path;

use serde_json::Value;

use super::options::FitOptions;
use super::task::TrainTask;
use crate::error::{Context as _, Result, request};

/// Entries that may differ when a run goes on: nothing of them decides a batch or a step, but for the end. The data may lie
/// elsewhere, and are compared.
pub const CHANGEABLE: [&str; 9] =
    ["data", "epochs", "time", "patience", "workers", "cache", "save_period", "val", "plots"];

/// The record of a run: the caller's, else the options of task and run.
pub(super) fn of<T: TrainTask + ?Sized>(task: &T, options: &FitOptions) -> Result<Value> {
    if let Some(record) = &options.record {
        return Ok(record.clone());
    }
    let mut record = task.record()?;
    let entries = record.as_object_mut().context("a task's record is a table of values")?;
    entries.insert("epochs".to_owned(), options.epochs.into());
    entries.insert("patience".to_owned(), options.patience.into());
    entries.insert("time".to_owned(), options.hours.into());
    Ok(record)
}

/// Refuses options that are not those that the run began with.
pub(super) fn check(then: &Value, now: &Value) -> Result<()> {
    // As it reads from a file, which may not keep the last digit of a number.
    let now: Value = serde_json::from_str(&now.to_string())?;
    let is_changed =
        |(name, value): &(&String, &Value)| !CHANGEABLE.contains(&name.as_str()) && then[name.as_str()] != **value;
    match now.as_object().into_iter().flatten().find(is_changed) {
        Some((name, value)) => Err(request(format!(
            "`{name}` is {} in this run and cannot change to {value}: put it back, or begin a run from this one's weights",
            then[name.as_str()]
        ))),
        None => Ok(()),
    }
}

/// The arguments of a training as a checkpoint holds them, which may be given away: of whole paths the last part.
///
/// # Errors
/// Where they are no pairs of names and values.
pub fn without_folders(record: &Value) -> Result<Value> {
    let mut record = record.clone();
    for value in record.as_object_mut().context("arguments are pairs")?.values_mut() {
        if let Value::String(text) = value
            && let (true, Some(name)) = (Path::new(text).is_absolute(), Path::new(text).file_name())
        {
            *text = name.to_string_lossy().into_owned();
        }
    }
    Ok(record)
}

/// What differs between the facts of two data sets, by name; of numbers, both. Facts that an older run has not do not differ.
pub(super) fn differing(then: &Value, now: &Value) -> Vec<String> {
    let facts = |value: &Value| value.as_object().cloned().unwrap_or_default();
    let then = facts(then);
    let differing = facts(now).into_iter().filter(|(name, value)| then.get(name).is_some_and(|before| before != value));
    let shown = differing.map(|(name, value)| match then.get(&name) {
        // What the files call them.
        Some(Value::Number(before)) if name == "pictures" => format!("images ({before} then, {value} now)"),
        Some(Value::Number(before)) => format!("{name} ({before} then, {value} now)"),
        _ => name,
    });
    shown.collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[cfg(unix)]
    #[test]
    fn a_checkpoint_does_not_tell_its_makers_folders() -> Result<()> {
        let args = json!({"data": "/home/me/set/data.yaml", "model": "yolov8n", "epochs": 3, "project": null});
        assert_eq!(
            without_folders(&args)?,
            json!({"data": "data.yaml", "model": "yolov8n", "epochs": 3, "project": null})
        );
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
    fn options_that_decide_a_step_cannot_change() {
        let then = json!({"lr0": 0.01, "epochs": 3, "workers": null});
        assert!(check(&then, &json!({"lr0": 0.01, "epochs": 5, "workers": 2})).is_ok());
        let error = check(&then, &json!({"lr0": 0.02, "epochs": 3})).expect_err("another rate");
        assert!(error.is_request());
        assert!(error.to_string().starts_with("`lr0` is 0.01 in this run and cannot change to 0.02"), "{error}");
    }
}
