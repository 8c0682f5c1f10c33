//! Which channels of a network can only be removed together.

use std::collections::{BTreeMap, BTreeSet};

use candle_core::{Error, Result, Tensor};
use ghostzoo_kernels::{Activation, ConvGeometry};

use super::dependencies::Dependencies;
use crate::layers::{Backend, BatchNorm, Layer};

/// A network as its channels depend on one another: a [`Backend`] whose maps are lists of channels, traced by
/// [`ChannelGraph::trace`].
///
/// A convolution makes new channels of those it reads; a depthwise one keeps them; sums and gates couple the channels that they
/// join, so that they are removed together or not at all. Source: Fang et al., DepGraph, <https://arxiv.org/abs/2301.12900>; here
/// each channel is a node, so that no block needs a rule of its own.
#[derive(Debug, Default)]
pub struct ChannelGraph {
    /// Of each channel one that it is coupled with, itself at the end of a chain.
    parents: Vec<usize>,
    /// Channels that stay: the image's and the outputs'.
    pinned: Vec<usize>,
    /// By a tensor's name, the channels of the indices of its leading axes.
    axes: BTreeMap<String, Vec<Vec<usize>>>,
    /// The weights of batch norms.
    norms: BTreeSet<String>,
    /// What does not fit, in a line.
    conflict: Option<String>,
}

impl ChannelGraph {
    /// Traces a network from its image to its outputs; both keep all of their channels.
    ///
    /// # Errors
    /// Where a layer does not fit the channels that it reads, as in a checkpoint whose shapes do not agree with one another.
    pub fn trace(
        image_channels: usize,
        network: impl FnOnce(&mut Self, &Vec<usize>) -> Result<Vec<Vec<usize>>>,
    ) -> Result<Dependencies> {
        let mut graph = Self::default();
        let image = graph.channels(image_channels);
        let outputs = match network(&mut graph, &image) {
            Ok(outputs) => outputs,
            // Without what the network adds to it.
            Err(error) => return Err(graph.conflict.map_or(error, Error::Msg)),
        };
        graph.pinned.extend(image.into_iter().chain(outputs.into_iter().flatten()));
        let roots: Vec<usize> = (0..graph.parents.len()).map(|channel| graph.root(channel)).collect();
        Ok(Dependencies::new(&roots, &graph.pinned, graph.axes, graph.norms))
    }

    /// New channels.
    fn channels(&mut self, count: usize) -> Vec<usize> {
        let first = self.parents.len();
        self.parents.extend(first..first + count);
        (first..first + count).collect()
    }

    fn root(&mut self, mut channel: usize) -> usize {
        while self.parents[channel] != channel {
            self.parents[channel] = self.parents[self.parents[channel]];
            channel = self.parents[channel];
        }
        channel
    }

    /// Couples channels one by one.
    fn couple(&mut self, a: &[usize], b: &[usize]) {
        for (a, b) in a.iter().zip(b) {
            let (a, b) = (self.root(*a), self.root(*b));
            self.parents[a.max(b)] = a.min(b);
        }
    }

    /// Notes the channels of a tensor's leading axes; those of a tensor that is used twice are coupled.
    fn note(&mut self, name: String, axes: Vec<Vec<usize>>) {
        if let Some(before) = self.axes.get(&name).cloned() {
            before.iter().zip(&axes).for_each(|(before, again)| self.couple(before, again));
        } else {
            self.axes.insert(name, axes);
        }
    }

    fn conflict<T>(&mut self, text: String) -> Result<T> {
        self.conflict = Some(text.clone());
        Err(Error::Msg(text))
    }

    /// Couples two maps that an operation joins element by element.
    fn join(&mut self, what: &str, a: &[usize], b: &[usize]) -> Result<Vec<usize>> {
        if a.len() != b.len() {
            return self.conflict(format!("{what} of {} and of {} channels", a.len(), b.len()));
        }
        self.couple(a, b);
        Ok(a.to_vec())
    }

    /// A layer of `groups` with a weight (out, in / groups, …), whose `path` ends in a dot.
    fn weighted(
        &mut self,
        inputs: &[usize],
        weight: &Tensor,
        bias: Option<&Tensor>,
        groups: usize,
        path: &str,
    ) -> Result<Vec<usize>> {
        let (out, group_in) = (weight.dim(0)?, weight.dim(1)?);
        let name = path.trim_end_matches('.');
        if groups == 0 || inputs.len() != group_in * groups {
            return self.conflict(format!(
                "{name} reads {} channels, and {} come from the layers before it",
                group_in * groups,
                inputs.len()
            ));
        }
        if !out.is_multiple_of(groups) {
            return self.conflict(format!("{name} has {out} channels, which do not split into {groups} groups"));
        }
        if let Some(bias) = bias.filter(|bias| bias.elem_count() != out) {
            return self.conflict(format!("{name} has {out} channels, and its bias {}", bias.elem_count()));
        }
        let outputs = if group_in == 1 && groups > 1 {
            // Depthwise: an output lives and dies with its input.
            inputs.iter().flat_map(|input| vec![*input; out / groups]).collect()
        } else {
            self.channels(out)
        };
        let mut axes = vec![outputs.clone()];
        if group_in > 1 || groups == 1 {
            // Each group loses the same of its channels.
            for (map, size) in [(inputs, group_in), (&outputs[..], out / groups)] {
                map.chunks(size.max(1)).skip(1).for_each(|group| self.couple(map, group));
            }
            axes.push(inputs[..group_in].to_vec());
        }
        self.note(format!("{path}bias"), vec![outputs.clone()]);
        self.note(format!("{path}weight"), axes);
        Ok(outputs)
    }
}

impl Backend for ChannelGraph {
    type Map = Vec<usize>;

    fn layer(&mut self, layer: &dyn Layer, xs: &Vec<usize>) -> Result<Vec<usize>> {
        layer.trace_channels(self, xs)
    }

    /// Channels depend on no size.
    fn size(&self, _: &Vec<usize>) -> Result<[usize; 2]> {
        Ok([1, 1])
    }

    fn conv2d(
        &mut self,
        xs: &Vec<usize>,
        weight: &Tensor,
        bias: Option<&Tensor>,
        geometry: &ConvGeometry,
        _: Activation,
        path: &str,
    ) -> Result<Vec<usize>> {
        self.weighted(xs, weight, bias, geometry.groups, path)
    }

    fn linear(&mut self, xs: &Vec<usize>, weight: &Tensor, bias: &Tensor, path: &str) -> Result<Vec<usize>> {
        self.weighted(xs, weight, Some(bias), 1, path)
    }

    fn batch_norm(&mut self, xs: &Vec<usize>, norm: &BatchNorm, _: Activation) -> Result<Vec<usize>> {
        for (name, tensor) in norm.named() {
            if tensor.elem_count() != xs.len() {
                let (own, reads) = (tensor.elem_count(), xs.len());
                return self.conflict(format!("{name} has {own} channels, and its batch norm reads {reads}"));
            }
            if name.ends_with(".weight") {
                self.norms.insert(name.clone());
            }
            self.note(name, vec![xs.clone()]);
        }
        Ok(xs.clone())
    }

    fn activation(&mut self, xs: &Vec<usize>, _: Activation) -> Result<Vec<usize>> {
        Ok(xs.clone())
    }

    fn max_pool2d(&mut self, xs: &Vec<usize>, _: &ConvGeometry) -> Result<Vec<usize>> {
        Ok(xs.clone())
    }

    fn avg_pool2d(&mut self, xs: &Vec<usize>, _: &ConvGeometry) -> Result<Vec<usize>> {
        Ok(xs.clone())
    }

    fn global_avg_pool2d(&mut self, xs: &Vec<usize>) -> Result<Vec<usize>> {
        Ok(xs.clone())
    }

    fn upsample_nearest2d(&mut self, xs: &Vec<usize>, _: [usize; 2]) -> Result<Vec<usize>> {
        Ok(xs.clone())
    }

    fn concat(&mut self, parts: &[&Vec<usize>]) -> Result<Vec<usize>> {
        Ok(parts.iter().flat_map(|part| part.iter().copied()).collect())
    }

    fn narrow_channels(&mut self, xs: &Vec<usize>, start: usize, len: usize) -> Result<Vec<usize>> {
        match start.checked_add(len).and_then(|end| xs.get(start..end)) {
            Some(part) => Ok(part.to_vec()),
            None => self.conflict(format!("{len} channels from {start} on are read of {}", xs.len())),
        }
    }

    fn add(&mut self, a: &Vec<usize>, b: &Vec<usize>) -> Result<Vec<usize>> {
        self.join("a sum", a, b)
    }

    fn gate_channels(&mut self, xs: &Vec<usize>, gate: &Vec<usize>) -> Result<Vec<usize>> {
        self.join("a gate", xs, gate)
    }

    fn gate_positions(&mut self, xs: &Vec<usize>, gate: &Vec<usize>) -> Result<Vec<usize>> {
        self.join("a gate", xs, gate)
    }
}
