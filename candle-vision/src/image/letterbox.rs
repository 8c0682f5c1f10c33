//! The detector's view of an image: scaled to fit, centred on grey, and boxes carried back.
//!
//! Ultralytics' convention: r = min(H / h, W / w), each side `round(side * r)` with ties to even and at least 1, the
//! padding split in two with the odd pixel at the bottom and right.

use std::borrow::Cow;

use candle_core::{DType, Device, Result, Tensor};
use image::RgbImage;

use super::bilinear::{resize_bilinear_into, scaling, words_len, write_words};
use ghostzoo_kernels::letterbox::{self as gpu, Scaling, Sizes};
use ghostzoo_kernels::staging::Staged;

/// Level of the borders, in every channel.
pub const GREY: u8 = 114;

/// The shape to letterbox into.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Letterbox {
    /// [height, width] in pixels.
    pub size: [usize; 2],
    /// The network's largest stride in pixels; used with `auto`.
    pub stride: usize,
    /// Pad each side only to the next multiple of `stride`, instead of to `size`.
    pub auto: bool,
    /// Enlarge images smaller than `size`.
    pub scale_up: bool,
}

impl Letterbox {
    /// Into exactly `size` = [height, width], enlarging small images.
    #[must_use]
    pub fn new(size: [usize; 2]) -> Self {
        Self { size, stride: 32, auto: false, scale_up: true }
    }

    /// Into the smallest rectangle within `size` whose sides are multiples of `stride`.
    #[must_use]
    pub fn rect(size: [usize; 2], stride: usize) -> Self {
        Self { size, stride, auto: true, scale_up: true }
    }

    /// The network's largest stride in pixels; used with `auto`.
    #[must_use]
    pub fn stride(self, stride: usize) -> Self {
        Self { stride, ..self }
    }

    /// Whether each side is padded only to the next multiple of `stride`, instead of to `size`.
    #[must_use]
    pub fn auto(self, auto: bool) -> Self {
        Self { auto, ..self }
    }

    /// Whether images smaller than `size` are enlarged.
    #[must_use]
    pub fn scale_up(self, scale_up: bool) -> Self {
        Self { scale_up, ..self }
    }

    /// Where an image of `original` = [height, width] would lie, without its pixels. Zero sides count as 1.
    #[must_use]
    pub fn plan(&self, original: [usize; 2]) -> LetterboxTransform {
        let original = original.map(|side| side.max(1));
        let fit = |size: [usize; 2]| {
            let ratio = (size[0] as f64 / original[0] as f64).min(size[1] as f64 / original[1] as f64);
            if self.scale_up { ratio } else { ratio.min(1.0) }
        };
        let scaled = |ratio: f64| original.map(|side| ((side as f64 * ratio).round_ties_even() as usize).max(1));
        let ratio = fit(self.size);
        let resized = scaled(ratio);
        let border = [0, 1].map(|axis| {
            let border = self.size[axis].saturating_sub(resized[axis]);
            if self.auto { border % self.stride.max(1) } else { border }
        });
        let size = [resized[0] + border[0], resized[1] + border[1]];
        let seen = scaled(fit(size));
        LetterboxTransform {
            original,
            size,
            resized,
            ratio,
            pad: border.map(before),
            box_gain: [0, 1].map(|axis| seen[axis] as f64 / original[axis] as f64),
            box_pad: [0, 1].map(|axis| before(size[axis].saturating_sub(seen[axis]))),
        }
    }
}

/// The pixels of a border that lie before the image.
fn before(border: usize) -> usize {
    (border as f64 / 2.0 - 0.1).round_ties_even().max(0.0) as usize
}

/// Where an image lies in its letterbox.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LetterboxTransform {
    /// [height, width] of the image.
    pub original: [usize; 2],
    /// [height, width] of the letterbox: images with equal `size` can share a batch.
    pub size: [usize; 2],
    /// [height, width] of the scaled image within it.
    pub resized: [usize; 2],
    /// Scale wished for, new / old; the sides of `resized` are rounded.
    pub ratio: f64,
    /// [top, left] border in pixels.
    pub pad: [usize; 2],
    /// [y, x] scale of boxes. Like Ultralytics', found again from `size`, so it can differ from `ratio` by one pixel.
    box_gain: [f64; 2],
    /// [y, x] offset of boxes.
    box_pad: [usize; 2],
}

impl LetterboxTransform {
    /// Carries a box [x1, y1, x2, y2] in pixels of the letterbox to pixels of the original image, clipped to it.
    #[must_use]
    pub fn to_original(&self, [x1, y1, x2, y2]: [f32; 4]) -> [f32; 4] {
        let back = |value: f32, axis: usize| {
            let value = (value - self.box_pad[axis] as f32) / self.box_gain[axis] as f32;
            value.clamp(0.0, self.original[axis] as f32)
        };
        [back(x1, 1), back(y1, 0), back(x2, 1), back(y2, 0)]
    }
}

/// Scales `image` to fit, as `cv2.resize` with `INTER_LINEAR`, and pads it with [`GREY`].
#[must_use]
pub fn letterbox(image: &RgbImage, options: &Letterbox) -> (RgbImage, LetterboxTransform) {
    let info = options.plan([image.height() as usize, image.width() as usize]);
    let [height, width] = info.size;
    let mut out = RgbImage::from_pixel(width as u32, height as u32, image::Rgb([GREY; 3]));
    let [top, left] = info.pad;
    let stride = width * 3;
    resize_bilinear_into(
        image,
        info.resized,
        &mut out.as_flat_samples_mut().samples[top * stride + left * 3..],
        stride,
    );
    (out, info)
}

/// An image on its way to a GPU that letterboxes it. Made on one thread, its copy runs beside the launches of another.
#[derive(Debug)]
pub struct Upload {
    staged: Staged,
    sizes: Sizes,
    scaling: Scaling,
}

impl Upload {
    /// Sends an image to a device that has kernels ([`ghostzoo_kernels::has_kernels`]); gives what [`letterbox`] does beside
    /// the image.
    ///
    /// # Errors
    /// If the device has no memory left.
    pub fn new(image: &RgbImage, options: &Letterbox, device: &Device) -> Result<(Self, LetterboxTransform)> {
        // Nothing becomes grey all over.
        let image = match image.is_empty() {
            true => {
                Cow::Owned(RgbImage::from_pixel(image.width().max(1), image.height().max(1), image::Rgb([GREY; 3])))
            }
            false => Cow::Borrowed(image),
        };
        let info = options.plan([image.height() as usize, image.width() as usize]);
        let fill = |words: &mut [u32]| write_words(&image, info.resized, words);
        let staged = Staged::new(device, words_len(&image, info.resized), fill)?;
        let sizes = Sizes { image: info.original, scaled: info.resized, out: info.size, pad: info.pad };
        Ok((Self { staged, sizes, scaling: scaling(&image, info.resized) }, info))
    }
}

/// Letterboxes of one size, as [`to_tensor`] has those of [`letterbox`], (images, 3, height, width) in `f32`, `f16` or
/// `bf16`, by one launch each. The values are the same, rounded once.
///
/// # Errors
/// If there are none, their sizes differ, or the device has no memory left.
pub fn letterbox_uploads(images: &[&Upload], dtype: DType) -> Result<Tensor> {
    let words = |upload: &&Upload| upload.staged.words().cloned();
    let words = images.iter().map(words).collect::<Result<Vec<_>>>()?;
    let image = |(words, upload)| {
        let Upload { sizes, scaling, .. }: &Upload = upload;
        (words, *sizes, *scaling)
    };
    let images: Vec<_> = words.iter().zip(images.iter().copied()).map(image).collect();
    gpu::letterbox(&images, dtype)
}

/// Levels / 255 as f32 of shape (3, height, width).
///
/// # Errors
/// If the tensor cannot be allocated on `device`.
pub fn to_tensor(image: &RgbImage, device: &Device) -> Result<Tensor> {
    let table = std::array::from_fn(|level| level as f32 / 255.0);
    let (height, width) = (image.height() as usize, image.width() as usize);
    Tensor::from_vec(super::planes(image, &[table; 3]), (3, height, width), device)
}

#[cfg(test)]
#[path = "letterbox_tests.rs"]
mod tests;
