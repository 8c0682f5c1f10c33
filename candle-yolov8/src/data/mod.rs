//! Labelled pictures: Ultralytics' data.yaml with label files, and COCO's instances.
//!
//! | form | read by | boxes |
//! |---|---|---|
//! | data.yaml, `images/**/x.jpg`, `labels/**/x.txt` | [`DataYaml`], [`Split`] | fractions of the picture |
//! | `instances_*.json` | [`CocoInstances`] | pixels |
//!
//! Both become [`LabelledPicture`]s, whose boxes keep the numbers of their file: no digit is lost between a file and the
//! measure or the loss. No picture is decoded here.

mod classes;
mod coco;
mod data_yaml;
mod error;
mod files;
mod fraction;
mod label_file;
mod picture;
mod report;
mod split;

pub use classes::Classes;
pub use coco::{CocoCategory, CocoInstances};
pub use data_yaml::DataYaml;
pub use error::DataError;
pub(crate) use fraction::entries;
pub use fraction::{Fraction, Fractions};
pub use picture::{ImageId, Label, LabelBox, LabelledPicture};
pub use report::LabelReport;
pub use split::{Split, label_path};

#[cfg(test)]
mod coco_tests;
#[cfg(test)]
mod label_file_tests;
#[cfg(test)]
mod split_tests;
