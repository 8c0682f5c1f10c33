//! Motion of the camera between frames.

mod frame;

pub use frame::GrayFrame;
