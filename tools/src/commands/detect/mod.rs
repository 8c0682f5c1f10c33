//! `ghostzoo detect`: boxes in images.

mod tiles;

use std::path::{Path, PathBuf};
use std::sync::mpsc::sync_channel;

use anyhow::{Context, Result};
use candle_vision::data::{LoaderError, PrefetchIter};
use candle_yolov8::{Detector, NmsOptions, PredictOptions, Prediction, PreparedImage};
use ghostzoo_weights::Task;

use crate::cli::{DetectArgs, GlobalArgs, bytes};
use crate::error::{self, SomeFailed, usage};
use crate::output::{
    self, BoxStyle, CocoResults, CsvRows, Found, FrameNotes, Hidden, JsonDetections, JsonError, Speed, Stdout, counts,
    milliseconds, shown, speed_line,
};
use crate::reader::{self, Item, Prepare, Ready};
use crate::request::PredictRequest;
use crate::run_dir::RunDir;
use crate::source::Source;
use ghostzoo::Network;
use tiles::TiledImages;

/// Where runs go unless told otherwise.
const RUNS: &str = "runs/detect/predict";

/// Detects objects in every image that the arguments name, or in the one that is built in.
pub(crate) fn run(args: &DetectArgs, global: &GlobalArgs) -> Result<()> {
    let PredictRequest { choice, entries } = PredictRequest::of(Task::Detect, args.model.as_deref(), &args.sources)?;
    let tiles = args.tiles.options()?;
    let device = global.open(global.quiet)?;
    let folder = folder(args)?;
    // Images are decoded while the model is loaded.
    let total = entries.len();
    let (sender, prepare) = sync_channel::<Prepare<PreparedImage>>(1);
    let batches = reader::read(entries, args.batch, !device.is_cpu(), args.largest.upright(), prepare)?;
    let loaded = choice.load(global, &device, args.json || args.csv)?;
    let Network::Detector(network) = loaded.network else {
        return Err(usage(format!("{} is a classifier; use `ghostzoo classify`", loaded.name)));
    };
    let nms = NmsOptions::new()
        .conf(args.conf)
        .iou(args.iou)
        .max_det(args.max_det)
        .classes(class_filter(&args.classes, &loaded.class_names)?)
        .agnostic(args.agnostic_nms);
    let detector = Detector::new(*network, device.clone(), loaded.dtype, loaded.input_size);
    let options = PredictOptions::new().imgsz(args.imgsz).rect(args.rect).nms(nms.clone());
    let imgsz = args.imgsz.unwrap_or(detector.imgsz());
    let view = detector.letterbox(&options);
    tiles.iter().filter(|_| !global.quiet).for_each(|tiles| args.tiles.tell(tiles, &nms));
    let tiled = tiles.map(|tiles| TiledImages::new(tiles, options));
    // A reader that has ended needs none.
    let _ = sender.send(match tiled.clone() {
        Some(tiled) => Box::new(move |image| tiled.prepare(image, &view, &device)),
        None => Box::new(move |image| Ok(PreparedImage::new(image, &view, &device)?)),
    });
    if view.size != imgsz && !global.quiet {
        let stride = detector.model().max_stride();
        status!("note: image size {imgsz:?} is not a multiple of the model's stride {stride}; using {:?}", view.size);
    }
    let mut run = Run {
        args,
        quiet: global.quiet,
        names: &loaded.class_names,
        annotation: annotation(args, &loaded.class_names, global.quiet),
        detector,
        tiled,
        nms,
        folder,
        coco: CocoResults::default(),
        out: Stdout::new(),
        total,
        done: 0,
        failed: 0,
        speeds: Vec::new(),
        last_shape: [0; 4],
        frames: FrameNotes::default(),
    };
    run.all(batches)
}

/// The run's folder, where there is anything to write.
fn folder(args: &DetectArgs) -> Result<Option<RunDir>> {
    if args.no_save && !args.save_txt && !args.save_crop && !args.coco_json {
        return Ok(None);
    }
    let base = args.save_dir.clone().unwrap_or_else(|| PathBuf::from(RUNS));
    RunDir::create(&base, args.exist_ok).map(Some)
}

/// What of boxes is drawn into images.
fn annotation(args: &DetectArgs, names: &[String], quiet: bool) -> BoxStyle {
    let hidden = Hidden { labels: args.hide_labels, conf: args.hide_conf, boxes: args.hide_boxes };
    let names = if args.no_save { &[] } else { names };
    BoxStyle::new(names, hidden, args.line_width, quiet)
}

/// The numbers of the classes to keep; empty for all.
fn class_filter(wanted: &[String], names: &[String]) -> Result<Option<Vec<usize>>> {
    if wanted.is_empty() {
        return Ok(None);
    }
    let number = |wanted: &String| {
        let wanted = wanted.trim();
        let by_number = wanted.parse::<usize>().ok().filter(|number| *number < names.len());
        by_number.or_else(|| names.iter().position(|name| name.eq_ignore_ascii_case(wanted))).ok_or_else(|| {
            let mut near: Vec<&String> = names.iter().collect();
            near.sort_by_cached_key(|name| strsim::damerau_levenshtein(&name.to_lowercase(), &wanted.to_lowercase()));
            let near: Vec<&str> = near.into_iter().take(3).map(String::as_str).collect();
            usage(format!(
                "--classes: the model has no class {wanted:?}; it has {} classes, 0 to {}, the nearest names are {}",
                names.len(),
                names.len().saturating_sub(1),
                near.join(", "),
            ))
        })
    };
    wanted.iter().map(number).collect::<Result<_>>().map(Some)
}

/// The state of a run over all images.
struct Run<'a> {
    args: &'a DetectArgs,
    quiet: bool,
    names: &'a [String],
    annotation: BoxStyle,
    detector: Detector,
    tiled: Option<TiledImages>,
    nms: NmsOptions,
    folder: Option<RunDir>,
    coco: CocoResults,
    out: Stdout,
    total: usize,
    done: usize,
    failed: usize,
    speeds: Vec<Speed>,
    last_shape: [usize; 4],
    frames: FrameNotes,
}

impl Run<'_> {
    fn all(&mut self, batches: PrefetchIter<Vec<Item<PreparedImage>>, LoaderError>) -> Result<()> {
        if self.args.csv {
            let header = CsvRows::header()?;
            self.out.text(&header)?;
        }
        for items in batches {
            self.batch(items?)?;
        }
        self.frames.close();
        if let (true, Some(folder)) = (self.args.coco_json, &self.folder) {
            self.coco.save(folder.path())?;
        }
        self.close()?;
        if self.failed > 0 { Err(SomeFailed.into()) } else { Ok(()) }
    }

    /// The images that could be read through the model, then all results in order.
    fn batch(&mut self, items: Vec<Item<PreparedImage>>) -> Result<()> {
        self.total += items.iter().filter(|item| item.follows).count();
        let prepared: Vec<&PreparedImage> =
            items.iter().filter_map(|item| Some(&item.ready.as_ref().ok()?.prepared)).collect();
        let predictions = match &self.tiled {
            Some(tiled) => tiled.predict(&self.detector, &items)?,
            None => self.detector.predict_prepared(&prepared, &self.nms)?,
        };
        if let Some(last) = predictions.last() {
            let shared = predictions.iter().filter(|found| found.input == last.input).count();
            self.last_shape = [shared, 3, last.input[0], last.input[1]];
        }
        let mut predictions = predictions.into_iter();
        for item in items {
            self.done += 1;
            let found = item.ready.and_then(|ready| {
                if let Some(warning) = ready.warning.filter(|_| !self.quiet) {
                    status!("note: {}: {warning}", shown(&item.label));
                }
                if !self.quiet {
                    self.frames.add(&item.label, ready.frames);
                }
                let prediction = predictions.next().context("an image without a result; this is a bug of ghostzoo")?;
                if prediction.dropped > 0 && !self.quiet {
                    let (label, dropped) = (shown(&item.label), prediction.dropped);
                    status!("note: {label}: the {dropped} least confident candidates were left out; raise --conf");
                }
                Ok(found(&item.label, ready, prediction))
            });
            match found.and_then(|(source, found)| self.save(&source, &found).map(|()| found)) {
                Ok(found) => self.show(&found)?,
                // The next images would fail too.
                Err(error) if error::is_out_of_memory(&error::text(&error)) => return Err(error),
                Err(error) => self.fail(&item.label, &error)?,
            }
        }
        Ok(())
    }

    fn save(&mut self, source: &Source, found: &Found) -> Result<()> {
        let Some(folder) = &mut self.folder else { return Ok(()) };
        let (stem, path) = (folder.unique(&source.stem()), folder.path());
        if !self.args.no_save {
            output::save_annotated(found, path, &stem, &self.annotation)?;
        }
        if self.args.save_txt {
            output::save_txt(found, path, &stem, self.args.save_conf)?;
        }
        if self.args.save_crop {
            output::save_crops(found, path, &stem, self.names)?;
        }
        if self.args.coco_json {
            self.coco.add(found, bytes::shown(source.stem()));
        }
        Ok(())
    }

    fn show(&mut self, found: &Found) -> Result<()> {
        self.speeds.push(found.speed);
        if self.args.json {
            return self.out.json(&JsonDetections::new(found, self.names));
        }
        if self.args.csv {
            return self.out.text(&CsvRows::of(found, self.names)?);
        }
        let [height, width] = found.input_size;
        self.out.line(&format!(
            "image {}/{} {}: {height}x{width} {}, {:.1} ms",
            self.done,
            self.total,
            shown(&found.path),
            counts(&found.detections, self.names),
            found.speed.inference,
        ))
    }

    fn fail(&mut self, label: &str, error: &anyhow::Error) -> Result<()> {
        self.failed += 1;
        let error = error::text(error);
        status!("error: {}: {error}", shown(label));
        if self.args.json {
            self.out.json(&JsonError { path: label, error: &error })?;
        }
        Ok(())
    }

    /// The last lines for people.
    fn close(&mut self) -> Result<()> {
        if self.quiet {
            return Ok(());
        }
        let saved = self.folder.as_ref().map(RunDir::path).filter(|folder| !is_empty(folder));
        let saved = saved.map(|folder| bytes::shown(folder.as_os_str()));
        if self.args.json || self.args.csv {
            saved.iter().for_each(|folder| status!("note: results saved to {folder}"));
            return Ok(());
        }
        if !self.speeds.is_empty() {
            self.out.line(&speed_line(&self.speeds, self.last_shape))?;
        }
        saved.iter().try_for_each(|folder| self.out.line(&format!("Results saved to {folder}")))
    }
}

fn is_empty(folder: &Path) -> bool {
    std::fs::read_dir(folder).is_ok_and(|mut files| files.next().is_none())
}

fn found(label: &str, ready: Ready<PreparedImage>, prediction: Prediction) -> (Source, Found) {
    let speed = Speed {
        preprocess: milliseconds(ready.preprocess + prediction.preprocess),
        inference: milliseconds(prediction.inference),
        postprocess: milliseconds(prediction.postprocess),
    };
    let Prediction { detections, input, .. } = prediction;
    (ready.source, Found { path: label.to_owned(), image: ready.image, detections, input_size: input, speed })
}
