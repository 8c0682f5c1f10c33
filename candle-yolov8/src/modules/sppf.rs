//! Spatial pyramid pooling.

use candle_core::{Result, Tensor};
use candle_nn::VarBuilder;
use candle_vision::layers::{Layer, Modules};
use ghostzoo_kernels::plan::{Graph, Value};
use ghostzoo_kernels::{ConvGeometry, concat, max_pool2d};

use super::{Conv, ConvConfig, Style};

/// A 1x1 convolution, three chained max pools of stride 1, and a 1x1 convolution of all four results.
///
/// Source: He et al., spatial pyramid pooling, <https://arxiv.org/abs/1406.4729>, in YOLOv5's chained form.
pub(crate) struct Sppf {
    cv1: Conv,
    cv2: Conv,
    window: ConvGeometry,
}

impl Sppf {
    pub(crate) fn new(c1: usize, c2: usize, k: usize, style: Style, vb: VarBuilder) -> Result<Self> {
        let hidden = c1 / 2;
        let conv = |c1, c2, name| Conv::new(ConvConfig::new(c1, c2, 1, style.activation), style.norm, vb.pp(name));
        Ok(Self {
            cv1: conv(c1, hidden, "cv1")?,
            cv2: conv(4 * hidden, c2, "cv2")?,
            window: ConvGeometry::square(k).same(),
        })
    }
}

impl Layer for Sppf {
    fn forward_t(&self, xs: &Tensor, train: bool) -> Result<Tensor> {
        let mut parts = vec![self.cv1.forward_t(xs, train)?];
        for i in 0..3 {
            parts.push(max_pool2d(&parts[i], &self.window)?);
        }
        self.cv2.forward_t(&concat(&parts.iter().collect::<Vec<_>>())?, train)
    }

    fn record(&self, graph: &mut Graph, xs: Value) -> Result<Value> {
        let mut parts = vec![self.cv1.record(graph, xs)?];
        for i in 0..3 {
            parts.push(graph.max_pool2d(parts[i], &self.window)?);
        }
        let joined = graph.concat(&parts)?;
        self.cv2.record(graph, joined)
    }

    fn children(&self) -> Vec<&dyn Layer> {
        vec![&self.cv1, &self.cv2]
    }

    /// The block, its convolutions and its pool.
    fn modules(&self) -> Modules {
        Modules::containers(1) + Modules::leaves(1) + self.cv1.modules() + self.cv2.modules()
    }
}
