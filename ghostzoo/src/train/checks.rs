//! What a run's state must be to go on from it: the file may have been edited.

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::results::Results;
use super::state::Progress;
use crate::error::{Result, ensure, invalid};

/// Fields that count something, all of which a state has.
const COUNTS: [&str; 3] = ["epoch", "batch", "best"];
/// Other fields that a state has.
const OTHERS: [&str; 11] =
    ["task", "args", "losses", "seconds", "stopping", "files", "data", "decided", "finished", "results", "counters"];
/// Arguments that divide.
const POSITIVE: [&str; 4] = ["epochs", "batch", "imgsz", "nbs"];

/// Fails where a field is missing, or is none that a run writes; names it.
pub(super) fn fields(state: &Value) -> Result<()> {
    if let Some(name) = COUNTS.iter().chain(&OTHERS).find(|name| state.get(name).is_none()) {
        invalid!("`{name}` is missing");
    }
    for name in COUNTS {
        ensure!(state[name].is_u64(), "`{name}` is {}, not a count", state[name]);
    }
    ensure!(state["planned"].is_null() || is_positive(&state["planned"]), "`planned` is {}", state["planned"]);
    for name in ["seconds", "stopping.best", "stopping.epoch"] {
        let value = name.split('.').fold(state, |value, part| &value[part]);
        ensure!(value.as_f64().is_some_and(|value| value >= 0.), "`{name}` is {value}, not a number from 0");
    }
    let recipe = &state["decided"]["recipe"];
    // A task of the caller's own may decide nothing.
    let has_recipe = !state["decided"].is_null();
    for (name, values) in [("args", &state["args"])].into_iter().chain(has_recipe.then_some(("decided.recipe", recipe)))
    {
        ensure!(values.is_object(), "`{name}` is not a table of values");
        for part in POSITIVE {
            let value = values.get(part).unwrap_or(&Value::Null);
            let is_absent = value.is_null() && !matches!(part, "epochs" | "batch");
            ensure!(is_absent || is_positive(value), "`{name}.{part}` is {value}, not a count from 1");
        }
    }
    let numbers = recipe.as_object().into_iter().flatten();
    for (name, value) in numbers.filter(|(_, value)| value.is_number()) {
        ensure!(value.as_f64() >= Some(0.), "`decided.recipe.{name}` is {value}, not a number from 0");
    }
    Ok(())
}

fn is_positive(value: &Value) -> bool {
    value.as_u64().is_some_and(|count| count > 0)
}

/// Fails where fields contradict each other; names one.
pub(super) fn consistent(progress: &Progress) -> Result<()> {
    let epoch = progress.epoch;
    for (name, best) in [("best", progress.best), ("stopping.epoch", progress.stopping.epoch)] {
        ensure!(best <= epoch, "`{name}` is {best}, after the {epoch} epochs that are done");
    }
    let rows = match Results::from_text(&progress.results) {
        Ok(results) => results.rows().len(),
        Err(error) => invalid!("`results` is no table: {error}"),
    };
    ensure!(rows == epoch, "`results` has {rows} rows, for {epoch} epochs that are done");
    ensure!((progress.batch == 0) == progress.losses.is_empty(), "`losses` are not those of {} steps", progress.batch);
    Ok(())
}

/// Fails where a state is not one of a task that has so many steps an epoch, losses a step, and these columns of results.
pub(super) fn of_task(progress: &Progress, batches: usize, losses: usize, columns: &Results) -> Result<()> {
    ensure!(progress.batch <= batches, "`batch` is {}, of an epoch of {batches} steps", progress.batch);
    let is_whole = progress.losses.is_empty() || progress.losses.len() == losses;
    ensure!(is_whole, "`losses` are {}, where a step has {losses}", progress.losses.len());
    let results = Results::from_text(&progress.results)?;
    ensure!(results.names() == columns.names(), "`results` has other columns than {}", columns.names().join(","));
    Ok(())
}

/// Fails where what was decided lacks a value that decides now.
pub(super) fn decided(then: &Value, now: &Value) -> Result<()> {
    match missing(then, now) {
        Some(name) => invalid!("`decided{name}` is missing"),
        None => Ok(()),
    }
}

/// What a run decided, as a task has it.
///
/// # Errors
/// Values that no such task decides.
pub(super) fn read<T: DeserializeOwned>(decided: &Value) -> Result<T> {
    Ok(T::deserialize(decided)?)
}

/// Fails where what was decided lacks a value that a task which decides `T` has; names it.
///
/// # Errors
/// As [`read`]; a missing value.
pub(super) fn decided_as<T: DeserializeOwned + Serialize>(then: &Value) -> Result<()> {
    decided(then, &serde_json::to_value(read::<T>(then)?)?)
}

/// The path of the first value that `now` has and `then` has not.
fn missing(then: &Value, now: &Value) -> Option<String> {
    let mut pairs = now.as_object()?.iter().filter(|(_, value)| !value.is_null());
    pairs.find_map(|(name, value)| match then.get(name) {
        None => Some(format!(".{name}")),
        Some(then) => missing(then, value).map(|rest| format!(".{name}{rest}")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn state() -> Value {
        json!({
            "format": 1, "task": "detect", "args": {"epochs": 3, "batch": 4, "imgsz": 64},
            "epoch": 1, "batch": 2, "losses": [1.5], "seconds": 2.5, "stopping": {"best": 0.5, "epoch": 1}, "best": 1,
            "planned": null, "files": ["", ""], "data": {},
            "decided": {"recipe": {"epochs": 3, "batch": 4, "nbs": 64, "lr0": 0.01, "lr": null, "optimizer": "SGD"}},
            "finished": false, "results": "epoch,time,train/loss\n1,2,0.5\n", "counters": {},
        })
    }

    /// What is said of the state with one field as `value`, or without it.
    fn said(path: &str, value: Option<Value>) -> String {
        let mut state = state();
        let (above, name) = path.rsplit_once('/').unwrap_or(("", path));
        let fields = state.pointer_mut(above).and_then(Value::as_object_mut).expect("a table");
        match value {
            Some(value) => drop(fields.insert(name.to_owned(), value)),
            None => drop(fields.remove(name)),
        }
        let columns = Results::new(["train/loss".to_owned()]);
        let checked = fields_and_more(&state, &columns);
        checked.expect_err(path).to_string()
    }

    fn fields_and_more(state: &Value, columns: &Results) -> Result<()> {
        fields(state)?;
        let progress: Progress = serde_json::from_value(state.clone())?;
        consistent(&progress)?;
        of_task(&progress, 3, 1, columns)
    }

    #[test]
    fn fields_that_no_run_writes_are_named() -> Result<()> {
        fields_and_more(&state(), &Results::new(["train/loss".to_owned()]))?;
        for name in COUNTS.iter().chain(&OTHERS) {
            assert_eq!(said(&format!("/{name}"), None), format!("`{name}` is missing"));
        }
        for (path, value, expected) in [
            ("/epoch", json!(-1), "`epoch` is -1, not a count"),
            ("/batch", json!(4), "`batch` is 4, of an epoch of 3 steps"),
            ("/batch", json!(0), "`losses` are not those of 0 steps"),
            ("/best", json!(2), "`best` is 2, after the 1 epochs that are done"),
            ("/losses", json!([1, 2]), "`losses` are 2, where a step has 1"),
            ("/seconds", json!(-1), "`seconds` is -1, not a number from 0"),
            ("/stopping/epoch", json!(9), "`stopping.epoch` is 9, after the 1 epochs that are done"),
            ("/stopping/best", json!(null), "`stopping.best` is null, not a number from 0"),
            ("/planned", json!(0), "`planned` is 0"),
            ("/args/batch", json!(0), "`args.batch` is 0, not a count from 1"),
            ("/args/imgsz", json!(-64), "`args.imgsz` is -64, not a count from 1"),
            ("/decided/recipe", json!(1), "`decided.recipe` is not a table of values"),
            ("/decided/recipe/batch", json!(0), "`decided.recipe.batch` is 0, not a count from 1"),
            ("/decided/recipe/nbs", json!(0), "`decided.recipe.nbs` is 0, not a count from 1"),
            ("/decided/recipe/lr0", json!(-0.1), "`decided.recipe.lr0` is -0.1, not a number from 0"),
            ("/results", json!("epoch,time,train/loss\n"), "`results` has 0 rows, for 1 epochs that are done"),
            ("/results", json!("epoch,time\n1,2\n"), "`results` has other columns than epoch,time,train/loss"),
        ] {
            assert_eq!(said(path, Some(value)), expected, "{path}");
        }
        assert_eq!(said("/args/epochs", None), "`args.epochs` is null, not a count from 1");
        Ok(())
    }

    #[test]
    fn a_value_that_decides_may_not_be_missing() {
        let now = json!({"arch": "a", "yaml": null, "recipe": {"lr0": 0.1}});
        assert!(decided(&now, &now).is_ok() && decided(&json!({"arch": "a", "recipe": {"lr0": 1}}), &now).is_ok());
        let error = decided(&json!({"arch": "a", "recipe": {}}), &now).expect_err("a rate");
        assert_eq!(error.to_string(), "`decided.recipe.lr0` is missing");
    }
}
