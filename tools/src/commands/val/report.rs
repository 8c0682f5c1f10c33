//! What `val` prints.

use anyhow::Result;
use candle_vision::metrics::{ClassMetrics, coco};
use candle_yolov8::val::{ValOptions, ValReport};
use candle_yolov8::{MatchMetric, Merge};
use serde_json::{Map, Value, json};

use crate::cli::Metric;
use crate::output::{Stdout, Table, class_name, grouped, milliseconds};
use crate::part::decimal;
use ghostzoo::ValData;

/// The numbers for people.
pub(crate) fn print(out: &mut Stdout, metric: Metric, dataset: &ValData, validated: &ValReport) -> Result<()> {
    if metric != Metric::Coco {
        let metrics = &validated.measured.ultralytics;
        out.line(&format!(
            "Ultralytics' definition; P and R at confidence {:.3}, where the classes' mean F1 is largest",
            metrics.confidence()
        ))?;
        ultralytics(&dataset.names, validated).lines().iter().try_for_each(|line| out.line(line))?;
    }
    if metric == Metric::Both {
        out.line("")?;
    }
    if metric != Metric::Ultralytics {
        out.line("COCO's definition, as pycocotools computes it")?;
        coco_table(&validated.measured.coco.summary).lines().iter().try_for_each(|line| out.line(line))?;
    }
    Ok(())
}

/// The times for people.
pub(crate) fn print_speed(out: &mut Stdout, options: &ValOptions, validated: &ValReport) -> Result<()> {
    let looked = validated.images.iter().filter(|image| image.is_ok()).count();
    let per_image = |time| milliseconds(time) / looked.max(1) as f64;
    let [preprocess, inference, postprocess] = validated.times.map(per_image);
    let rate = looked as f64 / validated.elapsed.as_secs_f64();
    let how = match &options.tiles {
        Some(tiles) => format!("tiles of {}x{} in batches of {}", tiles.size[0], tiles.size[1], tiles.batch),
        None => format!("in batches of {}", options.batch),
    };
    out.line(&format!(
        "Speed: {preprocess:.1}ms preprocess, {inference:.1}ms inference, {postprocess:.1}ms postprocess per image, \
         {rate:.1} images/s in all, at size {}, {how}",
        options.side()
    ))
}

/// Ultralytics' metrics of each class and their means.
pub(crate) fn ultralytics(names: &[String], validated: &ValReport) -> Table {
    let metrics = &validated.measured.ultralytics;
    let looked = validated.images.iter().filter(|image| image.is_ok()).count();
    let mut table = Table::new(&["class", "images", "instances", "P", "R", "mAP50", "mAP50-95"], 1);
    let objects = metrics.classes.iter().map(|class| class.truths).sum();
    let numbers = |values: [f64; 4]| values.map(|value| format!("{value:.4}"));
    let mut row = |name: String, images, truths, values| {
        let mut cells = vec![name, grouped(images), grouped(truths)];
        cells.extend(numbers(values));
        table.row(cells);
    };
    row("all".to_owned(), looked, objects, metrics.means());
    for class in &metrics.classes {
        let values = [class.precision, class.recall, class.ap50(), class.ap50_95()];
        row(class_name(names, class.class), class.images, class.truths, values);
    }
    table
}

/// Name, overlap, area and most detections of pycocotools' twelve numbers.
const ROWS: [[&str; 4]; 12] = [
    ["AP", "0.50:0.95", "all", "100"],
    ["AP50", "0.50", "all", "100"],
    ["AP75", "0.75", "all", "100"],
    ["APs", "0.50:0.95", "small", "100"],
    ["APm", "0.50:0.95", "medium", "100"],
    ["APl", "0.50:0.95", "large", "100"],
    ["AR1", "0.50:0.95", "all", "1"],
    ["AR10", "0.50:0.95", "all", "10"],
    ["AR100", "0.50:0.95", "all", "100"],
    ["ARs", "0.50:0.95", "small", "100"],
    ["ARm", "0.50:0.95", "medium", "100"],
    ["ARl", "0.50:0.95", "large", "100"],
];

fn coco_table(summary: &coco::CocoStats) -> Table {
    let mut table = Table::new(&["metric", "IoU", "area", "max dets", "value"], 3);
    for (row, value) in ROWS.iter().zip(summary.stats()) {
        let value = value.map_or_else(|| "no such object".to_owned(), |value| format!("{value:.4}"));
        table.row(row.iter().map(|cell| (*cell).to_owned()).chain([value]).collect());
    }
    table
}

/// What decides on the numbers, by the names of the options.
pub(crate) fn options(options: &ValOptions) -> Map<String, Value> {
    let tiles = options.tiles.as_ref().map(|tiles| {
        let merge = tiles.merge_options(&options.nms);
        json!({
            "size": tiles.size, "overlap": tiles.overlap, "whole": tiles.whole, "threshold": tiles.threshold,
            "merge": match merge.merge { Merge::GreedyNmm => "nmm", Merge::Nms => "nms" },
            "metric": match merge.metric { MatchMetric::Ios => "ios", MatchMetric::Iou => "iou" },
        })
    });
    let options = [
        ("imgsz", json!(options.side())),
        ("batch", json!(options.batch)),
        ("rect", json!(options.rect)),
        ("conf", decimal(options.nms.conf)),
        ("iou", decimal(options.nms.iou)),
        ("max_det", json!(options.nms.max_det)),
        ("tiles", json!(tiles)),
    ];
    options.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

/// The options that [`json()`] tells.
const TOLD: [&str; 7] = ["imgsz", "batch", "rect", "conf", "iou", "max_det", "tiles"];

/// The numbers for programs; without times where none were taken. `options` are those of [`options()`], and maybe more.
pub(crate) fn json(
    model: &str,
    dataset: &ValData,
    options: &Map<String, Value>,
    validated: &ValReport,
    failed: usize,
) -> Value {
    let metrics = &validated.measured.ultralytics;
    let class = |class: &ClassMetrics| {
        let [ap, ap50] = validated.measured.coco.by_class[class.class];
        json!({
            "class_id": class.class, "class": class_name(&dataset.names, class.class), "images": class.images,
            "instances": class.truths,
            "ultralytics": {
                "precision": class.precision, "recall": class.recall, "f1": class.f1, "map50": class.ap50(),
                "map50_95": class.ap50_95(),
            },
            "coco": { "AP": ap, "AP50": ap50 },
        })
    };
    let coco: serde_json::Map<String, Value> = coco::CocoStats::NAMES
        .iter()
        .zip(validated.measured.coco.summary.stats())
        .map(|(name, value)| ((*name).to_owned(), json!(value)))
        .collect();
    let [preprocess, inference, postprocess] = validated.times.map(milliseconds);
    let times = (!validated.elapsed.is_zero()).then(|| {
        json!({
            "preprocess": preprocess, "inference": inference, "postprocess": postprocess,
            "all": milliseconds(validated.elapsed),
        })
    });
    let [precision, recall, map50, map50_95] = metrics.means();
    let mut object = Map::new();
    let mut add = |values: Value| {
        if let Value::Object(values) = values {
            object.extend(values);
        }
    };
    add(json!({
        "model": model, "images": validated.images.len() - failed, "unreadable_images": failed,
        "left_out_images": dataset.report.left_out, "left_out_instances": dataset.report.left_out_objects,
        "images_without_labels": dataset.report.backgrounds,
    }));
    add(TOLD.iter().map(|name| (*name, options.get(*name).cloned().unwrap_or_default())).collect());
    add(json!({
        "ultralytics": {
            "precision": precision, "recall": recall, "map50": map50, "map50_95": map50_95,
            "confidence": metrics.confidence(),
        },
        "coco": coco,
        "classes": metrics.classes.iter().map(class).collect::<Vec<_>>(),
        "milliseconds": times,
    }));
    Value::Object(object)
}
