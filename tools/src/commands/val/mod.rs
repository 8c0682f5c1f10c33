//! `ghostzoo val`: how well a detector finds what is labelled.

mod part;
mod report;
mod sharded;

use std::path::Path;

use anyhow::{Result, bail};
use candle_vision::image;
use candle_vision::metrics::{CURVE_POINTS, ClassMetrics};
use candle_yolov8::data::{AnnotatedImage, ImageId};
use candle_yolov8::val::{BatchOutput, EvalResult, ValOptions, ValReport, validate};
use candle_yolov8::{Detection, Detector, NmsOptions};
use serde::Serialize;

use crate::cli::{GlobalArgs, MAX_DET, ValArgs, bytes};
use crate::error::{self, SomeFailed, usage};
use crate::files;
use crate::model;
use crate::output::drawable;
use crate::output::{Stdout, notes};
use crate::progress::Count;
use crate::run_dir::RunDir;
use crate::shard;
use ghostzoo::plot;
use ghostzoo::{Network, ValData, ValLabels};

pub(crate) use report::ultralytics as table;
pub(crate) use sharded::merge;

/// Most notes about labels.
const SHOWN: usize = 20;
/// Where runs go unless told otherwise.
const RUNS: &str = "runs/detect/val";
/// Side that images are scaled to where neither the command nor the checkpoint says.
const DEFAULT_SIDE: usize = 640;

/// Measures a detector on a data set.
pub(crate) fn run(args: &ValArgs, global: &GlobalArgs) -> Result<()> {
    let model = model::required(args.model.as_deref())?;
    let tiles = args.tiles.options()?;
    let device = global.open(global.quiet)?;
    let shard = shard::part(args.parts.shard, global.quiet)?;
    args.parts.part.as_deref().map_or(Ok(()), files::check_place)?;
    let labels = ValLabels::find(&args.data, args.images.as_deref(), &args.split)?;
    let loaded = model::load(model, global, &device, args.json)?;
    let weights = args.parts.part.as_deref().map(|_| model::checksum(&loaded)).transpose()?;
    let Network::Detector(network) = loaded.network else {
        return Err(usage(format!("{} is a classifier; use `ghostzoo eval`", loaded.name)));
    };
    let single_cls = args.single_cls || loaded.single_cls;
    let mut dataset = labels.read(single_cls)?;
    if single_cls {
        dataset.unite(network.num_classes(), &loaded.class_names);
    } else {
        dataset.agree(&loaded.name, network.num_classes(), &loaded.class_names);
    }
    let max_det = if args.max_det == MAX_DET { dataset.most().max(MAX_DET) } else { args.max_det };
    let nms =
        NmsOptions::new().conf(args.conf).iou(args.iou).max_det(max_det).agnostic(args.agnostic_nms).multi_label(true);
    let options = ValOptions::new()
        .imgsz(args.imgsz.or(loaded.input_size.map(|size| size[0].max(size[1]))).unwrap_or(DEFAULT_SIDE))
        .batch(args.batch)
        .rect(args.rect)
        .nms(nms)
        .confusion_conf(args.confusion_conf)
        .single_cls(single_cls)
        .max_pixels(args.largest.max_pixels)
        .tiles(tiles);
    if !global.quiet {
        tell_labels(&dataset, &args.data);
        tell(&dataset, &options, args, loaded.single_cls);
    }
    let detector = Detector::new(*network, device, loaded.dtype, loaded.input_size);
    if let Some((path, weights)) = args.parts.part.as_deref().zip(weights) {
        let model = sharded::ModelFile { name: &loaded.name, weights, dtype: loaded.dtype };
        let of = sharded::Sharded { path, shard, model, detector: &detector, dataset: &dataset, options: &options };
        return of.run(args, global);
    }
    // Before the work: where it cannot be made, that should show now.
    let folder = folder(args.plots || args.save_json, args.save_dir.as_deref(), args.exist_ok)?;
    let mut bar = Count::new("val", global.quiet || args.json);
    let validated = validate(&detector, &dataset.images, &options, &mut |BatchOutput { done, total, .. }| {
        bar.show(done, total, "");
        Ok(())
    })?;
    bar.finish();
    let failed = warn(&dataset.images, &validated, global)?;
    let mut out = Stdout::new();
    let printed = match args.json {
        true => out.json(&report::json(&loaded.name, &dataset, &report::options(&options), &validated, failed)),
        false => report::print(&mut out, args.metric, &dataset, &validated).and_then(|()| match global.quiet {
            true => Ok(()),
            false => report::print_speed(&mut out, &options, &validated),
        }),
    };
    let wanted = Wanted { json: args.save_json, plots: args.plots.then_some(args.confusion_conf) };
    finish(folder, wanted, [args.json, global.quiet], &dataset, &validated, printed)
}

/// Which files are wanted.
struct Wanted {
    json: bool,
    /// The confidence above which boxes counted into the confusion matrix.
    plots: Option<f32>,
}

/// Writes the files; `printed` is what came of printing.
fn finish(
    folder: Option<RunDir>,
    wanted: Wanted,
    [json, quiet]: [bool; 2],
    dataset: &ValData,
    validated: &ValReport,
    printed: Result<()>,
) -> Result<()> {
    // Neither keeps the other back.
    if let Some(folder) = &folder {
        save(folder.path(), &wanted, quiet, dataset, validated)?;
    }
    if validated.images.iter().any(Result::is_err) {
        return Err(SomeFailed.into());
    }
    printed?;
    match folder {
        Some(folder) if !quiet => {
            let folder = bytes::shown(folder.path().as_os_str());
            if !json {
                return Stdout::new().line(&format!("Results saved to {folder}"));
            }
            status!("note: results saved to {folder}");
            Ok(())
        }
        _ => Ok(()),
    }
}

/// Says what was left out, the first few one by one, and what is there.
fn tell_labels(dataset: &ValData, data: &Path) {
    let messages = &dataset.report.messages;
    messages.iter().take(SHOWN).for_each(|message| status!("note: {message}"));
    if messages.len() > SHOWN {
        status!("note: and {} more", messages.len() - SHOWN);
    }
    status!("note: {}: {}", data.display(), dataset.report);
}

/// Says what differs from what the arguments say.
fn tell(dataset: &ValData, options: &ValOptions, args: &ValArgs, is_trained_so: bool) {
    if options.side() != options.imgsz {
        status!("note: --imgsz {} is rounded up to {}, a multiple of 32", options.imgsz, options.side());
    }
    if is_trained_so {
        status!("note: the model was trained with single_cls: all classes count as one");
    }
    if let Some(tiles) = &options.tiles {
        args.tiles.tell(tiles, &options.nms);
    }
    let (most, kept) = (dataset.most(), options.nms.max_det);
    if kept > args.max_det {
        status!("note: an image has {most} objects: {kept} boxes are kept of each, --max-det says otherwise");
    } else if most > kept {
        status!("note: an image has {most} objects, and --max-det keeps {kept}: recall is capped");
    }
}

/// Says what does not count; how many images could not be read, which are not all.
fn warn(images: &[AnnotatedImage], validated: &ValReport, global: &GlobalArgs) -> Result<usize> {
    let mut failed = 0;
    for (image, found) in images.iter().zip(&validated.images) {
        if let Err(error) = found {
            failed += 1;
            let message = error::text(&anyhow::Error::msg(error.to_string()));
            status!("error: {}: {message}; it does not count", image.path.display());
        }
    }
    if failed > 0 && failed == images.len() {
        bail!("none of the {failed} images could be read");
    }
    if global.quiet {
        return Ok(failed);
    }
    let damaged = validated.damaged.iter();
    notes(&damaged.map(|(image, why)| format!("{}: {why}", images[*image].path.display())).collect::<Vec<_>>());
    for (image, dropped) in &validated.dropped {
        let path = images[*image].path.display();
        status!("note: {path}: the {dropped} least confident candidates were left out; raise --conf");
    }
    if validated.size_mismatches > 0 {
        status!(
            "note: {} images are not of the size that their labels say: the boxes may be of other images",
            validated.size_mismatches
        );
    }
    Ok(failed)
}

/// The run's folder, where there is anything to write.
fn folder(is_wanted: bool, save_dir: Option<&Path>, exist_ok: bool) -> Result<Option<RunDir>> {
    is_wanted.then(|| RunDir::create(save_dir.unwrap_or(Path::new(RUNS)), exist_ok)).transpose()
}

/// Writes the run's files.
fn save(folder: &Path, wanted: &Wanted, quiet: bool, dataset: &ValData, validated: &ValReport) -> Result<()> {
    if wanted.json {
        files::write(&folder.join("predictions.json"), &predictions(dataset, validated)?)?;
    }
    if let Some(confusion_conf) = wanted.plots {
        let names = drawable(&dataset.names, quiet);
        draw(folder, &names, &validated.measured, confusion_conf)?;
    }
    Ok(())
}

/// One result of COCO's list.
#[derive(Serialize)]
struct CocoResult<'a> {
    image_id: &'a ImageId,
    file_name: String,
    category_id: i64,
    /// x, y, width, height in pixels.
    bbox: [f32; 4],
    score: f32,
}

fn predictions(dataset: &ValData, validated: &ValReport) -> Result<Vec<u8>> {
    let mut results = Vec::new();
    for (image, found) in dataset.images.iter().zip(&validated.images) {
        let file_name = image.path.file_name().unwrap_or_default().to_string_lossy();
        for Detection { class_id, confidence, xyxy: [x1, y1, x2, y2] } in found.iter().flatten() {
            // An instances file has no id for a class that it lacks, and no object of it.
            let Some(category_id) = dataset.category(*class_id) else { continue };
            results.push(CocoResult {
                image_id: &image.image_id,
                file_name: file_name.clone().into_owned(),
                category_id,
                bbox: [*x1, *y1, x2 - x1, y2 - y1],
                score: *confidence,
            });
        }
    }
    Ok(serde_json::to_vec(&results)?)
}

/// The images that Ultralytics' users know; `names` are the classes' as they are drawn.
pub(crate) fn draw(folder: &Path, names: &[String], measured: &EvalResult, confusion_conf: f32) -> Result<()> {
    let classes = &measured.ultralytics.classes;
    let seen: Vec<String> = classes.iter().map(|class| names[class.class].clone()).collect();
    let curves = |of: fn(&ClassMetrics) -> &Vec<f64>| classes.iter().map(|class| of(class).clone()).collect::<Vec<_>>();
    let points: Vec<f64> = (0..CURVE_POINTS).map(|point| point as f64 / (CURVE_POINTS - 1) as f64).collect();
    let ap50: Vec<f64> = classes.iter().map(ClassMetrics::ap50).collect();
    let count = |predicted: usize, truth: usize| measured.confusion.count(predicted, truth);
    let confusion = |cells| plot::confusion_matrix(names, count, cells, Some(confusion_conf));
    let against = |metric, of| plot::against_confidence(metric, &points, &curves(of), &seen);
    for (name, image) in [
        ("BoxPR_curve", plot::precision_recall(&points, &curves(|class| &class.pr_curve), &ap50, &seen)?),
        ("BoxP_curve", against(plot::Metric::Precision, |class| &class.precision_curve)?),
        ("BoxR_curve", against(plot::Metric::Recall, |class| &class.recall_curve)?),
        ("BoxF1_curve", against(plot::Metric::F1, |class| &class.f1_curve)?),
        ("confusion_matrix", confusion(plot::Cells::Counts)?),
        ("confusion_matrix_normalized", confusion(plot::Cells::Normalised)?),
    ] {
        image::save(&image, &folder.join(format!("{name}.png")))?;
    }
    Ok(())
}
