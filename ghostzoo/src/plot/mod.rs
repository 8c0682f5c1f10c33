//! Images of measures, as users of Ultralytics know them.
//!
//! - [`precision_recall`], [`against_confidence`]: one curve per class and one of all;
//! - [`confusion_matrix`]: what was taken for what;
//! - [`training_curves`]: columns of `results.csv` over the epochs;
//! - [`label_overview`], [`batch_mosaic`], [`mosaic`]: what is trained on, and what is found;
//! - [`annotate`]: objects on the image that they were found in.
//!
//! Plots of measures fail with [`Error::Invalid`](crate::Error::Invalid) where curves, values and names are not as many as each
//! other. What is drawn, `candle_vision::image::save` writes complete or not at all. Text is in the bundled font, in
//! that of the system where it lacks a character; one that no font has shows as its missing-glyph box.

mod axes;
mod batch;
mod boxes;
mod canvas;
mod confusion;
mod curves;
mod fonts;
mod labels;
mod training;

pub use batch::{batch_mosaic, label, mosaic, title};
pub use boxes::{BoxStyle, annotate};
pub use confusion::{Cells, confusion_matrix};
pub use curves::{Metric, against_confidence, precision_recall};
pub use fonts::{drawable, typeface};
pub use labels::label_overview;
pub use training::training_curves;

#[cfg(test)]
mod tests;
