//! `args.yaml`, which a training here and Ultralytics' `yolo cfg=args.yaml` read.

use anyhow::{Context, Result};
use serde_json::{Number, Value};
use yaml_rust2::{Yaml, YamlEmitter, yaml::Hash};

/// The arguments that are text, whatever they look like.
const TEXT: [&str; 6] = ["model", "data", "project", "name", "optimizer", "teacher"];

/// The file. Those of a detector have Ultralytics' types: what the command line takes as text, as `--pretrained true` and
/// `--freeze 0,1`, is a truth value and a list there.
pub(crate) fn text(task: &str, args: &Value) -> Result<String> {
    let mut entries = Hash::new();
    let mut add = |key: &str, value: Yaml| entries.insert(Yaml::String(key.to_owned()), value);
    add("task", Yaml::String(task.to_owned()));
    add("mode", Yaml::String("train".to_owned()));
    let args = args.as_object().context("arguments are pairs")?;
    for (key, value) in args {
        let scalar = match value {
            // Ultralytics takes no empty number of workers; the machine decides.
            Value::Null if key == "workers" => continue,
            Value::Number(_) if key == "batch" && args.get("auto_batch").is_some_and(Value::is_number) => continue,
            Value::Number(share) if key == "auto_batch" => {
                add("batch", number(&share.to_string()));
                continue;
            }
            Value::Null => Yaml::Null,
            Value::Bool(value) => Yaml::Boolean(*value),
            Value::Number(value) => number(&shortest(value)),
            Value::String(value) if task == "detect" && !TEXT.contains(&key.as_str()) => natural(value),
            Value::String(value) => Yaml::String(value.clone()),
            Value::Array(values) => Yaml::Array(values.iter().map(element).collect()),
            other => Yaml::String(other.to_string()),
        };
        add(key, scalar);
    }
    let mut text = String::new();
    YamlEmitter::new(&mut text).dump(&Yaml::Hash(entries)).context("arguments as yaml")?;
    Ok(text.trim_start_matches("---\n").to_owned() + "\n")
}

/// An entry of a list.
fn element(value: &Value) -> Yaml {
    match value {
        Value::Number(value) => number(&shortest(value)),
        Value::Bool(value) => Yaml::Boolean(*value),
        Value::String(value) => Yaml::String(value.clone()),
        other => Yaml::String(other.to_string()),
    }
}

/// A number's shortest text, also of one that has 32 bits on the command line.
fn shortest(value: &Number) -> String {
    let narrow = value.as_f64().filter(|_| value.is_f64()).map(|wide| (wide, wide as f32));
    match narrow {
        Some((wide, narrow)) if f64::from(narrow) == wide => format!("{narrow:?}"),
        _ => value.to_string(),
    }
}

/// A number as every reader of YAML knows it: 1.1 asks for a point and for the exponent's sign.
fn number(text: &str) -> Yaml {
    if let Ok(value) = text.parse() {
        return Yaml::Integer(value);
    }
    let Some((digits, exponent)) = text.split_once('e') else { return Yaml::Real(text.to_owned()) };
    let point = if digits.contains('.') { "" } else { ".0" };
    let sign = if exponent.starts_with(['-', '+']) { "" } else { "+" };
    Yaml::Real(format!("{digits}{point}e{sign}{exponent}"))
}

/// The value that text of the command line stands for.
fn natural(text: &str) -> Yaml {
    let is_number = |text: &str| text.parse::<f64>().is_ok_and(f64::is_finite);
    match text {
        "" => Yaml::Null,
        "true" => Yaml::Boolean(true),
        "false" => Yaml::Boolean(false),
        _ if is_number(text) => number(text),
        _ if text.contains(',') => {
            let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
            Yaml::Array(parts.map(natural).collect())
        }
        _ => Yaml::String(text.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{Cli, Command, TrainTask, as_options, command};
    use clap::FromArgMatches;
    use serde_json::json;

    #[test]
    fn arguments_become_yaml() -> Result<()> {
        let args = json!({"model": "a: b", "epochs": 3, "lr0": 0.01, "freeze": null, "val": true, "name": "true"});
        assert_eq!(
            text("detect", &args)?,
            "task: detect\nmode: train\nmodel: \"a: b\"\nepochs: 3\nlr0: 0.01\nfreeze: ~\nval: true\nname: \"true\"\n"
        );
        Ok(())
    }

    /// What `train detect` with these words writes.
    fn written(words: &str) -> Result<String> {
        let words = as_options(format!("ghostzoo train detect {words}").split(' ').map(str::to_owned), &command())?;
        let Command::Train(train) = Cli::from_arg_matches(&command().try_get_matches_from(words)?)?.command else {
            anyhow::bail!("another command")
        };
        let TrainTask::Detect(args) = train.task else { anyhow::bail!("another task") };
        text("detect", &serde_json::to_value(args)?)
    }

    /// `tests/oracle/train_run.py` reads the same file with Ultralytics 8.4.190, and writes what it made of it.
    #[test]
    fn ultralytics_reads_the_file_and_its_types() -> Result<()> {
        let text = written(
            "data=set/data.yaml model=yolov8n.yaml epochs=2 imgsz=32 batch=2 freeze=[0,22.cv2] lr0=1e-5 pretrained=False \
             fraction=1 plots=False name=2 weight_decay=0.0 box=7",
        )?;
        assert_eq!(text, include_str!("../../../../tests/golden/train/ghostzoo_args.yaml"));
        let golden: Value = serde_json::from_str(include_str!("../../../../tests/golden/train/run.json"))?;
        let read = &golden["read_back"];
        for (key, value) in [
            ("pretrained", json!(["bool", false])),
            ("iou", json!(["float", 0.7])),
            ("lr0", json!(["float", 1e-5])),
            ("freeze", json!(["list", [0, "22.cv2"]])),
            ("epochs", json!(["int", 2])),
            ("name", json!(["str", "2"])),
            ("project", json!(["NoneType", null])),
            ("exist_ok", json!(["bool", false])),
        ] {
            assert_eq!(read[key], value, "{key}");
        }
        assert_eq!(
            read.as_object().context("an object")?.len(),
            text.lines().filter(|line| !line.starts_with(' ')).count()
        );
        Ok(())
    }

    #[test]
    fn a_file_read_again_is_the_same_file() -> Result<()> {
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("args.yaml");
        for words in
            ["data=d.yaml freeze=3 cache=ram patience=0", "data=d.yaml batch=0.25 project=p single_cls lr0=1e-30"]
        {
            let first = written(words)?;
            std::fs::write(&path, &first)?;
            assert_eq!(written(&format!("cfg={}", path.display()))?, first, "{words}");
            assert!(written(&format!("cfg={} epochs=9", path.display()))?.contains("\nepochs: 9\n"));
        }
        Ok(())
    }
}
