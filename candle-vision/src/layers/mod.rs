//! Layers that the models of this workspace share, each on top of [`ghostzoo_kernels`].
//!
//! A layer reads its tensors under the names that PyTorch checkpoints use, so a `VarBuilder` prefix equals the
//! checkpoint's path.

mod conv;
mod dfl;
mod linear;
mod modules;
mod norm;
mod se;

use std::collections::BTreeMap;

use candle_core::{Result, Tensor};

use ghostzoo_kernels::plan::{Graph, Value};

pub use conv::{Conv, ConvBn, ConvBnConfig};
pub use dfl::Dfl;
pub use linear::Linear;
pub use modules::Modules;
pub use norm::{BatchNorm, BatchNormConfig, BatchNormMode, fold_batch_norm};
pub use se::SqueezeExcite;

/// A node of a model's module tree.
pub trait Layer: Send + Sync {
    /// Runs the layer; `train` selects batch statistics in its batch norms.
    fn forward_t(&self, xs: &Tensor, train: bool) -> Result<Tensor>;

    /// Runs the layer for inference.
    fn forward(&self, xs: &Tensor) -> Result<Tensor> {
        self.forward_t(xs, false)
    }

    /// Records the inference form of the layer into the graph of one image. Fails where the layer has none: an
    /// unfolded batch norm, for one.
    fn record(&self, graph: &mut Graph, xs: Value) -> Result<Value> {
        let _ = (graph, xs);
        candle_core::bail!("this layer has no inference form")
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
