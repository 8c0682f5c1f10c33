//! Spatial pyramid pooling.

use candle_core::Result;
use candle_nn::VarBuilder;
use candle_vision::layers::{Backend, Block, Layer, Modules};
use ghostzoo_kernels::ConvGeometry;

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

impl<B: Backend> Block<B> for Sppf {
    fn apply(&self, backend: &mut B, xs: &B::Map) -> Result<B::Map> {
        let mut parts = vec![self.cv1.apply(backend, xs)?];
        for i in 0..3 {
            parts.push(backend.max_pool2d(&parts[i], &self.window)?);
        }
        let joined = backend.concat(&parts.iter().collect::<Vec<_>>())?;
        self.cv2.apply(backend, &joined)
    }
}

impl Layer for Sppf {
    fn children(&self) -> Vec<&dyn Layer> {
        vec![&self.cv1, &self.cv2]
    }

    /// The block, its convolutions and its pool.
    fn modules(&self) -> Modules {
        Modules::containers(1) + Modules::leaves(1) + self.cv1.modules() + self.cv2.modules()
    }
}
