//! Inference as a plan: a network's layers are traced into a [`Graph`] for one image size, which is lowered once to kernels over
//! one arena, of the CPU or of a GPU, and then run for every image of that size.

mod choose;
mod forwards;
mod fuse;
mod graph;
mod launches;
mod low_precision;
mod lower;
mod pack;
mod place;
mod quantization;
mod session;
#[cfg(test)]
mod tests;
mod tune;

pub use choose::ConvShape;
pub use forwards::{KernelLaunch, launches};
pub use graph::{Graph, Traced, Value};
pub use quantization::{ConvQuantization, ObservedConv, Observer, Quantization, check_quantization};
pub use session::{OpTiming, Session};
pub use tune::{conv_shapes, tune};
