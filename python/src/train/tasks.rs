//! Tasks of the options that Python gives.

use std::path::PathBuf;
use std::sync::Arc;

use ghostzoo::candle_core::Device;
use ghostzoo::candle_ghostnet;
use ghostzoo::candle_vision::augment::ClassificationAugment;
use ghostzoo::candle_vision::data::ClassificationDataset;
use ghostzoo::candle_vision::image::Interpolation;
use ghostzoo::candle_vision::sysinfo;
use ghostzoo::candle_yolov8::data::{Classes, DataYaml, Fractions};
use ghostzoo::candle_yolov8::train::augment::AugmentOptions;
use ghostzoo::candle_yolov8::train::{CacheMode, DetectionDataset, DetectionDatasetOptions, Freeze, Recipe};
use ghostzoo::train::{
    ClassificationOptions, ClassificationTask, DetectionData, DetectionDataOptions, DetectionOptions, DetectionStart,
    DetectionTask, Messages, Pretrained,
};
use ghostzoo::{Error, Result};
use pyo3::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Told;
use crate::error::{line, raised, refuse};
use crate::options::{Given, RunOptions};

/// Part of the available memory that decoded images may take, and what they may where it is not known.
const MEMORY_SHARE: u64 = 4;
const UNKNOWN_BYTES: u64 = 1 << 30;

/// Makes a task of options, which computes on a device; of those of a run that goes on, as was decided for that.
pub(crate) type Make<T> = fn(Given, Device, Option<&Value>, &mut Told<'_>) -> Result<(T, RunOptions)>;

/// What a detector's training has beside its recipe and its augmentation.
#[derive(Serialize, Deserialize)]
#[serde(default)]
struct Detecting {
    imgsz: usize,
    single_cls: bool,
    classes: Option<Classes>,
    rect: bool,
    multi_scale: f64,
    close_mosaic: usize,
    iou: f32,
    max_det: usize,
    teacher: Option<String>,
    distill: Option<f64>,
}

impl Default for Detecting {
    fn default() -> Self {
        let DetectionOptions { rect, multi_scale, close_mosaic, iou, max_det, .. } = DetectionOptions::default();
        let (classes, teacher, distill) = (None, None, None);
        Self { imgsz: 640, single_cls: false, classes, rect, multi_scale, close_mosaic, iou, max_det, teacher, distill }
    }
}

/// A detector's training, as the command makes it.
pub(super) fn detector(
    given: Given,
    device: Device,
    decided: Option<&Value>,
    told: &mut Told<'_>,
) -> Result<(DetectionTask, RunOptions)> {
    let (path, mut options, run, detecting, data, cache) = of_detector(given).map_err(raised)?;
    options.device = device;
    let yaml = DataYaml::read(&path)?;
    let nc = DetectionData::class_names(&yaml, &data).len();
    let start = match decided {
        Some(decided) => DetectionStart::again(decided, nc)?,
        None => DetectionStart::find(&options, nc)?,
    };
    let messages = Messages::default();
    let data = DetectionData::read(&yaml, &data, &messages);
    told.log(&messages.take());
    let data = data?;
    let imgsz = detecting.imgsz.next_multiple_of(start.stride());
    if imgsz != detecting.imgsz {
        let stride = start.stride();
        messages.note(format!("`imgsz` {} is rounded up to {imgsz}, a multiple of {stride}", detecting.imgsz));
        told.log(&messages.take());
    }
    let images = DetectionDatasetOptions::new().imgsz(imgsz).cache(cache).max_pixels(run.max_pixels);
    let train = DetectionDataset::new(data.train, &images)?;
    let task = DetectionTask::new(Arc::new(train), data.val, data.class_names, options)?;
    Ok((task.start_from(start), run))
}

type OfDetector = (PathBuf, DetectionOptions, RunOptions, Detecting, DetectionDataOptions, CacheMode);

fn of_detector(mut given: Given) -> PyResult<OfDetector> {
    let path = data(&mut given)?;
    let mut options = DetectionOptions::new(given.text("model").unwrap_or_else(|| DetectionOptions::default().model));
    options.arch = given.text("arch").map(Into::into);
    let freeze = given.text("freeze").unwrap_or_default();
    options.freeze = freeze.parse::<Freeze>().map_err(|error| refuse(format!("`freeze`: {}", line(&error))))?;
    let fraction = given.text("fraction").unwrap_or_else(|| "1.0".to_owned());
    let cache = match given.take("cache") {
        None => CacheMode::Auto,
        Some(Value::Bool(true)) => CacheMode::Ram,
        Some(Value::Bool(false)) => CacheMode::Off,
        Some(Value::String(text)) if text == "auto" => CacheMode::Auto,
        Some(Value::String(text)) if text == "ram" => CacheMode::Ram,
        Some(Value::String(text)) if text == "disk" => CacheMode::Disk,
        Some(other) => return Err(refuse(format!("`cache` is {other}: give \"auto\", \"ram\", \"disk\" or False"))),
    };
    let run: RunOptions = given.part()?;
    let detecting: Detecting = given.part()?;
    options.pretrained = run.pretrained(Pretrained::Published)?;
    options.cls_remap = run.cls_remap;
    options.recipe = given.part::<Recipe>()?.epochs(run.epochs);
    options.augment = given.part::<AugmentOptions>()?;
    if detecting.distill.is_some() && detecting.teacher.is_none() {
        return Err(refuse("`distill` weighs what is learnt from a `teacher`: name one"));
    }
    options.teacher.clone_from(&detecting.teacher);
    options.distill = detecting.distill.unwrap_or(options.distill);
    options.rect = detecting.rect;
    options.multi_scale = detecting.multi_scale;
    options.close_mosaic = detecting.close_mosaic;
    options.iou = detecting.iou;
    options.max_det = detecting.max_det;
    options.max_pixels = run.max_pixels;
    options.workers = run.workers;
    options.seed = run.seed;
    given.end()?;
    let data = DetectionDataOptions::new()
        .val_split(run.val_split)
        .fraction(fraction.parse::<Fractions>().map_err(|error| refuse(format!("`fraction`: {}", line(&error))))?)
        .single_cls(detecting.single_cls)
        .classes(detecting.classes.clone())
        .seed(run.seed);
    Ok((path, options, run, detecting, data, cache))
}

/// What a classifier's training has beside its recipe and its augmentation.
#[derive(Serialize, Deserialize)]
#[serde(default)]
struct Classifying {
    imgsz: usize,
    freeze: usize,
    teacher: Option<String>,
    crop_pct: Option<f64>,
    interpolation: Option<String>,
}

impl Default for Classifying {
    fn default() -> Self {
        let ClassificationOptions { imgsz, freeze, .. } = ClassificationOptions::default();
        Self { imgsz, freeze, teacher: None, crop_pct: None, interpolation: None }
    }
}

/// A classifier's training, as the command makes it.
pub(super) fn classifier(
    given: Given,
    device: Device,
    _: Option<&Value>,
    told: &mut Told<'_>,
) -> Result<(ClassificationTask, RunOptions)> {
    let (folder, mut options, run) = of_classifier(given).map_err(raised)?;
    options.device = device;
    if folder.is_file() {
        let text = format!(
            "`data` {} is one file: give the folder that holds train and val, as folders of classes or as train.tar and val.tar",
            folder.display()
        );
        return Err(Error::Request(text));
    }
    let room = sysinfo::available().map_or(UNKNOWN_BYTES, |bytes| bytes / MEMORY_SHARE);
    let mut set = match run.val_split {
        Some(share) => ClassificationDataset::open_held_out(&folder, share, run.seed, room)?,
        None => ClassificationDataset::open(&folder, room)?,
    };
    set.train = set.train.with_max_pixels(run.max_pixels);
    set.val = set.val.with_max_pixels(run.max_pixels);
    let messages = Messages::default();
    messages.note_each(&set.notes);
    told.log(&messages.take());
    let set = ClassificationDataset { notes: Vec::new(), ..set };
    Ok((ClassificationTask::of(set, &folder, run.val_split.is_some(), options)?, run))
}

fn of_classifier(mut given: Given) -> PyResult<(PathBuf, ClassificationOptions, RunOptions)> {
    let folder = data(&mut given)?;
    let standard = ClassificationOptions::default().model;
    let mut options = ClassificationOptions::new(given.text("model").unwrap_or(standard));
    options.arch = given.text("arch").map(Into::into);
    let run: RunOptions = given.part()?;
    let classifying: Classifying = given.part()?;
    options.pretrained = run.pretrained(Pretrained::No)?;
    options.cls_remap = run.cls_remap;
    // Of the loss, and of what mixing gives.
    let smoothing = given.all().get("smoothing").cloned();
    options.recipe = given.part::<candle_ghostnet::train::Recipe>()?.epochs(run.epochs);
    for (from, to) in [("train_interpolation", "interpolation"), ("crop_pad", "padding")] {
        given.rename(from, to);
    }
    if let Some(Value::Number(smoothing)) = smoothing {
        options.augment.smoothing = smoothing.as_f64().unwrap_or(0.);
    }
    let smoothing = options.augment.smoothing;
    options.augment = given.part::<ClassificationAugment>()?;
    options.augment.smoothing = smoothing;
    options.augment.check().map_err(|error| refuse(line(&error)))?;
    options.freeze = classifying.freeze;
    options.teacher = classifying.teacher;
    options.imgsz = classifying.imgsz;
    options.crop_pct = classifying.crop_pct;
    let interpolation = classifying.interpolation.as_deref().map(str::parse::<Interpolation>).transpose();
    options.interpolation = interpolation.map_err(|error| refuse(format!("`interpolation`: {}", line(&error))))?;
    options.workers = run.workers;
    options.seed = run.seed;
    given.end()?;
    Ok((folder, options, run))
}

/// Where the images are.
fn data(given: &mut Given) -> PyResult<PathBuf> {
    given.text("data").map(PathBuf::from).ok_or_else(|| refuse("a training has `data`"))
}
