use candle_core::{DType, Device, Result, Tensor};
use ghostzoo_kernels::{Activation, ConvGeometry};

use super::*;
use crate::layers::Backend;
use crate::prune::ChannelGraph;

/// Convolutions one after the other, whose maps have so many channels.
fn chain(widths: &[usize]) -> Result<Dependencies> {
    ChannelGraph::trace(3, |graph, image| {
        let mut xs = image.clone();
        for (index, width) in widths.iter().chain(&[2]).enumerate() {
            let weight = Tensor::zeros((*width, xs.len(), 1, 1), DType::F32, &Device::Cpu)?;
            let geometry = ConvGeometry::square(1);
            xs = graph.conv2d(&xs, &weight, None, &geometry, Activation::Identity, &format!("{index}."))?;
        }
        Ok(vec![xs])
    })
}

/// How many of each group are removed where a channel's importance is its number, from the last group to the first.
fn removed(net: &Dependencies, rule: &PruneRule) -> Vec<usize> {
    let importance: Vec<Option<f64>> = (0..net.count()).map(|channel| Some(-(channel as f64))).collect();
    let removed = net.select(&importance, rule);
    net.groups().iter().map(|group| group.iter().filter(|channel| removed.contains(channel)).count()).collect()
}

#[test]
fn layers_that_count_less_lose_more_and_a_floor_of_each_stays() -> Result<()> {
    let net = chain(&[40, 40])?;
    let rule = PruneRule::new(0.5).min_channels(8).round_to(1);
    // The last 32 of the second layer, the next 8 of the first.
    assert_eq!(removed(&net, &rule), [8, 32]);
    assert_eq!(removed(&net, &rule.scope(Scope::Uniform)), [20, 20]);
    assert_eq!(removed(&net, &PruneRule { ratio: 0., ..rule }), [0, 0]);
    assert_eq!(removed(&net, &PruneRule { ratio: 1., ..rule }), [32, 32]);
    assert_eq!(removed(&net, &PruneRule { ratio: 1., ..rule }.min_channels(0)), [36, 36], "a tenth stays");
    Ok(())
}

#[test]
fn what_stays_is_a_multiple_where_there_are_so_many() -> Result<()> {
    let net = chain(&[30, 20, 6])?;
    for ratio in [0., 0.1, 0.3, 0.6, 0.9] {
        let gone = removed(&net, &PruneRule::new(ratio).scope(Scope::Uniform));
        let kept = [30 - gone[0], 20 - gone[1]];
        assert!(kept.iter().zip([30, 20]).all(|(kept, len)| kept % 8 == 0 || *kept == len), "{ratio}: {kept:?}");
        assert_eq!(gone[2], 0, "six channels are fewer than eight");
    }
    Ok(())
}

#[test]
fn the_least_important_go_and_the_unknown_stay() -> Result<()> {
    let net = chain(&[4])?;
    let [group] = net.groups() else { panic!("one group") };
    let mut importance = vec![None; net.count()];
    for (channel, value) in group.iter().zip([Some(0.3), None, Some(0.1), Some(0.2)]) {
        importance[*channel] = value;
    }
    let rule = PruneRule::new(0.5).min_channels(1).round_to(1);
    for scope in [Scope::Global, Scope::Uniform] {
        assert_eq!(net.select(&importance, &rule.scope(scope)), BTreeSet::from([group[2], group[3]]));
    }
    Ok(())
}
