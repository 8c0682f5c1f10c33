//! Variants of GhostNet and the options a network is built with.

use candle_vision::layers::{BatchNormConfig, BatchNormMode};
use candle_vision::prune::Channels;

/// The family of a GhostNet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Version {
    /// Ghost modules: Han et al., <https://arxiv.org/abs/1911.11907>.
    V1,
    /// V1 with decoupled fully connected attention: Tang et al., <https://arxiv.org/abs/2211.12905>.
    V2,
    /// V2 trained with re-parameterisable branches: Liu et al., <https://arxiv.org/abs/2404.11202>.
    V3,
    /// RepGhostNet, whose cheap convolutions add to their input, by re-parameterisable branches, where V1's concatenate:
    /// Chen et al., <https://arxiv.org/abs/2211.06088>.
    Rep,
}

impl Version {
    /// Whether its ghost modules are gated by an attention.
    pub(crate) fn has_attention(self) -> bool {
        matches!(self, Self::V2 | Self::V3)
    }

    /// Whether it trains convolutions as sums of branches, so that it has a deploy form.
    pub fn has_branches(self) -> bool {
        matches!(self, Self::V3 | Self::Rep)
    }

    /// The stages. [`crate::GhostNet::features`] takes the output of each that starts with stride 2.
    pub(crate) fn stages(self) -> &'static [&'static [BlockSpec]; STAGES] {
        if self == Self::Rep { &REP_STAGES } else { &GHOST_STAGES }
    }
}

/// A published network: a version at a width.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Variant {
    /// timm's name.
    pub name: &'static str,
    /// Family.
    pub version: Version,
    /// Multiplier of every channel count but the head's.
    pub width: f64,
}

impl Variant {
    /// The shortest side that an input may have, in pixels: attention halves the last map, of 32 pixels a cell.
    pub fn least_side(&self) -> usize {
        if self.version.has_attention() { 33 } else { 1 }
    }

    /// Every variant that timm defines.
    pub const ALL: [Self; 18] = [
        Self { name: "ghostnet_050", version: Version::V1, width: 0.5 },
        Self { name: "ghostnet_100", version: Version::V1, width: 1.0 },
        Self { name: "ghostnet_130", version: Version::V1, width: 1.3 },
        Self { name: "ghostnetv2_100", version: Version::V2, width: 1.0 },
        Self { name: "ghostnetv2_130", version: Version::V2, width: 1.3 },
        Self { name: "ghostnetv2_160", version: Version::V2, width: 1.6 },
        Self { name: "ghostnetv3_050", version: Version::V3, width: 0.5 },
        Self { name: "ghostnetv3_100", version: Version::V3, width: 1.0 },
        Self { name: "ghostnetv3_130", version: Version::V3, width: 1.3 },
        Self { name: "ghostnetv3_160", version: Version::V3, width: 1.6 },
        Self { name: "repghostnet_050", version: Version::Rep, width: 0.5 },
        Self { name: "repghostnet_058", version: Version::Rep, width: 0.58 },
        Self { name: "repghostnet_080", version: Version::Rep, width: 0.8 },
        Self { name: "repghostnet_100", version: Version::Rep, width: 1.0 },
        Self { name: "repghostnet_111", version: Version::Rep, width: 1.11 },
        Self { name: "repghostnet_130", version: Version::Rep, width: 1.3 },
        Self { name: "repghostnet_150", version: Version::Rep, width: 1.5 },
        Self { name: "repghostnet_200", version: Version::Rep, width: 2.0 },
    ];

    /// The variant that timm calls `name`.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|variant| variant.name == name)
    }

    /// `channels` at this variant's width, rounded to a multiple of four that is not more than a tenth too small.
    pub fn scale(&self, channels: usize) -> usize {
        round_channels(channels as f64 * self.width)
    }
}

/// The multiple of four nearest to `channels`, or the next one where that would lose more than a tenth.
pub(crate) fn round_channels(channels: f64) -> usize {
    let rounded = ((channels + 2.) as usize / 4 * 4).max(4);
    if (rounded as f64) < 0.9 * channels { rounded + 4 } else { rounded }
}

/// What becomes of the parallel branches of GhostNetV3 and RepGhostNet when a model is built. V1 and V2 have none and
/// ignore it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Reparam {
    /// Kept as layers, as trained. [`BatchNormMode::Fuse`] merges them all the same.
    #[default]
    Train,
    /// Read, then merged into one convolution with a bias each, as timm's `reparameterize` does.
    Fuse,
    /// Already merged in the checkpoint. [`BatchNormMode::Fused`] implies it.
    Deploy,
}

/// How a GhostNet is built.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Config {
    /// Version and width.
    pub variant: Variant,
    /// Outputs of the classifier; without any, the network ends at the pooled features.
    pub num_classes: usize,
    /// Treatment of GhostNetV3's and RepGhostNet's branches.
    pub branches: Reparam,
    /// Treatment of the batch norms. The stem keeps its own in a checkpoint of any form, see [`crate::GhostNet::features`].
    pub norm: BatchNormMode,
    /// The tensors that have fewer channels than the variant: those of a pruned network.
    pub channels: Channels,
}

impl Config {
    /// `variant` as trained on ImageNet: 1,000 classes, all branches and batch norms separate.
    pub fn new(variant: Variant) -> Self {
        let (branches, norm, channels) = (Reparam::Train, BatchNormMode::Keep, Channels::default());
        Self { variant, num_classes: 1000, branches, norm, channels }
    }

    /// Outputs of the classifier; without any, the network ends at the pooled features.
    #[must_use]
    pub fn num_classes(self, num_classes: usize) -> Self {
        Self { num_classes, ..self }
    }

    /// Treatment of GhostNetV3's and RepGhostNet's branches.
    #[must_use]
    pub fn branches(self, branches: Reparam) -> Self {
        Self { branches, ..self }
    }

    /// Treatment of the batch norms.
    #[must_use]
    pub fn norm(self, norm: BatchNormMode) -> Self {
        Self { norm, ..self }
    }

    /// The tensors that have fewer channels than the variant.
    #[must_use]
    pub fn channels(self, channels: Channels) -> Self {
        Self { channels, ..self }
    }

    /// The same network, read from the same checkpoint, with everything folded that can be.
    #[must_use]
    pub fn for_inference(&self) -> Self {
        let branches = if self.branches == Reparam::Train { Reparam::Fuse } else { self.branches };
        let norm = if self.norm == BatchNormMode::Keep { BatchNormMode::Fuse } else { self.norm };
        self.clone().branches(branches).norm(norm)
    }

    /// Channels of each map of [`crate::GhostNet::features`]: at most so many of a pruned network.
    pub fn feature_channels(&self) -> [usize; 5] {
        [16, 24, 40, 80, 160].map(|channels| self.variant.scale(channels))
    }

    /// Channels of [`crate::GhostNet::forward_features`]: at most so many of a pruned network.
    pub fn final_channels(&self) -> usize {
        self.variant.scale(FINAL_CHANNELS)
    }
}

/// Channels of the stem and of the convolution before the pooling, at width 1.
pub(crate) const STEM_CHANNELS: usize = 16;
pub(crate) const FINAL_CHANNELS: usize = 960;

/// Channels of the head's hidden layer, at any width.
pub const HEAD_CHANNELS: usize = 1280;

/// Epsilon and momentum of every batch norm.
pub(crate) const BATCH_NORM: BatchNormConfig = BatchNormConfig::new().eps(1e-5).momentum(0.1);

/// One bottleneck at width 1.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BlockSpec {
    /// Side of the depthwise windows.
    pub(crate) kernel: usize,
    /// Channels between the two ghost modules.
    pub(crate) mid_c: usize,
    pub(crate) out_c: usize,
    pub(crate) squeeze_excite: bool,
    pub(crate) stride: usize,
}

const fn block(kernel: usize, mid_c: usize, out_c: usize, squeeze_excite: bool, stride: usize) -> BlockSpec {
    BlockSpec { kernel, mid_c, out_c, squeeze_excite, stride }
}

/// Number of stages, in every version.
const STAGES: usize = 9;

#[rustfmt::skip]
const GHOST_STAGES: [&[BlockSpec]; STAGES] = [
    // kernel, mid, out, squeeze-excite, stride
    &[block(3,  16,  16, false, 1)],
    &[block(3,  48,  24, false, 2)],
    &[block(3,  72,  24, false, 1)],
    &[block(5,  72,  40, true,  2)],
    &[block(5, 120,  40, true,  1)],
    &[block(3, 240,  80, false, 2)],
    &[block(3, 200,  80, false, 1),
      block(3, 184,  80, false, 1),
      block(3, 184,  80, false, 1),
      block(3, 480, 112, true,  1),
      block(3, 672, 112, true,  1)],
    &[block(5, 672, 160, true,  2)],
    &[block(5, 960, 160, false, 1),
      block(5, 960, 160, true,  1),
      block(5, 960, 160, false, 1),
      block(5, 960, 160, true,  1)],
];

/// A RepGhost module gives as many channels as its first convolution, a ghost module twice as many.
#[rustfmt::skip]
const REP_STAGES: [&[BlockSpec]; STAGES] = [
    // kernel, mid, out, squeeze-excite, stride
    &[block(3,   8,  16, false, 1)],
    &[block(3,  24,  24, false, 2)],
    &[block(3,  36,  24, false, 1)],
    &[block(5,  36,  40, true,  2)],
    &[block(5,  60,  40, true,  1)],
    &[block(3, 120,  80, false, 2)],
    &[block(3, 100,  80, false, 1),
      block(3, 120,  80, false, 1),
      block(3, 120,  80, false, 1),
      block(3, 240, 112, true,  1),
      block(3, 336, 112, true,  1)],
    &[block(5, 336, 160, true,  2)],
    &[block(5, 480, 160, false, 1),
      block(5, 480, 160, true,  1),
      block(5, 480, 160, false, 1),
      block(5, 480, 160, true,  1)],
];

/// Blocks at the start of V2 and V3 whose first ghost module has no attention.
pub(crate) const BLOCKS_WITHOUT_ATTENTION: usize = 2;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn channels_round_as_in_timm() {
        // timm.layers.make_divisible(v, 4)
        for (channels, expected) in
            [(8., 8), (20.8, 20), (25.6, 24), (31.2, 32), (1., 4), (6., 8), (9., 12), (62.4, 64)]
        {
            assert_eq!(round_channels(channels), expected, "{channels}");
        }
    }

    #[test]
    fn names_resolve_to_their_variants() {
        for variant in Variant::ALL {
            assert_eq!(Variant::from_name(variant.name), Some(variant));
        }
        assert_eq!(Variant::from_name("ghostnet"), None);
    }
}
