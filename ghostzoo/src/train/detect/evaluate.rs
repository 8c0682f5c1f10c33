//! A detector in training on its validation images.

use std::cell::Cell;
use std::path::Path;

use candle_core::DType;
use candle_yolov8::data::Annotation;
use candle_yolov8::train::Target;
use candle_yolov8::val::{BatchOutput, ValReport, ValSample};
use candle_yolov8::{Detector, Yolo};

use super::task::{DetectionTask, Ready};
use crate::error::{Context as _, Result};
use crate::train::{StopFlag, saved};

impl DetectionTask {
    /// Measures a checkpoint of the run on the validation images; `observe` sees each batch with its labels.
    ///
    /// # Errors
    /// A checkpoint that cannot be read or is of another network; what `observe` gives; where no image can be read.
    pub fn evaluate(
        &self,
        checkpoint: impl AsRef<Path>,
        observe: impl FnMut(&BatchOutput<'_>, &[Target]) -> Result<()>,
    ) -> Result<ValReport> {
        let trainer = &self.ready.get()?.trainer;
        let vb = saved::weights(checkpoint.as_ref(), trainer.device())?;
        let net = Yolo::new(&trainer.def().for_inference(), vb)?;
        let detector = Detector::new(net, trainer.device().clone(), DType::F32, None);
        let measured = self.measure(&detector, observe, &StopFlag::new())?;
        Ok(measured.context("nothing was measured")?.0)
    }

    /// Looks at the validation images; the losses are means over the batches. Nothing where `stop` asked to end.
    pub(super) fn measure(
        &self,
        detector: &Detector,
        mut observe: impl FnMut(&BatchOutput<'_>, &[Target]) -> Result<()>,
        stop: &StopFlag,
    ) -> Result<Option<(ValReport, [f64; 3])>> {
        let Ready { trainer, validation, .. } = self.ready.get()?;
        let (mut sums, mut batches) = ([0.; 3], 0);
        let (mut failed, ended) = (None, Cell::new(false));
        let mut see = |output: BatchOutput<'_>| {
            if stop.is_set() {
                ended.set(true);
                candle_core::bail!("asked to end")
            }
            let targets = self.targets(&output);
            let losses = trainer.loss(output.raw, &targets)?;
            sums.iter_mut().zip(losses).for_each(|(sum, loss)| *sum += loss);
            batches += 1;
            observe(&output, &targets).or_else(|error| {
                failed = Some(error);
                candle_core::bail!("the caller failed")
            })
        };
        let validated = self.val.validate(detector, validation, &mut see);
        failed.map_or(Ok(()), Err)?;
        let validated = match validated {
            Err(_) if ended.get() => return Ok(None),
            validated => validated?,
        };
        self.tell_unreadable(&validated);
        self.ensure_readable(&validated)?;
        Ok(Some((validated, sums.map(|sum| sum / batches.max(1) as f64))))
    }

    /// Names the validation images that cannot be read, once.
    pub(super) fn tell_unreadable(&self, validated: &ValReport) {
        if self.told.replace(true) {
            return;
        }
        for (image, found) in validated.images.iter().enumerate() {
            if let Err(error) = found {
                self.messages
                    .warn(format!("{}: {error}; it does not count in validation", self.val.path(image).display()));
            }
        }
    }

    /// Fails where no validation image can be read.
    pub(super) fn ensure_readable(&self, validated: &ValReport) -> Result<()> {
        saved::ensure_readable(self.val.len(), validated.images.iter().filter(|found| found.is_ok()).count())
    }

    /// The labels of a batch, in the network's input.
    pub(super) fn targets(&self, output: &BatchOutput<'_>) -> Vec<Target> {
        let of = |(image, (number, sample)): (usize, (&usize, &ValSample))| {
            let labels = self.val.labels(*number).iter().filter(|label| !label.crowd);
            let target = |label: &Annotation| Target {
                image,
                class: label.class,
                xywhn: sample.to_target(label.xywhn(sample.original)),
            };
            labels.map(target).collect::<Vec<_>>()
        };
        output.numbers.iter().zip(output.images).enumerate().flat_map(of).collect()
    }
}
