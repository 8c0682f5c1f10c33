//! Two passes over the images, and what comes of them.

use std::collections::{BTreeMap, BTreeSet};

use candle_core::{DType, Device, Tensor};
use candle_vision::data::{Dataset, ItemError, PrefetchIter};
use candle_vision::image::{EvalTransform, Letterbox};
use candle_yolov8::DEFAULT_SIDE;
use ghostzoo_kernels::plan::{ObservedConv, Observer};
use ghostzoo_weights::{QuantizationInfo, QuantizedConv};
use rayon::prelude::*;

use super::images::{HasImage, View, spread};
use super::range::{Extremes, Histogram, Levels};
use super::{
    LayerReport, MAX_IMAGES, QuantizeCallbacks, QuantizeOptions, QuantizeReport, Quantized, RangeMethod, Source,
    weights,
};
use crate::error::{Error, Result, invalid, request};
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
    let numbers = numbers(source, images.len(), options)?;
    let network = model::build(&source.spec.architecture, &source.checkpoint, DType::F32, &Device::Cpu)?;
    let view = view(source, &network, options)?;
    let (observer, mut tensors) = match &network {
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
    let (mut quantized, mut layers) = (BTreeMap::new(), Vec::new());
    for conv in &chosen {
        let Some(map) = conv.map else { continue };
        let (path, levels) = (&conv.path, levels[map]);
        let name = format!("{path}.weight");
        let Some(own) = tensors.get(&name) else { continue };
        let found = weights::quantize(own, &seen[map].means())?;
        let bias = format!("{path}.bias");
        if let Some(own) = tensors.get(&bias).filter(|_| options.bias_correction) {
            let corrected = (own + Tensor::new(found.shift, &Device::Cpu)?)?;
            tensors.insert(bias, corrected);
        }
        tensors.insert(name, found.weight);
        layers.push(LayerReport {
            path: path.clone(),
            input_seen: [seen[map].least, seen[map].greatest],
            input_range: levels.range(),
            input_scale: levels.scale,
            input_zero_point: levels.zero_point,
            weight_sqnr_db: found.sqnr,
            input_sqnr_db: histograms[map].sqnr(levels),
        });
        let (input_scale, input_zero_point) = (levels.scale, levels.zero_point);
        quantized.insert(path.clone(), QuantizedConv { weight_scale: found.scales, input_scale, input_zero_point });
    }
    layers.sort_by(|a, b| a.sqnr_db().total_cmp(&b.sqnr_db()));
    let all: BTreeSet<&String> = observer.convs().iter().map(|conv| &conv.path).collect();
    let left = all.into_iter().filter(|path| !quantized.contains_key(*path)).cloned().collect();
    let report = QuantizeReport {
        images: numbers.len(),
        imgsz: view.size(),
        method: options.method.name().to_owned(),
        layers,
        left,
    };
    let mut checkpoint = source.checkpoint.clone();
    let metadata = &mut checkpoint.metadata;
    if let Architecture::Classifier(config) = &source.spec.architecture {
        metadata.arch.get_or_insert_with(|| config.variant.name.to_owned());
    }
    metadata.fused = true;
    metadata.unread.clear();
    metadata.quantization = Some(QuantizationInfo {
        method: report.method.clone(),
        percentile: match options.method {
            RangeMethod::Percentile(share) => Some(share),
            _ => None,
        },
        images: report.images,
        imgsz: report.imgsz,
        bias_correction: options.bias_correction,
        skipped: options.skip.clone(),
    });
    tensors.extend(candle_yolov8::absent_bins(&tensors)?);
    (checkpoint.tensors, checkpoint.quantized) = (tensors, quantized);
    Ok(Quantized { checkpoint, report })
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

/// What the passes over the images share.
struct Passes<'a, I> {
    images: &'a dyn Dataset<Item = I>,
    view: &'a View,
    observer: &'a Observer,
    /// Images of both passes.
    total: usize,
}

impl<I: HasImage> Passes<'_, I> {
    /// Calls `see` with the maps of each image that can be read, with its number. Images are read ahead, on another thread.
    fn each(
        &self,
        numbers: &[usize],
        mut see: impl FnMut(usize, Result<Vec<Vec<f32>>, ItemError>) -> Result<()>,
    ) -> Result<()> {
        std::thread::scope(|scope| {
            let read = numbers.iter().map(|number| Ok::<_, Error>((*number, self.view.input(self.images, *number))));
            for item in PrefetchIter::spawn_scoped(scope, read)? {
                let (number, input) = item?;
                let maps = match input {
                    Ok(input) => Ok(self.observer.run(&input)?),
                    Err(error) => Err(error),
                };
                see(number, maps)?;
            }
            Ok(())
        })
    }

    /// What a first look sees of each map, and the numbers of the images that can be read.
    fn extremes(
        &self,
        numbers: &[usize],
        callbacks: &mut dyn QuantizeCallbacks,
    ) -> Result<(Vec<Extremes>, Vec<usize>)> {
        let mut channels: BTreeMap<usize, usize> = BTreeMap::new();
        for conv in self.observer.convs() {
            channels.extend(conv.map.map(|map| (map, conv.input[2])));
        }
        let mut seen: Vec<Extremes> = channels.into_values().map(Extremes::new).collect();
        let (mut readable, mut done) = (Vec::new(), 0);
        self.each(numbers, |number, maps| {
            done += 1;
            let added = maps.and_then(|maps| {
                let both = seen.par_iter_mut().zip(&maps);
                both.try_for_each(|(seen, map)| seen.add(map))
            });
            match added {
                Ok(()) => readable.push(number),
                Err(error) => {
                    let name = self.images.name(number);
                    callbacks.message(&Message::Warning(format!("{name}: {error}; it is left out")));
                }
            }
            callbacks.on_image(done, self.total)
        })?;
        if readable.is_empty() {
            invalid!("none of the {} images can be read", numbers.len());
        }
        Ok((seen, readable))
    }

    fn histograms(
        &self,
        seen: &[Extremes],
        numbers: &[usize],
        callbacks: &mut dyn QuantizeCallbacks,
    ) -> Result<Vec<Histogram>> {
        let mut histograms: Vec<Histogram> = seen.iter().map(Histogram::new).collect();
        let mut done = self.total / 2;
        self.each(numbers, |_, maps| {
            histograms.par_iter_mut().zip(&maps?).for_each(|(histogram, map)| histogram.add(map));
            done += 1;
            callbacks.on_image(done, self.total)
        })?;
        Ok(histograms)
    }
}
