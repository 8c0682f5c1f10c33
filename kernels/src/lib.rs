#![doc = include_str!("../README.md")]
#![allow(unsafe_code, reason = "kernels read and write memory by pointers, by a processor's own instructions")]

mod activation;
mod autograd;
mod context;
mod conv;
mod elementwise;
pub mod flops;
mod geometry;
#[cfg_attr(
    not(any(feature = "cuda", feature = "metal", feature = "emulate")),
    expect(dead_code, reason = "what a GPU or the emulator runs")
)]
mod gpu;
mod infer;
mod malloc;
mod maps;
mod matrix;
mod norm;
pub mod plan;
mod pool;
mod real;
pub mod seeded;
mod shared;
mod simd;
mod sync;
mod tape;
mod thread_pool;
mod update;
mod upsample;

pub use activation::Activation;
pub use context::{GradientSink, is_stock, with_candle_ops, with_gradient_sink};
pub use conv::conv2d;
pub use elementwise::{add, concat, multiply, narrow_channels};
pub use geometry::ConvGeometry;
pub use gpu::ability::check_dtype;
#[cfg(feature = "emulate")]
pub use gpu::{
    emulate::{EmulatedGpu, with_emulated, with_emulated_gpu},
    place::{PLACES, Place},
};
pub use gpu::{has_kernels, letterbox, staging, suppress};
pub use malloc::{retain_heap, use_huge_pages};
pub use matrix::{Transposed, product};
pub use norm::{BatchStats, batch_norm};
pub use pool::{avg_pool2d, global_avg_pool2d, max_pool2d};
pub use real::{Real, widest};
pub(crate) use simd::Width;
pub use simd::{Isa, UnknownIsa, peak_flops};
pub use sync::{AllGather, with_sync_batch_norm};
pub use tape::joint_backward;
pub(crate) use thread_pool::ThreadPool;
pub use thread_pool::Threads;
pub use update::Update;
pub(crate) use upsample::sources;
pub use upsample::upsample_nearest2d;
