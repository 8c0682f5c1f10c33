use candle_vision::image::{DecodeOptions, MAX_PIXELS};
use clap::Args;
use serde::{Deserialize, Serialize};

/// The limit of an image's size.
#[derive(Debug, Clone, PartialEq, Eq, Args, Serialize, Deserialize)]
pub(crate) struct Limit {
    /// Most pixels of an image; a larger one is refused before it takes memory [default: 178956970, as Pillow]
    #[arg(long, default_value_t = MAX_PIXELS, hide_default_value = true, value_name = "N",
        value_parser = clap::value_parser!(u64).range(1..))]
    #[serde(default = "most", skip_serializing_if = "is_most")]
    pub(crate) max_pixels: u64,
}

impl Limit {
    /// How classifiers read images.
    pub(crate) fn stored(&self) -> DecodeOptions {
        DecodeOptions::stored().max_pixels(self.max_pixels)
    }

    /// How detectors read images.
    pub(crate) fn upright(&self) -> DecodeOptions {
        DecodeOptions::new().max_pixels(self.max_pixels)
    }
}

fn most() -> u64 {
    MAX_PIXELS
}

fn is_most(max_pixels: &u64) -> bool {
    *max_pixels == MAX_PIXELS
}
