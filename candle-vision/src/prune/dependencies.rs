//! The coupled channels of a network, and its tensors without some of them.

use std::collections::{BTreeMap, BTreeSet};

use candle_core::{Result, Shape, Tensor, bail};

/// The channels of a network: each is one or several that can only be removed together, and is known by its number.
///
/// Made by [`ChannelGraph::trace`](super::ChannelGraph::trace).
#[derive(Debug, Clone)]
pub struct Dependencies {
    /// By a tensor's name, the channel of each index of its leading axes.
    axes: BTreeMap<String, Vec<Vec<usize>>>,
    /// The weights of batch norms.
    norms: BTreeSet<String>,
    /// Channels that can be removed, those of the same tensors together.
    groups: Vec<Vec<usize>>,
    count: usize,
}

impl Dependencies {
    /// `roots` has, for each channel of the graph, one that stands for all it is coupled with.
    pub(super) fn new(
        roots: &[usize],
        pinned: &[usize],
        mut axes: BTreeMap<String, Vec<Vec<usize>>>,
        norms: BTreeSet<String>,
    ) -> Self {
        let mut numbers = BTreeMap::new();
        for root in roots {
            let next = numbers.len();
            numbers.entry(*root).or_insert(next);
        }
        let count = numbers.len();
        axes.values_mut().flatten().flatten().for_each(|channel| *channel = numbers[&roots[*channel]]);
        let pinned: BTreeSet<usize> = pinned.iter().map(|channel| numbers[&roots[*channel]]).collect();
        // Channels of the same axes are of one group.
        let mut places = vec![BTreeSet::new(); count];
        for (place, axis) in axes.values().flatten().enumerate() {
            axis.iter().for_each(|channel| {
                places[*channel].insert(place);
            });
        }
        let mut groups: BTreeMap<&BTreeSet<usize>, Vec<usize>> = BTreeMap::new();
        for (channel, places) in places.iter().enumerate() {
            if !pinned.contains(&channel) && !places.is_empty() {
                groups.entry(places).or_default().push(channel);
            }
        }
        let mut groups: Vec<Vec<usize>> = groups.into_values().collect();
        groups.sort();
        Self { axes, norms, groups, count }
    }

    /// Channels that can be removed, in the order of the network. Those of a group are outputs, and inputs, of the same layers.
    #[must_use]
    pub fn groups(&self) -> &[Vec<usize>] {
        &self.groups
    }

    /// Channels in all, those that cannot be removed among them: their numbers lie below.
    #[must_use]
    pub fn count(&self) -> usize {
        self.count
    }

    /// The channels of the indices of a tensor's leading axes; empty of a tensor that has none.
    #[must_use]
    pub fn axes(&self, tensor: &str) -> &[Vec<usize>] {
        self.axes.get(tensor).map_or(&[], Vec::as_slice)
    }

    /// Whether a tensor is the weight of a batch norm.
    #[must_use]
    pub fn is_norm(&self, tensor: &str) -> bool {
        self.norms.contains(tensor)
    }

    /// The tensors of the network without the `removed` channels, by their numbers. Those that have none of them are the same.
    ///
    /// # Errors
    /// Tensors of another network; a tensor that would lose all of its channels.
    pub fn prune(
        &self,
        tensors: &BTreeMap<String, Tensor>,
        removed: &BTreeSet<usize>,
    ) -> Result<BTreeMap<String, Tensor>> {
        let pruned = |(name, tensor): (&String, &Tensor)| Ok((name.clone(), self.without(name, tensor, removed)?));
        tensors.iter().map(pruned).collect()
    }

    /// The tensors with zeros in the place of the `removed` channels, but for running statistics: a network of them computes what that
    /// of [`Dependencies::prune`]'s tensors does, and has all its channels.
    ///
    /// # Errors
    /// Tensors of another network.
    pub fn zeroed(
        &self,
        tensors: &BTreeMap<String, Tensor>,
        removed: &BTreeSet<usize>,
    ) -> Result<BTreeMap<String, Tensor>> {
        let zeroed = |(name, tensor): (&String, &Tensor)| {
            let mut out = tensor.clone();
            for (axis, channels) in self.axes(name).iter().enumerate().filter(|_| !name.contains("running_")) {
                let mask: Vec<f32> = channels.iter().map(|c| if removed.contains(c) { 0. } else { 1. }).collect();
                let mut shape = vec![1; tensor.rank()];
                shape[axis] = mask.len();
                let mask = Tensor::from_vec(mask, shape, tensor.device())?.to_dtype(tensor.dtype())?;
                out = out.broadcast_mul(&mask)?;
            }
            Ok((name.clone(), out))
        };
        tensors.iter().map(zeroed).collect()
    }

    /// The shapes that [`Dependencies::prune`] leaves of tensors of these shapes.
    #[must_use]
    pub fn pruned_shapes(
        &self,
        shapes: &BTreeMap<String, Shape>,
        removed: &BTreeSet<usize>,
    ) -> BTreeMap<String, Shape> {
        let pruned = |(name, shape): (&String, &Shape)| {
            let mut dims = shape.dims().to_vec();
            for (dim, channels) in dims.iter_mut().zip(self.axes(name)) {
                *dim = dim.saturating_sub(channels.iter().filter(|channel| removed.contains(channel)).count());
            }
            (name.clone(), Shape::from(dims))
        };
        shapes.iter().map(pruned).collect()
    }

    fn without(&self, name: &str, tensor: &Tensor, removed: &BTreeSet<usize>) -> Result<Tensor> {
        let mut out = tensor.clone();
        for (axis, channels) in self.axes(name).iter().enumerate() {
            if tensor.dims().get(axis) != Some(&channels.len()) {
                bail!("{name} is {:?}, and has {} channels in its network", tensor.dims(), channels.len())
            }
            let kept: Vec<u32> =
                (0_u32..).zip(channels).filter(|(_, c)| !removed.contains(c)).map(|(i, _)| i).collect();
            if kept.is_empty() {
                bail!("{name} would lose all of its {} channels", channels.len())
            }
            if kept.len() < channels.len() {
                let kept = Tensor::new(kept, tensor.device())?;
                out = out.contiguous()?.index_select(&kept, axis)?;
            }
        }
        Ok(out)
    }
}

#[cfg(test)]
mod tests {
    use super::super::ChannelGraph;
    use super::*;
    use crate::layers::Backend;
    use candle_core::{DType, Device};
    use ghostzoo_kernels::{Activation, ConvGeometry};

    /// Traces convolutions of these weights; the network says how they are joined.
    fn trace(
        image: usize,
        network: impl FnOnce(&mut ChannelGraph, &Vec<usize>) -> Result<Vec<Vec<usize>>>,
    ) -> Result<Dependencies> {
        ChannelGraph::trace(image, network)
    }

    fn conv(
        graph: &mut ChannelGraph,
        xs: &Vec<usize>,
        dims: [usize; 4],
        groups: usize,
        path: &str,
    ) -> Result<Vec<usize>> {
        let weight = Tensor::zeros(&dims, DType::F32, &Device::Cpu)?;
        graph.conv2d(xs, &weight, None, &ConvGeometry::square(1).groups(groups), Activation::Identity, path)
    }

    #[test]
    fn image_and_outputs_stay_and_what_lies_between_is_one_group() -> Result<()> {
        let net = trace(3, |graph, image| {
            let a = conv(graph, image, [4, 3, 1, 1], 1, "a.")?;
            Ok(vec![conv(graph, &a, [5, 4, 1, 1], 1, "b.")?])
        })?;
        assert_eq!(net.groups().iter().map(Vec::len).collect::<Vec<_>>(), [4]);
        assert_eq!(
            (net.axes("a.weight")[0].clone(), net.axes("b.weight")[1].clone()),
            (net.groups()[0].clone(), net.groups()[0].clone())
        );
        assert!(net.axes("c.weight").is_empty());
        Ok(())
    }

    #[test]
    fn sums_depthwise_convolutions_and_multipliers_couple_channels() -> Result<()> {
        let net = trace(3, |graph, image| {
            let a = conv(graph, image, [4, 3, 1, 1], 1, "a.")?;
            let depthwise = conv(graph, &a, [4, 1, 1, 1], 4, "dw.")?;
            let b = conv(graph, image, [4, 3, 1, 1], 1, "b.")?;
            let sum = graph.add(&depthwise, &b)?;
            let twice = conv(graph, &sum, [8, 1, 1, 1], 4, "twice.")?;
            Ok(vec![conv(graph, &twice, [1, 8, 1, 1], 1, "last.")?])
        })?;
        let [group] = net.groups() else { panic!("one group: {net:?}") };
        assert_eq!(group.len(), 4);
        for tensor in ["a.weight", "b.weight", "dw.weight", "dw.bias"] {
            assert_eq!(net.axes(tensor)[0], *group, "{tensor}");
        }
        let doubled: Vec<usize> = group.iter().flat_map(|channel| [*channel; 2]).collect();
        assert_eq!((&net.axes("twice.weight")[0], &net.axes("last.weight")[1]), (&doubled, &doubled));
        assert_eq!(net.axes("dw.weight").len(), 1, "the one input of a depthwise filter stays");
        Ok(())
    }

    #[test]
    fn each_group_of_a_grouped_convolution_loses_the_same() -> Result<()> {
        let net = trace(3, |graph, image| {
            let a = conv(graph, image, [6, 3, 1, 1], 1, "a.")?;
            let b = conv(graph, &a, [8, 3, 1, 1], 2, "b.")?;
            Ok(vec![conv(graph, &b, [1, 8, 1, 1], 1, "c.")?])
        })?;
        assert_eq!(net.groups().iter().map(Vec::len).collect::<Vec<_>>(), [3, 4]);
        let (inputs, outputs) = (&net.axes("a.weight")[0], &net.axes("b.weight")[0]);
        assert_eq!((&inputs[..3], &outputs[..4]), (&inputs[3..], &outputs[4..]));
        assert_eq!(net.axes("b.weight")[1], inputs[..3]);
        Ok(())
    }

    #[test]
    fn parts_of_a_map_are_removed_each_by_itself() -> Result<()> {
        let net = trace(3, |graph, image| {
            let a = conv(graph, image, [6, 3, 1, 1], 1, "a.")?;
            let (left, right) = (graph.narrow_channels(&a, 0, 2)?, graph.narrow_channels(&a, 2, 4)?);
            let b = conv(graph, &right, [4, 4, 1, 1], 1, "b.")?;
            let b = graph.add(&b, &right)?;
            let joined = graph.concat(&[&left, &right, &b])?;
            Ok(vec![conv(graph, &joined, [1, 10, 1, 1], 1, "c.")?])
        })?;
        assert_eq!(net.groups().iter().map(Vec::len).collect::<Vec<_>>(), [2, 4]);
        let removed = BTreeSet::from([net.groups()[0][1], net.groups()[1][0]]);
        let values = Tensor::arange(0_f32, 10., &Device::Cpu)?.reshape((1, 10, 1, 1))?;
        let tensors = BTreeMap::from([("c.weight".to_owned(), values)]);
        let pruned = net.prune(&tensors, &removed)?;
        assert_eq!(pruned["c.weight"].flatten_all()?.to_vec1::<f32>()?, [0., 3., 4., 5., 7., 8., 9.]);
        let zeroed = net.zeroed(&tensors, &removed)?;
        assert_eq!(zeroed["c.weight"].flatten_all()?.to_vec1::<f32>()?, [0., 0., 0., 3., 4., 5., 0., 7., 8., 9.]);
        let shapes = net.pruned_shapes(&[("c.weight".to_owned(), Shape::from((1, 10, 1, 1)))].into(), &removed);
        assert_eq!(shapes["c.weight"], *pruned["c.weight"].shape());
        Ok(())
    }

    #[test]
    fn shapes_that_do_not_agree_are_told_in_a_line() {
        let error = trace(3, |graph, image| Ok(vec![conv(graph, image, [4, 5, 1, 1], 1, "a.b.")?]));
        assert_eq!(
            error.expect_err("five of three").to_string(),
            "a.b reads 5 channels, and 3 come from the layers before it"
        );
        let error = trace(3, |graph, image| Ok(vec![graph.narrow_channels(image, 2, usize::MAX)?]));
        assert!(error.expect_err("beyond the end").to_string().ends_with("of 3"));
    }

    #[test]
    fn a_layer_keeps_a_channel_and_tensors_fit_their_network() -> Result<()> {
        let net = trace(3, |graph, image| {
            let a = conv(graph, image, [2, 3, 1, 1], 1, "a.")?;
            Ok(vec![conv(graph, &a, [1, 2, 1, 1], 1, "b.")?])
        })?;
        let tensors = |count: usize| -> Result<BTreeMap<String, Tensor>> {
            Ok([("a.bias".to_owned(), Tensor::zeros(count, DType::F32, &Device::Cpu)?)].into())
        };
        let all = net.groups()[0].iter().copied().collect();
        assert!(net.prune(&tensors(2)?, &all).is_err_and(|error| error.to_string().contains("lose all of its 2")));
        assert!(net.prune(&tensors(3)?, &BTreeSet::new()).is_err());
        Ok(())
    }
}
