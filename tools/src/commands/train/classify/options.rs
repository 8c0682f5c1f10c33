//! The library's options of a classifier's arguments.

use anyhow::Result;
use candle_ghostnet::train::Recipe;
use candle_vision::augment::{AugmentError, ClassificationAugment, EraseMode, TrainInterpolation};
use candle_vision::image::Interpolation;
use ghostzoo::Architecture;
use ghostzoo::train::{ClassificationOptions, Pretrained};

use ghostzoo_weights::Registry;

use crate::cli::{ClassifyTrainArgs, GlobalArgs};
use crate::error::usage;

/// How it is trained.
pub(super) fn task(args: &ClassifyTrainArgs, global: &GlobalArgs) -> Result<ClassificationOptions> {
    let mut options = ClassificationOptions::new(&args.model);
    options.augment = augment(args)?;
    options.recipe = recipe(args)?;
    options.pretrained = match args.pretrained.as_str() {
        "false" => Pretrained::No,
        "true"
            if Architecture::named(&args.model, None).is_some() && Registry::builtin().find(&args.model).is_none() =>
        {
            return Err(usage(format!(
                "--pretrained: {} has no published weights; leave it out, or name a checkpoint: --pretrained FILE",
                args.model
            )));
        }
        "true" => Pretrained::Published,
        file => Pretrained::From(file.to_owned()),
    };
    options.arch = global.arch.clone();
    options.cls_remap = args.cls_remap;
    options.device = global.open(global.quiet)?;
    options.freeze = args.optimizer.freeze;
    options.teacher = args.optimizer.teacher.clone();
    options.imgsz = args.imgsz;
    options.crop_pct = args.crop_pct;
    let interpolation = args.interpolation.as_deref().map(str::parse::<Interpolation>).transpose();
    options.interpolation = interpolation.map_err(|error| usage(format!("--interpolation: {error}")))?;
    options.workers = args.run.workers;
    options.seed = args.run.seed;
    Ok(options)
}

fn recipe(args: &ClassifyTrainArgs) -> Result<Recipe> {
    let optimizer = &args.optimizer;
    let mut recipe = Recipe::default();
    recipe.epochs = args.run.epochs;
    recipe.batch = args.batch;
    recipe.opt = optimizer.opt.parse().map_err(usage)?;
    recipe.lr = optimizer.lr;
    recipe.momentum = optimizer.momentum;
    recipe.weight_decay = optimizer.weight_decay;
    recipe.clip_grad = optimizer.clip_grad;
    recipe.sched = optimizer.sched.parse().map_err(usage)?;
    recipe.warmup_epochs = optimizer.warmup_epochs;
    recipe.warmup_lr = optimizer.warmup_lr;
    recipe.min_lr = optimizer.min_lr;
    recipe.decay_epochs = optimizer.decay_epochs;
    recipe.decay_rate = optimizer.decay_rate;
    recipe.model_ema = optimizer.model_ema;
    recipe.model_ema_decay = optimizer.model_ema_decay;
    recipe.drop = optimizer.drop;
    recipe.smoothing = args.augment.smoothing;
    recipe.distill_alpha = optimizer.distill_alpha;
    recipe.distill_temperature = optimizer.distill_temperature;
    recipe.slim = optimizer.slim;
    Ok(recipe)
}

fn augment(args: &ClassifyTrainArgs) -> Result<ClassificationAugment> {
    let args = &args.augment;
    let mut augment = ClassificationAugment::default();
    augment.scale = range("scale", &args.scale)?;
    augment.ratio = range("ratio", &args.ratio)?;
    augment.padding = args.crop_pad;
    augment.interpolation = match args.train_interpolation.as_str() {
        "bilinear" => TrainInterpolation::Bilinear,
        "bicubic" => TrainInterpolation::Bicubic,
        _ => TrainInterpolation::Random,
    };
    augment.hflip = args.hflip;
    augment.vflip = args.vflip;
    augment.aa =
        args.aa.as_deref().map(str::parse).transpose().map_err(|error: AugmentError| usage(error.to_string()))?;
    augment.color_jitter = args.color_jitter;
    augment.reprob = args.reprob;
    augment.remode = match args.remode.as_str() {
        "rand" => EraseMode::Rand,
        "const" => EraseMode::Const,
        _ => EraseMode::Pixel,
    };
    augment.recount = args.recount;
    augment.mixup = args.mixup;
    augment.cutmix = args.cutmix;
    augment.mixup_prob = args.mixup_prob;
    augment.mixup_switch_prob = args.mixup_switch_prob;
    augment.smoothing = args.smoothing;
    augment.check().map_err(|error| usage(error.to_string()))?;
    Ok(augment)
}

/// The two numbers of an option such as `0.08,1`.
fn range(name: &str, text: &str) -> Result<[f64; 2]> {
    let numbers: Option<Vec<f64>> = text.split(',').map(|part| part.trim().parse().ok()).collect();
    numbers
        .and_then(|numbers| <[f64; 2]>::try_from(numbers).ok())
        .ok_or_else(|| usage(format!("--{name} {text}: give two numbers, such as 0.08,1")))
}
