//! Steps, validation and checkpoints of a classifier.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use candle_core::{DType, Device, Tensor};
use candle_ghostnet::train::Trainer;
use candle_ghostnet::{GhostNet, Layer};
use candle_nn::VarBuilder;
use candle_vision::augment::{Batch, DataLoader, EpochIter};
use candle_vision::data::CachedDataset;
use candle_vision::image::{self, EvalTransform, RgbImage};
use candle_vision::metrics::ClassificationMetrics;
use ghostzoo_weights::{Checkpoint, Metadata};
use serde_json::{Value, json};

use super::images::Images;
use crate::cli::ClassifyTrainArgs;
use crate::commands::train::arguments;
use crate::commands::train::interrupt::Interrupt;
use crate::commands::train::progress::OutputMode;
use crate::commands::train::train_loop::{Step, Task, Validation};
use crate::output::{Stdout, Table, grouped};
use crate::plot;

const LOSSES: &[&str] = &["loss"];
const METRICS: &[&str] = &["accuracy_top1", "accuracy_top5"];
/// Batches of the validation that are drawn.
const DRAWN: usize = 3;
/// Most classes that are listed one by one.
const MOST_LISTED: usize = 100;

/// What a task is made of.
pub(super) struct Parts {
    pub(super) trainer: Trainer,
    /// What is learnt from and what is measured on.
    pub(super) sets: [Arc<CachedDataset>; 2],
    pub(super) train: DataLoader,
    pub(super) val: DataLoader,
    pub(super) view: EvalTransform,
    pub(super) images: Images,
}

/// A classifier in training, with its data.
pub(crate) struct ClassifyTask {
    parts: Parts,
    args: ClassifyTrainArgs,
    epoch: Option<EpochIter>,
    /// The next step, counted over all epochs.
    iteration: usize,
    drawn: Option<Batch>,
    /// Unreadable images that were named, of each set.
    told: RefCell<[HashSet<usize>; 2]>,
}

impl ClassifyTask {
    pub(super) fn new(parts: Parts, args: &ClassifyTrainArgs) -> Self {
        Self { parts, args: args.clone(), epoch: None, iteration: 0, drawn: None, told: RefCell::default() }
    }

    /// Looks at the validation images; draws the first batches into `folder`. Nothing where `interrupt` asked to end.
    fn measure(
        &self,
        network: &GhostNet,
        folder: Option<&Path>,
        interrupt: &Interrupt,
    ) -> Result<Option<ClassificationMetrics>> {
        let mut tally = ClassificationMetrics::default();
        for (number, batch) in self.parts.val.epoch(0)?.enumerate() {
            if interrupt.asked() {
                return Ok(None);
            }
            let batch = batch?;
            let kept = folder.filter(|_| number < DRAWN).map(|folder| (folder, batch.clone()));
            let classes = batch.classes.clone();
            let (images, _) = batch.into_tensors(self.parts.trainer.device())?;
            let logits = network.forward(&images)?.to_dtype(DType::F32)?.to_vec2::<f32>()?;
            let verdict = |(logits, &class): (&Vec<f32>, &usize)| tally.add(logits, class, &[class]).predicted;
            let predicted: Vec<usize> = logits.iter().zip(&classes).map(verdict).collect();
            if let Some((folder, batch)) = kept {
                for (name, classes) in [("labels", &classes), ("pred", &predicted)] {
                    let image = self.parts.images.draw(&batch, classes, |number| self.parts.sets[1].set().name(number));
                    image::save(&image, &folder.join(format!("val_batch{number}_{name}.jpg")))?;
                }
            }
        }
        self.tell_unreadable();
        if tally.images() == 0 {
            bail!("none of the {} validation images can be read", self.parts.sets[1].set().len());
        }
        if tally.not_finite() > 0 {
            bail!(
                "the answers to {} of {} validation images are no numbers: begin again with a lower --lr or a longer \
                 --warmup-epochs",
                tally.not_finite(),
                tally.images()
            );
        }
        Ok(Some(tally))
    }

    /// Names images that could not be read, each once.
    fn tell_unreadable(&self) {
        let mut told = self.told.borrow_mut();
        let becomes = ["the next that can be read takes its place", "it does not count in validation"];
        for ((set, told), becomes) in self.parts.sets.iter().zip(told.iter_mut()).zip(becomes) {
            for error in set.unreadable() {
                if told.insert(error.index) {
                    status!("note: {error}; {becomes}");
                }
            }
        }
    }

    fn confusion(&self, tally: &ClassificationMetrics, folder: &Path) -> Result<()> {
        let counts: HashMap<(usize, usize), u64> = tally.confusion().collect();
        let count = |predicted, truth| counts.get(&(truth, predicted)).copied().unwrap_or(0);
        let names = &self.parts.images.drawn;
        for (name, cells) in
            [("confusion_matrix", plot::Cells::Counts), ("confusion_matrix_normalized", plot::Cells::Normalised)]
        {
            let image = plot::confusion_matrix(names, count, cells, None)?;
            image::save(&image, &folder.join(format!("{name}.png")))?;
        }
        Ok(())
    }
}

/// Accuracies of all images, and of each class where they are few.
fn table(names: &[String], tally: &ClassificationMetrics) -> Table {
    let mut table = Table::new(&["class", "images", "top1", "top5"], 1);
    let [top1, top5] = [tally.top1(), tally.top5()].map(|share| format!("{share:.4}"));
    table.row(vec!["all".to_owned(), grouped(tally.images() as usize), top1, top5]);
    if names.len() <= MOST_LISTED {
        let mut counts = vec![[0_u64; 2]; names.len()];
        for ((truth, predicted), count) in tally.confusion() {
            counts[truth][0] += count;
            counts[truth][1] += if truth == predicted { count } else { 0 };
        }
        for (name, [all, right]) in names.iter().zip(counts) {
            let top1 = if all == 0 { "-".to_owned() } else { format!("{:.4}", right as f64 / all as f64) };
            table.row(vec![name.clone(), grouped(all as usize), top1]);
        }
    }
    table
}

impl Task for ClassifyTask {
    const RATE: &'static str = "--lr";
    const LAST_OF_EQUALS: bool = false;

    fn columns(&self) -> (&'static [&'static str], &'static [&'static str]) {
        (LOSSES, METRICS)
    }

    fn batches(&self) -> usize {
        self.parts.train.batches()
    }

    fn replan(&mut self, _: usize) {}

    fn closes_at(&self) -> Option<usize> {
        None
    }

    fn begin(&mut self, epoch: usize, batch: usize) -> Result<()> {
        self.epoch = None;
        self.epoch = Some(self.parts.train.epoch_from(epoch, batch)?);
        self.iteration = epoch * self.batches() + batch;
        // A run that goes on behind an epoch's last step still tells its rates.
        self.parts.trainer.seek(self.iteration);
        Ok(())
    }

    fn step(&mut self) -> Result<Step> {
        let epoch = self.epoch.as_mut().context("an epoch that was not begun")?;
        let before = epoch.waited();
        let batch = epoch.next().context("an epoch ended before its last batch")??;
        let waited = epoch.waited() - before;
        let images = batch.classes.len();
        self.drawn = (self.args.run.plots && self.iteration < DRAWN).then(|| batch.clone());
        let (xs, targets) = batch.into_tensors(self.parts.trainer.device())?;
        let loss = self.parts.trainer.step(self.iteration, &xs, &targets)?;
        self.iteration += 1;
        Ok(Step { losses: vec![loss], images, moved: true, waited })
    }

    fn draw_labels(&self) -> Result<Option<RgbImage>> {
        Ok(None)
    }

    fn draw_batch(&self) -> Result<RgbImage> {
        let batch = self.drawn.as_ref().context("no batch was kept")?;
        Ok(self.parts.images.draw(batch, &batch.classes, |number| self.parts.sets[0].set().name(number)))
    }

    fn rates(&self) -> Vec<f64> {
        self.parts.trainer.rates()
    }

    fn validate(&mut self, interrupt: &Interrupt) -> Result<Option<Validation>> {
        let Some(tally) = self.measure(&self.parts.trainer.classifier()?, None, interrupt)? else { return Ok(None) };
        let (metrics, losses) = (vec![tally.top1(), tally.top5()], vec![tally.loss()]);
        Ok(Some(Validation { metrics, losses, fitness: tally.top1() }))
    }

    fn checkpoint(&self, epochs: usize) -> Result<Checkpoint> {
        let mut tensors = self.parts.trainer.weights()?;
        for tensor in tensors.values_mut() {
            *tensor = tensor.to_device(&Device::Cpu)?;
        }
        let classes = &self.parts.images.classes;
        let metadata = Metadata {
            arch: Some(self.parts.trainer.config().variant.name.to_owned()),
            task: Some("classify".to_owned()),
            nc: Some(classes.len()),
            names: Some(classes.clone()),
            imgsz: Some(self.parts.view.input_size[0]),
            train_args: Some(arguments::shared(&self.args)?),
            epoch: Some(epochs as i64),
            layout: ghostzoo_weights::KeyLayout::Timm,
            preprocessing: Some(ghostzoo::model::preprocessing(&self.parts.view)),
            ..Default::default()
        };
        Ok(Checkpoint { tensors, metadata })
    }

    fn state(&self) -> Result<(BTreeMap<String, Tensor>, Value)> {
        let (tensors, updates) = self.parts.trainer.state()?;
        Ok((tensors, json!({ "average_updates": updates })))
    }

    fn load_state(&mut self, tensors: &BTreeMap<String, Tensor>, counters: &Value) -> Result<()> {
        let updates = counters["average_updates"].as_u64().context("the counters are not those of a classifier")?;
        Ok(self.parts.trainer.load_state(tensors, updates)?)
    }

    fn show(&self, best: &Path, folder: &Path, reader: OutputMode, plots: bool) -> Result<()> {
        let tensors = ghostzoo_weights::read(best)?.tensors.into_iter().collect();
        let vb = VarBuilder::from_tensors(tensors, DType::F32, self.parts.trainer.device());
        let network = GhostNet::new(&self.parts.trainer.config().for_inference(), vb)?;
        let measured = self.measure(&network, plots.then_some(folder), &Interrupt::default())?;
        let tally = measured.context("nothing was measured")?;
        if plots {
            self.confusion(&tally, folder)?;
        }
        match reader {
            OutputMode::Quiet => Ok(()),
            OutputMode::Human => {
                let (mut out, table) = (Stdout::beside_the_work(), table(&self.parts.images.classes, &tally));
                table.lines().iter().try_for_each(|line| out.line(line))
            }
            OutputMode::Json => {
                let line = json!({
                    "best": best, "accuracy_top1": tally.top1(), "accuracy_top5": tally.top5(), "loss": tally.loss(),
                });
                Stdout::beside_the_work().line(&line.to_string())
            }
        }
    }
}
