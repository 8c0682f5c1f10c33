//! `cfg=FILE`: arguments from a file, such as the `args.yaml` of a run here or of Ultralytics.

use std::path::Path;

use anyhow::{Context, Result};
use yaml_rust2::{Yaml, YamlLoader};

use crate::error::usage;

/// The keys and values of a file, these as Python prints them.
///
/// # Errors
/// A file that cannot be read, or that is no YAML of keys and plain values.
pub(super) fn read(path: &Path) -> Result<Vec<(String, String)>> {
    let shown = path.display();
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read --cfg {shown}"))?;
    let documents = YamlLoader::load_from_str(&text).map_err(|error| usage(format!("--cfg {shown}: {error}")))?;
    let no_keys = || usage(format!("--cfg {shown} has no keys and values: give a file such as a run's args.yaml"));
    let entries = documents.first().and_then(Yaml::as_hash).ok_or_else(no_keys)?;
    let pair = |(key, value): (&Yaml, &Yaml)| {
        let key = key.as_str().ok_or_else(no_keys)?;
        let value = python(value).ok_or_else(|| usage(format!("--cfg {shown}: `{key}` has no plain value")))?;
        Ok((key.to_owned(), value))
    };
    entries.iter().map(pair).collect()
}

/// A value as Python prints it.
fn python(value: &Yaml) -> Option<String> {
    Some(match value {
        Yaml::Null => "None".to_owned(),
        Yaml::Boolean(true) => "True".to_owned(),
        Yaml::Boolean(false) => "False".to_owned(),
        Yaml::Integer(value) => value.to_string(),
        Yaml::Real(text) | Yaml::String(text) => text.clone(),
        Yaml::Array(values) => format!("[{}]", values.iter().map(python).collect::<Option<Vec<_>>>()?.join(",")),
        Yaml::Hash(_) | Yaml::Alias(_) | Yaml::BadValue => return None,
    })
}
