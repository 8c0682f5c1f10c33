//! What the images show of a network, and the network in 8 bits that comes of it.

use std::collections::{BTreeMap, BTreeSet};

use candle_core::{DType, Device, Tensor};
use candle_vision::data::Dataset;
use candle_vision::image::{EvalTransform, Letterbox};
use candle_yolov8::DEFAULT_SIDE;
use ghostzoo_kernels::plan::ObservedConv;
use ghostzoo_weights::{QuantizationInfo, QuantizedConv};
use rayon::prelude::*;

use super::images::{HasImage, View, spread};
use super::passes::Passes;
use super::range::Levels;
use super::{
    LayerReport, MAX_IMAGES, QuantizeCallbacks, QuantizeOptions, QuantizeReport, Quantized, RangeMethod, Source,
    weights,
};
use crate::error::{Result, invalid, request};
use crate::train::Message;
use crate::{Architecture, Network, model};

/// Fewer images than these are warned of.
const FEW: usize = 16;

/// Quantizes a network's dense convolutions but those that read the image, that only gate other maps, and that are to be
/// skipped. Items that cannot be read are left out with a warning.
///
/// # Errors
/// No images, or none that can be read; more than [`MAX_IMAGES`] asked for; a path to skip that is none; what `callbacks` refuse.
pub fn quantize<I: HasImage>(
    source: &Source,
    images: &dyn Dataset<Item = I>,
    options: &QuantizeOptions,
    callbacks: &mut dyn QuantizeCallbacks,
) -> Result<Quantized> {
    Calibration::new(source, images, options, callbacks)?.quantized(&BTreeSet::new())
}

/// A convolution in 8 bits, beside the one that it is made of.
struct Conv {
    weight: Tensor,
    bias: Option<Tensor>,
    integers: QuantizedConv,
    report: LayerReport,
}

/// What the images showed: each convolution in 8 bits, on its own.
pub(super) struct Calibration<'a> {
    source: &'a Source,
    options: &'a QuantizeOptions,
    /// The network in floats, batch norms folded.
    tensors: BTreeMap<String, Tensor>,
    /// The least decibels first.
    convs: Vec<Conv>,
    /// Paths of all dense convolutions.
    all: BTreeSet<String>,
    images: usize,
    imgsz: [usize; 2],
}

impl<'a> Calibration<'a> {
    pub(super) fn new<I: HasImage>(
        source: &'a Source,
        images: &dyn Dataset<Item = I>,
        options: &'a QuantizeOptions,
        callbacks: &mut dyn QuantizeCallbacks,
    ) -> Result<Self> {
        let numbers = numbers(source, images.len(), options)?;
        let network = model::build(&source.spec.architecture, &source.checkpoint, DType::F32, &Device::Cpu)?;
        let view = view(source, &network, options)?;
        let (observer, tensors) = match &network {
            Network::Detector(net) => (net.observer(view.size())?, net.tensors()),
            Network::Classifier(net) => (net.observer(view.size())?, net.tensors()),
        };
        let chosen = chosen(observer.convs(), &tensors, &options.skip)?;
        let passes = Passes { images, view: &view, observer: &observer, total: 2 * numbers.len() };
        let (seen, numbers) = passes.extremes(&numbers, callbacks)?;
        if numbers.len() < FEW {
            let count = numbers.len();
            let text =
                format!("{count} images show little of the ranges that inputs have: give at least {FEW}, better 128");
            callbacks.message(&Message::Warning(text));
        }
        let histograms = passes.histograms(&seen, &numbers, callbacks)?;
        let levels: Vec<Levels> =
            histograms.par_iter().map(|histogram| histogram.levels(options.method)).collect::<Result<_>>()?;
        let mut convs = Vec::new();
        for conv in &chosen {
            let Some(map) = conv.map else { continue };
            let (path, levels) = (&conv.path, levels[map]);
            let Some(own) = tensors.get(&format!("{path}.weight")) else { continue };
            let found = weights::quantize(own, &seen[map].means())?;
            let bias = tensors.get(&format!("{path}.bias")).filter(|_| options.bias_correction);
            let bias = bias.map(|own| own + Tensor::new(found.shift, &Device::Cpu)?).transpose()?;
            let report = LayerReport {
                path: path.clone(),
                input_seen: [seen[map].least, seen[map].greatest],
                input_range: levels.range(),
                input_scale: levels.scale,
                input_zero_point: levels.zero_point,
                weight_sqnr_db: found.sqnr,
                input_sqnr_db: histograms[map].sqnr(levels),
            };
            let (input_scale, input_zero_point) = (levels.scale, levels.zero_point);
            let integers = QuantizedConv { weight_scale: found.scales, input_scale, input_zero_point };
            convs.push(Conv { weight: found.weight, bias, integers, report });
        }
        convs.sort_by(|a, b| a.report.sqnr_db().total_cmp(&b.report.sqnr_db()));
        let all = observer.convs().iter().map(|conv| conv.path.clone()).collect();
        Ok(Self { source, options, tensors, convs, all, images: numbers.len(), imgsz: view.size() })
    }

    /// Paths of the convolutions that can be quantized, the worst first.
    pub(super) fn paths(&self) -> impl Iterator<Item = &String> {
        self.convs.iter().map(|conv| &conv.report.path)
    }

    /// The network with all of these convolutions in 8 bits but those that are `left`.
    pub(super) fn quantized(&self, left: &BTreeSet<String>) -> Result<Quantized> {
        let (mut tensors, mut quantized, mut layers) = (self.tensors.clone(), BTreeMap::new(), Vec::new());
        for conv in self.convs.iter().filter(|conv| !left.contains(&conv.report.path)) {
            let path = &conv.report.path;
            tensors.insert(format!("{path}.weight"), conv.weight.clone());
            tensors.extend(conv.bias.iter().map(|bias| (format!("{path}.bias"), bias.clone())));
            quantized.insert(path.clone(), conv.integers.clone());
            layers.push(conv.report.clone());
        }
        let floats = self.all.iter().filter(|path| !quantized.contains_key(*path)).cloned().collect();
        let report = QuantizeReport {
            images: self.images,
            imgsz: self.imgsz,
            method: self.options.method.name().to_owned(),
            layers,
            left: floats,
            metric: None,
        };
        let mut checkpoint = self.source.checkpoint.clone();
        let metadata = &mut checkpoint.metadata;
        if let Architecture::Classifier(config) = &self.source.spec.architecture {
            metadata.arch.get_or_insert_with(|| config.variant.name.to_owned());
        }
        metadata.fused = true;
        metadata.unread.clear();
        metadata.quantization = Some(QuantizationInfo {
            method: report.method.clone(),
            percentile: match self.options.method {
                RangeMethod::Percentile(share) => Some(share),
                _ => None,
            },
            images: report.images,
            imgsz: report.imgsz,
            bias_correction: self.options.bias_correction,
            skipped: self.options.skip.iter().chain(left).cloned().collect(),
        });
        tensors.extend(candle_yolov8::absent_bins(&tensors)?);
        (checkpoint.tensors, checkpoint.quantized) = (tensors, quantized);
        Ok(Quantized { checkpoint, report })
    }
}

/// The items to look at.
fn numbers(source: &Source, len: usize, options: &QuantizeOptions) -> Result<Vec<usize>> {
    if options.images == 0 || options.images > MAX_IMAGES {
        return Err(request(format!("`options.images` is {}, and lies from 1 to {MAX_IMAGES}", options.images)));
    }
    if len == 0 {
        return Err(request(format!(
            "there are no images to quantize {} by: give some of those that it is for",
            source.name
        )));
    }
    Ok(spread(len, options.images))
}

/// How prediction prepares images for the network.
fn view(source: &Source, network: &Network, options: &QuantizeOptions) -> Result<View> {
    let metadata = &source.checkpoint.metadata;
    Ok(match network {
        Network::Detector(net) => {
            let stride = net.max_stride();
            let size = options.imgsz.unwrap_or([metadata.imgsz.unwrap_or(DEFAULT_SIDE); 2]);
            if size.iter().any(|side| !(1..=model::MAX_SIDE).contains(side)) {
                return Err(request(format!("images of {}x{} are of no use", size[0], size[1])));
            }
            View::Letterbox(Letterbox::new(size.map(|side| side.next_multiple_of(stride))).stride(stride))
        }
        Network::Classifier(_) => {
            let own = metadata.preprocessing.as_ref();
            let own = own.map_or_else(|| Ok(EvalTransform::default()), model::transform)?;
            let size = options.imgsz.unwrap_or(own.input_size);
            View::Transform(own.input_size(size))
        }
    })
}

/// The convolutions to quantize.
fn chosen<'a>(
    convs: &'a [ObservedConv],
    tensors: &BTreeMap<String, Tensor>,
    skip: &[String],
) -> Result<Vec<&'a ObservedConv>> {
    let is_of =
        |path: &str, part: &str| path.strip_prefix(part).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'));
    if let Some(unknown) = skip.iter().find(|part| !convs.iter().any(|conv| is_of(&conv.path, part))) {
        let example = convs.last().map_or("", |conv| &conv.path);
        return Err(request(format!(
            "`options.skip`: {unknown} is no dense convolution of the network, nor holds any; one is {example}"
        )));
    }
    // A convolution of groups is seen group by group, under one path.
    let is_whole = |conv: &ObservedConv| {
        let weight = tensors.get(&format!("{}.weight", conv.path));
        weight.is_some_and(|weight| weight.elem_count() == conv.weight.elem_count())
            && convs.iter().filter(|other| other.path == conv.path).count() == 1
    };
    let is_wanted = |conv: &&ObservedConv| {
        let is_skipped = skip.iter().any(|part| is_of(&conv.path, part));
        !conv.reads_image && !conv.is_gate && conv.map.is_some() && !is_skipped && is_whole(conv)
    };
    let chosen: Vec<_> = convs.iter().filter(is_wanted).collect();
    if chosen.is_empty() {
        invalid!("there is no convolution left to quantize");
    }
    Ok(chosen)
}
