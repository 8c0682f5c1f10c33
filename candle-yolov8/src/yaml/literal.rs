//! From YAML text to a tree, with the Python literals that model yamls hold.

use serde_json::{Map, Number, Value};
use yaml_rust2::Yaml;

use super::load;
use crate::YamlError;

/// Parses one YAML document. Plain scalars that are Python's `None`, `True` and `False` mean what they mean there.
pub(super) fn parse(text: &str) -> Result<Value, YamlError> {
    convert(&load(text).map_err(YamlError::Syntax)?)
}

fn convert(yaml: &Yaml) -> Result<Value, YamlError> {
    Ok(match yaml {
        Yaml::Null => Value::Null,
        Yaml::Boolean(flag) => Value::Bool(*flag),
        Yaml::Integer(int) => Value::from(*int),
        Yaml::Real(text) => {
            let float = text.parse().ok().and_then(Number::from_f64);
            Value::Number(float.ok_or_else(|| YamlError::Syntax(format!("`{text}` is no finite number")))?)
        }
        Yaml::String(text) => literal(text),
        Yaml::Array(items) => Value::Array(items.iter().map(convert).collect::<Result<_, _>>()?),
        Yaml::Hash(pairs) => {
            let mut map = Map::new();
            for (key, value) in pairs {
                let key = match key {
                    Yaml::String(text) => text.clone(),
                    Yaml::Integer(int) => int.to_string(),
                    other => return Err(YamlError::Syntax(format!("{other:?} is no key"))),
                };
                map.insert(key, convert(value)?);
            }
            Value::Object(map)
        }
        Yaml::Alias(_) | Yaml::BadValue => {
            return Err(YamlError::Syntax("an alias or a value that cannot be read".into()));
        }
    })
}

/// A Python literal in a string: `None`, a boolean, a number or a quoted string; any other text stays text.
pub(super) fn literal(text: &str) -> Value {
    match text {
        "None" => Value::Null,
        "True" => Value::Bool(true),
        "False" => Value::Bool(false),
        _ => {
            let quoted = ['\'', '"'].iter().find_map(|quote| text.strip_prefix(*quote)?.strip_suffix(*quote));
            match (quoted, text.parse::<i64>(), text.parse::<f64>().ok().and_then(Number::from_f64)) {
                (Some(inner), ..) => Value::from(inner),
                (None, Ok(int), _) => Value::from(int),
                (None, _, Some(float)) => Value::Number(float),
                _ => Value::from(text),
            }
        }
    }
}
