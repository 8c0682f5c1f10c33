//! What images say of the weights.

use std::collections::BTreeMap;
use std::path::Path;

use candle_core::{DType, Device, Tensor};
use candle_ghostnet::GhostNet;
use candle_vision::data::{ClassificationItem, Dataset, ItemError};
use candle_vision::image::{EvalTransform, MAX_PIXELS, to_tensor};
use candle_vision::train::VarStore;
use candle_vision::train::loss::{class_targets, cross_entropy};
use candle_yolov8::data::{AnnotatedFiles, Annotation, DetectionItem};
use candle_yolov8::train::{DetectionLoss, LossWeights, Target};
use candle_yolov8::val::ValSample;
use candle_yolov8::{DEFAULT_SIDE, Yolo};

use super::{PruneCallbacks, Source};
use crate::error::{Result, invalid, request};
use crate::quantize::spread;
use crate::train::Message;
use crate::{Architecture, ValLabels, model};

/// How much the training loss depends on each weight, to first order: `|w · ∂loss/∂w|`, summed over images.
///
/// The loss is that of training without augmentation, of one image at a time; batch norms are those of inference.
#[derive(Debug, Clone)]
pub struct Taylor {
    products: BTreeMap<String, Tensor>,
    images: usize,
}

impl Taylor {
    /// By the labelled images of `data`: for a detector a data.yaml, or an instances file of COCO; for a classifier class folders, tars or
    /// Parquet. `split` is `train` unless given, of a classifier's where there is one. `imgsz` is `[height, width]`.
    ///
    /// # Errors
    /// As [`Self::of_detections`] and [`Self::of_classifications`]; data that cannot be read.
    pub fn of_data(
        source: &Source,
        data: &Path,
        split: Option<&str>,
        count: usize,
        imgsz: Option<[usize; 2]>,
        callbacks: &mut dyn PruneCallbacks,
    ) -> Result<Self> {
        match &source.spec.architecture {
            Architecture::Detector(def) => {
                let mut labels = ValLabels::find(data, None, split.unwrap_or("train"))?.read(false)?;
                let names = source.checkpoint.metadata.names.as_deref();
                labels.agree(&source.name, def.nc, names.unwrap_or_default());
                labels.report.messages.into_iter().for_each(|text| callbacks.message(&Message::Note(text)));
                let images = AnnotatedFiles::new(labels.images, MAX_PIXELS);
                let side = imgsz.map(|[height, width]| height.max(width));
                Self::of_detections(source, &images, count, side, callbacks)
            }
            Architecture::Classifier(_) => {
                let split = split.or(data.join("train").is_dir().then_some("train"));
                let images = source.classified(data, split)?;
                Self::of_classifications(source, &images, count, imgsz, callbacks)
            }
        }
    }

    /// Of a detector, by labelled images: `count` of them, spread evenly, whose longer side is `imgsz` pixels, or what the checkpoint
    /// says, else 640.
    ///
    /// # Errors
    /// Where the network is no detector, there are no images, or none can be read; what a callback gives.
    pub fn of_detections(
        source: &Source,
        images: &dyn Dataset<Item = DetectionItem>,
        count: usize,
        imgsz: Option<usize>,
        callbacks: &mut dyn PruneCallbacks,
    ) -> Result<Self> {
        let Architecture::Detector(def) = &source.spec.architecture else {
            return Err(request(format!("{} is a classifier, which learns from classified images", source.name)));
        };
        let (variables, net) = variables(source, |variables| Ok(Yolo::new(def, variables.builder())?))?;
        let stride = net.max_stride();
        let imgsz = imgsz.or(source.checkpoint.metadata.imgsz).unwrap_or(DEFAULT_SIDE).next_multiple_of(stride);
        if !(1..=model::MAX_SIDE).contains(&imgsz) {
            return Err(request(format!("images of {imgsz} pixels are of no use: see `options.imgsz`")));
        }
        let loss = DetectionLoss::new(def.nc, net.strides(), LossWeights::default());
        Self::new(source, &variables, images, count, callbacks, &|item| {
            ItemError::check_pixels(&item.image)?;
            let sample = ValSample::new(&item.image, imgsz, [imgsz; 2]);
            let target = |label: &Annotation| Target {
                image: 0,
                class: label.class,
                xywhn: sample.to_target(label.xywhn(sample.original)),
            };
            let targets: Vec<Target> =
                item.labels.iter().filter(|label| !label.crowd && label.class < def.nc).map(target).collect();
            let loss = || -> candle_core::Result<Tensor> {
                Ok(loss.forward(&net.forward_t(&input(&sample.input)?, false)?, &targets)?.total)
            };
            loss().map_err(ItemError::other)
        })
    }

    /// Of a classifier, by classified images: `count` of them, spread evenly, of `[height, width]` pixels, or as the checkpoint says.
    ///
    /// # Errors
    /// Where the network is no classifier, there are no images, or none can be read; what a callback gives.
    pub fn of_classifications(
        source: &Source,
        images: &dyn Dataset<Item = ClassificationItem>,
        count: usize,
        imgsz: Option<[usize; 2]>,
        callbacks: &mut dyn PruneCallbacks,
    ) -> Result<Self> {
        let Architecture::Classifier(config) = &source.spec.architecture else {
            return Err(request(format!("{} is a detector, which learns from labelled boxes", source.name)));
        };
        let own = source.checkpoint.metadata.preprocessing.as_ref();
        let view = own.map_or_else(|| Ok(EvalTransform::default()), model::transform)?;
        let size = imgsz.unwrap_or(view.input_size);
        let view = view.input_size(size);
        let (variables, net) = variables(source, |variables| Ok(GhostNet::new(config, variables.builder())?))?;
        Self::new(source, &variables, images, count, callbacks, &|item| {
            ItemError::check_pixels(&item.image)?;
            let loss = || -> candle_core::Result<Tensor> {
                let logits = net.forward(&view.apply(&item.image, &Device::Cpu)?.unsqueeze(0)?)?;
                let targets = class_targets(&[item.class as u32], config.num_classes, 0., DType::F32, &Device::Cpu)?;
                cross_entropy(&logits, &targets)
            };
            loss().map_err(ItemError::other)
        })
    }

    fn new<I>(
        source: &Source,
        variables: &VarStore,
        images: &dyn Dataset<Item = I>,
        count: usize,
        callbacks: &mut dyn PruneCallbacks,
        loss: &dyn Fn(&I) -> Result<Tensor, ItemError>,
    ) -> Result<Self> {
        let numbers = spread(images.len(), count);
        if numbers.is_empty() {
            return Err(request(format!("there are no images that say what {} depends on", source.name)));
        }
        let mut taylor = Self { products: BTreeMap::new(), images: 0 };
        for (done, number) in numbers.iter().enumerate() {
            match images.get(*number).and_then(|item| loss(&item)) {
                Ok(loss) => taylor.add(variables, &loss)?,
                Err(error) => {
                    let name = images.name(*number);
                    callbacks.message(&Message::Warning(format!("{name}: {error}; it is left out")));
                }
            }
            callbacks.on_image(done + 1, numbers.len())?;
        }
        if taylor.images == 0 {
            invalid!("none of the {} images can be read", numbers.len());
        }
        Ok(taylor)
    }

    /// Adds what an image's loss depends on.
    fn add(&mut self, variables: &VarStore, loss: &Tensor) -> Result<()> {
        let gradients = loss.backward()?;
        for (name, var) in variables.parameters() {
            let Some(gradient) = gradients.get(&var) else { continue };
            let product = (var.as_detached_tensor() * gradient)?.abs()?;
            let sum = match self.products.remove(&name) {
                Some(sum) => (sum + product)?,
                None => product,
            };
            self.products.insert(name, sum.detach());
        }
        self.images += 1;
        Ok(())
    }

    /// Images that were looked at.
    pub fn images(&self) -> usize {
        self.images
    }

    /// By a tensor's name, the sum of the products' magnitudes.
    pub(super) fn products(&self) -> &BTreeMap<String, Tensor> {
        &self.products
    }
}

/// A network with the weights of a checkpoint as variables.
fn variables<N>(source: &Source, build: impl FnOnce(&VarStore) -> Result<N>) -> Result<(VarStore, N)> {
    let variables = VarStore::new(DType::F32, &Device::Cpu, 0);
    let net = build(&variables)?;
    variables.load(&source.checkpoint.tensors)?;
    Ok((variables, net))
}

/// (1, 3, height, width) of an image.
fn input(image: &crate::RgbImage) -> candle_core::Result<Tensor> {
    to_tensor(image, &Device::Cpu)?.unsqueeze(0)
}
