//! A run's arguments: what `--resume` may change.

use anyhow::{Context, Result};
use ghostzoo::train::CHANGEABLE;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::error::usage;

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
