//! The module `ghostzoo._ghostzoo`, which the Python package wraps: models that take images and give arrays, and work that takes long,
//! which calls back and which Ctrl-C ends.

mod buffers;
mod classifier;
mod detector;
mod draw;
mod error;
mod group;
mod input;
mod long;
mod model;
mod options;
mod progress;
mod prune;
mod quantize;
mod threads;
mod train;
mod val;

use pyo3::pymodule;

/// Models as Rust has them; `ghostzoo` documents what to call.
#[pymodule]
mod _ghostzoo {
    #[pymodule_export]
    use super::classifier::Classifier;
    #[pymodule_export]
    use super::detector::Detector;
    #[pymodule_export]
    use super::draw::{draw_boxes, read_image, save_image};
    #[pymodule_export]
    use super::error::ImageError;
    #[pymodule_export]
    use super::model::{models, pull};
    #[pymodule_export]
    use super::prune::prune_model;
    #[pymodule_export]
    use super::quantize::quantize_model;
    #[pymodule_export]
    use super::train::{train_classifier, train_detector};
    #[pymodule_export]
    use super::val::{val_classifier, val_detector};

    /// The release of the package.
    #[pymodule_export]
    const VERSION: &str = env!("CARGO_PKG_VERSION");
}
