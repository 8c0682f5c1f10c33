//! Videos, cameras and streams as images with their times, and images as videos.
//!
//! A [`FrameSource`] gives the frames of a file, a camera, an address (`rtsp://`, `http://` and what else ffmpeg reads) or of
//! stdin. [`FrameSources`] reads several side by side. A [`VideoWriter`] makes a video of images.
//!
//! ```no_run
//! use ghostzoo::video::{FrameSource, VideoInput, VideoOptions};
//!
//! let detector = ghostzoo::Detector::load("yolov8n-ghostnet-bccd")?;
//! for frame in FrameSource::open(&VideoInput::parse("cells.mp4"), &VideoOptions::new())? {
//!     let frame = frame?;
//!     println!("{:.2} s: {} objects", frame.time_s, detector.predict(&frame.image)?.len());
//! }
//! # Ok::<(), ghostzoo::Error>(())
//! ```
//!
//! Decoding and encoding are the work of the program `ffmpeg` (5.1 was run; options of older ones are known), which runs beside this one and hands frames over
//! a pipe: no C library is linked, and a damaged file cannot crash the caller. `GHOSTZOO_FFMPEG` and `GHOSTZOO_FFPROBE` name the
//! programs where they are not on the search path. No shell is involved. Frames are 8-bit RGB, upright, in the size of the first
//! one, and bit-equal with those of OpenCV's `VideoCapture` (5.0, measured with ffmpeg 5.1 on 8-bit H.264 and MJPEG).
//!
//! An address with a password is masked in every message; other users of the machine can see it in the list of processes, as
//! with ffmpeg itself.

mod arguments;
mod bell;
mod error;
mod feed;
mod frame;
mod group;
mod input;
mod log;
mod nut;
mod options;
mod probe;
mod program;
mod source;
mod state;
mod writer;

pub use error::VideoError;
pub use frame::{Frame, VideoInfo};
pub use group::{FrameSources, SourceEvent};
pub use input::{ENDINGS, StdinFormat, VideoInput};
pub use options::VideoOptions;
pub use source::FrameSource;
pub use writer::VideoWriter;
