//! What `detect` and `classify` look at, and with which model, where the arguments leave it open.
//!
//! | SOURCE | `--model` | model | images |
//! |---|---|---|---|
//! | | | the task's shipped model | the task's built-in image |
//! | | given | as given | the task's built-in image |
//! | given | | the Hub's `yolov8n` or `ghostnet_100.in1k` | as given |
//! | given | given | as given | as given |

use std::ffi::{OsStr, OsString};

use anyhow::{Context, Result, anyhow};
use candle_core::Device;
use ghostzoo_weights::{Registry, Task};

use ghostzoo::samples::SampleImage;

use crate::assets;
use crate::cli::GlobalArgs;
use crate::error::text;
use crate::model;
use crate::source::{self, Media, Source, SourceEntry};
use ghostzoo::Model;

/// A model and images for it.
pub(crate) struct PredictRequest {
    pub(crate) choice: ModelChoice,
    pub(crate) entries: Vec<SourceEntry>,
}

/// A model, and what was chosen for the user.
pub(crate) struct ModelChoice {
    task: Task,
    model: OsString,
    /// What the user should know of the choice.
    note: Option<String>,
    /// Whether it is the Hub's, unasked.
    is_hubs: bool,
}

impl PredictRequest {
    /// What the arguments say, completed.
    pub(crate) fn of(task: Task, model: Option<&OsStr>, sources: &[OsString], media: Media) -> Result<Self> {
        let image = sources.is_empty().then(|| assets::image(task));
        let entries = image.map_or_else(|| source::expand(sources, media), |image| vec![Source::BuiltIn(image).into()]);
        let is_hubs = model.is_none() && image.is_none();
        let (model, note) = match (model, image) {
            (Some(model), None) => (model.to_owned(), None),
            (Some(model), Some(SampleImage { name, what, .. })) => {
                (model.to_owned(), Some(format!("no SOURCE is given: this is {name}, which is built in: {what}")))
            }
            (None, None) => {
                let model = if task == Task::Detect { "yolov8n" } else { "ghostnet_100.in1k" };
                let note = format!("no --model is given: this is {model} of the Hub");
                (model.into(), Some(note))
            }
            (None, Some(SampleImage { name, what, .. })) => {
                let registry = Registry::builtin();
                let entry = registry.shipped(task).next().context("no model of this task is built in")?;
                let described = assets::described(entry)?;
                let command = if task == Task::Detect { "detect" } else { "classify" };
                let yours = format!("Yours: ghostzoo {command} IMAGE --model NAME|FILE");
                (entry.name.clone().into(), Some(format!("built in: {described}; {name} shows {what}. {yours}")))
            }
        };
        Ok(Self { choice: ModelChoice { task, model, note, is_hubs }, entries })
    }
}

impl ModelChoice {
    /// [`model::load`], then a note on the choice. Where the Hub's model cannot be had, the error names what is built in.
    pub(crate) fn load(&self, global: &GlobalArgs, device: &Device, machine: bool) -> Result<Model> {
        let loaded = model::load(&self.model, global, device, machine).map_err(|error| self.advised(error))?;
        if let (Some(note), false) = (&self.note, global.quiet) {
            status!("note: {note}");
        }
        Ok(loaded)
    }

    fn advised(&self, error: anyhow::Error) -> anyhow::Error {
        let registry = Registry::builtin();
        let shipped: Vec<String> =
            registry.shipped(self.task).filter_map(|entry| assets::described(entry).ok()).collect();
        if !self.is_hubs || !error.downcast_ref().is_some_and(ghostzoo::Error::is_resolve) || shipped.is_empty() {
            return error;
        }
        anyhow!("{}; built in, without a download: {}", text(&error), shipped.join("; "))
    }
}
