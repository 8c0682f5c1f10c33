//! What a run needs to go on exactly where it was: one file, so that no two parts of it can be of different moments.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use candle_core::{DType, Device, Tensor};
use candle_vision::train::EarlyStopping;
use safetensors::{Dtype, SafeTensors};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::checks;
use crate::error::{Context as _, Error, Result, chain, ensure, invalid, io, request};

/// The file in the run's `weights` folder.
pub(super) const FILE: &str = "resume.safetensors";
/// The header entry that holds [`Progress`].
const KEY: &str = "ghostzoo_run";
/// What this version writes.
const FORMAT: u32 = 1;

/// How far a run is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Progress {
    format: u32,
    /// `detect` or `classify`.
    pub(super) task: String,
    /// The run's arguments.
    pub(super) args: Value,
    /// The epoch to go on with, from 0.
    pub(super) epoch: usize,
    /// Its next batch.
    pub(super) batch: usize,
    /// Sums of the epoch's losses so far.
    pub(super) losses: Vec<f64>,
    /// Time spent, in seconds.
    pub(super) seconds: f64,
    /// The best epoch, as patience counts.
    pub(super) stopping: EarlyStopping,
    /// The epoch whose weights `best` holds: the last of those that are equally good; 0 before the first.
    pub(super) best: usize,
    /// The epochs of a run of limited time, as planned after the last.
    #[serde(default)]
    pub(super) planned: Option<usize>,
    /// How many processes made the steps so far.
    #[serde(default = "alone")]
    pub(super) processes: usize,
    /// Whether their batch norms were synchronised.
    #[serde(default)]
    pub(super) sync_bn: bool,
    /// Fingerprints of the images of both splits.
    pub(super) files: [Value; 2],
    /// What the data were when the run began, so that it does not go on with others.
    pub(super) data: Value,
    /// What does not depend on the data but was decided with them: see the task.
    pub(super) decided: Value,
    /// Whether the run is at its end.
    pub(super) finished: bool,
    /// `results.csv`.
    pub(super) results: String,
    /// Counters of the optimizer and of the average.
    pub(super) counters: Value,
}

impl Progress {
    /// A run that begins.
    pub(super) fn new(task: &str, args: Value, [data, decided]: [Value; 2], results: String) -> Self {
        Self {
            format: FORMAT,
            task: task.to_owned(),
            args,
            epoch: 0,
            batch: 0,
            losses: Vec::new(),
            seconds: 0.,
            stopping: EarlyStopping::default(),
            best: 0,
            planned: None,
            processes: alone(),
            sync_bn: false,
            files: Default::default(),
            data,
            decided,
            finished: false,
            results,
            counters: Value::Null,
        }
    }
}

/// What the file holds: how far the run is, and all that its next step depends on.
pub(super) type Saved = (Progress, BTreeMap<String, Tensor>);

/// The processes of a run that says nothing of them.
fn alone() -> usize {
    1
}

/// Why a run that is asked to go on has nothing to do.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub enum Over {
    /// It is beyond these epochs already, and not finished.
    Beyond,
    /// Its epochs are done.
    Epochs(usize),
    /// So many epochs were no better.
    Patience(usize),
    /// Its hours are over.
    Hours(f64),
}

impl Progress {
    /// The epoch whose weights are the best.
    pub(super) fn best_epoch(&self) -> usize {
        if self.best > 0 { self.best } else { self.stopping.epoch }
    }

    /// Why the run cannot go on with the epochs that are planned for it, else with these, this patience and these hours;
    /// `None` where it can.
    pub(super) fn end(
        &self,
        planned: Option<usize>,
        epochs: usize,
        patience: usize,
        hours: Option<f64>,
    ) -> Option<Over> {
        let total = planned.unwrap_or(epochs);
        match hours {
            Some(hours) if self.finished && (self.seconds >= hours * 3600. || total <= self.epoch) => {
                Some(Over::Hours(hours))
            }
            _ if total <= self.epoch && !self.finished => Some(Over::Beyond),
            _ if total <= self.epoch => Some(Over::Epochs(total)),
            _ if self.finished && self.stopping.has_run_out(self.epoch, patience) => Some(Over::Patience(patience)),
            _ => None,
        }
    }
}

impl Over {
    /// What to say of the run in the folder `shown`.
    pub(super) fn error(self, shown: &str, progress: &Progress) -> Error {
        let finished = format!("{shown} is finished, after {} epochs", progress.epoch);
        match self {
            Self::Beyond => request(format!(
                "{shown} is in epoch {} already: leave `options.epochs` out, or give it a number from there on",
                progress.epoch + 1
            )),
            Self::Epochs(epochs) => {
                Error::Invalid(format!("{finished}: a larger `options.epochs` than {epochs} goes on with it"))
            }
            Self::Patience(patience) => Error::Invalid(format!(
                "{finished}, of which none since the {}. was better: a larger `options.patience` than {patience}, or 0, goes on with it",
                progress.stopping.epoch
            )),
            Self::Hours(hours) => {
                Error::Invalid(format!("{finished}, its {hours} hours: a larger `options.hours` goes on with it"))
            }
        }
    }
}

/// Writes the file, whole or not at all.
pub(super) fn save(path: &Path, progress: &Progress, tensors: &BTreeMap<String, Tensor>) -> Result<()> {
    let bytes = to_bytes(progress, tensors).with_context(|| format!("cannot write {}", path.display()))?;
    ghostzoo_files::write(path, &bytes).map_err(io(format!("cannot write {}", path.display())))
}

/// What to say of a state that is none that a run writes.
pub(super) fn edited(path: &Path, error: &dyn std::error::Error) -> Error {
    Error::Invalid(format!(
        "{} is not as a run wrote it: {}; put back the file as it was, or begin a run from weights/last.safetensors",
        path.display(),
        chain(error)
    ))
}

/// The bytes of the file.
pub(super) fn to_bytes(progress: &Progress, tensors: &BTreeMap<String, Tensor>) -> Result<Vec<u8>> {
    let metadata = HashMap::from([(KEY.to_owned(), serde_json::to_string(progress)?)]);
    Ok(safetensors::serialize(tensors.iter(), Some(metadata))?)
}

/// Reads the file.
///
/// # Errors
/// What cannot be gone on from, by the name of the field.
pub(super) fn read(path: &Path) -> Result<Saved> {
    let bytes = std::fs::read(path).map_err(io(format!("cannot read {}", path.display())))?;
    from_bytes(&path.display().to_string(), &bytes)
}

/// Reads the bytes of the file `shown`.
///
/// # Errors
/// As [`read`].
pub(super) fn from_bytes(shown: &str, bytes: &[u8]) -> Result<Saved> {
    let path = Path::new(shown);
    let what = || format!("{shown} is not the state of a run");
    let (_, header) = SafeTensors::read_metadata(bytes).with_context(what)?;
    let text = header.metadata().as_ref().and_then(|metadata| metadata.get(KEY)).with_context(what)?;
    let value: Value = serde_json::from_str(text).with_context(what)?;
    let format = &value["format"];
    if *format != FORMAT {
        invalid!(
            "{shown} has format {format}, and this version reads {FORMAT}: go on with the version that began the run"
        );
    }
    checks::fields(&value).map_err(|error| edited(path, &error))?;
    // From the text: a value does not keep every digit.
    let progress: Progress = serde_json::from_str(text).map_err(|error| edited(path, &error))?;
    checks::consistent(&progress).map_err(|error| edited(path, &error))?;
    let tensors = tensors_from_bytes(shown, bytes)?;
    ensure!(!tensors.is_empty(), "{}", what());
    Ok((progress, tensors))
}

/// Tensors alone.
pub(super) fn tensors_to_bytes(tensors: &BTreeMap<String, Tensor>) -> Result<Vec<u8>> {
    Ok(safetensors::serialize(tensors.iter(), None)?)
}

/// The tensors of the file `shown`.
///
/// # Errors
/// Bytes of something else.
pub(super) fn tensors_from_bytes(shown: &str, bytes: &[u8]) -> Result<BTreeMap<String, Tensor>> {
    let file = SafeTensors::deserialize(bytes).with_context(|| format!("{shown} is not the state of a run"))?;
    let mut tensors = BTreeMap::new();
    for (name, view) in file.iter() {
        let dtype = match view.dtype() {
            Dtype::F32 => DType::F32,
            Dtype::F64 => DType::F64,
            Dtype::U32 => DType::U32,
            Dtype::I64 => DType::I64,
            other => invalid!("{shown} holds {name} as {other:?}, which no run writes"),
        };
        let tensor = Tensor::from_raw_buffer(view.data(), dtype, view.shape(), &Device::Cpu)?;
        tensors.insert(name.to_owned(), tensor);
    }
    Ok(tensors)
}

#[cfg(test)]
mod tests {
    use safetensors::View as _;
    use serde_json::json;

    use super::*;

    #[test]
    fn a_state_reads_back_and_others_are_refused() -> Result<(), Box<dyn std::error::Error>> {
        let folder = tempfile::tempdir()?;
        let path = folder.path().join(FILE);
        let args = json!({"lr0": 0.1, "model": "é", "epochs": 3, "batch": 2});
        let decided = json!({"recipe": {"epochs": 3, "batch": 2}});
        let results = "epoch,time\n1,1\n2,2\n3,3\n".to_owned();
        let mut progress = Progress::new("detect", args, [json!(1), decided], results);
        (progress.epoch, progress.seconds, progress.stopping.best) = (3, 0.1 + 0.2, 1. / 3.);
        let tensors = BTreeMap::from([
            ("a".to_owned(), Tensor::new(&[[1f32, f32::MIN_POSITIVE], [-0., 1e30]], &Device::Cpu)?),
            ("b".to_owned(), Tensor::new(&[0.1f64, 1e-300], &Device::Cpu)?),
            ("c".to_owned(), Tensor::new(3u32, &Device::Cpu)?),
        ]);
        save(&path, &progress, &tensors)?;
        let (read_progress, read_tensors) = read(&path)?;
        assert_eq!(read_progress, progress);
        assert_eq!(read_tensors.keys().collect::<Vec<_>>(), tensors.keys().collect::<Vec<_>>());
        for (name, tensor) in &tensors {
            assert_eq!(read_tensors[name].data(), tensor.data(), "{name}: bit for bit");
        }
        let before = std::fs::read(&path)?;
        save(&path, &progress, &tensors)?;
        assert_eq!(std::fs::read(&path)?, before, "equal states give equal bytes");
        std::fs::write(&path, &before[..before.len() - 1])?;
        assert!(read(&path).expect_err("cut").to_string().contains("is not the state of a run"));
        progress.best = 4;
        save(&path, &progress, &tensors)?;
        let error = read(&path).expect_err("edited").to_string();
        assert!(
            error.contains("is not as a run wrote it: `best` is 4, after the 3 epochs that are done; put"),
            "{error}"
        );
        progress.format = 2;
        save(&path, &progress, &tensors)?;
        assert!(read(&path).expect_err("of the future").to_string().contains("has format 2"));
        Ok(())
    }
}
