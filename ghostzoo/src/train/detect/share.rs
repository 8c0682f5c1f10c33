//! A validation that several processes do together: each looks at some of the batches, and all put together what each image adds, in
//! the order of the batches. The numbers are those of one process, to the last digit.

use std::ops::Range;

use candle_core::DType;
use candle_nn::VarBuilder;
use candle_vision::data::ItemError;
use candle_yolov8::val::{DetectionEvaluator, ImageEval, ValPlan, ValReport};
use candle_yolov8::{Detector, Yolo};
use serde::{Deserialize, Serialize};

use super::task::{DetectionTask, Ready, five_digits};
use crate::error::{Error, Result, ensure};
use crate::train::ranks::Ranks;
use crate::train::{StopFlag, Validation, saved};

const WHAT: &str = "what processes found in the validation images cannot be put together";

/// What a batch shows.
#[derive(Serialize, Deserialize)]
struct BatchShare {
    losses: [f64; 3],
    images: Vec<ImageShare>,
}

/// What an image shows, or why it cannot be read.
#[derive(Serialize, Deserialize)]
struct ImageShare {
    /// Its number in the data.
    number: usize,
    found: Result<ImageEval, String>,
}

fn to_bytes(batches: &[BatchShare]) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    ciborium::into_writer(batches, &mut bytes).map_err(|error| Error::Invalid(format!("{WHAT}: {error}")))?;
    Ok(bytes)
}

fn from_bytes(bytes: &[u8]) -> Result<Vec<BatchShare>> {
    ciborium::from_reader(bytes).map_err(|error| Error::Invalid(format!("{WHAT}: {error}")))
}

impl DetectionTask {
    /// Measures the averaged weights, with the others where there are some; nothing where one was asked to end.
    pub(super) fn measure_average(&self, stop: &StopFlag) -> Result<Option<Validation>> {
        let measured = match &self.parallel.group {
            Some(group) => self.measure_together(Ranks::new(Some(group)), stop)?,
            None => self.measure(&self.ready.get()?.trainer.detector()?, |_, _| Ok(()), stop)?,
        };
        let Some((validated, losses)) = measured else { return Ok(None) };
        let metrics = validated.measured.ultralytics.means();
        let (metrics, fitness) = (metrics.to_vec(), five_digits(metrics[3]));
        Ok(Some(Validation { metrics, losses: losses.to_vec(), fitness }))
    }

    /// What all processes of the group measure of the first one's averaged weights; nothing where one was asked to end.
    fn measure_together(&self, ranks: Ranks<'_>, stop: &StopFlag) -> Result<Option<(ValReport, [f64; 3])>> {
        let Ready { trainer, validation, .. } = self.ready.get()?;
        let own = saved::on_cpu(trainer.train_state().average().tensors()?)?;
        let tensors = ranks.tensors(own)?.into_iter().collect();
        let vb = VarBuilder::from_tensors(tensors, DType::F32, trainer.device());
        let net = Yolo::new(&trainer.def().for_inference(), vb)?;
        let detector = Detector::new(net, trainer.device().clone(), DType::F32, None);
        let plan = self.val.plan(&detector, validation);
        let batches = self.parallel.part(plan.batches().len());
        let looked = self.look(&detector, &plan, batches, stop);
        let Some(shares) = ranks.shares(looked.and_then(|found| found.as_deref().map(to_bytes).transpose()))? else {
            return Ok(None);
        };
        let shares = shares.iter().map(|share| from_bytes(share)).collect::<Result<Vec<_>>>()?;
        let batches = shares.into_iter().flatten().collect();
        let (report, losses) = self.merged(&detector, &plan, batches)?;
        if ranks.is_main() {
            self.tell_unreadable(&report);
        }
        self.ensure_readable(&report)?;
        Ok(Some((report, losses)))
    }

    /// What some of the batches show; nothing where `stop` asked to end.
    fn look(
        &self,
        detector: &Detector,
        plan: &ValPlan,
        batches: Range<usize>,
        stop: &StopFlag,
    ) -> Result<Option<Vec<BatchShare>>> {
        let Ready { trainer, validation, .. } = self.ready.get()?;
        let (mut looked, mut ended) = (Vec::with_capacity(batches.len()), false);
        let found = self.val.validate_batches(detector, validation, plan, batches, &mut |output| {
            if stop.is_set() {
                ended = true;
                candle_core::bail!("asked to end")
            }
            let losses = trainer.loss(output.raw, &self.targets(&output))?;
            let found = output.numbers.iter().zip(output.evals);
            let found = found.map(|(number, eval)| ImageShare { number: *number, found: Ok(eval.clone()) });
            let failed = output.failed.iter();
            let failed = failed.map(|(number, error)| ImageShare { number: *number, found: Err(error.to_string()) });
            looked.push(BatchShare { losses, images: found.chain(failed).collect() });
            Ok(())
        });
        match found {
            Err(_) if ended => Ok(None),
            found => found.map(|()| Some(looked)).map_err(Into::into),
        }
    }

    /// What the batches of all processes say, in their order.
    fn merged(&self, detector: &Detector, plan: &ValPlan, batches: Vec<BatchShare>) -> Result<(ValReport, [f64; 3])> {
        let Ready { validation, .. } = self.ready.get()?;
        let (classes, count) = (detector.model().num_classes(), batches.len());
        let classes = if validation.single_cls { 1 } else { classes };
        let mut measure = DetectionEvaluator::new(classes, validation.confusion_conf);
        let places = self.val.places();
        let mut images: Vec<_> = (0..self.val.len()).map(|_| None).collect();
        for (number, error) in plan.unreadable() {
            images[*number] = Some(Err(ItemError::other(error.to_string())));
        }
        let mut sums = [0.; 3];
        let mut seen = plan.unreadable().len();
        for BatchShare { losses, images: found } in batches {
            sums.iter_mut().zip(losses).for_each(|(sum, loss)| *sum += loss);
            for ImageShare { number, found } in found {
                ensure!(number < images.len() && images[number].is_none(), "processes validated other images");
                let found = match found {
                    Ok(eval) => {
                        measure.add_eval(places[number], &eval);
                        Ok(eval.detections)
                    }
                    Err(error) => Err(ItemError::other(error)),
                };
                images[number] = Some(found);
                seen += 1;
            }
        }
        ensure!(seen == images.len(), "processes validated {seen} images of {} together", images.len());
        let report = ValReport::new(measure.finish(), images.into_iter().flatten().collect());
        Ok((report, sums.map(|sum| sum / count.max(1) as f64)))
    }
}

#[cfg(test)]
#[path = "share_tests.rs"]
mod tests;
