//! `key=value`, `--some_key`, `source=`, `project=` and `name=`, as `yolo` takes them, on the commands that do not train.

use std::path::{Path, PathBuf};

use anyhow::Result;
use clap::{Arg, ArgAction, Command};

use super::bytes;
use super::train::{self, elements, is_default, is_known_key, is_none, switch, truth};
use crate::error::usage;

/// The command line of `command` with each `key=value` that the named command has an option for written as that option. An
/// argument that names a file, or whose key is nobody's, stays as it is.
///
/// # Errors
/// A key of `yolo` that the command has no option for; those of a training as [`train::as_options`] says.
pub(crate) fn as_options(arguments: impl Iterator<Item = String>, command: &Command) -> Result<Vec<String>> {
    let words: Vec<String> = arguments.collect();
    let named = |word: &String| command.find_subcommand(word).is_some();
    let Some(place) = words.iter().skip(1).position(named).map(|place| place + 1) else { return Ok(words) };
    let words = with_task(by_task_and_mode(words, place), place, command);
    let Some(parsed) = command.find_subcommand(&words[place]).filter(|parsed| parsed.get_name() != "train") else {
        return train::as_options(words.into_iter(), command);
    };
    let task = Task { command, parsed };
    let (mut out, mut project, mut name) = (words[..=place].to_vec(), None, None);
    let mut rest = train::joined(&words[place + 1..]).into_iter();
    while let Some(word) = rest.next() {
        let dashes = word.starts_with("--");
        let (key, value) = match word.trim_start_matches("--").split_once('=') {
            Some((key, value)) => (key.to_owned(), Some(value.to_owned())),
            None => (word.trim_start_matches("--").to_owned(), None),
        };
        let key = key.replace('-', "_");
        // `yolo` takes a bare key for `key=True`.
        let is_switch = !dashes && value.is_none() && train::is_switch(&key) && task.takes(&key);
        let value = value.or_else(|| is_switch.then(|| "True".to_owned()));
        let stays = !train::is_key(&key) || (!dashes && (value.is_none() || Path::new(&bytes::word(&word)).exists()));
        match key.as_str() {
            // What follows is no option.
            _ if word == "--" => {
                out.push(word);
                out.extend(rest.by_ref());
            }
            _ if stays => out.push(word),
            "source" if task.has_sources() => out.extend(value.or_else(|| rest.next())),
            "project" if task.option("save_dir").is_some() => project = value.or_else(|| rest.next()),
            "name" if task.option("save_dir").is_some() => name = value.or_else(|| rest.next()),
            _ if dashes => {
                let long = format!("--{}", key.replace('_', "-"));
                out.push(value.map_or(long.clone(), |value| format!("{long}={value}")));
            }
            _ => out.extend(task.pair(&key, &value.unwrap_or_default(), word)?),
        }
    }
    if project.is_some() || name.is_some() {
        let of = if parsed.get_name() == "val" { "val" } else { "predict" };
        let folder = PathBuf::from(project.unwrap_or_else(|| "runs/detect".to_owned()));
        let folder = folder.join(name.unwrap_or_else(|| of.to_owned()));
        out.insert(place + 1, format!("--save-dir={}", folder.display()));
    }
    Ok(out)
}

/// The words with a command in the place of `yolo`'s task and mode, such as `detect predict`, or of a mode and a task, such as
/// `val classify`, at `place`. A file or a folder stays what it is.
fn by_task_and_mode(mut words: Vec<String>, place: usize) -> Vec<String> {
    let mode = words.get(place + 1).filter(|word| !Path::new(word).exists()).map(String::as_str);
    let command: &[&str] = match (words[place].as_str(), mode) {
        ("detect", Some("train")) => &["train", "detect"],
        ("detect", Some("val")) => &["val"],
        ("detect", Some("predict")) => &["detect"],
        ("classify", Some("train")) => &["train", "classify"],
        ("classify", Some("val")) => &["eval"],
        ("classify", Some("predict")) => &["classify"],
        ("val", Some("detect")) => &["val"],
        ("val", Some("classify")) => &["eval"],
        _ => return words,
    };
    words.splice(place..place + 2, command.iter().map(|word| (*word).to_owned()));
    words
}

/// The words with `detect` behind a `train` at `place` that has arguments and neither a task nor a wish for help, as `yolo` takes
/// them. Before a task only the options of all commands stand.
fn with_task(mut words: Vec<String>, place: usize, command: &Command) -> Vec<String> {
    if words[place] != "train" {
        return words;
    }
    let mut rest = words[place + 1..].iter();
    let first = loop {
        let Some(word) = rest.next() else { return words };
        let (long, value) = word.split_once('=').map_or((word.as_str(), None), |(long, value)| (long, Some(value)));
        match long.strip_prefix("--").and_then(|long| train::option_of(command.get_arguments(), long)) {
            None => break word,
            Some(option) if value.is_none() && option.get_action().takes_values() => drop(rest.next()),
            Some(_) => {}
        }
    };
    if !matches!(first.as_str(), "detect" | "classify" | "help" | "-h" | "--help") {
        words.insert(place + 1, "detect".to_owned());
    }
    words
}

/// A command that does not train.
struct Task<'a> {
    command: &'a Command,
    parsed: &'a Command,
}

impl Task<'_> {
    fn has_sources(&self) -> bool {
        self.parsed.get_positionals().any(|arg| arg.get_id() == "sources")
    }

    /// The option of a key, of the command or of all.
    fn option(&self, key: &str) -> Option<&Arg> {
        train::option_of(self.parsed.get_arguments().chain(self.command.get_arguments()), key)
    }

    /// Whether there is an option for a key, or for its opposite.
    fn takes(&self, key: &str) -> bool {
        let opposite = hidden(key).map_or_else(|| format!("no_{key}"), str::to_owned);
        self.option(key).or_else(|| self.option(&opposite)).is_some()
    }

    /// What stands for `key=value`, which was given as `word`.
    fn pair(&self, key: &str, value: &str, word: String) -> Result<Vec<String>> {
        let long = key.replace('_', "-");
        if let Some(option) = self.option(key) {
            if matches!(option.get_action(), ArgAction::SetTrue) {
                return switch(key, value, &long, true);
            }
            return Ok(match truth(value) {
                _ if is_none(value) => Vec::new(),
                Some(truth) => vec![format!("--{long}={truth}")],
                None if key == "device" => vec![format!("--device={}", train::device(value)?)],
                None => {
                    let value = elements(value).map_or_else(|| value.to_owned(), |parts| parts.join(","));
                    vec![format!("--{long}={value}")]
                }
            });
        }
        // `show_conf=False` is `--hide-conf`; `hide_conf`, `line_thickness` and `boxes` are older names.
        if let Some(hidden) = hidden(key).filter(|hidden| self.option(hidden).is_some()) {
            return switch(key, value, &hidden.replace('_', "-"), false);
        }
        if key == "line_thickness" && self.option("line_width").is_some() {
            return self.pair("line_width", value, word);
        }
        // `save=False` is `--no-save`.
        if self.option(&format!("no_{key}")).is_some() {
            return switch(key, value, &format!("no-{long}"), false);
        }
        // What holds anyway.
        if is_default(key, value) {
            return Ok(Vec::new());
        }
        if is_known_key(key) {
            return Err(usage(format!("{word}: `{}` has no such option; `--help` lists those it has", self.parsed)));
        }
        match self.nearest(key) {
            Some(near) => {
                Err(usage(format!("{word}: there is no such file, and no such option; did you mean `{near}`?")))
            }
            None => Ok(vec![word]),
        }
    }

    /// The option that a key was meant for, where one is a letter or two away.
    fn nearest(&self, key: &str) -> Option<String> {
        let options = self.parsed.get_arguments().chain(self.command.get_arguments());
        let longs = options.filter(|option| !option.is_hide_set()).filter_map(Arg::get_long);
        let keys = longs.map(|long| long.replace('-', "_")).chain(["source".to_owned()]);
        let distance = |known: &String| strsim::damerau_levenshtein(known, key);
        let nearest = keys.min_by_key(distance)?;
        (key.len() > 3 && distance(&nearest) <= 2).then_some(nearest)
    }
}

/// The option that is the opposite of a key.
fn hidden(key: &str) -> Option<&'static str> {
    match key {
        "show_labels" => Some("hide_labels"),
        "show_conf" => Some("hide_conf"),
        "show_boxes" | "boxes" => Some("hide_boxes"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::command;

    fn line(text: &str) -> Result<String> {
        Ok(as_options(text.split(' ').map(str::to_owned), &command())?.join(" "))
    }

    #[test]
    fn keys_of_yolo_become_options_of_every_command() -> Result<()> {
        for (text, expected) in [
            ("ghostzoo detect source=bus.jpg model=best.pt", "ghostzoo detect bus.jpg --model=best.pt"),
            ("ghostzoo detect --source bus.jpg --save_txt", "ghostzoo detect bus.jpg --save-txt"),
            ("ghostzoo predict source=a save=False conf=.5", "ghostzoo predict a --no-save --conf=.5"),
            ("ghostzoo detect a.jpg classes=[0,2] save_txt=True", "ghostzoo detect a.jpg --classes=0,2 --save-txt"),
            ("ghostzoo detect a.jpg show_conf=False show_labels=True", "ghostzoo detect a.jpg --hide-conf"),
            ("ghostzoo detect a.jpg show_labels=False boxes=False", "ghostzoo detect a.jpg --hide-labels --hide-boxes"),
            ("ghostzoo detect a.jpg hide_conf=True hide_labels=False", "ghostzoo detect a.jpg --hide-conf"),
            (
                "ghostzoo detect a.jpg line_width=3 show_boxes=False",
                "ghostzoo detect a.jpg --line-width=3 --hide-boxes",
            ),
            (
                "ghostzoo detect source=0 vid_stride=2 stream_buffer=True save_frames=True",
                "ghostzoo detect 0 --vid-stride=2 --stream-buffer --save-frames",
            ),
            ("ghostzoo detect rtsp://a:b@h/x?y=1 vid_stride=1", "ghostzoo detect rtsp://a:b@h/x?y=1 --vid-stride=1"),
            ("ghostzoo detect a.jpg line_thickness=3", "ghostzoo detect a.jpg --line-width=3"),
            ("ghostzoo detect a.jpg line_width=None", "ghostzoo detect a.jpg"),
            ("ghostzoo detect a.jpg save_crop=False rect=True", "ghostzoo detect a.jpg --rect=true"),
            ("ghostzoo detect a.jpg device=mps imgsz=320", "ghostzoo detect a.jpg --device=metal --imgsz=320"),
            ("ghostzoo val data=d.yaml model=m.pt", "ghostzoo val --data=d.yaml --model=m.pt"),
            ("ghostzoo val data=d.yaml --name x", "ghostzoo val --save-dir=runs/detect/x --data=d.yaml"),
            ("ghostzoo detect project=p a.jpg", "ghostzoo detect --save-dir=p/predict a.jpg"),
            ("ghostzoo --quiet eval data=x batch=8", "ghostzoo --quiet eval --data=x --batch=8"),
            ("ghostzoo detect a_b=c.jpg", "ghostzoo detect a_b=c.jpg"),
            ("ghostzoo detect predict model=m.pt source=a", "ghostzoo detect --model=m.pt a"),
            ("ghostzoo detect val data=d.yaml", "ghostzoo val --data=d.yaml"),
            ("ghostzoo --quiet detect train data=d.yaml", "ghostzoo --quiet train detect --data=d.yaml"),
            ("ghostzoo classify val data=d", "ghostzoo eval --data=d"),
            ("ghostzoo val classify data=d imgsz=96", "ghostzoo eval --data=d --imgsz=96"),
            ("ghostzoo eval data=d img_size=96", "ghostzoo eval --data=d --img-size=96"),
            ("ghostzoo --quiet val detect data=d.yaml", "ghostzoo --quiet val --data=d.yaml"),
            ("ghostzoo classify train data=d", "ghostzoo train classify --data=d"),
            ("ghostzoo detect src", "ghostzoo detect src"),
            ("ghostzoo detect a.jpg save_txt agnostic_nms", "ghostzoo detect a.jpg --save-txt --agnostic-nms"),
            ("ghostzoo val data=d.yaml half=False workers=8 task=detect", "ghostzoo val --data=d.yaml"),
            ("ghostzoo detect -- conf=1", "ghostzoo detect -- conf=1"),
            ("ghostzoo detect --model C:=x", "ghostzoo detect --model C:=x"),
            ("ghostzoo bench --model train", "ghostzoo bench --model train"),
            ("ghostzoo train data=d.yaml lr0=1", "ghostzoo train detect --data=d.yaml --lr0=1"),
            ("ghostzoo train --device cpu classify data=d", "ghostzoo train --device cpu classify --data=d"),
            ("ghostzoo train --name classify data=d", "ghostzoo train detect --name classify --data=d"),
            ("ghostzoo train --project detect --data d", "ghostzoo train detect --project detect --data d"),
            ("ghostzoo train --help", "ghostzoo train --help"),
            ("ghostzoo train --quiet", "ghostzoo train --quiet"),
            (
                "ghostzoo train data=d resume accept_changed_data=True",
                "ghostzoo train detect --data=d --resume=true --accept-changed-data",
            ),
            ("ghostzoo detect a.jpg show_labels", "ghostzoo detect a.jpg"),
            ("ghostzoo train detect data=d.yaml lr0=1", "ghostzoo train detect --data=d.yaml --lr0=1"),
        ] {
            assert_eq!(line(text)?, expected, "{text}");
        }
        Ok(())
    }

    #[test]
    fn a_key_that_a_command_has_not_is_refused_by_name() {
        let error = line("ghostzoo detect a.jpg half=True").expect_err("no such option").to_string();
        assert!(error.contains("half=True") && error.contains("`detect` has no such option"), "{error}");
        for (text, word) in [
            ("detect a.jpg show_labels=nope", "show_labels=nope"),
            ("detect a.jpg save=0", "save=0"),
            ("detect a.jpg save_txt=maybe", "save_txt=maybe"),
            ("train detect data=d accept_changed_data=maybe", "accept_changed_data=maybe"),
        ] {
            let error = line(&format!("ghostzoo {text}")).expect_err(text).to_string();
            assert_eq!(error, format!("{word}: give True or False"));
        }
        for (text, near) in [
            ("detect a.jpg cnof=0.5", "conf"),
            ("val data=d --model m imgz=320", "imgsz"),
            ("detect sorce=a", "source"),
        ] {
            let error = line(&format!("ghostzoo {text}")).expect_err(text).to_string();
            assert!(error.ends_with(&format!("did you mean `{near}`?")), "{error}");
        }
    }

    #[test]
    fn numbers_beyond_their_limits_are_refused() {
        for (text, is_taken) in [
            ("ghostzoo --threads 2 detect", true),
            ("ghostzoo --threads 2000 detect", false),
            ("ghostzoo train detect --data d.yaml --workers 8", true),
            ("ghostzoo train detect --data d.yaml --workers 10000", false),
            ("ghostzoo summary yolov8n --nc 3", true),
            ("ghostzoo summary yolov8n --nc 66000", false),
        ] {
            assert_eq!(command().try_get_matches_from(text.split(' ')).is_ok(), is_taken, "{text}");
        }
    }

    #[test]
    fn a_file_stays_a_file() -> Result<()> {
        let folder = tempfile::tempdir()?;
        let file = folder.path().join("model=a.jpg");
        std::fs::write(&file, "")?;
        let text = format!("ghostzoo detect {}", file.display());
        assert_eq!(line(&text)?, text);
        Ok(())
    }
}
