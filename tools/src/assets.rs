//! What is built in: images to try a model on (`tools/assets`), and in words what the shipped models know.

use anyhow::{Context, Result};
use ghostzoo_weights::{ModelEntry, Task};

/// An image in the program's own memory.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Image {
    /// Its file's name.
    pub(crate) name: &'static str,
    /// What it shows, and whose it is.
    pub(crate) what: &'static str,
    /// The file.
    pub(crate) bytes: &'static [u8],
}

static CELLS: Image = Image {
    name: "BloodImage_00062.jpg",
    what: "blood cells, from BCCD's test images",
    bytes: include_bytes!("../assets/BloodImage_00062.jpg"),
};

static FREIGHTER: Image =
    Image { name: "freighter.jpg", what: "a drawn ship at sea", bytes: include_bytes!("../assets/freighter.jpg") };

/// The image that shows what a task is.
pub(crate) fn image(task: Task) -> &'static Image {
    match task {
        Task::Detect => &CELLS,
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
