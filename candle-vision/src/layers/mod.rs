//! Layers that the models of this workspace share, each on top of [`ghostzoo_kernels`].
//!
//! What a layer computes is written once, as a [`Block`] over the operations of a [`Backend`]: tensors, in training and
//! inference, an inference plan, or the channels that depend on one another. A layer reads its tensors under the names that
//! PyTorch checkpoints use, so a `VarBuilder` prefix equals the checkpoint's path.

mod backend;
mod conv;
mod dfl;
mod linear;
mod modules;
mod norm;
mod se;
mod summary;

use std::collections::BTreeMap;

use candle_core::{Result, Tensor};

use ghostzoo_kernels::plan::{Graph, Value};

use crate::prune::ChannelGraph;

pub use backend::{Backend, Eager};
pub use conv::{Conv, ConvBn, ConvBnConfig};
pub use dfl::Dfl;
pub use linear::Linear;
pub use modules::Modules;
pub use norm::{BatchNorm, BatchNormConfig, BatchNormMode, fold_batch_norm};
pub use se::SqueezeExcite;
pub use summary::Summary;

/// What a layer computes.
pub trait Block<B: Backend> {
    /// From the layer's input to its output.
    fn apply(&self, backend: &mut B, xs: &B::Map) -> Result<B::Map>;
}

impl<B: Backend> Block<B> for Box<dyn Layer> {
    fn apply(&self, backend: &mut B, xs: &B::Map) -> Result<B::Map> {
        backend.layer(&**self, xs)
    }
}

/// Layers one after the other.
pub fn sequence<'a, B: Backend, L: Block<B> + 'a>(
    backend: &mut B,
    layers: impl IntoIterator<Item = &'a L>,
    xs: &B::Map,
) -> Result<B::Map> {
    layers.into_iter().try_fold(xs.clone(), |xs, layer| layer.apply(backend, &xs))
}

/// A node of a model's module tree, whose input and output are one map each.
pub trait Layer: Block<Eager> + Block<Graph> + Block<ChannelGraph> + Send + Sync {
    /// Runs the layer; `train` selects batch statistics in its batch norms.
    fn forward_t(&self, xs: &Tensor, train: bool) -> Result<Tensor> {
        self.apply(&mut Eager { train }, xs)
    }

    /// Runs the layer for inference.
    fn forward(&self, xs: &Tensor) -> Result<Tensor> {
        self.forward_t(xs, false)
    }

    /// Adds the layer to the graph of one image. Fails where it is no part of a plan: a batch norm that is not folded,
    /// for one.
    fn trace(&self, graph: &mut Graph, xs: Value) -> Result<Value> {
        self.apply(graph, &xs)
    }

    /// Adds the layer to the graph of the network's channels. Fails where it does not fit those that it reads.
    fn trace_channels(&self, graph: &mut ChannelGraph, xs: &Vec<usize>) -> Result<Vec<usize>> {
        self.apply(graph, xs)
    }

    /// The layers directly below, in the order of their definition.
    fn children(&self) -> Vec<&dyn Layer> {
        Vec::new()
    }

    /// The modules of the unfused PyTorch counterpart, itself included.
    fn modules(&self) -> Modules {
        match self.children() {
            children if children.is_empty() => Modules::leaves(1),
            children => Modules::containers(1) + children.iter().map(|child| child.modules()).sum(),
        }
    }

    /// Adds the layer's tensors, in the form it runs in, under their checkpoint names.
    fn tensors(&self, out: &mut BTreeMap<String, Tensor>) {
        self.children().iter().for_each(|child| child.tensors(out));
    }
}

/// Joins a builder's prefix and a tensor's name.
fn path(vb: &candle_nn::VarBuilder, name: &str) -> String {
    let prefix = vb.prefix();
    if prefix.is_empty() { name.to_owned() } else { format!("{prefix}.{name}") }
}
