//! What is built in: images to try a model on, and in words what the shipped models know.

use anyhow::{Context, Result};
use ghostzoo::samples::{BLOOD_CELLS, FREIGHTER, SampleImage};
use ghostzoo_weights::{ModelEntry, Task};

/// The image that shows what a task is.
pub(crate) fn image(task: Task) -> &'static SampleImage {
    match task {
        Task::Detect => &BLOOD_CELLS,
        Task::Classify => &FREIGHTER,
    }
}

/// A shipped model and its classes: `NAME finds A, B`.
pub(crate) fn described(entry: &ModelEntry) -> Result<String> {
    let shipped = entry.shipped().with_context(|| format!("{} is not built in", entry.name))?;
    let verb = if entry.task == Task::Detect { "finds" } else { "tells apart" };
    let classes = shipped.metadata()?.names.unwrap_or_default();
    Ok(format!("{} {verb} {}", entry.name, classes.join(", ")))
}
