//! Images in, images out: decode, resize as the models were trained, draw what they found.
//!
//! - [`decode`], [`open`]: a file to upright 8-bit RGB; [`DecodeOptions`]: as stored, and whose pixels;
//! - [`EvalTransform`]: PIL's antialiased resize, centre crop and normalisation, as timm evaluates classifiers;
//! - [`Letterbox`]: cv2's bilinear resize with grey borders, as Ultralytics feeds detectors, and the way back;
//! - [`warp_affine`], [`warp_perspective`], [`map_hsv`]: cv2's warps and colours, as training changes images;
//! - `draw_boxes` and `draw_path` (feature `draw`), [`save`]: the result as an image.
//!
//! The two resizes are bit-equal with theirs on equal pixels (Pillow 13, OpenCV 4.11 and 5.0 on x86), and so are decoded
//! images of every format, JPEG included: it is read as by libjpeg-turbo, which PIL and cv2 share, but for levels far outside
//! 0 to 255 in some damaged files. Where PIL and cv2 differ, [`Reference`] says whose pixels are meant.
//!
//! `python tests/oracle/image.py parity DIR` measures this, and the resizes, on any folder of images.

#[cfg(feature = "avif")]
mod avif;
#[cfg(feature = "avif")]
mod avif_boxes;
#[cfg(feature = "avif")]
mod avif_colors;
mod bilinear;
mod bmp;
mod channels;
mod classify;
mod decode;
#[cfg(feature = "draw")]
mod draw;
mod error;
mod exif;
mod format;
mod frames;
mod hsv;
mod inspect;
mod jpeg;
mod jpeg_markers;
mod letterbox;
mod libjpeg;
#[cfg(feature = "draw")]
mod path;
mod resize;
mod save;
#[cfg(feature = "draw")]
mod text;
#[cfg(feature = "tiff")]
mod tiff;
#[cfg(feature = "tiff")]
mod tiff_colors;
#[cfg(feature = "tiff")]
mod tiff_directory;
mod warp;
mod webp;

pub use bilinear::{resize_bilinear, resize_bilinear_alone};
pub use channels::{swap_red_blue, swap_red_blue_into};
pub use classify::EvalTransform;
pub use decode::{DecodeOptions, Decoded, MAX_FILE_BYTES, MAX_PIXELS, Reference, decode, decode_with, open, open_with};
#[cfg(feature = "draw")]
pub use draw::{DrawnBox, Pen, class_color, draw_boxes, line_width};
pub use error::ImageError;
pub use hsv::{HsvLut, hsv_from_rgb, map_hsv, rgb_from_hsv};
pub use image::{Rgb, RgbImage};
pub use inspect::upright_size;
pub use letterbox::{GREY, Letterbox, LetterboxTransform, Upload, letterbox, letterbox_uploads, to_tensor};
#[cfg(feature = "draw")]
pub use path::draw_path;
pub use resize::{Interpolation, UnknownInterpolation, resize};
pub use save::save;
#[cfg(feature = "draw")]
pub use text::{FONT_FILE, Typeface, draw_text, is_in_bundled_font};
pub use warp::{warp_affine, warp_perspective};

/// The levels of an image looked up in a table per channel: red plane, green plane, blue plane.
fn planes(image: &RgbImage, tables: &[[f32; 256]; 3]) -> Vec<f32> {
    let mut out = vec![0.; image.len()];
    write_planes(image, tables, &mut out);
    out
}

/// [`planes`] into memory of as many elements.
pub(crate) fn write_planes(image: &RgbImage, tables: &[[f32; 256]; 3], out: &mut [f32]) {
    let (pixels, plane) = (image.as_chunks::<3>().0, out.len() / 3);
    for (channel, (table, out)) in tables.iter().zip(out.chunks_exact_mut(plane.max(1))).enumerate() {
        out.iter_mut().zip(pixels).for_each(|(out, pixel)| *out = table[usize::from(pixel[channel])]);
    }
}

#[cfg(test)]
pub(crate) mod fixtures;
