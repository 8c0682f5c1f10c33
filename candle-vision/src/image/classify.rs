//! The classifier's view of an image: timm's evaluation transform with `crop_mode="center"`.

use candle_core::{Device, Result, Tensor};
use image::RgbImage;
use rayon::prelude::*;

use super::resize::{Interpolation, Window, resize_window};

/// Resize the shortest side to `floor(input_size / crop_pct)`, crop the centre, scale to 0..1, normalise.
///
/// Sizes and roundings are torchvision's `Resize` and `CenterCrop` (square input) or timm's `ResizeKeepRatio` (any
/// other), through [`resize`](super::resize).
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct EvalTransform {
    /// [height, width] of the network's input, in pixels.
    pub input_size: [usize; 2],
    /// Share of the resized image's shortest side that the crop keeps. `f64`, since the size is a floor of a quotient.
    pub crop_pct: f64,
    /// Filter of the resize.
    pub interpolation: Interpolation,
    /// Mean per channel, of levels in 0..1.
    pub mean: [f32; 3],
    /// Standard deviation per channel, of levels in 0..1.
    pub std: [f32; 3],
}

impl Default for EvalTransform {
    /// timm's for the GhostNets: 224x224, 0.875, bicubic, ImageNet statistics.
    fn default() -> Self {
        Self {
            input_size: [224, 224],
            crop_pct: 0.875,
            interpolation: Interpolation::Bicubic,
            mean: [0.485, 0.456, 0.406],
            std: [0.229, 0.224, 0.225],
        }
    }
}

impl EvalTransform {
    /// timm's for the GhostNets.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// [height, width] of the network's input, in pixels.
    #[must_use]
    pub fn input_size(self, input_size: [usize; 2]) -> Self {
        Self { input_size, ..self }
    }

    /// Share of the resized image's shortest side that the crop keeps.
    #[must_use]
    pub fn crop_pct(self, crop_pct: f64) -> Self {
        Self { crop_pct, ..self }
    }

    /// Filter of the resize.
    #[must_use]
    pub fn interpolation(self, interpolation: Interpolation) -> Self {
        Self { interpolation, ..self }
    }

    /// Mean per channel, of levels in 0..1.
    #[must_use]
    pub fn mean(self, mean: [f32; 3]) -> Self {
        Self { mean, ..self }
    }

    /// Standard deviation per channel, of levels in 0..1.
    #[must_use]
    pub fn std(self, std: [f32; 3]) -> Self {
        Self { std, ..self }
    }

    /// [height, width] to which an image of `original` = [height, width] is resized before the crop.
    #[must_use]
    pub fn resized(&self, original: [usize; 2]) -> [usize; 2] {
        let [height, width] = original;
        let [scale_h, scale_w] = self.input_size.map(|side| (side as f64 / self.crop_pct).floor() as usize);
        if height == 0 || width == 0 {
            return [scale_h, scale_w];
        }
        if scale_h == scale_w {
            let long = |long: usize, short: usize| ((scale_h * long) as f64 / short as f64) as usize;
            return if width <= height { [long(height, width), scale_h] } else { [scale_h, long(width, height)] };
        }
        let ratio = (height as f64 / scale_h as f64).min(width as f64 / scale_w as f64);
        original.map(|side| (side as f64 / ratio).round_ties_even() as usize)
    }

    /// The resized and cropped image, of `input_size`; black where the resized image is smaller than the crop.
    #[must_use]
    pub fn resize_crop(&self, image: &RgbImage) -> RgbImage {
        let size = self.resized([image.height() as usize, image.width() as usize]);
        let [rows, columns] = [0, 1].map(|axis| Span::of_centre_crop(size[axis], self.input_size[axis]));
        let window = Window {
            rows: rows.start..rows.start + rows.length,
            columns: columns.start..columns.start + columns.length,
        };
        let cropped = resize_window(image, size, &window, self.interpolation);
        if [rows.length, columns.length] == self.input_size {
            return cropped;
        }
        let mut padded = RgbImage::new(self.input_size[1] as u32, self.input_size[0] as u32);
        image::imageops::replace(&mut padded, &cropped, columns.pad as i64, rows.pad as i64);
        padded
    }

    /// The network's input for one image: f32 of shape (3, height, width).
    ///
    /// # Errors
    /// If the tensor cannot be allocated on `device`.
    pub fn apply(&self, image: &RgbImage, device: &Device) -> Result<Tensor> {
        self.normalize(&[&self.resize_crop(image)], device)?.squeeze(0)
    }

    /// The network's input for images that [`Self::resize_crop`] gave: (level / 255 - mean) / std, f32 of shape
    /// (n, 3, height, width).
    ///
    /// # Errors
    /// If an image is not of `input_size`, or the tensor cannot be allocated on `device`.
    pub fn normalize(&self, images: &[&RgbImage], device: &Device) -> Result<Tensor> {
        let [height, width] = self.input_size;
        if let Some(image) = images.iter().find(|image| image.dimensions() != (width as u32, height as u32)) {
            candle_core::bail!("an image of {:?} where {width}x{height} is expected", image.dimensions())
        }
        let tables = self.tables();
        let mut levels = vec![0.; images.len() * 3 * height * width];
        let out = levels.par_chunks_exact_mut((3 * height * width).max(1));
        images.par_iter().zip(out).for_each(|(image, out)| super::write_planes(image, &tables, out));
        Tensor::from_vec(levels, (images.len(), 3, height, width), device)
    }

    /// The normalised value of each level, per channel.
    pub(crate) fn tables(&self) -> [[f32; 256]; 3] {
        std::array::from_fn(|channel| {
            std::array::from_fn(|level| (level as f32 / 255.0 - self.mean[channel]) / self.std[channel])
        })
    }
}

/// Where a centre crop lies on one axis.
struct Span {
    /// First pixel taken from the image.
    start: usize,
    /// Pixels taken from the image.
    length: usize,
    /// Black pixels before them.
    pad: usize,
}

impl Span {
    fn of_centre_crop(size: usize, crop: usize) -> Self {
        if crop > size {
            return Self { start: 0, length: size, pad: (crop - size) / 2 };
        }
        Self { start: ((size - crop) as f64 / 2.0).round_ties_even() as usize, length: crop, pad: 0 }
    }
}
