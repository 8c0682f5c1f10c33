//! What one step of training takes.

use std::ops::Range;

use candle_core::{Device, Result, Tensor};

/// Images and labels for one step.
#[derive(Debug, Clone, PartialEq)]
pub struct Batch {
    /// Normalised images: (n, 3, height, width).
    pub images: Vec<f32>,
    /// [height, width] of the images.
    pub size: [usize; 2],
    /// Class of each image, before mixing.
    pub classes: Vec<usize>,
    /// Which image of the set each is.
    pub indices: Vec<usize>,
    /// Labels of shape (n, number of classes) where images are mixed, smoothing included.
    pub soft: Option<Vec<f32>>,
}

/// Labels of a batch as a tensor.
#[derive(Debug, Clone)]
pub enum Targets {
    /// Class indices: u32 of shape (n).
    Classes(Tensor),
    /// Probabilities, smoothing included: f32 of shape (n, number of classes).
    Soft(Tensor),
}

impl Batch {
    /// Leaves out all images but these.
    pub(super) fn keep(&mut self, images: Range<usize>) {
        let count = self.classes.len();
        fn part<T>(values: &mut Vec<T>, images: &Range<usize>, count: usize) {
            let each = values.len() / count.max(1);
            values.truncate(images.end * each);
            values.drain(..images.start * each);
        }
        part(&mut self.images, &images, count);
        part(&mut self.indices, &images, count);
        if let Some(soft) = &mut self.soft {
            part(soft, &images, count);
        }
        part(&mut self.classes, &images, count);
    }

    /// The images, f32 of shape (n, 3, height, width), and their labels.
    ///
    /// # Errors
    /// If a tensor cannot be allocated on `device`.
    pub fn into_tensors(self, device: &Device) -> Result<(Tensor, Targets)> {
        let count = self.classes.len();
        let images = Tensor::from_vec(self.images, (count, 3, self.size[0], self.size[1]), device)?;
        let targets = match self.soft {
            Some(soft) => {
                let num_classes = soft.len() / count.max(1);
                Targets::Soft(Tensor::from_vec(soft, (count, num_classes), device)?)
            }
            None => {
                let classes: Vec<u32> = self.classes.iter().map(|&class| class as u32).collect();
                Targets::Classes(Tensor::from_vec(classes, count, device)?)
            }
        };
        Ok((images, targets))
    }
}
