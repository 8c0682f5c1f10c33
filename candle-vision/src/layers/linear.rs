//! A fully connected layer.

use std::collections::BTreeMap;

use candle_core::{Result, Tensor};
use candle_nn::{Init, VarBuilder};

use super::{Layer, path};
use ghostzoo_kernels::plan::{Graph, Value};
use ghostzoo_kernels::{Activation, ConvGeometry, conv2d};

/// `x · weightᵀ + bias`: (n, in_dim) to (n, out_dim), each row by itself, so that none depends on the others.
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

impl Layer for Linear {
    fn forward_t(&self, xs: &Tensor, _: bool) -> Result<Tensor> {
        let (batch, in_dim) = xs.dims2()?;
        let (out_dim, _) = self.weight.dims2()?;
        let (xs, weight) = (xs.reshape((batch, in_dim, 1, 1))?, self.weight.reshape((out_dim, in_dim, 1, 1))?);
        conv2d(&xs, &weight, Some(&self.bias), &ConvGeometry::square(1), Activation::Identity)?
            .reshape((batch, out_dim))
    }

    /// One position per image.
    fn record(&self, graph: &mut Graph, xs: Value) -> Result<Value> {
        let (out_dim, in_dim) = self.weight.dims2()?;
        let weight = self.weight.reshape((out_dim, in_dim, 1, 1))?;
        graph.conv2d(xs, &weight, Some(&self.bias), &ConvGeometry::square(1), Activation::Identity, &self.path)
    }

    fn tensors(&self, out: &mut BTreeMap<String, Tensor>) {
        out.insert(format!("{}weight", self.path), self.weight.clone());
        out.insert(format!("{}bias", self.path), self.bias.clone());
    }
}
