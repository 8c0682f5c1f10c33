//! `ghostzoo quantize`: a model's convolutions in 8 bits.

use std::path::{Path, PathBuf};

use anyhow::Result;
use candle_vision::data::{Dataset, ItemError};
use candle_vision::image::{self, RgbImage};
use candle_yolov8::data::{AnnotatedFiles, DataYaml, DatasetSplit};
use ghostzoo::quantize::{
    self, HasImage, LayerReport, QuantizeCallbacks, QuantizeOptions, Quantized, RangeMethod, Source,
};
use ghostzoo::train::Message;
use ghostzoo::{Architecture, LabelledData};
use ghostzoo_weights::Checkpoint;
use serde_json::json;

use crate::cli::{Float, GlobalArgs, Method, QuantizeArgs, bytes};
use crate::device::Choice;
use crate::error::usage;
use crate::files;
use crate::model;
use crate::output::{Stdout, Table, notes};
use crate::progress::Count;
use crate::source::{Media, Source as ImageSource, SourceEntry, expand};

/// Layers that are named as the worst.
const WORST: usize = 3;

/// Quantizes a model.
pub(crate) fn run(args: &QuantizeArgs, global: &GlobalArgs) -> Result<()> {
    if matches!(global.device, Choice::Cuda(_) | Choice::Metal) {
        return Err(usage("ranges are measured on the CPU, in f32: leave --device out, or give --device cpu"));
    }
    if !matches!(global.dtype, None | Some(Float::F32)) {
        return Err(usage("ranges are measured in f32: leave --dtype out"));
    }
    let name = model::required(args.model.as_deref())?;
    let output = files::output(args.output.as_deref(), name, "-int8", args.force)?;
    args.report.as_deref().map_or(Ok(()), files::check_place)?;
    let found = model::find(name, global, args.json)?;
    files::check_not_model(&output, &found)?;
    let source = Source::new(&bytes::shown(name), ghostzoo::model::read(&found)?, global.arch.as_deref())?;
    let method = match args.method {
        Method::Minmax => RangeMethod::MinMax,
        Method::Percentile => RangeMethod::Percentile(args.percentile),
        Method::Mse => RangeMethod::Mse,
    };
    let options = QuantizeOptions::new()
        .images(args.images)
        .method(method)
        .bias_correction(!args.no_bias_correction)
        .skip(args.skip.clone())
        .imgsz(args.imgsz);
    let mut shown = Shown { count: Count::new("quantize", global.quiet || args.json), quiet: global.quiet };
    let is_detector = matches!(source.spec().architecture, Architecture::Detector(_));
    if args.max_drop.is_some() && is_detector && args.data.is_dir() {
        return Err(usage("--max-drop measures on labels: give --data a data.yaml instead of a folder"));
    }
    let open = |_| LabelledData::open(&source, &args.data, &args.val_split, args.imgsz);
    let labelled = args.max_drop.map(open).transpose()?;
    let max_drop = args.max_drop.zip(labelled.as_ref());
    let quantized = match &source.spec().architecture {
        Architecture::Detector(_) if args.data.is_dir() => {
            let images = Files { paths: images_of(&args.data)? };
            made(&source, &images, &options, max_drop, &mut shown)?
        }
        Architecture::Detector(_) => {
            let data = DataYaml::read(&args.data)?;
            let split = DatasetSplit::open(&data, args.split.as_deref().unwrap_or("train"))?;
            let (images, report) = split.labels()?;
            if !global.quiet {
                let mut told = labelled.as_ref().map_or_else(Vec::new, |labelled| labelled.messages().to_vec());
                // Labels as such are of no use here: images that are left out for theirs are missed.
                let is_new = |text: &String| report.left_out > 0 && !told.contains(text);
                told.extend(report.messages.into_iter().filter(is_new).collect::<Vec<_>>());
                notes(&told);
            }
            let images = AnnotatedFiles::new(images, image::MAX_PIXELS);
            made(&source, &images, &options, max_drop, &mut shown)?
        }
        Architecture::Classifier(_) => {
            let has_train = args.data.join("train").is_dir();
            let split = args.split.as_deref().or(has_train.then_some("train"));
            let images = source.classified(&args.data, split)?;
            made(&source, &images, &options, max_drop, &mut shown)?
        }
    };
    shown.count.finish();
    ghostzoo_weights::write(&output, &quantized.checkpoint)?;
    if let Some(path) = &args.report {
        files::write(path, &serde_json::to_vec_pretty(&quantized.report)?)?;
    }
    print(args, global, &output, &source, &quantized)
}

/// Quantizes, to within a drop of the metric where one is given.
fn made<I: HasImage>(
    source: &Source,
    images: &dyn Dataset<Item = I>,
    options: &QuantizeOptions,
    max_drop: Option<(f64, &LabelledData)>,
    shown: &mut Shown,
) -> ghostzoo::Result<Quantized> {
    match max_drop {
        Some((most, labelled)) => {
            let mut measure = |model| labelled.measure(model);
            quantize::quantize_within(source, images, options, most, &mut measure, shown)
        }
        None => quantize::quantize(source, images, options, shown),
    }
}

/// The images below a folder, sorted.
fn images_of(folder: &Path) -> Result<Vec<PathBuf>> {
    let file = |entry: SourceEntry| match entry.source {
        Ok(ImageSource::File(path)) => Some(path),
        _ => None,
    };
    let paths: Vec<PathBuf> =
        expand(&[folder.as_os_str().to_owned()], Media::Images).into_iter().filter_map(file).collect();
    if paths.is_empty() {
        return Err(usage(format!("--data: the folder {} holds no images", folder.display())));
    }
    Ok(paths)
}

/// Image files without labels.
struct Files {
    paths: Vec<PathBuf>,
}

impl Dataset for Files {
    type Item = RgbImage;

    fn len(&self) -> usize {
        self.paths.len()
    }

    fn get(&self, index: usize) -> Result<RgbImage, ItemError> {
        Ok(image::open(&self.paths[index])?)
    }

    fn name(&self, index: usize) -> String {
        self.paths[index].display().to_string()
    }
}

/// Shows how far the work is.
struct Shown {
    count: Count,
    quiet: bool,
}

impl QuantizeCallbacks for Shown {
    fn on_image(&mut self, done: usize, total: usize) -> ghostzoo::Result<()> {
        self.count.show(done, total, "");
        Ok(())
    }

    fn message(&mut self, message: &Message) {
        if !self.quiet {
            status!("note: {}", message.text());
        }
    }
}

/// Bytes of a checkpoint's tensors in floats of 32 bits.
fn float_bytes(checkpoint: &Checkpoint) -> usize {
    checkpoint.tensors.values().map(|tensor| 4 * tensor.elem_count()).sum()
}

fn print(
    args: &QuantizeArgs,
    global: &GlobalArgs,
    output: &Path,
    source: &Source,
    quantized: &Quantized,
) -> Result<()> {
    let Quantized { report, .. } = quantized;
    let before = float_bytes(source.checkpoint());
    let after = std::fs::metadata(output).map_or(0, |metadata| metadata.len());
    if args.json {
        return Stdout::new().json(&json!({
            "file": bytes::shown(output.as_os_str()), "float_bytes": before, "bytes": after, "images": report.images,
            "imgsz": report.imgsz, "method": report.method, "layers": report.layers, "left": report.left,
            "metric": report.metric,
        }));
    }
    if global.quiet {
        return Ok(());
    }
    let mut out = Stdout::new();
    let megabytes = |bytes: f64| format!("{:.2} MB", bytes / 1e6);
    out.line(&format!(
        "{}: {} ({} in f32), {} convolutions in 8 bits, {} dense ones left, by {} images",
        output.display(),
        megabytes(after as f64),
        megabytes(before as f64),
        report.layers.len(),
        report.left.len(),
        report.images
    ))?;
    if let Some(metric) = &report.metric {
        out.line(&format!(
            "{}: {:.4} in floats, {:.4} in 8 bits",
            source.spec().architecture.metric_name(),
            metric.floats,
            metric.quantized
        ))?;
    }
    let mut table = Table::new(&["worst", "weights dB", "input dB", "from", "to"], 1);
    let decimal = |value: f64| format!("{value:.1}");
    for LayerReport { path, weight_sqnr_db, input_sqnr_db, input_range: [from, to], .. } in
        report.layers.iter().take(WORST)
    {
        table.row(vec![
            path.clone(),
            decimal(*weight_sqnr_db),
            decimal(*input_sqnr_db),
            format!("{from:.3}"),
            format!("{to:.3}"),
        ]);
    }
    table.lines().iter().try_for_each(|line| out.line(line))
}
