//! As many channels less as a metric allows.

use std::collections::BTreeSet;

use super::run::Prunable;
use super::target::found;
use super::{PruneCallbacks, PruneMetric, PruneOptions, Pruned, Source, Taylor};
use crate::error::{Result, invalid, request};
use crate::train::Message;
use crate::{LoadOptions, Model, model};

/// Halvings of the share of channels.
const HALVINGS: usize = 7;

/// [`prune`](super::prune), or [`prune_by`](super::prune_by) where `taylor` is given, of as many of the least important channels as a
/// metric allows, the higher the better: it is at most `max_drop` below that of the whole network, with no training. `measure` gives
/// it of a model on the CPU, in f32. No more is removed than [`PruneOptions::target`] asks for.
///
/// The share of the channels is searched by halving, so that the network is measured nine times at most.
///
/// ```
/// use std::sync::Arc;
///
/// use ghostzoo::candle_vision::data::{ClassificationItem, InMemoryDataset};
/// use ghostzoo::prune::{PruneOptions, PruneTarget, Pruned, Source, Taylor, prune_within};
/// use ghostzoo::{Classifier, Result};
///
/// /// Loses at most half a point of top-1.
/// fn pruned(
///     images: &InMemoryDataset<ClassificationItem>,
///     labelled: Arc<InMemoryDataset<ClassificationItem>>,
/// ) -> Result<Pruned> {
///     let source = Source::find("ghostnet_050-cifar10")?;
///     let taylor = Taylor::of_classifications(&source, images, 128, None, &mut ())?;
///     let mut top1 = |model| {
///         let classifier = Classifier::of(model)?;
///         Ok(classifier.validate(labelled.clone(), &classifier.val_options())?.metrics.top1())
///     };
///     let options = PruneOptions::new(PruneTarget::Ratio(0.9));
///     prune_within(&source, Some(&taylor), &options, 0.005, &mut top1, &mut ())
/// }
/// ```
///
/// # Errors
/// As [`prune`](super::prune); a `max_drop` that is negative or no number; where the metric drops by more with the fewest channels
/// that the search comes to; what `measure` refuses.
pub fn prune_within(
    source: &Source,
    taylor: Option<&Taylor>,
    options: &PruneOptions,
    max_drop: f64,
    measure: &mut dyn FnMut(Model) -> Result<f64>,
    callbacks: &mut dyn PruneCallbacks,
) -> Result<Pruned> {
    if !max_drop.is_finite() || max_drop < 0. {
        return Err(request(format!("`max_drop` is {max_drop}, and is a number from 0")));
    }
    let network = Prunable::of(source, taylor, options)?;
    let (most, _) = found(&network, options)?;
    let load = |checkpoint: &_| model::from_checkpoint(&source.name, checkpoint, &LoadOptions::new());
    let whole = measure(load(&source.checkpoint)?)?;
    let mut with = |removed: &_| -> Result<(Pruned, f64)> {
        let mut found = network.pruned(removed)?;
        let metric = measure(load(&found.checkpoint)?)?;
        let [before, after] = found.report.channels;
        callbacks.message(&Message::Note(format!(
            "{after} of {before} channels, {:.3} GFLOPs: {metric:.4}, of the whole network {whole:.4}",
            found.report.gflops[1]
        )));
        found.report.metric = Some(PruneMetric { whole, pruned: metric, max_drop });
        Ok((found, metric))
    };
    let (found, mut metric) = with(&most)?;
    if whole - metric <= max_drop {
        return Ok(found);
    }
    // What was removed where the metric holds, and where it does not.
    let (mut held, mut lost, mut best) = (BTreeSet::new(), most, None);
    let (mut few, mut many) = (0., lost.len() as f64 / network.channels() as f64);
    for _ in 0..HALVINGS {
        let middle = (few + many) / 2.;
        let removed = network.least(middle);
        if removed == held {
            few = middle;
        } else if removed == lost {
            many = middle;
        } else {
            let (found, at) = with(&removed)?;
            match whole - at <= max_drop {
                true => (few, held, best) = (middle, removed, Some(found)),
                false => (many, lost, metric) = (middle, removed, at),
            }
        }
    }
    let Some(best) = best else {
        invalid!(
            "{}: without {} of {} channels the metric drops from {whole:.4} to {metric:.4}, by more than {max_drop}: allow more, or \
             prune by a share or a target, and train on",
            source.name,
            lost.len(),
            network.channels()
        );
    };
    Ok(best)
}

#[cfg(all(test, feature = "bundled"))]
mod tests {
    use super::*;
    use crate::prune::{PruneTarget, prune};

    /// The share of the parameters that a model has left.
    fn left(model: Model) -> Result<f64> {
        Ok(model.parameters as f64 / 1_319_102.)
    }

    #[test]
    fn as_much_is_removed_as_the_metric_allows_and_the_target_asks_for() -> Result<()> {
        let source = Source::find("ghostnet_050-cifar10")?;
        let options = PruneOptions::new(PruneTarget::Ratio(0.9));
        let within = |max_drop: f64| prune_within(&source, None, &options, max_drop, &mut left, &mut ());
        let quarter = within(0.25)?.report;
        let metric = quarter.metric.expect("a metric");
        assert!(metric.whole == 1. && metric.pruned >= 0.75 && metric.max_drop == 0.25, "{metric:?}");
        let [before, after] = quarter.channels.map(|count| count as f64);
        let more = PruneOptions::new(PruneTarget::Ratio((before - after) / before + 2. / 128.));
        assert!((prune(&source, &more)?.report.parameters[1] as f64) < 0.75 * 1_319_102.);

        let all = within(1.)?.report;
        assert_eq!((all.layers, all.parameters), {
            let report = prune(&source, &options)?.report;
            (report.layers, report.parameters)
        });
        let error = within(0.).expect_err("each channel has parameters").to_string();
        assert!(error.contains("the metric drops from 1.0000 to 0.9") && error.contains("allow more"), "{error}");
        assert!(within(f64::NAN).expect_err("no number").is_request());
        Ok(())
    }
}
