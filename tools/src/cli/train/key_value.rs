//! `key=value`, as `yolo` takes it, among the options.

use std::path::Path;

use anyhow::Result;
use clap::{Arg, ArgAction, Command};

use super::cfg;
use super::keys::{self, Settled};
use super::values::{elements, is_none, switch, truth, whole};
use crate::cli::bytes;
use crate::error::usage;

/// The keys whose values are text, whatever they look like.
const TEXT: [&str; 5] = ["name", "project", "data", "model", "teacher"];
/// The part of the memory that `batch=-1` takes: Ultralytics' constant.
const MEMORY_SHARE: f64 = 0.6;

/// The command line of `command` with each `key=value` and each `--some_key` behind `train detect` and `train classify`
/// written as `--some-key`, so that what works with `yolo train` works here: what holds anyway is left out, and the keys of
/// `cfg=FILE` stand before those of the command line, which win.
///
/// # Errors
/// A key of `yolo` at a value that cannot be had here, with what to do; a file that cannot be read.
pub(in crate::cli) fn as_options(arguments: impl Iterator<Item = String>, command: &Command) -> Result<Vec<String>> {
    let words: Vec<String> = arguments.collect();
    let Some(train) = words.iter().skip(1).position(|word| word == "train").map(|place| place + 1) else {
        return Ok(words);
    };
    let is_task = |word: &String| word == "detect" || word == "classify";
    let Some(task) = words.iter().skip(train).position(is_task).map(|place| place + train) else { return Ok(words) };
    let parsed = command.find_subcommand("train").and_then(|train| train.find_subcommand(&words[task]));
    let Some(parsed) = parsed else { return Ok(words) };
    let is_quiet = words.iter().any(|word| word == "--quiet");
    let translation = Translation { command: parsed, task: &words[task], is_quiet };
    let (mut from_file, mut given) = (Vec::new(), Vec::new());
    let mut rest = joined(&words[task + 1..]).into_iter();
    while let Some(word) = rest.next() {
        let (key, value) = match word.split_once('=') {
            Some((key, value)) => (key, Some(value)),
            None => (word.as_str(), None),
        };
        let dashes = key.starts_with("--");
        let key = key.trim_start_matches("--").replace('-', "_");
        match value {
            _ if !is_key(&key) || word.starts_with('-') && !dashes => given.push(word),
            None if dashes && key == "cfg" => {
                let file = rest.next().ok_or_else(|| usage("--cfg takes a file"))?;
                from_file.extend(translation.file(Path::new(&bytes::word(&file)))?);
            }
            // The next word is its value.
            None if dashes => {
                let takes_one = translation.option(&key).is_some_and(|arg| {
                    arg.get_action().takes_values() && arg.get_num_args().is_none_or(|count| count.min_values() > 0)
                });
                given.push(format!("--{}", key.replace('_', "-")));
                given.extend(takes_one.then(|| rest.next()).flatten());
            }
            None if keys::find(&key).is_some_and(keys::Key::is_switch) => given.extend(translation.pair(&key, "True")?),
            None => given.push(word),
            Some(file) if key == "cfg" && is_none(file) => {}
            Some(file) if key == "cfg" => from_file.extend(translation.file(Path::new(&bytes::word(file)))?),
            Some(value) => given.extend(translation.pair(&key, value)?),
        }
    }
    Ok(words[..=task].iter().cloned().chain(from_file).chain(given).collect())
}

/// The words with `key = value`, `key= value` and `key =value` in one, and lists such as `[0, 1]` too.
pub(in crate::cli) fn joined(words: &[String]) -> Vec<String> {
    let mut out: Vec<String> = Vec::new();
    let is_open = |word: &str| word.contains("=[") && !word.contains(']') || word.contains("=(") && !word.contains(')');
    let ends = |word: &str| word.ends_with('=') && !word.starts_with('-');
    for word in words {
        let has_start = out.last().is_some_and(|last| !last.starts_with('-') && !last.contains('='));
        match out.last_mut() {
            Some(last) if is_open(last) || ends(last) || (word.starts_with('=') && has_start) => last.push_str(word),
            _ => out.push(word.clone()),
        }
    }
    out
}

/// From `yolo`'s keys to the options of `train TASK`.
struct Translation<'a> {
    command: &'a Command,
    task: &'a str,
    is_quiet: bool,
}

impl Translation<'_> {
    /// The option of a key.
    fn option(&self, key: &str) -> Option<&Arg> {
        option_of(self.command.get_arguments(), key)
    }

    fn note(&self, text: &str) {
        if !self.is_quiet {
            status!("note: {text}");
        }
    }

    /// The words of a file.
    fn file(&self, path: &Path) -> Result<Vec<String>> {
        let mut words = Vec::new();
        for (key, value) in cfg::read(path)? {
            let is_known = keys::find(&key).is_some() || self.option(&key).is_some();
            match key.as_str() {
                // A run has a folder of its own.
                "save_dir" | "cfg" => {}
                _ if is_known => words.extend(self.pair(&key, &value)?),
                _ => {
                    let meant =
                        keys::nearest(&key).map_or_else(String::new, |near| format!("; did you mean `{near}`?"));
                    return Err(usage(format!("--cfg {}: a training has no `{key}`{meant}", path.display())));
                }
            }
        }
        Ok(words)
    }

    /// The words of `key=value`.
    fn pair(&self, key: &str, value: &str) -> Result<Vec<String>> {
        let table = keys::find(key);
        match table {
            _ if self.option(key).is_some() || key == "device" => {}
            Some(_) if key == "verbose" && truth(value) == Some(false) => {
                return Ok(if self.is_quiet { Vec::new() } else { vec!["--quiet".to_owned()] });
            }
            Some(known) => match known.settle(value, self.task)? {
                Settled::Holds => return Ok(Vec::new()),
                Settled::Nothing => {
                    self.note(&format!("{key}={value} has no effect on a training"));
                    return Ok(Vec::new());
                }
                Settled::Unknown => {}
            },
            None => {}
        }
        let is_unset = is_none(value) && table.is_some_and(|known| known.is_unset() || key == "cache");
        let long = key.replace('_', "-");
        let is_switch = |option: &Arg| matches!(option.get_action(), ArgAction::SetTrue);
        Ok(match key {
            _ if is_unset => Vec::new(),
            _ if self.option(key).is_some_and(is_switch) => switch(key, value, &long, true)?,
            _ if TEXT.contains(&key) => vec![format!("--{long}={value}")],
            "batch" => vec![batch(value)],
            "device" => vec![format!("--device={}", device(value)?)],
            _ => vec![format!("--{long}={}", self.value(key, value, table.is_some_and(keys::Key::is_count)))],
        })
    }

    /// A value as the option takes it.
    fn value(&self, key: &str, value: &str, is_count: bool) -> String {
        if let Some(truth) = truth(value) {
            return truth.to_string();
        }
        if let Some(elements) = elements(value) {
            let sides = elements.iter().map(|side| side.parse::<usize>().ok()).collect::<Option<Vec<_>>>();
            return match sides.as_ref().and_then(|sides| sides.iter().max()) {
                Some(largest) if key == "imgsz" => {
                    self.note(&format!("imgsz={value}: a training takes squares, of the largest, {largest}"));
                    largest.to_string()
                }
                // A list of one layer, not a number of layers.
                _ if key == "freeze" => elements.join(",") + ",",
                _ => elements.join(","),
            };
        }
        whole(value).filter(|_| is_count).map_or_else(|| value.to_owned(), |value| value.to_string())
    }
}

/// The option that a key of `yolo` names.
pub(in crate::cli) fn option_of<'a>(mut options: impl Iterator<Item = &'a Arg>, key: &str) -> Option<&'a Arg> {
    let long = key.replace('_', "-");
    options.find(|arg| {
        let is_alias = || arg.get_all_aliases().is_some_and(|all| all.contains(&long.as_str()));
        arg.get_long() == Some(&long) || is_alias()
    })
}

/// Whether a key of `yolo` may be written so.
pub(in crate::cli) fn is_key(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_lowercase())
        && text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
}

/// `batch`: a number of images; below 1, what the memory takes.
fn batch(value: &str) -> String {
    match value.parse::<f64>() {
        Ok(share) if share > 0. && share < 1. => format!("--auto-batch={share}"),
        Ok(number) if number < 1. => format!("--auto-batch={MEMORY_SHARE}"),
        _ => format!("--batch={}", whole(value).map_or_else(|| value.to_owned(), |value| value.to_string())),
    }
}

/// `device` as `--device` takes it.
pub(in crate::cli) fn device(value: &str) -> Result<String> {
    let numbers = elements(value).unwrap_or_else(|| value.split(',').map(|part| part.trim().to_owned()).collect());
    match numbers.as_slice() {
        [] => Ok("auto".to_owned()),
        [one] if is_none(one) || one == "-1" => Ok("auto".to_owned()),
        [one] if one == "mps" => Ok("metal".to_owned()),
        [one] => Ok(one.clone()),
        _ => Err(usage(format!("device={value} is not done here: a training has one device, such as device=0"))),
    }
}

#[cfg(test)]
#[path = "key_value_tests.rs"]
mod tests;
