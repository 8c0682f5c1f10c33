//! A fully connected layer.

use std::collections::BTreeMap;

use candle_core::{Result, Tensor};
use candle_nn::{Init, Module, VarBuilder};

use super::{Layer, path};

/// `x · weightᵀ + bias`: (n, in_dim) to (n, out_dim).
pub struct Linear {
    inner: candle_nn::Linear,
    path: String,
}

impl Linear {
    /// Reads `weight` (out_dim, in_dim) and `bias` (out_dim).
    pub fn new(in_dim: usize, out_dim: usize, vb: VarBuilder) -> Result<Self> {
        let bound = 1. / (in_dim as f64).sqrt();
        let init = Init::Uniform { lo: -bound, up: bound };
        let weight = vb.get_with_hints((out_dim, in_dim), "weight", init)?;
        let bias = vb.get_with_hints(out_dim, "bias", init)?;
        Ok(Self { inner: candle_nn::Linear::new(weight, Some(bias)), path: path(&vb, "") })
    }
}

impl Layer for Linear {
    fn forward_t(&self, xs: &Tensor, _: bool) -> Result<Tensor> {
        crate::cost::record_linear(xs.dim(0)?, self.inner.weight());
        self.inner.forward(xs)
    }

    fn tensors(&self, out: &mut BTreeMap<String, Tensor>) {
        out.insert(format!("{}weight", self.path), self.inner.weight().clone());
        if let Some(bias) = self.inner.bias() {
            out.insert(format!("{}bias", self.path), bias.clone());
        }
    }
}
