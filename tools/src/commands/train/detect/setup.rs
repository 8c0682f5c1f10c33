//! What a run starts from: data, architecture, weights.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, anyhow, bail};
use candle_core::Tensor;
use candle_vision::train::optim::ParamKind;
use candle_yolov8::ModelConfig;
use candle_yolov8::data::{AnnotatedImage, DataYaml};
use candle_yolov8::train::augment::AugmentOptions;
use candle_yolov8::train::{
    CacheMode, DetectionDataset, DetectionDatasetOptions, Freeze, MultiScale, Recipe, Trainer, TrainerConfig,
    class_weights,
};
use ghostzoo_weights::{Checkpoint, Registry};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::auto_batch::auto_batch;
use super::data::Data;
use super::task::{DetectTask, Parts};
use crate::cli::{DetectTrainArgs, GlobalArgs, RunArgs, bytes};
use crate::commands::train::fingerprints::Item;
use crate::commands::train::run::{Training, absolute_file, absolute_path};
use crate::commands::train::transfer::{rows_by_name, told_rows};
use crate::error::{text, usage};
use crate::model;
use crate::output::notes;
use ghostzoo::soundness;
use ghostzoo::{Architecture, ModelSpec};

/// Most notes of one kind.
const SHOWN: usize = 20;

/// All that is known before the first step.
pub(crate) struct Setup {
    names: Vec<String>,
    train: Arc<DetectionDataset>,
    val: Vec<AnnotatedImage>,
    /// Of the run's folder.
    files: Vec<(String, String)>,
    source: Source,
    recipe: Recipe,
}

/// A network's description, and the weights it starts from.
struct Source {
    def: ModelConfig,
    /// Name and, for a yaml of the user's own, its text: what the checkpoints say of their architecture.
    arch: String,
    yaml: Option<String>,
    weights: Option<(String, Checkpoint)>,
}

impl Training for Setup {
    const NAME: &'static str = "detect";
    type Args = DetectTrainArgs;
    type Task = DetectTask;

    fn run_args(args: &DetectTrainArgs) -> &RunArgs {
        &args.run
    }

    fn run_args_mut(args: &mut DetectTrainArgs) -> &mut RunArgs {
        &mut args.run
    }

    fn absolute(args: &DetectTrainArgs) -> Result<DetectTrainArgs> {
        let data = args.data.as_deref().map(absolute_path).transpose()?;
        let [model, pretrained] = [&args.model, &args.pretrained].map(|text| absolute_file(text));
        Ok(DetectTrainArgs { data, model: model?, pretrained: pretrained?, ..args.clone() })
    }

    fn of(args: &DetectTrainArgs, global: &GlobalArgs, decided: Option<&Value>) -> Result<Self> {
        let path = args.data.as_deref().context("a run has --data")?;
        let data = DataYaml::read(path)?;
        let names = if args.single_cls { vec!["item".to_owned()] } else { data.names().to_vec() };
        let decided: Option<Decided> = decided.cloned().map(serde_json::from_value).transpose()?;
        let source = match &decided {
            Some(decided) => Source::again(decided, names.len())?,
            None => Source::of(args, names.len(), global)?,
        };
        // A filter looks at the classes' own numbers, so it goes before they become one.
        let single_cls = args.single_cls && args.classes.is_none();
        let Data { train: mut images, mut val, files } = Data::read(&data, args, single_cls, global)?;
        if let Some(classes) = &args.classes {
            if let Some(class) = classes.beyond(data.names().len()) {
                let most = data.names().len() - 1;
                return Err(usage(format!("--classes {class}: the classes of {} are 0 to {most}", path.display())));
            }
            classes.filter(&mut images);
            classes.filter(&mut val);
        }
        if args.single_cls {
            val.iter_mut().flat_map(|image| &mut image.labels).for_each(|label| label.class = 0);
        }
        let cache = match args.cache.as_str() {
            "auto" => CacheMode::Auto,
            "ram" | "true" => CacheMode::Ram,
            "disk" => CacheMode::Disk,
            "false" => CacheMode::Off,
            other => return Err(usage(format!("--cache {other}: give auto, ram, disk or false"))),
        };
        let imgsz = args.imgsz.next_multiple_of(source.stride());
        let (single_cls, max_pixels) = (args.single_cls, args.run.largest.max_pixels);
        let options = DetectionDatasetOptions { imgsz, cache, single_cls, max_pixels };
        let train = Arc::new(DetectionDataset::new(images, &options)?);
        notes(&train.take_messages());
        let recipe = match decided {
            Some(Decided { recipe, .. }) => Recipe { epochs: args.run.epochs, ..recipe },
            None => {
                let mut asked = recipe(args)?;
                if let Some(share) = args.auto_batch {
                    let (batch, why) = auto_batch(share, &source.def, imgsz, &global.open(true)?);
                    asked.batch = batch;
                    if !global.quiet {
                        status!("note: {why}");
                    }
                }
                let resolved = asked.resolve(train.len(), names.len());
                // A run of limited time does not know its epochs, which cut the warm-up.
                let warmup_epochs = if args.time.is_some() { asked.warmup_epochs } else { resolved.warmup_epochs };
                Recipe { warmup_epochs, ..resolved }
            }
        };
        let scale = MultiScale { imgsz, share: args.multi_scale, stride: source.stride(), seed: args.run.seed };
        let least = if args.multi_scale > 0. { scale.least() } else { imgsz };
        if train.len() % recipe.batch == 1 && least < 2 * source.stride() {
            return Err(usage(format!(
                "the last batch of an epoch has one image, of one cell at {least} pixels, which a batch norm cannot learn \
                 from: change --batch, --imgsz or --multi-scale"
            )));
        }
        let objects: usize = (0..train.len()).map(|image| train.objects(image).len()).sum();
        if !global.quiet {
            status!(
                "note: {} images with {objects} objects of {} classes to train with, {} to validate with; {}, {} px",
                train.len(),
                names.len(),
                val.len(),
                match train.on_disk() {
                    0 if train.is_cached() => "held in memory".to_owned(),
                    0 => "decoded at each use".to_owned(),
                    count => format!("{count} decoded in .npy files beside them"),
                },
                imgsz
            );
            if imgsz != args.imgsz {
                status!("note: --imgsz {} is rounded up to {imgsz}, a multiple of {}", args.imgsz, source.stride());
            }
        }
        Ok(Self { names, train, val, files, source, recipe })
    }

    fn model(args: &DetectTrainArgs) -> &str {
        &args.model
    }

    fn hours(args: &DetectTrainArgs) -> Option<f64> {
        args.time
    }

    fn images(&self) -> [Vec<Item>; 2] {
        let item = |path: &Path, labels: String| Item {
            name: path.file_name().unwrap_or_default().to_string_lossy().into_owned(),
            path: path.to_path_buf(),
            labels,
        };
        let train = (0..self.train.len())
            .map(|number| item(self.train.path(number), format!("{:?}", self.train.objects(number))));
        let val = self.val.iter().map(|image| item(&image.path, format!("{:?}", image.labels)));
        [train.collect(), val.collect()]
    }

    fn files(&self) -> &[(String, String)] {
        &self.files
    }

    fn facts(&self) -> Result<[Value; 2]> {
        let mut text = String::new();
        for image in 0..self.train.len() {
            let name = self.train.path(image).file_name().unwrap_or_default().to_string_lossy();
            text += &format!("{name} {:?}\n", self.train.objects(image));
        }
        let labels = format!("{:08x}", crc32fast::hash(text.as_bytes()));
        let data = json!({"classes": self.names, "pictures": self.train.len(), "labels": labels});
        let Source { arch, yaml, .. } = &self.source;
        let class_channels = Some(self.source.def.class_channels());
        let decided = Decided { arch: arch.clone(), yaml: yaml.clone(), recipe: self.recipe.clone(), class_channels };
        Ok([data, serde_json::to_value(decided)?])
    }

    fn task(self, args: &DetectTrainArgs, global: &GlobalArgs, is_new: bool) -> Result<DetectTask> {
        let Self { names, train, val, source, recipe, .. } = self;
        let device = global.open(global.quiet)?;
        let batches = train.len().div_ceil(recipe.batch);
        let freeze: Freeze = args.optimizer.freeze.parse().map_err(usage)?;
        let pretrained = source.weights.as_ref().filter(|_| is_new);
        let rows = pretrained.filter(|_| args.cls_remap).and_then(|weights| rows_by_name(weights, &names));
        if let Some(rows) = rows.as_deref().filter(|_| !global.quiet) {
            status!("note: {}", told_rows(rows));
        }
        let class_rows = rows.as_deref();
        let config =
            TrainerConfig { def: &source.def, recipe: &recipe, freeze, batches, seed: args.run.seed, class_rows };
        let weights: Option<BTreeMap<String, Tensor>> = pretrained.map(|(_, checkpoint)| checkpoint.tensors.clone());
        let (mut trainer, transferred) = Trainer::new(&config, weights.as_ref(), &device)?;
        if let (Some(transferred), Some((name, _)), false) = (&transferred, &source.weights, global.quiet) {
            status!(
                "note: {} of {} tensors are taken from {name}",
                transferred.matched.len(),
                trainer.train_state().variables().iter().count()
            );
            let misshaped = &transferred.mismatch.misshaped;
            for (tensor, own, theirs) in misshaped.iter().take(SHOWN) {
                status!("note:   {tensor} starts anew: {own:?} here, {theirs:?} there");
            }
            if misshaped.len() > SHOWN {
                status!("note:   and {} more", misshaped.len() - SHOWN);
            }
            if transferred.matched.is_empty() {
                bail!("nothing of {name} fits: give its architecture with --model, and it with --pretrained");
            }
        }
        if is_new && !global.quiet {
            status!("note: {}", start(&source.arch, &recipe, &trainer, batches));
        }
        let mut counts = vec![0; names.len()];
        (0..train.len()).flat_map(|image| train.objects(image)).for_each(|object| counts[object.class] += 1);
        if let Some(weights) = class_weights(&counts, recipe.cls_pw) {
            if !global.quiet {
                let shown: Vec<String> = weights.iter().map(|weight| format!("{weight:.3}")).collect();
                status!("note: classes are weighted by {}", shown.join(", "));
            }
            trainer.weigh_classes(weights)?;
        }
        let augment: AugmentOptions = serde_json::from_value(serde_json::to_value(&args.augment)?)?;
        augment.check().map_err(usage)?;
        let objects = (0..train.len()).map(|image| train.objects(image).len());
        let most = val.iter().map(|image| image.labels.len()).chain(objects).max().unwrap_or(0);
        let parts = Parts { trainer, train, val, names, augment, arch: source.arch, yaml: source.yaml };
        DetectTask::new(parts, args, &recipe, most, global)
    }

    fn extension(&self, before: &DetectTrainArgs, after: &DetectTrainArgs, epoch: usize) -> Result<String> {
        let batches = self.train.len().div_ceil(self.recipe.batch);
        let rate = |epochs: usize, epoch: usize| {
            let schedule = Recipe { epochs, ..self.recipe.clone() }.schedule(batches);
            // After the epoch's last step.
            schedule.rate(ParamKind::Weight, 1., (epoch + 1) * batches - 1)
        };
        let mosaics = match (after.close_mosaic, after.run.epochs.saturating_sub(after.close_mosaic)) {
            (0, _) => "mosaics go on to the end".to_owned(),
            (_, last) => format!("mosaics are joined up to epoch {last}"),
        };
        Ok(format!(
            "{} epochs instead of {}: the rate of epoch {} is {:.3e}, that of the last before was {:.3e}; {mosaics}",
            after.run.epochs,
            before.run.epochs,
            epoch + 1,
            rate(after.run.epochs, epoch),
            rate(before.run.epochs, epoch.max(1) - 1)
        ))
    }
}

/// What is decided when a run begins, and holds when it goes on.
#[derive(Serialize, Deserialize)]
struct Decided {
    arch: String,
    yaml: Option<String>,
    recipe: Recipe,
    /// Of a head whose class branches come from a checkpoint.
    #[serde(default)]
    class_channels: Option<usize>,
}

impl Source {
    /// The network of a run that goes on; its weights are in the run's state.
    fn again(Decided { arch, yaml, class_channels, .. }: &Decided, nc: usize) -> Result<Self> {
        let def = match yaml {
            Some(yaml) => ModelConfig::from_yaml(yaml, Some(arch), Some(nc)).context("in the model yaml of the run")?,
            None => candle_yolov8::model_config(arch, Some(nc))
                .with_context(|| format!("the run's architecture {arch} is none that ships"))?,
        };
        let def = class_channels.map_or(def.clone(), |channels| def.with_class_channels(channels));
        Ok(Self { def, arch: arch.clone(), yaml: yaml.clone(), weights: None })
    }

    fn of(args: &DetectTrainArgs, nc: usize, global: &GlobalArgs) -> Result<Self> {
        let path = Path::new(&args.model);
        let is_yaml = path.extension().is_some_and(|extension| extension == "yaml" || extension == "yml");
        let named = Architecture::named(&args.model, Some(nc));
        let (weights, is_asked) = match args.pretrained.as_str() {
            "false" => (None, false),
            "true" => (None, true),
            file => (Some(file), true),
        };
        let read = |name: &str| -> Result<(String, Checkpoint)> {
            let found = model::find(name, global, args.run.json)?;
            Ok((name.to_owned(), ghostzoo::model::read(&found)?))
        };
        if is_yaml || named.is_some() {
            global.refuse_arch(&args.model)?;
        }
        let weights = weights.map(read).transpose()?;
        if let Some((name, checkpoint)) = &weights {
            soundness::trainable(name, checkpoint)?;
        }
        if is_yaml && path.is_file() {
            let yaml = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
            let def = ModelConfig::from_yaml(&yaml, Some(&args.model), Some(nc))
                .with_context(|| format!("in {}", args.model))?;
            let arch = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            return Ok(Self { def: trained_on_from(&weights, def), arch, yaml: Some(yaml), weights });
        }
        if let Some(architecture) = named {
            let Architecture::Detector { def, .. } = architecture else {
                return Err(usage(format!("{} is a classifier: `ghostzoo train classify`", args.model)));
            };
            let has_weights = Registry::builtin().find(&args.model).is_some();
            let weights = match weights {
                None if is_asked && has_weights && !is_yaml => {
                    let advised = |error| anyhow!("{}; --pretrained false trains from the start", text(&error));
                    Some(read(&args.model).map_err(advised)?)
                }
                weights => weights,
            };
            let arch = args.model.trim_end_matches(".yaml").to_owned();
            return Ok(Self { def: trained_on_from(&weights, def), arch, yaml: None, weights });
        }
        let (name, checkpoint) = read(&args.model)?;
        let spec = ModelSpec::of_checkpoint(&checkpoint, global.arch.as_deref())?;
        let architecture = spec.architecture.with_classes(nc);
        let Architecture::Detector { def, .. } = architecture else {
            return Err(usage(format!("{name} is a classifier: `ghostzoo train classify`")));
        };
        soundness::trainable(&name, &checkpoint)?;
        let metadata = &checkpoint.metadata;
        let yaml = metadata.yaml.as_ref().map(|yaml| yaml.as_str().map_or_else(|| yaml.to_string(), str::to_owned));
        let by_shapes = || candle_yolov8::config_from_shapes(&checkpoint.shapes()).map(|(name, ..)| name);
        let said = metadata.arch.clone().or_else(|| global.arch.as_deref().map(bytes::shown));
        let arch = said.or_else(by_shapes).unwrap_or_else(|| name.clone());
        let weights = weights.or(Some((name, checkpoint)));
        Ok(Self { def: trained_on_from(&weights, def), arch, yaml, weights })
    }

    /// What a side of the input is a multiple of.
    fn stride(&self) -> usize {
        self.def.rows.iter().fold(32., |most: f64, row| most.max(row.stride)) as usize
    }
}

/// The network as it is trained on from `weights`.
fn trained_on_from(weights: &Option<(String, Checkpoint)>, def: ModelConfig) -> ModelConfig {
    match weights {
        Some((_, checkpoint)) => candle_yolov8::trained_on_from(&checkpoint.shapes(), def),
        None => def,
    }
}

/// The recipe that the arguments describe.
fn recipe(args: &DetectTrainArgs) -> Result<Recipe> {
    let mut values = serde_json::to_value(&args.optimizer)?;
    let fields = values.as_object_mut().context("arguments are pairs")?;
    fields.remove("freeze");
    fields.insert("epochs".to_owned(), args.run.epochs.into());
    fields.insert("batch".to_owned(), args.batch.into());
    serde_json::from_value(values).map_err(usage)
}

/// Says how a run starts.
fn start(arch: &str, recipe: &Recipe, trainer: &Trainer, batches: usize) -> String {
    let trained: usize = trainer.train_state().variables().parameters().iter().map(|(_, var)| var.elem_count()).sum();
    let groups = trainer.train_state().optimizer().groups();
    let counts: Vec<String> = groups.iter().map(|group| group.parameters.len().to_string()).collect();
    format!(
        "{arch}, {trained} parameters in training; {} at {} with momentum {}, groups of {} tensors; {batches} steps an epoch",
        recipe.optimizer,
        recipe.lr0,
        recipe.momentum,
        counts.join(", ")
    )
}
