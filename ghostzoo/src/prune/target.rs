//! The channels that a target asks to remove.

use std::collections::BTreeSet;
use std::time::Instant;

use candle_core::{DType, Device, Tensor};
use candle_yolov8::Endpoint;

use super::run::Prunable;
use super::{PruneOptions, PruneTarget};
use crate::error::{Result, request};
use crate::model::{self, Network};

/// Halvings of the share of channels that a time is looked for in.
const HALVINGS: usize = 7;
/// Images before those that are timed, and those.
const WARM_UP: usize = 2;
const TIMED: usize = 7;

/// Refuses options that say nothing.
pub(super) fn check(options: &PruneOptions) -> Result<()> {
    let refuse = |what: String| Err(request(what));
    match options.target {
        PruneTarget::Ratio(ratio) if !(ratio > 0. && ratio < 1.) => {
            refuse(format!("`options.ratio` is {ratio}, and lies above 0 and below 1"))
        }
        PruneTarget::Gflops(most) if !(most > 0. && most.is_finite()) => {
            refuse(format!("`options.target_gflops` is {most}, and lies above 0"))
        }
        PruneTarget::Millis(most) if !(most > 0. && most.is_finite()) => {
            refuse(format!("`options.target_ms` is {most}, and lies above 0"))
        }
        _ if options.round_to == 0 => refuse("`options.round_to` is 0, and is at least 1".to_owned()),
        _ => Ok(()),
    }
}

/// The channels to remove; of a time, what it is before and after.
pub(super) fn found(network: &Prunable<'_>, options: &PruneOptions) -> Result<(BTreeSet<usize>, Option<[f64; 2]>)> {
    match options.target {
        PruneTarget::Ratio(ratio) => Ok((network.least(ratio), None)),
        PruneTarget::Gflops(most) => Ok((within_gflops(network, most)?, None)),
        PruneTarget::Millis(most) => within_millis(network, most),
    }
}

/// The fewest channels, by halving their number: each step counts anew.
fn within_gflops(network: &Prunable<'_>, most: f64) -> Result<BTreeSet<usize>> {
    let all = network.channels();
    let least = |count: usize| network.least(count as f64 / all as f64);
    let gflops = |removed: &BTreeSet<usize>| -> Result<f64> {
        Ok(network.architecture_without(removed)?.size(network.imgsz)?.flops as f64 / 1e9)
    };
    let whole = gflops(&BTreeSet::new())?;
    if whole <= most {
        return Err(request(format!(
            "`options.target_gflops` is {most}, and {} takes {whole:.3} already: nothing is to be removed",
            network.name()
        )));
    }
    let (mut few, mut many, mut best) = (0, all, least(all));
    let fewest = gflops(&best)?;
    if fewest > most {
        return Err(request(format!(
            "`options.target_gflops` is {most}, and {} takes {fewest:.3} with the fewest channels: see `options.min_channels` and \
             `options.round_to`",
            network.name()
        )));
    }
    while many - few > 1 {
        let middle = few + (many - few) / 2;
        let removed = least(middle);
        if gflops(&removed)? <= most {
            (many, best) = (middle, removed);
        } else {
            few = middle;
        }
    }
    Ok(best)
}

/// The fewest channels, by halving their share: each step times the network.
fn within_millis(network: &Prunable<'_>, most: f64) -> Result<(BTreeSet<usize>, Option<[f64; 2]>)> {
    let whole = millis(network, &BTreeSet::new())?;
    if whole <= most {
        return Err(request(format!(
            "`options.target_ms` is {most}, and {} takes {whole:.2} ms already: nothing is to be removed",
            network.name()
        )));
    }
    let (mut few, mut many, mut best) = (0., 1., network.least(1.));
    let mut time = millis(network, &best)?;
    if time > most {
        return Err(request(format!(
            "`options.target_ms` is {most}, and {} takes {time:.2} ms with the fewest channels: see `options.min_channels` and \
             `options.round_to`",
            network.name()
        )));
    }
    for _ in 0..HALVINGS {
        let middle = (few + many) / 2.;
        let removed = network.least(middle);
        let found = millis(network, &removed)?;
        if found <= most {
            (many, best, time) = (middle, removed, found);
        } else {
            few = middle;
        }
    }
    Ok((best, Some([whole, time])))
}

/// The median time of an image without the channels.
fn millis(network: &Prunable<'_>, removed: &BTreeSet<usize>) -> Result<f64> {
    let (checkpoint, architecture) = (network.without(removed)?, network.architecture_without(removed)?);
    let built = model::build(&architecture, &checkpoint, DType::F32, &Device::Cpu)?;
    let stride = match &built {
        Network::Detector(net) => net.max_stride(),
        Network::Classifier(_) => 1,
    };
    let [height, width] = network.imgsz.map(|side| side.next_multiple_of(stride));
    let xs = Tensor::full(0.5_f32, (1, 3, height, width), &Device::Cpu)?;
    let run = || -> Result<f64> {
        let start = Instant::now();
        match &built {
            Network::Detector(net) => drop(net.run(Endpoint::Levels, &xs)?),
            Network::Classifier(net) => drop(net.forward(&xs)?),
        }
        Ok(start.elapsed().as_secs_f64() * 1e3)
    };
    for _ in 0..WARM_UP {
        run()?;
    }
    let mut times = (0..TIMED).map(|_| run()).collect::<Result<Vec<f64>>>()?;
    times.sort_by(f64::total_cmp);
    Ok(times[TIMED / 2])
}
