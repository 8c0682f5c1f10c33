//! The worst layers left in floats, until a metric holds.

use std::collections::BTreeSet;

use candle_vision::data::Dataset;
use ghostzoo_weights::Checkpoint;

use super::images::HasImage;
use super::run::Calibration;
use super::{MetricDrop, QuantizeCallbacks, QuantizeOptions, Quantized, Source};
use crate::error::{Result, invalid, request};
use crate::train::Message;
use crate::{LoadOptions, Model, model};

/// [`quantize`](super::quantize), and as few of the worst convolutions left in floats as it takes for a metric, the higher the
/// better, to be at most `max_drop` below that of the floats. `measure` gives it of a model on the CPU, in f32.
///
/// The number that is left is searched by doubling, then halving, so that a network of `n` convolutions is measured about
/// `2 log n` times.
///
/// ```
/// use std::sync::Arc;
///
/// use ghostzoo::candle_vision::data::{ClassificationItem, InMemoryDataset};
/// use ghostzoo::quantize::{QuantizeOptions, Quantized, Source, quantize_within};
/// use ghostzoo::{Classifier, Result, RgbImage};
///
/// /// Loses at most 0.3 points of top-1.
/// fn quantized(
///     images: &InMemoryDataset<RgbImage>,
///     labelled: Arc<InMemoryDataset<ClassificationItem>>,
/// ) -> Result<Quantized> {
///     let source = Source::find("ghostnet_050-cifar10")?;
///     let mut top1 = |model| {
///         let classifier = Classifier::of(model)?;
///         Ok(classifier.validate(labelled.clone(), &classifier.val_options())?.metrics.top1())
///     };
///     quantize_within(&source, images, &QuantizeOptions::new(), 0.003, &mut top1, &mut ())
/// }
/// ```
///
/// # Errors
/// As [`quantize`](super::quantize); a `max_drop` that is negative or no number; where the metric does not hold with a single
/// convolution in 8 bits; what `measure` refuses.
pub fn quantize_within<I: HasImage>(
    source: &Source,
    images: &dyn Dataset<Item = I>,
    options: &QuantizeOptions,
    max_drop: f64,
    measure: &mut dyn FnMut(Model) -> Result<f64>,
    callbacks: &mut dyn QuantizeCallbacks,
) -> Result<Quantized> {
    if !max_drop.is_finite() || max_drop < 0. {
        return Err(request(format!("`max_drop` is {max_drop}, and is a number from 0")));
    }
    let calibration = Calibration::new(source, images, options, callbacks)?;
    let paths: Vec<&String> = calibration.paths().collect();
    let load = |checkpoint: &Checkpoint| model::from_checkpoint(&source.name, checkpoint, &LoadOptions::new());
    let floats = measure(load(&source.checkpoint)?)?;
    let mut with = |left: usize| -> Result<(Quantized, bool)> {
        let names: BTreeSet<String> = paths[..left].iter().map(|path| (*path).clone()).collect();
        let mut found = calibration.quantized(&names)?;
        let metric = measure(load(&found.checkpoint)?)?;
        found.report.metric = Some(MetricDrop { floats, quantized: metric, max_drop });
        let kept = paths.len() - left;
        callbacks.message(&Message::Note(format!(
            "{kept} of {} convolutions in 8 bits: {metric:.4}, in floats {floats:.4}",
            paths.len()
        )));
        Ok((found, floats - metric <= max_drop))
    };
    // More than `bad` have to be left, `good` are enough.
    let (mut good, mut bad) = (0, None);
    let mut best = loop {
        let (found, holds) = with(good)?;
        if holds {
            break found;
        }
        bad = Some(good);
        if good + 1 >= paths.len() {
            invalid!(
                "{}: even with one convolution in 8 bits the metric drops from {floats:.4} by more than {max_drop}: allow more",
                source.name
            );
        }
        good = (2 * good).max(1).min(paths.len() - 1);
    };
    while let Some(low) = bad.filter(|low| low + 1 < good) {
        let middle = low.midpoint(good);
        match with(middle)? {
            (found, true) => (best, good) = (found, middle),
            (_, false) => bad = Some(middle),
        }
    }
    Ok(best)
}
