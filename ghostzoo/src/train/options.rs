//! How a run is run.

use std::path::PathBuf;

use candle_vision::train::distributed::Communicator;
use serde_json::Value;

use super::stop::StopFlag;
use super::task::Plan;

/// Epochs, and epochs without a better one, unless told otherwise.
const EPOCHS: usize = 100;

/// How a run is run: 100 epochs at most, validated after each, ended after 100 without a better one.
///
/// ```
/// use ghostzoo::train::FitOptions;
///
/// let options = FitOptions::new("runs/cells").epochs(30).patience(5);
/// assert_eq!(options.folder, std::path::Path::new("runs/cells"));
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct FitOptions {
    /// The run's folder.
    pub folder: PathBuf,
    /// Passes over the training images.
    pub epochs: usize,
    /// Epochs without a better one that end the run; 0 never does.
    pub patience: usize,
    /// Hours after which the run ends, whatever `epochs` says.
    pub hours: Option<f64>,
    /// Epochs between checkpoints that stay, `weights/epochN.safetensors`; 0 keeps none.
    pub save_period: usize,
    /// Whether each epoch is validated, or the last alone.
    pub validate: bool,
    /// Whether a run may begin in a folder that holds one, which it replaces.
    pub exist_ok: bool,
    /// Whether a run may go on with other data than it began with.
    pub accept_changed_data: bool,
    /// Whether it is no error to go on with a run that is at its end: nothing is trained then.
    pub accept_finished: bool,
    /// What the state and the checkpoints say of how the run was started, a table of values with `epochs` and `batch`; the
    /// task's options unless given. A run that goes on with a record of the caller's is not checked to have equal options.
    pub record: Option<Value>,
    /// Ends the run.
    pub stop: StopFlag,
    /// The processes that train together, of which this is one: each calls the same functions with the same options and data,
    /// and learns from its part of each batch. The first writes the folder and validates.
    pub group: Option<Communicator>,
    /// Whether batch norms take the moments of all processes' images, so that losses are those of one process.
    pub sync_bn: bool,
}

impl FitOptions {
    /// A run in a folder.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self {
            folder: folder.into(),
            epochs: EPOCHS,
            patience: EPOCHS,
            hours: None,
            save_period: 0,
            validate: true,
            exist_ok: false,
            accept_changed_data: false,
            accept_finished: false,
            record: None,
            stop: StopFlag::new(),
            group: None,
            sync_bn: false,
        }
    }

    /// Passes over the training images.
    #[must_use]
    pub fn epochs(self, epochs: usize) -> Self {
        Self { epochs, ..self }
    }

    /// Epochs without a better one that end the run; 0 never does.
    #[must_use]
    pub fn patience(self, patience: usize) -> Self {
        Self { patience, ..self }
    }

    /// Hours after which the run ends.
    #[must_use]
    pub fn hours(self, hours: impl Into<Option<f64>>) -> Self {
        Self { hours: hours.into(), ..self }
    }

    /// Epochs between checkpoints that stay; 0 keeps none.
    #[must_use]
    pub fn save_period(self, save_period: usize) -> Self {
        Self { save_period, ..self }
    }

    /// Whether each epoch is validated, or the last alone.
    #[must_use]
    pub fn validate(self, validate: bool) -> Self {
        Self { validate, ..self }
    }

    /// Whether a run may begin in a folder that holds one, which it replaces.
    #[must_use]
    pub fn exist_ok(self, exist_ok: bool) -> Self {
        Self { exist_ok, ..self }
    }

    /// Whether a run may go on with other data than it began with.
    #[must_use]
    pub fn accept_changed_data(self, accept_changed_data: bool) -> Self {
        Self { accept_changed_data, ..self }
    }

    /// Whether it is no error to go on with a run that is at its end.
    #[must_use]
    pub fn accept_finished(self, accept_finished: bool) -> Self {
        Self { accept_finished, ..self }
    }

    /// What the run's files say of how it was started: see [`FitOptions::record`].
    #[must_use]
    pub fn record(self, record: Value) -> Self {
        Self { record: Some(record), ..self }
    }

    /// What ends the run.
    #[must_use]
    pub fn stop(self, stop: StopFlag) -> Self {
        Self { stop, ..self }
    }

    /// The processes that train together: see the [field](field@FitOptions::group).
    #[must_use]
    pub fn group(self, group: impl Into<Option<Communicator>>) -> Self {
        Self { group: group.into(), ..self }
    }

    /// Whether batch norms take the moments of all processes' images.
    #[must_use]
    pub fn sync_bn(self, sync_bn: bool) -> Self {
        Self { sync_bn, ..self }
    }

    pub(super) fn plan(&self) -> Plan {
        Plan { epochs: self.epochs, is_timed: self.hours.is_some() }
    }
}
