//! A classifier in training on its validation images.

use std::path::Path;

use candle_core::DType;
use candle_ghostnet::GhostNet;
use candle_vision::augment::{Batch, DataLoader};
use candle_vision::metrics::ClassificationMetrics;

use super::image_set::ImageSet;
use super::task::{ClassificationTask, Ready};
use crate::error::{Context as _, Result, invalid};
use crate::train::{StopFlag, saved};

impl ClassificationTask {
    /// Measures a checkpoint of the run on the validation images; of the first `seen` batches `observe` is given the number,
    /// the batch, and the class that was taken for each image's.
    ///
    /// # Errors
    /// A checkpoint that cannot be read or is of another network; what `observe` gives; where no image can be read.
    pub fn evaluate(
        &self,
        checkpoint: impl AsRef<Path>,
        seen: usize,
        observe: impl FnMut(usize, &Batch, &[usize]) -> Result<()>,
    ) -> Result<ClassificationMetrics> {
        let trainer = &self.ready.get()?.trainer;
        let vb = saved::weights(checkpoint.as_ref(), trainer.device())?;
        let network = GhostNet::new(&trainer.config().for_inference(), vb)?;
        self.measure(&network, seen, observe, &StopFlag::new())?.context("nothing was measured")
    }

    /// Looks at the validation images. Nothing where `stop` asked to end.
    pub(super) fn measure(
        &self,
        network: &GhostNet,
        seen: usize,
        mut observe: impl FnMut(usize, &Batch, &[usize]) -> Result<()>,
        stop: &StopFlag,
    ) -> Result<Option<ClassificationMetrics>> {
        let Ready { train, val, trainer, .. } = self.ready.get()?;
        let mut metrics = ClassificationMetrics::default();
        for (number, batch) in val.epoch(0)?.enumerate() {
            if stop.is_set() {
                return Ok(None);
            }
            let batch = batch?;
            let (kept, classes) = ((number < seen).then(|| batch.clone()), batch.classes.clone());
            let (images, _) = batch.into_tensors(trainer.device())?;
            let logits = network.forward(&images)?.to_dtype(DType::F32)?.to_vec2::<f32>()?;
            let verdict = |(logits, &class): (&Vec<f32>, &usize)| metrics.add(logits, class, &[class]).predicted;
            let predicted: Vec<usize> = logits.iter().zip(&classes).map(verdict).collect();
            if let Some(batch) = kept {
                observe(number, &batch, &predicted)?;
            }
        }
        self.tell_unreadable([train, val]);
        saved::ensure_readable(self.sets[1].len(), metrics.images() as usize)?;
        if metrics.not_finite() > 0 {
            invalid!(
                "the answers to {} of {} validation images are no numbers: begin again with a lower `options.lr` or a longer \
                 `options.warmup_epochs`",
                metrics.not_finite(),
                metrics.images()
            );
        }
        Ok(Some(metrics))
    }

    /// Names images that could not be read, each once.
    fn tell_unreadable(&self, loaders: [&DataLoader; 2]) {
        let mut told = self.told.borrow_mut();
        let becomes = ["the next that can be read takes its place", "it does not count in validation"];
        for (number, becomes) in becomes.into_iter().enumerate() {
            let told = &mut told[number];
            let failed = match &self.sets[number] {
                ImageSet::Files(images) => images.unreadable(),
                ImageSet::Items { .. } => loaders[number].unreadable(),
            };
            for error in failed {
                if told.insert(error.index) {
                    self.messages.warn(format!("{error}; {becomes}"));
                }
            }
        }
    }
}
