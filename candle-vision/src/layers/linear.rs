//! A fully connected layer.

use std::collections::BTreeMap;

use candle_core::{Result, Tensor};
use candle_nn::{Init, VarBuilder};

use super::{Backend, Block, Layer, path};

/// `x · weightᵀ + bias`: (n, in_dim) or (n, in_dim, 1, 1) to (n, out_dim), each row by itself, so that none depends on the
/// others.
#[derive(Debug)]
pub struct Linear {
    weight: Tensor,
    bias: Tensor,
    path: String,
}

impl Linear {
    /// Reads `weight` (out_dim, in_dim) and `bias` (out_dim).
    pub fn new(in_dim: usize, out_dim: usize, vb: VarBuilder) -> Result<Self> {
        let bound = 1. / (in_dim as f64).sqrt();
        let init = Init::Uniform { lo: -bound, up: bound };
        let weight = vb.get_with_hints((out_dim, in_dim), "weight", init)?;
        let bias = vb.get_with_hints(out_dim, "bias", init)?;
        Ok(Self { weight, bias, path: path(&vb, "") })
    }
}

impl<B: Backend> Block<B> for Linear {
    fn apply(&self, backend: &mut B, xs: &B::Map) -> Result<B::Map> {
        backend.linear(xs, &self.weight, &self.bias, &self.path)
    }
}

impl Layer for Linear {
    fn tensors(&self, out: &mut BTreeMap<String, Tensor>) {
        out.insert(format!("{}weight", self.path), self.weight.clone());
        out.insert(format!("{}bias", self.path), self.bias.clone());
    }
}
