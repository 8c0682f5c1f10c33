//! What must hold of the files after a blow, and after the start that follows it.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use candle_core::Tensor;
use parquet::file::reader::SerializedFileReader;
use safetensors::SafeTensors;
use yaml_rust2::YamlLoader;

use crate::attack::{Operation, Stage, Struck};
use crate::commands::Command;

/// Whether a file of this name is no result yet.
fn is_half_written(name: &str) -> bool {
    let name = name.rsplit('/').next().unwrap_or_default();
    name.starts_with(".tmp") || (name.starts_with('.') && name.ends_with(".tmp")) || name.ends_with(".incomplete")
}

/// The files that lie below the folder half-written.
pub(crate) fn leftovers(stage: &Stage) -> Vec<String> {
    let files = stage.place.files("").into_iter().filter(|name| is_half_written(name));
    files.map(|name| format!("{name} is left")).collect()
}

/// The files with their final names that are not whole.
pub(crate) fn unreadable(stage: &Stage) -> Vec<String> {
    let files = stage.place.files("").into_iter().filter(|name| !is_half_written(name));
    files
        .filter_map(|name| whole(&stage.root.join(&name)).err().map(|error| format!("{name} is not whole: {error}")))
        .collect()
}

fn whole(path: &Path) -> Result<(), String> {
    let bytes = fs::read(path).map_err(|error| error.to_string())?;
    let text = || std::str::from_utf8(&bytes).map_err(|error| error.to_string());
    let lines = |text: &str| if text.ends_with('\n') { Ok(()) } else { Err("the last line is cut".to_owned()) };
    match path.extension().and_then(|extension| extension.to_str()).unwrap_or_default() {
        "safetensors" => SafeTensors::deserialize(&bytes).map(drop).map_err(|error| error.to_string()),
        "json" => serde_json::from_slice::<serde_json::Value>(&bytes).map(drop).map_err(|error| error.to_string()),
        // As many cells in each row.
        "csv" => lines(text()?).and_then(|()| {
            let mut rows = csv::Reader::from_reader(bytes.as_slice());
            rows.records().try_for_each(|row| row.map(drop)).map_err(|error| error.to_string())
        }),
        // Who is killed leaves the last line cut, which the next start drops.
        "jsonl" => {
            let Some(end) = bytes.iter().rposition(|byte| *byte == b'\n') else { return Ok(()) };
            let lines = bytes[..end].split(|byte| *byte == b'\n');
            lines
                .map(serde_json::from_slice::<serde_json::Value>)
                .try_for_each(|line| line.map(drop))
                .map_err(|e| e.to_string())
        }
        "parquet" => {
            let file = fs::File::open(path).map_err(|error| error.to_string())?;
            SerializedFileReader::new(file).map(drop).map_err(|error| error.to_string())
        }
        "yaml" => YamlLoader::load_from_str(text()?).map(drop).map_err(|error| error.to_string()),
        "png" | "jpg" => image::load_from_memory(&bytes).map(drop).map_err(|error| error.to_string()),
        "txt" | "md" => lines(text()?),
        // The cache of decoded images holds bytes, results hold numbers.
        "npy" if path.to_string_lossy().contains("/set/") => {
            (bytes.len() == 128 + 3 * 64 * 48).then_some(()).ok_or_else(|| format!("{} bytes", bytes.len()))
        }
        "npy" => Tensor::read_npy(path).map(drop).map_err(|error| error.to_string()),
        "" => Ok(()),
        other => Err(format!("{other} is of no known kind")),
    }
}

/// Where the outcome is: called again, a command may have numbered its folder.
fn folder(stage: &Stage, command: &Command, is_again: bool) -> String {
    let numbered = format!("{}-2", command.folder);
    if is_again && stage.place.path(&numbered).exists() { numbered } else { command.folder.to_owned() }
}

/// The outcome by name, without what tells the time: of checkpoints the tensors, of `results.csv` all but its second
/// column, of JSON all but `seconds`.
pub(crate) fn contents(stage: &Stage, command: &Command, is_again: bool) -> BTreeMap<String, Vec<u8>> {
    let folder = folder(stage, command, is_again);
    let mut contents = BTreeMap::new();
    for name in stage.place.files(&folder).into_iter().filter(|name| !is_half_written(name)) {
        let path = format!("{folder}/{name}");
        let bytes = fs::read(stage.place.path(&path)).unwrap_or_default();
        if let (true, Ok(tensors)) = (name.ends_with(".safetensors"), SafeTensors::deserialize(&bytes)) {
            for (tensor, view) in tensors.iter() {
                contents.insert(format!("{name}: {tensor}"), view.data().to_vec());
            }
            continue;
        }
        let bytes = match name.rsplit('.').next() {
            Some("csv") if name.ends_with("results.csv") => timeless(&bytes),
            Some("json") => without_seconds(&bytes),
            _ => bytes,
        };
        contents.insert(name, bytes);
    }
    contents
}

fn timeless(table: &[u8]) -> Vec<u8> {
    let text = String::from_utf8_lossy(table);
    let rows = text.lines().map(|row| row.split(',').enumerate().filter(|(column, _)| *column != 1));
    rows.map(|row| row.map(|(_, cell)| cell).collect::<Vec<_>>().join(",") + "\n").collect::<String>().into_bytes()
}

/// A JSON file without the field that tells the time.
fn without_seconds(bytes: &[u8]) -> Vec<u8> {
    let Ok(mut value) = serde_json::from_slice::<serde_json::Value>(bytes) else { return bytes.to_vec() };
    value.as_object_mut().map(|fields| fields.remove("seconds"));
    value.to_string().into_bytes()
}

/// How the outcome differs from that of the undisturbed run.
pub(crate) fn differences(stage: &Stage, command: &Command, is_again: bool) -> Vec<String> {
    let (found, expected) = (contents(stage, command, is_again), &stage.expected);
    let lacking = expected.keys().filter(|name| !found.contains_key(*name)).map(|name| format!("{name} is missing"));
    let others = found.iter().filter_map(|(name, bytes)| match expected.get(name) {
        None => Some(format!("{name} is of no undisturbed run")),
        Some(expected) => (bytes != expected).then(|| format!("{name} differs")),
    });
    let all: Vec<String> = lacking.chain(others).collect();
    let more = all.len().saturating_sub(5);
    let rest = (more > 0).then(|| format!("and {more} more such differences"));
    all.into_iter().take(5).chain(rest).collect()
}

/// The files of an older run that went before this one's state was whole.
pub(crate) fn lost(stage: &Stage, command: &Command) -> Vec<String> {
    let weights = format!("{}/weights", command.folder);
    let state = format!("{weights}/resume.safetensors");
    let read = |path: &str| fs::read(stage.place.path(path)).ok();
    if stage.kept(&state) != read(&state).as_ref() {
        return Vec::new();
    }
    let all = ["best", "last"].map(|name| format!("{weights}/{name}.safetensors"));
    let is_lost = |path: &String| stage.kept(path).is_some_and(|kept| Some(kept) != read(path).as_ref());
    let lost = all.into_iter().filter(|path| !stage.is_cut && is_lost(path));
    lost.map(|path| format!("{path} of the older run is lost")).collect()
}

/// What is wrong with the message of a run that ended with an error at this operation.
pub(crate) fn message(struck: &Struck, met: &Operation) -> Vec<String> {
    let stderr = &struck.stderr;
    let mut wrong = Vec::new();
    if struck.code.is_none() || stderr.contains("panicked") {
        wrong.push(format!("ended with {:?}: {stderr}", struck.code));
    }
    let errors: Vec<&str> = stderr.lines().filter(|line| line.starts_with("error: ")).collect();
    if errors.is_empty() {
        wrong.push(format!("no error is said: {stderr}"));
    }
    let path = met.path.trim_end_matches(" (deleted)");
    let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
    let is_unnamed = name.starts_with('#') || name.starts_with(".tmp");
    // `.NAME.RANDOM.tmp` is to be NAME.
    let result = name.strip_prefix('.').and_then(|name| Some(name.strip_suffix(".tmp")?.rsplit_once('.')?.0));
    let folder = folder.rsplit('/').next().unwrap_or_default();
    let named = if is_unnamed { folder } else { result.unwrap_or(name).trim_end_matches(".ghostzoo.incomplete") };
    // What the command goes on without is said in a note; on a disk that stays broken it then ends by another file's error.
    let notes = stderr.lines().filter(|line| line.starts_with("note: "));
    if !errors.iter().copied().chain(notes).any(|line| line.contains(named)) {
        wrong.push(format!("{named} is not named: {stderr}"));
    }
    wrong
}
