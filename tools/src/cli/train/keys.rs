//! What each key of Ultralytics' configuration is here.

use std::sync::LazyLock;

use anyhow::Result;

use super::values::{is_none, same};
use crate::error::usage;

/// See its head.
const TABLE: &str = include_str!("keys.tsv");

/// Keys that decide how Ultralytics trains a classifier, and that have no effect on a detector.
const OF_CLASSIFIERS: [&str; 3] = ["dropout", "auto_augment", "erasing"];

/// A key of Ultralytics' default.yaml, or an older name that it still takes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Key {
    pub(super) name: &'static str,
    /// As Python prints it.
    pub(super) default: &'static str,
    rule: Rule,
}

/// What a key does here where it is no option of the command.
#[derive(Debug, Clone, Copy)]
enum Rule {
    /// An option of `train detect`.
    Option,
    /// Nothing, at any value.
    Inert,
    /// Nothing, at these values; what to do instead of another.
    Only(&'static str, &'static str),
}

static KEYS: LazyLock<Vec<Key>> =
    LazyLock::new(|| TABLE.lines().filter(|line| !line.starts_with('#')).map(key).collect());

fn key(line: &'static str) -> Key {
    let mut cells = line.split('\t');
    let mut next = || cells.next().unwrap_or_default();
    let [name, default, rule, advice] = [next(), next(), next(), next()];
    let rule = match rule.strip_prefix("only ") {
        Some(values) => Rule::Only(values, advice),
        None if rule == "inert" => Rule::Inert,
        None => Rule::Option,
    };
    Key { name, default, rule }
}

/// The key of a name.
pub(super) fn find(name: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.name == name)
}

/// The name that is spelt most like `name`.
pub(super) fn nearest(name: &str) -> Option<&'static str> {
    let distance = |key: &&Key| strsim::damerau_levenshtein(key.name, name);
    KEYS.iter().min_by_key(distance).filter(|key| distance(key) <= 2).map(|key| key.name)
}

/// What a value of a key that is no option of `train TASK` comes to.
#[derive(Debug, PartialEq)]
pub(super) enum Settled {
    /// What holds anyway.
    Holds,
    /// Nothing: it has no effect on a training.
    Nothing,
    /// Not known here.
    Unknown,
}

impl Key {
    /// Whether `yolo` takes the bare key for `key=True`.
    pub(super) fn is_switch(&self) -> bool {
        matches!(self.default, "True" | "False") || self.name == "nms"
    }

    /// Whether the default is a whole number.
    pub(super) fn is_count(&self) -> bool {
        self.default.parse::<i64>().is_ok()
    }

    /// Whether nothing is what the key stands at.
    pub(super) fn is_unset(&self) -> bool {
        is_none(self.default)
    }

    /// What `value` comes to in `train TASK`, where the key is no option.
    ///
    /// # Errors
    /// Another value than the command can do: what to do instead.
    pub(super) fn settle(&self, value: &str, task: &str) -> Result<Settled> {
        let is_default = same(value, self.default);
        match self.rule {
            Rule::Only(..) if self.name == "task" && value == task => Ok(Settled::Holds),
            Rule::Only(_, _) if self.name == "task" => Err(usage(format!(
                "task={value}: this is `ghostzoo train {task}`; detect and classify are trained here"
            ))),
            Rule::Only(values, advice) => match values.split('|').any(|one| same(value, one)) {
                true => Ok(Settled::Holds),
                false => Err(usage(format!("{}={value} is not done here: {advice}", self.name))),
            },
            Rule::Inert if task == "detect" || !OF_CLASSIFIERS.contains(&self.name) => {
                Ok(if is_default { Settled::Holds } else { Settled::Nothing })
            }
            Rule::Inert if self.name == "dropout" && is_default => Ok(Settled::Holds),
            _ if self.is_unset() && is_none(value) => Ok(Settled::Holds),
            Rule::Inert | Rule::Option => Ok(Settled::Unknown),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::command;
    use anyhow::Context;
    use serde_json::Value;

    /// The keys and defaults of Ultralytics 8.4.190, by `tests/oracle/train_run.py`, as Python prints them.
    fn defaults() -> Result<Vec<(String, String)>> {
        let golden: Value = serde_json::from_str(include_str!("../../../../tests/golden/train/run.json"))?;
        let python = |value: &Value| match value {
            Value::Null => "None".to_owned(),
            Value::Bool(true) => "True".to_owned(),
            Value::Bool(false) => "False".to_owned(),
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        let keys = golden["keys"].as_object().context("keys")?;
        Ok(keys.iter().map(|(key, value)| (key.clone(), python(value))).collect())
    }

    #[test]
    fn the_table_has_every_key_of_ultralytics_with_its_default() -> Result<()> {
        let defaults = defaults()?;
        assert_eq!(defaults.len(), 113);
        for (name, default) in &defaults {
            let key = find(name).with_context(|| format!("{name} is not in the table"))?;
            assert_eq!((key.name, key.default), (name.as_str(), default.as_str()));
        }
        Ok(())
    }

    #[test]
    fn every_option_of_the_table_is_one_of_the_command() {
        let command = command();
        let train = command.find_subcommand("train").and_then(|train| train.find_subcommand("detect"));
        let train = train.expect("`train detect`");
        let has = |name: &str| {
            let long = name.replace('_', "-");
            name == "device" || train.get_arguments().any(|arg| arg.get_long() == Some(&long))
        };
        for key in KEYS.iter() {
            match key.rule {
                Rule::Option => assert!(has(key.name), "{}", key.name),
                Rule::Only(_, advice) => assert!(!advice.is_empty() || has(key.name), "{} has no advice", key.name),
                Rule::Inert => assert!(!has(key.name), "{} is an option", key.name),
            }
        }
    }

    #[test]
    fn another_value_is_refused_with_what_to_do() {
        let said = |name: &str, value: &str| find(name).expect("a key").settle(value, "detect");
        for (name, value) in [("amp", "fp32"), ("amp", "false"), ("quantize", "32"), ("conf", "1e-3")] {
            assert_eq!(said(name, value).expect("what holds"), Settled::Holds, "{name}={value}");
        }
        assert_eq!(said("format", "onnx").expect("no effect"), Settled::Nothing);
        for (name, value, part) in [
            ("amp", "bf16", "amp=bf16 is not done here: a training computes in f32"),
            ("mode", "val", "`ghostzoo val`"),
            ("task", "segment", "detect and classify are trained here"),
            ("compile", "True", "no torch"),
        ] {
            let error = said(name, value).expect_err("refused").to_string();
            assert!(error.contains(part), "{error}");
        }
    }
}
