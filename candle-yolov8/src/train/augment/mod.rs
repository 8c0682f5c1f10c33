//! Images and their boxes changed at random, as Ultralytics 8.4 trains detectors.
//!
//! ```text
//! image ─ mosaic of four ─ affine or perspective ─┐
//! partner ─ mosaic of four ─ affine or perspective ─┼─ mixup ─ CutMix ─ HSV ─ flips ─ planes
//! partner ─ mosaic of four ─ affine or perspective ─┘
//! ```
//!
//! What is drawn is a plan, apart from what is done: [`SamplePlan::draw`] makes all random choices of a sample, and
//! [`SamplePlan::apply`] makes none. A plan applied to equal images gives to the bit the images and boxes of
//! Ultralytics on x86 with AVX2.
//!
//! An image without a mosaic is laid into the input by its warp alone, which puts its middle near the input's:
//! Ultralytics 8.4 has no letterbox there. An outline counts as the box around it, also where Ultralytics would warp
//! its points.

mod affine;
mod boxes;
mod color;
mod cutmix;
mod mixup;
mod mosaic;
mod options;
mod sample;

use candle_vision::train::Stream;
use rand::Rng;

pub use affine::AffinePlan;
pub use boxes::{BoxTarget, PixelBox};
pub use color::HsvPlan;
pub use cutmix::CutMixPlan;
pub use mixup::MixupPlan;
pub use mosaic::MosaicPlan;
pub use options::{AugmentOptions, Scale};
pub use sample::{AugmentedSample, GeometryParams, RawSample, SamplePlan};

/// A number drawn evenly from `middle` ± `most`.
fn uniform(stream: &mut Stream, middle: f64, most: f64) -> f64 {
    middle + most * (2. * stream.random::<f64>() - 1.)
}

#[cfg(test)]
mod golden_tests;
