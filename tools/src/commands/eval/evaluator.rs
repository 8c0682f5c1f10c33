//! One pass over the images, which each model looks at.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use anyhow::Result;
use candle_vision::data::{ImageIndex, ImageReadError, ImageRecord, RealLabels};
use candle_vision::image::{RgbImage, decode_with};
use ghostzoo::{Classifier, OnePassImage};

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
    pub(super) candidates: &'a [EvalModel],
    pub(super) set: &'a ImageIndex,
    pub(super) selection: Subset,
    pub(super) truth: LabelSource,
}

/// What is known of an image beside its pixels.
struct ImageFile {
    name: String,
    class: usize,
    /// What is to be said of its file.
    warning: Option<&'static str>,
    /// Why it cannot be read.
    error: Option<anyhow::Error>,
}

impl Evaluator<'_> {
    /// Looks at what is left of the part.
    pub(super) fn run(&self, mut part: EvalShard, mut logits: Option<Npy>) -> Result<EvalShard> {
        let mut bar = Count::new("eval", self.global.quiet || self.args.json);
        let index = |image: &Result<ImageRecord, ImageReadError>| match image {
            Ok(image) => image.index,
            Err(error) => error.index,
        };
        let rest = self.selection.images(part.next..part.end);
        let rest = self.set.images(rest).filter(|image| self.selection.contains(index(image)));
        let classifiers: Vec<&Classifier> = self.candidates.iter().map(|candidate| &candidate.classifier).collect();
        let excluded = self.excluded();
        let (mut last, mut written) = (Instant::now(), Instant::now());
        let open = |image| self.open(image);
        Classifier::logits_in_one_pass(&classifiers, rest, open, self.args.batch, |batch| -> Result<()> {
            if let Some(file) = &mut logits {
                write_logits(file, &batch, self.candidates[0].num_classes())?;
            }
            part.next += batch.len();
            self.count(batch, &excluded, &mut part);
            part.seconds += last.elapsed().as_secs_f64();
            last = Instant::now();
            let so_far = part.tallies.iter().map(|tally| format!("{:.3}", 100. * tally.top1())).collect::<Vec<_>>();
            bar.show(part.next - part.start, part.end - part.start, &format!("top-1 {}", so_far.join(" ")));
            if let Some(path) = self.args.parts.part.as_deref().filter(|_| written.elapsed() >= BETWEEN_WRITES) {
                part.write(path)?;
                written = Instant::now();
            }
            Ok(())
        })?;
        bar.finish();
        if let Some(path) = &self.args.parts.part {
            part.write(path)?;
        }
        if let Some(logits) = logits {
            logits.finish()?;
        }
        Ok(part)
    }

    fn open(&self, image: Result<ImageRecord, ImageReadError>) -> (ImageFile, Option<RgbImage>) {
        let image = match image {
            Ok(image) => image,
            Err(ImageReadError { index, name, reason }) => {
                let (class, error) = (self.set.class_of(index), Some(anyhow::Error::msg(reason)));
                return (ImageFile { name, class, warning: None, error }, None);
            }
        };
        // As torchvision's ImageFolder: the stored orientation is not applied.
        let decoded = image
            .read()
            .map_err(anyhow::Error::from)
            .and_then(|bytes| Ok(decode_with(&bytes, &self.args.largest.stored())?));
        let (pixels, warning, error) = match decoded {
            Ok(decoded) => (Some(decoded.image), decoded.warning, None),
            Err(error) => (None, None, Some(error)),
        };
        (ImageFile { name: image.name, class: image.class, warning, error }, pixels)
    }

    /// Classes that may not be predicted.
    fn excluded(&self) -> Vec<usize> {
        let Some(valid) = &self.truth.valid else { return Vec::new() };
        let valid: HashSet<usize> = valid.iter().copied().collect();
        let classes = self.candidates[0].num_classes();
        (0..classes).filter(|class| !valid.contains(class)).collect()
    }

    /// Adds a batch to the tallies.
    fn count(&self, batch: Vec<OnePassImage<ImageFile>>, excluded: &[usize], part: &mut EvalShard) {
        for OnePassImage { label: image, logits, .. } in batch {
            if let Some(warning) = image.warning.filter(|_| !self.global.quiet) {
                status!("note: {}: {warning}", image.name);
            }
            if let Some(error) = &image.error {
                status!("error: {}: {}; it does not count", image.name, error::text(error));
                part.unreadable.push(image.name);
                continue;
            }
            let own = [image.class];
            let accepted = match &self.truth.real_labels {
                None => Some(own.as_slice()),
                Some(real) => real.labels_of(&image.name).filter(|labels| !labels.is_empty()),
            };
            part.unlabelled += usize::from(accepted.is_none());
            for (mut row, tally) in logits.into_iter().flatten().zip(&mut part.tallies) {
                let Some(accepted) = accepted else { continue };
                excluded.iter().for_each(|class| row[*class] = f32::NEG_INFINITY);
                tally.add(&row, image.class, accepted);
            }
        }
    }
}

/// A row per image, of the first model.
fn write_logits(file: &mut Npy, batch: &[OnePassImage<ImageFile>], classes: usize) -> Result<()> {
    for image in batch {
        match image.logits.as_deref() {
            Some([row, ..]) => file.write(row)?,
            _ => file.write(&vec![f32::NAN; classes])?,
        }
    }
    Ok(())
}
