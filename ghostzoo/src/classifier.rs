//! What images show.

use std::ffi::OsStr;
use std::fmt;
use std::path::Path;
use std::time::{Duration, Instant};

use candle_core::{D, DType, Device, Tensor};
use candle_ghostnet::GhostNet;
use candle_vision::image::{self, DecodeOptions, EvalTransform, RgbImage};

use crate::error::{Result, request};
use crate::model::{Model, Network};
use crate::options::LoadOptions;

/// A class and how likely it is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Probability {
    /// Number of the class.
    pub class_id: usize,
    /// From 0 to 1; those of all classes sum to 1.
    pub probability: f32,
}

/// All classes of a classifier, the likeliest first.
#[derive(Debug, Clone, PartialEq)]
pub struct TopK {
    ranked: Vec<Probability>,
}

impl TopK {
    fn new(probabilities: Vec<f32>) -> Self {
        let entry = |(class_id, probability)| Probability { class_id, probability };
        let mut ranked: Vec<Probability> = probabilities.into_iter().enumerate().map(entry).collect();
        ranked.sort_by(|a, b| b.probability.total_cmp(&a.probability));
        Self { ranked }
    }

    /// The `k` likeliest classes, or all where there are fewer.
    pub fn top(&self, k: usize) -> &[Probability] {
        &self.ranked[..k.min(self.ranked.len())]
    }

    /// The likeliest class; `None` of a model without classes.
    pub fn best(&self) -> Option<Probability> {
        self.ranked.first().copied()
    }
}

/// How long a batch took.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ClassifySpeed {
    /// The copy to the device.
    pub preprocess: Duration,
    /// The network.
    pub inference: Duration,
    /// Probabilities and their order.
    pub postprocess: Duration,
}

/// A classifier ready to run. Make one and use it for every image, from as many threads as you like.
///
/// ```
/// use ghostzoo::{Classifier, RgbImage};
///
/// let classifier = Classifier::load("ghostnet_050-cifar10")?;
/// let image = RgbImage::new(32, 32);
/// for class in classifier.predict(&image)?.top(3) {
///     println!("{} {:.2}", classifier.class_name(class.class_id), class.probability);
/// }
/// # Ok::<(), ghostzoo::Error>(())
/// ```
pub struct Classifier {
    name: String,
    class_names: Vec<String>,
    licence: Option<String>,
    network: GhostNet,
    transform: EvalTransform,
    device: Device,
    dtype: DType,
}

impl fmt::Debug for Classifier {
    /// Name, classes and licence, without the tensors.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, class_names, licence, .. } = self;
        let classes = class_names.len();
        f.debug_struct("Classifier")
            .field("name", name)
            .field("classes", &classes)
            .field("licence", licence)
            .finish_non_exhaustive()
    }
}

impl Classifier {
    /// Loads a classifier on the CPU, in f32: by a name of the registry (`ghostnet_050-cifar10` is built in), a file
    /// (safetensors, or PyTorch's `.pt`), or `hf://organisation/repository[@revision]/file`.
    ///
    /// # Errors
    /// Where there is no such model, it cannot be downloaded or read, its tensors do not fit its architecture, or it is a
    /// detector.
    pub fn load(model: impl AsRef<OsStr>) -> Result<Self> {
        LoadOptions::new().classifier(model)
    }

    /// Takes a loaded model.
    ///
    /// # Errors
    /// Where it is a detector.
    pub fn of(model: Model) -> Result<Self> {
        let Network::Classifier(network) = model.network else {
            return Err(request(format!("{} is a detector; use `Detector`", model.name)));
        };
        Ok(Self {
            name: model.name,
            class_names: model.class_names,
            licence: model.licence,
            network: *network,
            transform: model.transform,
            device: model.device,
            dtype: model.dtype,
        })
    }

    /// The classes of an image, the likeliest first. The image is scaled, cropped and normalised as the checkpoint says.
    ///
    /// # Errors
    /// Where the device fails, as without memory.
    pub fn predict(&self, image: &RgbImage) -> Result<TopK> {
        let (mut ranked, _) = self.predict_prepared(&[&self.prepare(image)?])?;
        Ok(ranked.pop().unwrap_or(TopK { ranked: Vec::new() }))
    }

    /// [`Classifier::predict`] for several images, as one batch, in their order.
    ///
    /// # Errors
    /// As [`Classifier::predict`].
    pub fn predict_batch(&self, images: &[RgbImage]) -> Result<Vec<TopK>> {
        let prepared: Vec<Tensor> = images.iter().map(|image| self.prepare(image)).collect::<Result<_>>()?;
        Ok(self.predict_prepared(&prepared.iter().collect::<Vec<_>>())?.0)
    }

    /// [`Classifier::predict`] for an image file, which is read as Pillow reads it: a stored orientation is not applied.
    ///
    /// # Errors
    /// Where it cannot be read; as [`Classifier::predict`].
    pub fn predict_file(&self, path: impl AsRef<Path>) -> Result<TopK> {
        self.predict(&image::open_with(path.as_ref(), &DecodeOptions::stored())?.image)
    }

    /// The network's input for an image, f32 of shape (3, height, width) on the CPU. Made on another thread than the one
    /// that predicts, it takes none of that one's time.
    ///
    /// # Errors
    /// Where there is no memory left.
    pub fn prepare(&self, image: &RgbImage) -> Result<Tensor> {
        Ok(self.transform.apply(image, &Device::Cpu)?)
    }

    /// Prepared images as one batch, in their order, and how long it took.
    ///
    /// # Errors
    /// As [`Classifier::predict`].
    pub fn predict_prepared(&self, images: &[&Tensor]) -> Result<(Vec<TopK>, ClassifySpeed)> {
        if images.is_empty() {
            return Ok(Default::default());
        }
        let start = Instant::now();
        let xs = Tensor::stack(images, 0)?.to_device(&self.device)?.to_dtype(self.dtype)?;
        let preprocess = start.elapsed();
        let start = Instant::now();
        let logits = self.network.forward(&xs)?;
        self.device.synchronize()?;
        let inference = start.elapsed();
        let start = Instant::now();
        let probabilities = candle_nn::ops::softmax(&logits.to_dtype(DType::F32)?, D::Minus1)?.to_vec2::<f32>()?;
        let ranked = probabilities.into_iter().map(TopK::new).collect();
        Ok((ranked, ClassifySpeed { preprocess, inference, postprocess: start.elapsed() }))
    }

    /// What the model was asked for by.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Names of the classes by their numbers: the checkpoint's, or ImageNet's where there are 1,000; else empty.
    pub fn class_names(&self) -> &[String] {
        &self.class_names
    }

    /// The name of a class, or its number where it has none.
    pub fn class_name(&self, class_id: usize) -> String {
        self.class_names.get(class_id).cloned().unwrap_or_else(|| class_id.to_string())
    }

    /// How images are scaled, cropped and normalised.
    pub fn transform(&self) -> &EvalTransform {
        &self.transform
    }

    /// The licence of the weights, where it is known.
    pub fn licence(&self) -> Option<&str> {
        self.licence.as_deref()
    }

    /// Where it computes.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// The type that it computes in.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// The network below.
    pub fn inner(&self) -> &GhostNet {
        &self.network
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_are_ranked_and_equals_keep_their_order() {
        let ranked = TopK::new(vec![0.1, 0.4, 0.1, 0.4]);
        let ids = |k: usize| ranked.top(k).iter().map(|class| class.class_id).collect::<Vec<_>>();
        assert_eq!((ids(2), ids(9)), (vec![1, 3], vec![1, 3, 0, 2]));
        assert_eq!(ranked.best(), Some(Probability { class_id: 1, probability: 0.4 }));
    }
}
