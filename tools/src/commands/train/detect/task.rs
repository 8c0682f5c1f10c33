//! Steps, validation and checkpoints of a detector.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use candle_core::{DType, Device, Tensor};
use candle_vision::image::{self, DrawnBox, RgbImage};
use candle_yolov8::data::AnnotatedImage;
use candle_yolov8::train::augment::AugmentOptions;
use candle_yolov8::train::{
    Batch, DataLoader, DetectionDataset, EpochIter, LoaderOptions, MultiScale, Recipe, Target, Trainer,
};
use candle_yolov8::val::{BatchOutput, ValOptions, ValReport, validate};
use candle_yolov8::{Candidate, Detector, NmsOptions, NmsOutput};
use ghostzoo_weights::{Checkpoint, Metadata};
use serde_json::{Value, json};

use crate::cli::{DetectTrainArgs, GlobalArgs};
use crate::commands::train::arguments;
use crate::commands::train::interrupt::Interrupt;
use crate::commands::train::progress::OutputMode;
use crate::commands::train::train_loop::{Step, Task, Validation};
use crate::commands::val;
use crate::lettering::drawable;
use crate::output::{Stdout, notes};
use crate::plot;

const LOSSES: &[&str] = &["box_loss", "cls_loss", "dfl_loss"];
const METRICS: &[&str] = &["precision(B)", "recall(B)", "mAP50(B)", "mAP50-95(B)"];
/// Most boxes per image unless told otherwise: Ultralytics' default.
const MAX_DET: usize = 300;
/// Batches of the validation that are drawn.
const DRAWN: usize = 3;

/// What a task is made of.
pub(super) struct Parts {
    pub(super) trainer: Trainer,
    pub(super) train: Arc<DetectionDataset>,
    pub(super) val: Vec<AnnotatedImage>,
    pub(super) names: Vec<String>,
    pub(super) augment: AugmentOptions,
    pub(super) arch: String,
    pub(super) yaml: Option<String>,
}

/// A detector in training, with its data.
pub(crate) struct DetectTask {
    parts: Parts,
    /// Names of the classes as they are drawn.
    drawn_names: Vec<String>,
    args: DetectTrainArgs,
    validation: ValOptions,
    loader: DataLoader,
    scale: Option<MultiScale>,
    /// Epochs of the run.
    epochs: usize,
    epoch: Option<EpochIter>,
    /// The next step, counted over all epochs.
    iteration: usize,
    drawn: Option<Batch>,
    /// Whether unreadable validation images were named.
    told: Cell<bool>,
}

impl DetectTask {
    /// `most` is the largest number of objects in an image, of training or of validation.
    pub(super) fn new(
        parts: Parts,
        args: &DetectTrainArgs,
        recipe: &Recipe,
        most: usize,
        global: &GlobalArgs,
    ) -> Result<Self> {
        let max_det = if args.max_det == MAX_DET { most.max(MAX_DET) } else { args.max_det };
        if most > args.max_det && !global.quiet {
            status!(
                "note: an image has {most} objects: {max_det} boxes are kept of each in validation, --max-det says otherwise"
            );
        }
        let nms = NmsOptions { conf: 0.001, iou: args.iou, max_det, multi_label: true, ..Default::default() };
        let max_pixels = args.run.largest.max_pixels;
        let batch = 2 * recipe.batch;
        let validation = ValOptions { imgsz: parts.train.imgsz(), batch, nms, max_pixels, ..Default::default() };
        let defaults = LoaderOptions::default();
        let workers = args.run.workers.unwrap_or(defaults.workers);
        let stride = parts.trainer.net().strides().iter().fold(32., |most: f64, stride| most.max(*stride)) as usize;
        let options = LoaderOptions {
            batch: recipe.batch,
            workers,
            seed: args.run.seed,
            augment: parts.augment.clone(),
            rect: args.rect.then_some(stride),
        };
        let loader = DataLoader::new(parts.train.clone(), options)?;
        let scale = MultiScale { imgsz: parts.train.imgsz(), share: args.multi_scale, stride, seed: args.run.seed };
        Ok(Self {
            drawn_names: drawable(&parts.names, global.quiet || !args.run.plots),
            parts,
            args: args.clone(),
            validation,
            loader,
            scale: (args.multi_scale > 0.).then_some(scale),
            epochs: args.run.epochs,
            epoch: None,
            iteration: 0,
            drawn: None,
            told: Cell::new(false),
        })
    }

    /// Looks at the validation images; the losses are means over the batches. The first batches are drawn into `folder`.
    /// Nothing where `interrupt` asked to end.
    fn measure(
        &self,
        detector: &Detector,
        folder: Option<&Path>,
        interrupt: &Interrupt,
    ) -> Result<Option<(ValReport, [f64; 3])>> {
        let (mut sums, mut batches) = ([0.; 3], 0);
        let (mut failed, ended) = (None, Cell::new(false));
        let mut observe = |looked: BatchOutput<'_>| {
            if interrupt.asked() {
                ended.set(true);
                candle_core::bail!("asked to end")
            }
            let targets = self.targets(&looked);
            let losses = self.parts.trainer.loss(looked.raw, &targets)?;
            sums.iter_mut().zip(losses).for_each(|(sum, loss)| *sum += loss);
            if let Some(folder) = folder.filter(|_| batches < DRAWN && failed.is_none()) {
                failed = self.draw_validation(&looked, &targets, folder, batches).err();
            }
            batches += 1;
            Ok(())
        };
        let validated = match validate(detector, &self.parts.val, &self.validation, &mut observe) {
            Err(_) if ended.get() => return Ok(None),
            validated => validated?,
        };
        failed.map_or(Ok(()), Err)?;
        self.tell_unreadable(&validated)?;
        Ok(Some((validated, sums.map(|sum| sum / batches.max(1) as f64))))
    }

    /// Names the validation images that cannot be read, once; fails where there is no other.
    fn tell_unreadable(&self, validated: &ValReport) -> Result<()> {
        let images = self.parts.val.iter().zip(&validated.images);
        let failed: Vec<_> = images.filter_map(|(image, found)| Some((image, found.as_ref().err()?))).collect();
        if !self.told.replace(true) {
            for (image, error) in &failed {
                status!("note: {}: {error}; it does not count in validation", image.path.display());
            }
        }
        if failed.len() == self.parts.val.len() {
            bail!("none of the {} validation images can be read", failed.len());
        }
        Ok(())
    }

    /// The labels of a batch, in the network's input.
    fn targets(&self, looked: &BatchOutput<'_>) -> Vec<Target> {
        let of = |(image, (number, sample)): (usize, (&usize, &candle_yolov8::val::ValSample))| {
            let labels = self.parts.val[*number].labels.iter().filter(|label| !label.crowd);
            let target = |label: &candle_yolov8::data::Annotation| Target {
                image,
                class: label.class,
                xywhn: sample.to_target(label.xywhn(sample.original)),
            };
            labels.map(target).collect::<Vec<_>>()
        };
        looked.numbers.iter().zip(looked.images).enumerate().flat_map(of).collect()
    }

    fn draw_validation(&self, looked: &BatchOutput<'_>, targets: &[Target], folder: &Path, batch: usize) -> Result<()> {
        let images: Vec<&RgbImage> = looked.images.iter().map(|image| &image.input).collect();
        let Some(first) = images.first() else { return Ok(()) };
        let size = [first.height() as usize, first.width() as usize];
        let names = &self.drawn_names;
        let mut labels: Vec<Vec<DrawnBox>> = vec![Vec::new(); images.len()];
        for target in targets {
            labels[target.image].push(plot::label(target.class, target.xywhn, size, names));
        }
        let found = |kept: &NmsOutput| {
            let confident = kept.candidates.iter().filter(|c| c.confidence > self.validation.confusion_conf);
            let text = |c: &Candidate| format!("{} {:.1}", names[c.class_id], c.confidence);
            confident.map(|c| DrawnBox { xyxy: c.xyxy, class_id: c.class_id, text: text(c) }).collect()
        };
        let found: Vec<Vec<DrawnBox>> = looked.found.iter().map(found).collect();
        let titles: Vec<String> =
            looked.numbers.iter().map(|&number| plot::title(&self.parts.val[number].path)).collect();
        for (name, boxes) in [("labels", &labels), ("pred", &found)] {
            let path = folder.join(format!("val_batch{batch}_{name}.jpg"));
            image::save(&plot::mosaic(&images, boxes, &titles, size), &path)?;
        }
        Ok(())
    }
}

/// A metric as Ultralytics compares it: to five digits behind the point, the even one of two equally near.
pub(crate) fn five_digits(value: f64) -> f64 {
    format!("{value:.5}").parse().unwrap_or(value)
}

impl Task for DetectTask {
    const RATE: &'static str = "--lr0";
    const LAST_OF_EQUALS: bool = true;

    fn columns(&self) -> (&'static [&'static str], &'static [&'static str]) {
        (LOSSES, METRICS)
    }

    fn batches(&self) -> usize {
        self.loader.batches_per_epoch()
    }

    fn replan(&mut self, epochs: usize) {
        self.epochs = epochs;
        self.parts.trainer.replan(epochs);
    }

    fn closes_at(&self) -> Option<usize> {
        self.args.run.epochs.checked_sub(self.args.close_mosaic).filter(|_| self.args.close_mosaic > 0)
    }

    fn begin(&mut self, epoch: usize, batch: usize) -> Result<()> {
        let close = self.args.close_mosaic;
        let is_joined = close == 0 || epoch + close < self.epochs;
        self.epoch = None;
        self.epoch = Some(self.loader.epoch(epoch, is_joined, batch)?);
        self.iteration = epoch * self.batches() + batch;
        self.parts.trainer.seek(self.iteration);
        Ok(())
    }

    fn step(&mut self) -> Result<Step> {
        let epoch = self.epoch.as_mut().context("an epoch that was not begun")?;
        let before = epoch.waited();
        let batch = epoch.next().context("an epoch ended before its last batch")??;
        let waited: Duration = epoch.waited() - before;
        notes(&self.parts.train.take_messages());
        self.parts.train.check_decoded()?;
        let device = self.parts.trainer.device();
        let images = match &self.scale {
            Some(scale) => batch.scaled(scale.shape(scale.size(self.iteration), batch.size), device)?,
            None => batch.tensor(device)?,
        };
        let losses = self.parts.trainer.step(self.iteration, &images, &batch.targets)?.to_vec();
        let moved = self.parts.trainer.moves(self.iteration);
        self.iteration += 1;
        let step = Step { losses, images: batch.len(), moved, waited };
        self.drawn = Some(batch);
        Ok(step)
    }

    fn draw_labels(&self) -> Result<Option<RgbImage>> {
        let train = &self.parts.train;
        let objects: Vec<(usize, [f32; 4])> = (0..train.len())
            .flat_map(|image| train.objects(image))
            .map(|object| (object.class, object.xywhn))
            .collect();
        plot::label_overview(&self.drawn_names, &objects).map(Some)
    }

    fn draw_batch(&self) -> Result<RgbImage> {
        let batch = self.drawn.as_ref().context("no batch yet")?;
        Ok(plot::batch_mosaic(batch, &self.drawn_names))
    }

    fn rates(&self) -> Vec<f64> {
        self.parts.trainer.rates()
    }

    fn validate(&mut self, interrupt: &Interrupt) -> Result<Option<Validation>> {
        let detector = self.parts.trainer.detector()?;
        let Some((validated, losses)) = self.measure(&detector, None, interrupt)? else { return Ok(None) };
        let metrics = validated.measured.ultralytics.means();
        let (metrics, fitness) = (metrics.to_vec(), five_digits(metrics[3]));
        Ok(Some(Validation { metrics, losses: losses.to_vec(), fitness }))
    }

    fn checkpoint(&self, epochs: usize) -> Result<Checkpoint> {
        let mut tensors = self.parts.trainer.train_state().average().tensors()?;
        for tensor in tensors.values_mut() {
            *tensor = tensor.to_device(&Device::Cpu)?;
        }
        // For PyTorch, whose strict loading asks for them.
        tensors.extend(candle_yolov8::absent_bins(&tensors)?);
        let strides = self.parts.trainer.net().strides().iter().map(|stride| *stride as usize).collect();
        let metadata = Metadata {
            arch: Some(self.parts.arch.clone()),
            task: Some("detect".to_owned()),
            nc: Some(self.parts.names.len()),
            names: Some(self.parts.names.clone()),
            yaml: self.parts.yaml.clone().map(Value::String),
            stride: Some(strides),
            imgsz: Some(self.parts.train.imgsz()),
            train_args: Some(arguments::shared(&self.args)?),
            epoch: Some(epochs as i64),
            layout: ghostzoo_weights::KeyLayout::Ultralytics,
            ..Default::default()
        };
        Ok(Checkpoint { tensors, metadata })
    }

    fn state(&self) -> Result<(BTreeMap<String, Tensor>, Value)> {
        let (tensors, updates) = self.parts.trainer.state()?;
        Ok((tensors, json!({ "average_updates": updates })))
    }

    fn load_state(&mut self, tensors: &BTreeMap<String, Tensor>, counters: &Value) -> Result<()> {
        let updates = counters["average_updates"].as_u64().context("the counters are not those of a detector")?;
        Ok(self.parts.trainer.load_state(tensors, updates)?)
    }

    fn show(&self, best: &Path, folder: &Path, reader: OutputMode, plots: bool) -> Result<()> {
        let checkpoint = ghostzoo_weights::read(best)?;
        let tensors = checkpoint.tensors.into_iter().collect();
        let device = self.parts.trainer.device();
        let vb = candle_nn::VarBuilder::from_tensors(tensors, DType::F32, device);
        let net = candle_yolov8::Yolo::new(self.parts.trainer.def(), candle_vision::layers::BatchNormMode::Fuse, vb)?;
        let detector = Detector::new(net, device.clone(), DType::F32, None);
        let measured = self.measure(&detector, plots.then_some(folder), &Interrupt::default())?;
        let (validated, _) = measured.context("nothing was measured")?;
        if plots {
            val::draw(folder, &self.drawn_names, &validated.measured, self.validation.confusion_conf)?;
        }
        match reader {
            OutputMode::Quiet => Ok(()),
            OutputMode::Human => {
                let (mut out, table) = (Stdout::beside_the_work(), val::table(&self.parts.names, &validated));
                table.lines().iter().try_for_each(|line| out.line(line))
            }
            OutputMode::Json => {
                let [precision, recall, map50, map] = validated.measured.ultralytics.means();
                let coco = &validated.measured.coco;
                let line = json!({"best": best, "precision": precision, "recall": recall, "mAP50": map50, "mAP50-95": map,
                    "coco_AP": coco.summary.ap});
                Stdout::beside_the_work().line(&line.to_string())
            }
        }
    }
}
