//! The library's options of a detector's arguments.

use anyhow::Result;
use candle_yolov8::train::augment::AugmentOptions;
use candle_yolov8::train::{CacheMode, DetectionDatasetOptions, Recipe};
use ghostzoo::train::{DetectionDataOptions, DetectionOptions, Pretrained};

use crate::cli::{DetectTrainArgs, GlobalArgs};
use crate::error::usage;

/// What of the data is used.
pub(super) fn data(args: &DetectTrainArgs) -> DetectionDataOptions {
    let mut options = DetectionDataOptions::new();
    options.val_split = args.run.val_split;
    options.fraction = args.fraction.clone();
    options.single_cls = args.single_cls;
    options.classes = args.classes.clone();
    options.seed = args.run.seed;
    options
}

/// How images are held, at the network's size.
pub(super) fn images(args: &DetectTrainArgs, imgsz: usize) -> Result<DetectionDatasetOptions> {
    let cache = match args.cache.as_str() {
        "auto" => CacheMode::Auto,
        "ram" | "true" => CacheMode::Ram,
        "disk" => CacheMode::Disk,
        "false" => CacheMode::Off,
        other => return Err(usage(format!("--cache {other}: give auto, ram, disk or false"))),
    };
    // The data have one class already where it is asked for.
    Ok(DetectionDatasetOptions::new().imgsz(imgsz).cache(cache).max_pixels(args.run.largest.max_pixels))
}

/// How it is trained.
pub(super) fn task(args: &DetectTrainArgs, global: &GlobalArgs) -> Result<DetectionOptions> {
    let mut options = DetectionOptions::new(&args.model);
    options.pretrained = match args.pretrained.as_str() {
        "false" => Pretrained::No,
        "true" => Pretrained::Published,
        file => Pretrained::From(file.to_owned()),
    };
    options.arch = global.arch.clone();
    options.cls_remap = args.cls_remap;
    options.device = global.open(global.quiet)?;
    options.recipe = recipe(args)?;
    options.memory_share = args.auto_batch;
    options.augment = augment(args);
    options.freeze = args.optimizer.freeze.parse().map_err(usage)?;
    if args.optimizer.distill.is_some() && args.optimizer.teacher.is_none() {
        return Err(usage("--distill weighs what is learnt from a --teacher: name one"));
    }
    options.teacher = args.optimizer.teacher.clone();
    options.distill = args.optimizer.distill.unwrap_or(options.distill);
    options.rect = args.rect;
    options.multi_scale = args.multi_scale;
    options.close_mosaic = args.close_mosaic;
    options.iou = args.iou;
    options.max_det = args.max_det;
    options.max_pixels = args.run.largest.max_pixels;
    options.workers = args.run.workers;
    options.seed = args.run.seed;
    Ok(options)
}

fn recipe(args: &DetectTrainArgs) -> Result<Recipe> {
    let (epochs, batch, args) = (args.run.epochs, args.batch, &args.optimizer);
    let mut recipe = Recipe::default();
    recipe.epochs = epochs;
    recipe.batch = batch;
    recipe.optimizer = args.optimizer.parse().map_err(usage)?;
    recipe.lr0 = args.lr0;
    recipe.lrf = args.lrf;
    recipe.momentum = args.momentum;
    recipe.weight_decay = args.weight_decay;
    recipe.warmup_epochs = args.warmup_epochs;
    recipe.warmup_momentum = args.warmup_momentum;
    recipe.warmup_bias_lr = args.warmup_bias_lr;
    recipe.cos_lr = args.cos_lr;
    recipe.nbs = args.nbs;
    recipe.box_gain = args.box_gain;
    recipe.cls_gain = args.cls_gain;
    recipe.dfl_gain = args.dfl_gain;
    recipe.cls_pw = args.cls_pw;
    recipe.slim = args.slim;
    Ok(recipe)
}

fn augment(args: &DetectTrainArgs) -> AugmentOptions {
    let args = &args.augment;
    let mut augment = AugmentOptions::default();
    augment.hsv_h = args.hsv_h;
    augment.hsv_s = args.hsv_s;
    augment.hsv_v = args.hsv_v;
    augment.degrees = args.degrees;
    augment.translate = args.translate;
    augment.scale = args.scale;
    augment.shear = args.shear;
    augment.perspective = args.perspective;
    augment.flipud = args.flipud;
    augment.fliplr = args.fliplr;
    augment.bgr = args.bgr;
    augment.mosaic = args.mosaic;
    augment.mixup = args.mixup;
    augment.cutmix = args.cutmix;
    augment
}
