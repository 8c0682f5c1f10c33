//! One pass over the images, which each model looks at.

use std::collections::HashSet;
use std::ops::Range;
use std::time::{Duration, Instant};

use anyhow::Result;
use candle_core::{DType, Device, Tensor};
use candle_vision::data::{ImageIndex, ImageReadError, ImageRecord, LoaderError, PrefetchIter, RealLabels};
use candle_vision::image::{EvalTransform, RgbImage, decode_with};
use rayon::prelude::*;

use super::models::EvalModel;
use super::npy::Npy;
use super::shard::EvalShard;
use super::subset::Subset;
use crate::cli::{EvalArgs, GlobalArgs};
use crate::error;
use crate::progress::Count;

/// Time between two writes of the part's file.
const BETWEEN_WRITES: Duration = Duration::from_secs(20);

/// What is right.
pub(super) struct LabelSource {
    pub(super) real_labels: Option<RealLabels>,
    pub(super) valid: Option<Vec<usize>>,
}

/// All that a pass needs.
pub(super) struct Evaluator<'a> {
    pub(super) args: &'a EvalArgs,
    pub(super) global: &'a GlobalArgs,
    pub(super) device: &'a Device,
    pub(super) candidates: &'a [EvalModel],
    pub(super) set: &'a ImageIndex,
    pub(super) selection: Subset,
    pub(super) truth: LabelSource,
}

/// An image as each transform gives it, or its name and why it cannot be read.
struct PreparedImage {
    name: String,
    class: usize,
    views: Result<Vec<RgbImage>>,
    /// What is to be said of its file.
    warning: Option<&'static str>,
}

/// Images that go through the models together.
type Batch = Result<Vec<PreparedImage>, LoaderError>;

impl Evaluator<'_> {
    /// Looks at what is left of the part.
    pub(super) fn run(&self, mut part: EvalShard, mut logits: Option<Npy>) -> Result<EvalShard> {
        let transforms = self.transforms();
        let mut bar = Count::new("eval", self.global.quiet || self.args.json);
        let rest = self.selection.images(part.next..part.end);
        std::thread::scope(|scope| {
            let batches = PrefetchIter::spawn_scoped(scope, self.batches(rest, &transforms))?;
            self.look(batches, &transforms, &mut part, logits.as_mut(), &mut bar)
        })?;
        bar.finish();
        if let Some(path) = &self.args.part {
            part.write(path)?;
        }
        if let Some(logits) = logits {
            logits.finish()?;
        }
        Ok(part)
    }

    /// The different ways in which the models see images.
    fn transforms(&self) -> Vec<EvalTransform> {
        let mut transforms: Vec<EvalTransform> = Vec::new();
        for candidate in self.candidates {
            if !transforms.contains(&candidate.transform) {
                transforms.push(candidate.transform.clone());
            }
        }
        transforms
    }

    /// Batches that are read, decoded and scaled on all threads.
    fn batches(&self, images: Range<usize>, transforms: &[EvalTransform]) -> impl Iterator<Item = Batch> + Send {
        let index = |image: &Result<ImageRecord, ImageReadError>| match image {
            Ok(image) => image.index,
            Err(error) => error.index,
        };
        let mut images = self.set.images(images).filter(move |image| self.selection.contains(index(image)));
        std::iter::from_fn(move || {
            let batch: Vec<_> = images.by_ref().take(self.args.batch).collect();
            let prepare = |image| self.prepare(image, transforms);
            (!batch.is_empty()).then(|| Ok(batch.into_par_iter().map(prepare).collect()))
        })
    }

    fn prepare(&self, image: Result<ImageRecord, ImageReadError>, transforms: &[EvalTransform]) -> PreparedImage {
        match image {
            Ok(image) => {
                let mut warning = None;
                let views = image.read().map_err(anyhow::Error::from).and_then(|bytes| {
                    // As torchvision's ImageFolder: the stored orientation is not applied.
                    let decoded = decode_with(&bytes, &self.args.largest.stored())?;
                    warning = decoded.warning;
                    Ok(transforms.iter().map(|transform| transform.resize_crop(&decoded.image)).collect())
                });
                PreparedImage { name: image.name, class: image.class, views, warning }
            }
            Err(ImageReadError { index, name, reason }) => {
                let views = Err(anyhow::Error::msg(reason));
                PreparedImage { name, class: self.set.class_of(index), views, warning: None }
            }
        }
    }

    /// The models over each batch, in order.
    fn look(
        &self,
        batches: impl Iterator<Item = Batch>,
        transforms: &[EvalTransform],
        part: &mut EvalShard,
        mut logits: Option<&mut Npy>,
        bar: &mut Count,
    ) -> Result<()> {
        let excluded = self.excluded();
        let (mut last, mut written) = (Instant::now(), Instant::now());
        for batch in batches {
            let batch = batch?;
            let view = |view: usize| batch.iter().filter_map(move |image| Some(&image.views.as_ref().ok()?[view]));
            let inputs = transforms.iter().enumerate();
            let inputs = inputs.map(|(i, transform)| self.input(transform, &view(i).collect::<Vec<_>>()));
            let inputs: Vec<Option<Tensor>> = inputs.collect::<Result<_>>()?;
            let rows: Vec<Vec<Vec<f32>>> = self
                .candidates
                .iter()
                .map(|candidate| {
                    let view = transforms.iter().position(|transform| *transform == candidate.transform);
                    let input = view.and_then(|view| inputs[view].as_ref());
                    input.map_or_else(|| Ok(Vec::new()), |input| self.logits(candidate, input))
                })
                .collect::<Result<_>>()?;
            if let Some(file) = logits.as_deref_mut() {
                write_logits(file, &batch, &rows[0], self.candidates[0].network.config().num_classes)?;
            }
            self.count(&batch, rows, &excluded, part);
            part.next += batch.len();
            part.seconds += last.elapsed().as_secs_f64();
            last = Instant::now();
            let so_far = part.tallies.iter().map(|tally| format!("{:.3}", 100. * tally.top1())).collect::<Vec<_>>();
            bar.show(part.next - part.start, part.end - part.start, &format!("top-1 {}", so_far.join(" ")));
            if let Some(path) = self.args.part.as_deref().filter(|_| written.elapsed() >= BETWEEN_WRITES) {
                part.write(path)?;
                written = Instant::now();
            }
        }
        Ok(())
    }

    fn input(&self, transform: &EvalTransform, views: &[&RgbImage]) -> Result<Option<Tensor>> {
        if views.is_empty() {
            return Ok(None);
        }
        Ok(Some(transform.normalize(views, &Device::Cpu)?.to_device(self.device)?.to_dtype(self.global.dtype())?))
    }

    fn logits(&self, candidate: &EvalModel, input: &Tensor) -> Result<Vec<Vec<f32>>> {
        Ok(candidate.network.forward(input)?.to_dtype(DType::F32)?.to_vec2()?)
    }

    /// Classes that may not be predicted.
    fn excluded(&self) -> Vec<usize> {
        let Some(valid) = &self.truth.valid else { return Vec::new() };
        let valid: HashSet<usize> = valid.iter().copied().collect();
        let classes = self.candidates[0].network.config().num_classes;
        (0..classes).filter(|class| !valid.contains(class)).collect()
    }

    /// Adds a batch to the tallies.
    fn count(&self, batch: &[PreparedImage], rows: Vec<Vec<Vec<f32>>>, excluded: &[usize], part: &mut EvalShard) {
        let mut rows: Vec<_> = rows.into_iter().map(Vec::into_iter).collect();
        for image in batch {
            if let Some(warning) = image.warning.filter(|_| !self.global.quiet) {
                status!("note: {}: {warning}", image.name);
            }
            if let Err(error) = &image.views {
                status!("error: {}: {}; it does not count", image.name, error::text(error));
                part.unreadable.push(image.name.clone());
                continue;
            }
            let own = [image.class];
            let accepted = match &self.truth.real_labels {
                None => Some(own.as_slice()),
                Some(real) => real.labels_of(&image.name).filter(|labels| !labels.is_empty()),
            };
            part.unlabelled += usize::from(accepted.is_none());
            for (rows, tally) in rows.iter_mut().zip(&mut part.tallies) {
                let (Some(mut row), Some(accepted)) = (rows.next(), accepted) else { continue };
                excluded.iter().for_each(|class| row[*class] = f32::NEG_INFINITY);
                tally.add(&row, image.class, accepted);
            }
        }
    }
}

/// A row per image.
fn write_logits(file: &mut Npy, batch: &[PreparedImage], rows: &[Vec<f32>], classes: usize) -> Result<()> {
    let mut rows = rows.iter();
    for image in batch {
        match image.views.is_ok().then(|| rows.next()).flatten() {
            Some(row) => file.write(row)?,
            None => file.write(&vec![f32::NAN; classes])?,
        }
    }
    Ok(())
}
