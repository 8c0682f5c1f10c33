//! A classifier in training on its validation images.

use std::ops::Range;
use std::path::Path;

use candle_core::DType;
use candle_ghostnet::GhostNet;
use candle_nn::VarBuilder;
use candle_vision::augment::{Batch, DataLoader};
use candle_vision::metrics::ClassificationMetrics;

use super::image_set::ImageSet;
use super::task::{ClassificationTask, Ready};
use crate::error::{Context as _, Result, invalid};
use crate::train::ranks::Ranks;
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
        observe: impl FnMut(usize, &Batch, &[usize]) -> Result<()>,
        stop: &StopFlag,
    ) -> Result<Option<ClassificationMetrics>> {
        let batches = self.ready.get()?.val.batches();
        let Some(metrics) = self.look(network, 0..batches, seen, observe, stop)? else { return Ok(None) };
        self.ensure_sound(&metrics)?;
        Ok(Some(metrics))
    }

    /// Measures the averaged weights, with the others where there are some; nothing where one was asked to end.
    pub(super) fn measure_average(&self, stop: &StopFlag) -> Result<Option<ClassificationMetrics>> {
        match &self.parallel.group {
            Some(group) => self.measure_together(Ranks::new(Some(group)), stop),
            None => self.measure(&self.ready.get()?.trainer.classifier()?, 0, |_, _, _| Ok(()), stop),
        }
    }

    /// What all processes of the group measure of the first one's averaged weights; nothing where one was asked to end.
    fn measure_together(&self, ranks: Ranks<'_>, stop: &StopFlag) -> Result<Option<ClassificationMetrics>> {
        let Ready { val, trainer, .. } = self.ready.get()?;
        let tensors = ranks.tensors(saved::on_cpu(trainer.weights()?)?)?.into_iter().collect();
        let vb = VarBuilder::from_tensors(tensors, DType::F32, trainer.device());
        let network = GhostNet::new(&trainer.config().for_inference(), vb)?;
        let looked = self.look(&network, self.parallel.part(val.batches()), 0, |_, _, _| Ok(()), stop);
        let own = looked.and_then(|found| Ok(found.map(|found| serde_json::to_vec(&found)).transpose()?));
        let Some(shares) = ranks.shares(own)? else { return Ok(None) };
        let mut metrics = ClassificationMetrics::default();
        for share in shares {
            metrics.merge(&serde_json::from_slice(&share)?);
        }
        self.ensure_sound(&metrics)?;
        Ok(Some(metrics))
    }

    /// What some of the batches show. Nothing where `stop` asked to end.
    fn look(
        &self,
        network: &GhostNet,
        batches: Range<usize>,
        seen: usize,
        mut observe: impl FnMut(usize, &Batch, &[usize]) -> Result<()>,
        stop: &StopFlag,
    ) -> Result<Option<ClassificationMetrics>> {
        let Ready { train, val, trainer, .. } = self.ready.get()?;
        let mut metrics = ClassificationMetrics::default();
        let first = batches.start;
        for (number, batch) in (first..).zip(val.epoch_from(0, first)?.take(batches.len())) {
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
        Ok(Some(metrics))
    }

    /// Fails where no validation image can be read, and where answers are no numbers.
    fn ensure_sound(&self, metrics: &ClassificationMetrics) -> Result<()> {
        saved::ensure_readable(self.sets[1].len(), metrics.images() as usize)?;
        if metrics.not_finite() > 0 {
            invalid!(
                "the answers to {} of {} validation images are no numbers: begin again with a lower `options.lr` or a longer \
                 `options.warmup_epochs`",
                metrics.not_finite(),
                metrics.images()
            );
        }
        Ok(())
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::thread;

    use candle_vision::data::{ClassificationItem, InMemoryDataset};
    use candle_vision::image::{Rgb, RgbImage};
    use candle_vision::train::distributed::{Communicator, LocalGroup};

    use super::*;
    use crate::train::{ClassificationOptions, Plan, TrainTask};

    fn item(number: usize) -> ClassificationItem {
        let level = |x: u32, y: u32| (number % 3 * 80) as u8 + ((x * y + number as u32) % 70) as u8;
        ClassificationItem::new(RgbImage::from_fn(32, 32, |x, y| Rgb([level(x, y); 3])), number % 3)
    }

    fn trained(group: &Communicator) -> Result<ClassificationTask> {
        let set = |count: usize| Arc::new((0..count).map(item).collect::<InMemoryDataset<_>>());
        let options = ClassificationOptions::new("ghostnet_050").batch(6).imgsz(32).workers(1);
        let names = ["a", "b", "c"].map(ToOwned::to_owned).to_vec();
        let mut task = ClassificationTask::from_datasets(set(12), set(31), names, options)?;
        task.distribute(Some(group), false)?;
        task.prepare(&Plan { epochs: 1, is_timed: false }, None)?;
        task.begin(0, 0)?;
        task.step()?;
        Ok(task)
    }

    #[test]
    fn processes_measure_together_what_the_first_measures_alone() -> Result<()> {
        let run = |member| {
            let (group, stop) = (Communicator::new(member), StopFlag::new());
            let task = trained(&group)?;
            let together = task.measure_together(Ranks::new(Some(&group)), &stop)?;
            let network = task.ready.get()?.trainer.classifier()?;
            Ok((together, task.measure(&network, 0, |_, _, _| Ok(()), &stop)?))
        };
        let found: Vec<_> = thread::scope(|scope| {
            let threads: Vec<_> =
                LocalGroup::new(2).into_iter().map(|member| scope.spawn(move || run(member))).collect();
            threads.into_iter().map(|thread| thread.join().expect("no panic")).collect::<Result<_>>()
        })?;
        let alone = &found[0].1;
        assert_eq!(alone.as_ref().map(ClassificationMetrics::images), Some(31));
        assert!(found.iter().all(|(together, _)| together == alone));
        assert_ne!(&found[1].1, alone, "batch norms of other ranks have other statistics");
        Ok(())
    }
}
