//! Labelled images: Ultralytics' data.yaml with label files, and COCO's instances.
//!
//! | form | read by | boxes |
//! |---|---|---|
//! | data.yaml, `images/**/x.jpg`, `labels/**/x.txt` | [`DataYaml`], [`DatasetSplit`] | fractions of the image |
//! | `instances_*.json`, by itself or as a split of a data.yaml | [`CocoInstances`], [`DatasetSplit`] | pixels |
//!
//! Both become [`AnnotatedImage`]s, whose boxes keep the numbers of their file: no digit is lost between a file and the
//! measure or the loss. They are read without decoding an image.
//!
//! Training and validation take [`DetectionItem`]s of any [`Dataset`](candle_vision::data::Dataset): [`AnnotatedFiles`] decodes
//! those of a list, others come from memory, a database or the network.

mod annotated_image;
mod class_filter;
mod classes;
mod coco;
mod coco_ids;
mod coco_json;
mod data_yaml;
mod dataset;
mod error;
mod files;
mod fraction;
mod label_file;
mod part_files;
mod report;
mod split;
mod split_instances;
mod text;
mod yaml_text;

pub use annotated_image::{AnnotatedImage, Annotation, BBox, ImageId, image_ids};
pub use class_filter::Classes;
pub use classes::ClassMatch;
pub use coco::{CocoCategory, CocoInstances};
pub use coco_ids::coco_category_ids;
pub use data_yaml::DataYaml;
pub use dataset::{AnnotatedFiles, DetectionItem};
pub use error::DataError;
pub(crate) use fraction::entries;
pub use fraction::{Fraction, Fractions};
pub use part_files::part_files;
pub use report::LabelReport;
pub use split::{DatasetSplit, label_path};
pub use text::lines;

#[cfg(test)]
mod coco_tests;
#[cfg(test)]
mod label_file_tests;
#[cfg(test)]
mod split_tests;
