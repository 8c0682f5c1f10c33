//! The blocks that rows are built of, under Ultralytics' tensor names.

mod bottleneck;
mod conv;
mod csp;
mod detect;
mod sppf;

pub(crate) use bottleneck::{Bottleneck, BottleneckConfig, GhostBottleneck};
pub(crate) use conv::{Conv, ConvConfig, GhostConv};
pub(crate) use csp::{CspBlock, CspConfig};
pub(crate) use detect::Detect;
pub(crate) use sppf::Sppf;

use candle_vision::layers::{BatchNormConfig, BatchNormMode};
use ghostzoo_kernels::Activation;

/// Epsilon and momentum of every batch norm.
pub(crate) const BATCH_NORM: BatchNormConfig = BatchNormConfig::new().eps(1e-3).momentum(0.03);
/// Bins per box side.
pub(crate) const REG_MAX: usize = 16;

/// What all blocks of a model share.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Style {
    /// The activation of every convolution that names none.
    pub(crate) activation: Activation,
    /// What becomes of the batch norms.
    pub(crate) norm: BatchNormMode,
}
