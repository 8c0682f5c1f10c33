//! Labelled images: Ultralytics' data.yaml with label files, and COCO's instances.
//!
//! | form | read by | boxes |
//! |---|---|---|
//! | data.yaml, `images/**/x.jpg`, `labels/**/x.txt` | [`DataYaml`], [`Split`] | fractions of the image |
//! | `instances_*.json`, by itself or as a split of a data.yaml | [`CocoInstances`], [`Split`] | pixels |
//!
//! Both become [`AnnotatedImage`]s, whose boxes keep the numbers of their file: no digit is lost between a file and the
//! measure or the loss. No image is decoded here.

mod class_filter;
mod classes;
mod coco;
mod coco_ids;
mod coco_json;
mod data_yaml;
mod error;
mod files;
mod fraction;
mod label_file;
mod part_files;
mod image;
mod report;
mod split;
mod split_instances;
mod text;
mod yaml_text;

pub use class_filter::Classes;
pub use classes::ClassMatch;
pub use coco::{CocoCategory, CocoInstances};
pub use coco_ids::coco_category_ids;
pub use data_yaml::DataYaml;
pub use error::DataError;
pub(crate) use fraction::entries;
pub use fraction::{Fraction, Fractions};
pub use part_files::part_files;
pub use image::{ImageId, Label, LabelBox, AnnotatedImage, image_ids};
pub use report::LabelReport;
pub use split::{Split, label_path};
pub use text::lines;

#[cfg(test)]
mod coco_tests;
#[cfg(test)]
mod label_file_tests;
#[cfg(test)]
mod split_tests;
