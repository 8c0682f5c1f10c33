//! Pictures in, pictures out: decode, resize as the models were trained, draw what they found.
//!
//! - [`decode`], [`open`]: a file to upright 8-bit RGB;
//! - [`ClassifyTransform`]: PIL's antialiased resize, centre crop and normalisation, as timm evaluates classifiers;
//! - [`Letterbox`]: cv2's bilinear resize with grey borders, as Ultralytics feeds detectors, and the way back;
//! - [`draw_boxes`], [`save`]: the result as a picture.
//!
//! Decoded pixels are the same as PIL's and cv2's for PNG, BMP and lossless WebP, and the two resizes are bit-equal with
//! theirs on equal pixels. JPEG is decoded by zune-jpeg, whose inverse DCT and chroma upsampling round otherwise than
//! libjpeg-turbo's: JPEG_DRIFT.

mod bilinear;
mod classify;
mod decode;
mod draw;
mod error;
mod letterbox;
mod resize;
mod save;

pub use bilinear::resize_bilinear;
pub use classify::ClassifyTransform;
pub use decode::{DecodeOptions, MAX_FILE_BYTES, MAX_PIXELS, decode, decode_with, open};
pub use draw::{BoxLabel, class_color, draw_boxes};
pub use error::ImageError;
pub use image::RgbImage;
pub use letterbox::{GREY, Letterbox, LetterboxInfo, letterbox, to_tensor};
pub use resize::{Interpolation, resize};
pub use save::save;

/// The levels of a picture looked up in a table per channel: red plane, green plane, blue plane.
fn planes(picture: &RgbImage, tables: &[[f32; 256]; 3]) -> Vec<f32> {
    let mut out = Vec::with_capacity(picture.len());
    for (channel, table) in tables.iter().enumerate() {
        out.extend(picture.as_chunks::<3>().0.iter().map(|pixel| table[usize::from(pixel[channel])]));
    }
    out
}

#[cfg(test)]
mod fixtures;
