//! What blocks are written in: operations that compute tensors at once, or are traced into an inference plan.

use candle_core::{Result, Tensor, bail};
use ghostzoo_kernels::plan::{Graph, Value};
use ghostzoo_kernels::{
    Activation, ConvGeometry, add, avg_pool2d, concat, conv2d, global_avg_pool2d, max_pool2d, multiply,
    narrow_channels, upsample_nearest2d,
};

use super::{BatchNorm, Layer};

/// The operations of a network. Maps are (n, c, h, w).
///
/// [`Eager`] computes them on tensors, with gradients; a [`Graph`] takes note of them for a plan, which has one image and
/// no batch norm that is not folded. Both give the same numbers but for rounding. A [`ChannelGraph`](crate::prune::ChannelGraph)
/// takes note of the channels that depend on one another.
pub trait Backend: Sized {
    /// A map.
    type Map: Clone;

    /// A layer whose type is not known: [`Layer::forward_t`] or [`Layer::trace`].
    fn layer(&mut self, layer: &dyn Layer, xs: &Self::Map) -> Result<Self::Map>;

    /// Height and width.
    fn size(&self, xs: &Self::Map) -> Result<[usize; 2]>;

    /// [`ghostzoo_kernels::conv2d`]; `path` names the layer in errors and profiles.
    fn conv2d(
        &mut self,
        xs: &Self::Map,
        weight: &Tensor,
        bias: Option<&Tensor>,
        geometry: &ConvGeometry,
        activation: Activation,
        path: &str,
    ) -> Result<Self::Map>;

    /// `xs · weightᵀ + bias` of maps of one position: (n, in_dim, 1, 1), or (n, in_dim), to (n, out_dim).
    fn linear(&mut self, xs: &Self::Map, weight: &Tensor, bias: &Tensor, path: &str) -> Result<Self::Map>;

    /// `activation(norm(xs))`.
    fn batch_norm(&mut self, xs: &Self::Map, norm: &BatchNorm, activation: Activation) -> Result<Self::Map>;

    /// An activation behind something else than a convolution or a batch norm.
    fn activation(&mut self, xs: &Self::Map, activation: Activation) -> Result<Self::Map>;

    /// [`ghostzoo_kernels::max_pool2d`].
    fn max_pool2d(&mut self, xs: &Self::Map, geometry: &ConvGeometry) -> Result<Self::Map>;

    /// [`ghostzoo_kernels::avg_pool2d`].
    fn avg_pool2d(&mut self, xs: &Self::Map, geometry: &ConvGeometry) -> Result<Self::Map>;

    /// (n, c, h, w) to (n, c, 1, 1).
    fn global_avg_pool2d(&mut self, xs: &Self::Map) -> Result<Self::Map>;

    /// [`ghostzoo_kernels::upsample_nearest2d`].
    fn upsample_nearest2d(&mut self, xs: &Self::Map, out_hw: [usize; 2]) -> Result<Self::Map>;

    /// Joins maps of one size along their channels.
    fn concat(&mut self, parts: &[&Self::Map]) -> Result<Self::Map>;

    /// `len` channels from `start` on.
    fn narrow_channels(&mut self, xs: &Self::Map, start: usize, len: usize) -> Result<Self::Map>;

    /// The sum of two maps of one shape.
    fn add(&mut self, a: &Self::Map, b: &Self::Map) -> Result<Self::Map>;

    /// `xs` times a gate for each channel, (n, c, 1, 1).
    fn gate_channels(&mut self, xs: &Self::Map, gate: &Self::Map) -> Result<Self::Map>;

    /// `xs` times a gate for each position, which is brought to the size of `xs` by nearest neighbour.
    fn gate_positions(&mut self, xs: &Self::Map, gate: &Self::Map) -> Result<Self::Map>;
}

/// Computes at once, on tensors of any device.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Eager {
    /// Whether batch norms take the statistics of the batch, and note them.
    pub train: bool,
}

impl Backend for Eager {
    type Map = Tensor;

    fn layer(&mut self, layer: &dyn Layer, xs: &Tensor) -> Result<Tensor> {
        layer.forward_t(xs, self.train)
    }

    fn size(&self, xs: &Tensor) -> Result<[usize; 2]> {
        let (_, _, height, width) = xs.dims4()?;
        Ok([height, width])
    }

    fn conv2d(
        &mut self,
        xs: &Tensor,
        weight: &Tensor,
        bias: Option<&Tensor>,
        geometry: &ConvGeometry,
        activation: Activation,
        path: &str,
    ) -> Result<Tensor> {
        conv2d(xs, weight, bias, geometry, activation)
            .map_err(|error| error.context(format!("in the convolution {}", path.trim_end_matches('.'))))
    }

    fn linear(&mut self, xs: &Tensor, weight: &Tensor, bias: &Tensor, _: &str) -> Result<Tensor> {
        let (batch, (out_dim, in_dim)) = (xs.dim(0)?, weight.dims2()?);
        let (xs, weight) = (xs.reshape((batch, in_dim, 1, 1))?, weight.reshape((out_dim, in_dim, 1, 1))?);
        conv2d(&xs, &weight, Some(bias), &ConvGeometry::square(1), Activation::Identity)?.reshape((batch, out_dim))
    }

    fn batch_norm(&mut self, xs: &Tensor, norm: &BatchNorm, activation: Activation) -> Result<Tensor> {
        norm.forward_with(xs, activation, self.train)
    }

    fn activation(&mut self, xs: &Tensor, activation: Activation) -> Result<Tensor> {
        activation.apply(xs)
    }

    fn max_pool2d(&mut self, xs: &Tensor, geometry: &ConvGeometry) -> Result<Tensor> {
        max_pool2d(xs, geometry)
    }

    fn avg_pool2d(&mut self, xs: &Tensor, geometry: &ConvGeometry) -> Result<Tensor> {
        avg_pool2d(xs, geometry)
    }

    fn global_avg_pool2d(&mut self, xs: &Tensor) -> Result<Tensor> {
        global_avg_pool2d(xs)
    }

    fn upsample_nearest2d(&mut self, xs: &Tensor, out_hw: [usize; 2]) -> Result<Tensor> {
        upsample_nearest2d(xs, out_hw)
    }

    fn concat(&mut self, parts: &[&Tensor]) -> Result<Tensor> {
        concat(parts)
    }

    fn narrow_channels(&mut self, xs: &Tensor, start: usize, len: usize) -> Result<Tensor> {
        narrow_channels(xs, start, len)
    }

    fn add(&mut self, a: &Tensor, b: &Tensor) -> Result<Tensor> {
        add(a, b)
    }

    fn gate_channels(&mut self, xs: &Tensor, gate: &Tensor) -> Result<Tensor> {
        multiply(xs, gate)
    }

    fn gate_positions(&mut self, xs: &Tensor, gate: &Tensor) -> Result<Tensor> {
        multiply(xs, &upsample_nearest2d(gate, self.size(xs)?)?)
    }
}

impl Backend for Graph {
    type Map = Value;

    fn layer(&mut self, layer: &dyn Layer, xs: &Value) -> Result<Value> {
        layer.trace(self, *xs)
    }

    fn size(&self, xs: &Value) -> Result<[usize; 2]> {
        let [height, width, _] = self.shape(*xs);
        Ok([height, width])
    }

    fn conv2d(
        &mut self,
        xs: &Value,
        weight: &Tensor,
        bias: Option<&Tensor>,
        geometry: &ConvGeometry,
        activation: Activation,
        path: &str,
    ) -> Result<Value> {
        Self::conv2d(self, *xs, weight, bias, geometry, activation, path)
    }

    fn linear(&mut self, xs: &Value, weight: &Tensor, bias: &Tensor, path: &str) -> Result<Value> {
        let (out_dim, in_dim) = weight.dims2()?;
        let weight = weight.reshape((out_dim, in_dim, 1, 1))?;
        Self::conv2d(self, *xs, &weight, Some(bias), &ConvGeometry::square(1), Activation::Identity, path)
    }

    fn batch_norm(&mut self, _: &Value, norm: &BatchNorm, _: Activation) -> Result<Value> {
        bail!("the batch norm {} is not folded, and a plan has none", norm.name())
    }

    fn activation(&mut self, _: &Value, activation: Activation) -> Result<Value> {
        bail!("a plan has no {activation:?} apart from a convolution")
    }

    fn max_pool2d(&mut self, xs: &Value, geometry: &ConvGeometry) -> Result<Value> {
        Self::max_pool2d(self, *xs, geometry)
    }

    fn avg_pool2d(&mut self, xs: &Value, geometry: &ConvGeometry) -> Result<Value> {
        Self::avg_pool2d(self, *xs, geometry)
    }

    fn global_avg_pool2d(&mut self, xs: &Value) -> Result<Value> {
        Ok(Self::global_avg_pool2d(self, *xs))
    }

    fn upsample_nearest2d(&mut self, xs: &Value, out_hw: [usize; 2]) -> Result<Value> {
        Ok(Self::upsample_nearest2d(self, *xs, out_hw))
    }

    fn concat(&mut self, parts: &[&Value]) -> Result<Value> {
        Self::concat(self, &parts.iter().map(|part| **part).collect::<Vec<_>>())
    }

    fn narrow_channels(&mut self, xs: &Value, start: usize, len: usize) -> Result<Value> {
        self.narrow(*xs, start, len)
    }

    fn add(&mut self, a: &Value, b: &Value) -> Result<Value> {
        Self::add(self, *a, *b)
    }

    fn gate_channels(&mut self, xs: &Value, gate: &Value) -> Result<Value> {
        self.multiply(*xs, *gate)
    }

    fn gate_positions(&mut self, xs: &Value, gate: &Value) -> Result<Value> {
        self.multiply(*xs, *gate)
    }
}
