//! Several classifiers in one pass over the images.

use std::borrow::Borrow;
use std::thread;

use candle_core::{DType, Device, Tensor};
use candle_vision::augment::AugmentError;
use candle_vision::data::{ClassificationItem, Dataset, ImageReadError, ItemError, LoaderError, PrefetchIter};
use candle_vision::image::{EvalTransform, RgbImage};
use candle_vision::metrics::ClassificationMetrics;
use rayon::prelude::*;

use crate::classifier::Classifier;
use crate::error::{Error, Result, request};

/// An image that each classifier of a pass has looked at.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct OnePassImage<T> {
    /// What the caller knows of the image.
    pub label: T,
    /// The logits of each classifier, by class; `None` where there was no image to look at.
    pub logits: Option<Vec<Vec<f32>>>,
}

/// What a validation of several classifiers found.
#[derive(Debug)]
#[non_exhaustive]
pub struct OnePassReport {
    /// The numbers of each classifier, of all images that could be read.
    pub metrics: Vec<ClassificationMetrics>,
    /// The other images, and why.
    pub unreadable: Vec<ImageReadError>,
}

/// An image as each transform gives it.
type Views = Option<Vec<RgbImage>>;

impl Classifier {
    /// [`Classifier::validate`] for several classifiers, which look at `batch` images at a time: each image is read once.
    ///
    /// ```
    /// use ghostzoo::candle_vision::data::{ClassificationItem, InMemoryDataset};
    /// use ghostzoo::{Classifier, LoadOptions, RgbImage};
    ///
    /// // One network, whose second copy sees images at twice the size.
    /// let small = Classifier::load("ghostnet_050-cifar10")?;
    /// let mut model = LoadOptions::new().model("ghostnet_050-cifar10")?;
    /// model.transform.input_size = [64, 64];
    /// let large = Classifier::of(model)?;
    ///
    /// let images = (0..10).map(|class| ClassificationItem::new(RgbImage::new(40, 32), class));
    /// let images: InMemoryDataset<_> = images.collect();
    /// let report = Classifier::validate_in_one_pass(&[&small, &large], &images, 4)?;
    /// for (classifier, metrics) in [small, large].iter().zip(&report.metrics) {
    ///     println!("{:?}: top-1 {:.3}", classifier.transform().input_size, metrics.top1());
    ///     assert_eq!((metrics.images(), metrics.top1()), (10, 0.1));
    /// }
    /// # Ok::<(), ghostzoo::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`Classifier::validate`].
    pub fn validate_in_one_pass(
        classifiers: &[&Self],
        images: &dyn Dataset<Item = ClassificationItem>,
        batch: usize,
    ) -> Result<OnePassReport> {
        if images.is_empty() {
            return Err(AugmentError::Empty.into());
        }
        let open = |index: usize| match images.get(index) {
            Ok(item) => match ItemError::check_pixels(&item.image) {
                Ok(()) => ((index, Ok(item.class)), Some(item.image)),
                Err(error) => ((index, Err(error)), None),
            },
            Err(error) => ((index, Err(error)), None),
        };
        let mut report = OnePassReport {
            metrics: vec![ClassificationMetrics::default(); classifiers.len()],
            unreadable: Vec::new(),
        };
        Self::logits_in_one_pass(classifiers, 0..images.len(), open, batch, |seen| {
            for OnePassImage { label: (index, class), logits } in seen {
                let class = match class {
                    Ok(class) => class,
                    Err(error) => {
                        let (name, reason) = (images.name(index), error.to_string());
                        report.unreadable.push(ImageReadError { index, name, reason });
                        continue;
                    }
                };
                let rows = logits.into_iter().flatten();
                for ((classifier, row), metrics) in classifiers.iter().zip(rows).zip(&mut report.metrics) {
                    if class >= row.len() {
                        return Err(request(format!(
                            "{} has class {class}, and {} tells {} apart, numbered from 0",
                            images.name(index),
                            classifier.name(),
                            row.len()
                        )));
                    }
                    metrics.add(&row, class, &[class]);
                }
            }
            Ok(())
        })?;
        Ok(report)
    }

    /// What several classifiers make of the same images, in one pass: an image is opened once, and scaled once for all
    /// classifiers that see images alike.
    ///
    /// `open` gives of each of `images` what the caller knows of it, and the image unless it cannot be had; it runs on all
    /// threads while the networks compute. `observe` takes the images in their order, `batch` at a time; its error ends the
    /// pass. An image without pixels is as one that cannot be had.
    ///
    /// ```
    /// use ghostzoo::{Classifier, RgbImage};
    ///
    /// let classifiers = [Classifier::load("ghostnet_050-cifar10")?, Classifier::load("ghostnet_050-cifar10")?];
    /// let images = ["black", "lost", "white"];
    /// let open = |name: &'static str| {
    ///     let level = (name != "lost").then_some(if name == "white" { 255 } else { 0 });
    ///     (name, level.map(|level| RgbImage::from_pixel(32, 32, [level; 3].into())))
    /// };
    /// let mut seen = Vec::new();
    /// let classifiers: Vec<&Classifier> = classifiers.iter().collect();
    /// Classifier::logits_in_one_pass(&classifiers, images.into_iter(), open, 2, |batch| -> ghostzoo::Result<()> {
    ///     for image in batch {
    ///         if let Some(logits) = image.logits {
    ///             assert!(logits[0].len() == 10 && logits[0] == logits[1]);
    ///             seen.push(image.label);
    ///         }
    ///     }
    ///     Ok(())
    /// })?;
    /// assert_eq!(seen, ["black", "white"]);
    /// # Ok::<(), ghostzoo::Error>(())
    /// ```
    ///
    /// # Errors
    /// What `observe` gives; batches of no image; where a device fails or `open` panics.
    pub fn logits_in_one_pass<S, T, I, E>(
        classifiers: &[&Self],
        images: impl Iterator<Item = S> + Send,
        open: impl Fn(S) -> (T, Option<I>) + Sync,
        batch: usize,
        mut observe: impl FnMut(Vec<OnePassImage<T>>) -> Result<(), E>,
    ) -> Result<(), E>
    where
        S: Send,
        T: Send,
        I: Borrow<RgbImage>,
        E: From<Error>,
    {
        if batch == 0 {
            let error = AugmentError::Option { name: "batch", found: "0".into(), expected: "it has to be at least 1" };
            return Err(Error::from(error).into());
        }
        let mut transforms: Vec<&EvalTransform> = Vec::new();
        for classifier in classifiers {
            if !transforms.contains(&classifier.transform()) {
                transforms.push(classifier.transform());
            }
        }
        let view = |image: S| {
            let (label, image) = open(image);
            let image = image.as_ref().map(Borrow::borrow).filter(|image| !image.is_empty());
            (label, image.map(|image| transforms.iter().map(|transform| transform.resize_crop(image)).collect()))
        };
        let (transforms, view) = (&transforms, &view);
        let mut images = images.fuse();
        let batches = std::iter::from_fn(move || {
            let batch: Vec<S> = images.by_ref().take(batch).collect();
            (!batch.is_empty()).then(|| Ok(batch.into_par_iter().map(view).collect()))
        });
        thread::scope(|scope| {
            let batches = PrefetchIter::<Vec<(T, Views)>, LoaderError>::spawn_scoped(scope, batches);
            for batch in batches.map_err(Error::from)? {
                let (labels, views): (Vec<T>, Vec<Views>) = batch.map_err(Error::from)?.into_iter().unzip();
                let logits = logits(classifiers, transforms, &views)?;
                let seen = labels.into_iter().zip(logits).map(|(label, logits)| OnePassImage { label, logits });
                observe(seen.collect())?;
            }
            Ok(())
        })
    }
}

/// The logits of each image by classifier and class, where the image has views by each of the transforms.
fn logits(
    classifiers: &[&Classifier],
    transforms: &[&EvalTransform],
    images: &[Views],
) -> Result<Vec<Option<Vec<Vec<f32>>>>> {
    let mut of_images: Vec<_> = images.iter().map(|views| views.as_ref().map(|_| Vec::new())).collect();
    if images.iter().all(Option::is_none) {
        return Ok(of_images);
    }
    // A view is normalised once for all classifiers of one device and type.
    let mut inputs: Vec<(usize, &Device, DType, Tensor)> = Vec::new();
    for classifier in classifiers {
        let (device, dtype) = (classifier.device(), classifier.dtype());
        let own = transforms.iter().position(|transform| *transform == classifier.transform()).unwrap_or(0);
        let is_alike = |(view, on, of, _): &&(usize, &Device, DType, Tensor)| {
            *view == own && on.same_device(device) && *of == dtype
        };
        let input = match inputs.iter().find(is_alike) {
            Some((.., input)) => input.clone(),
            None => {
                let views: Vec<&RgbImage> = images.iter().flatten().map(|views| &views[own]).collect();
                let input =
                    classifier.transform().normalize(&views, &Device::Cpu)?.to_device(device)?.to_dtype(dtype)?;
                inputs.push((own, device, dtype, input.clone()));
                input
            }
        };
        let rows = classifier.inner().forward(&input)?.to_dtype(DType::F32)?.to_vec2::<f32>()?;
        of_images.iter_mut().flatten().zip(rows).for_each(|(logits, row)| logits.push(row));
    }
    Ok(of_images)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use candle_vision::data::InMemoryDataset;
    use candle_vision::image::Rgb;

    use super::*;
    use crate::LoadOptions;

    const NAME: &str = "ghostnet_050-cifar10";

    fn at(side: usize) -> Result<Classifier> {
        let mut model = LoadOptions::new().model(NAME)?;
        model.transform.input_size = [side; 2];
        Classifier::of(model)
    }

    /// Images that differ, the second of which has no pixels.
    fn images(classes: impl Iterator<Item = usize>) -> InMemoryDataset<ClassificationItem> {
        let image = |number: usize| {
            let side = if number == 1 { 0 } else { 40 };
            let level = |x: u32, y: u32, c: u32| (x * (3 + c) + y * (5 + number as u32) + 60 * number as u32) as u8;
            RgbImage::from_fn(side, 36, |x, y| Rgb([0, 1, 2].map(|channel| level(x, y, channel))))
        };
        classes.enumerate().map(|(number, class)| ClassificationItem::new(image(number), class)).collect()
    }

    #[test]
    fn each_classifier_finds_what_it_finds_alone() -> Result<()> {
        let classifiers = [at(32)?, at(48)?, at(32)?];
        let set = images((0..9).map(|number| number % 10));
        let report = Classifier::validate_in_one_pass(&classifiers.each_ref(), &set, 4)?;
        assert_eq!(report.unreadable.len(), 1);
        assert_eq!(report.unreadable[0].to_string(), "item 1: the image has no pixels");
        let set: Arc<dyn Dataset<Item = ClassificationItem>> = Arc::new(set);
        for (classifier, found) in classifiers.iter().zip(&report.metrics) {
            let alone = classifier.validate(set.clone(), &classifier.val_options())?.metrics;
            let numbers = |metrics: &ClassificationMetrics| (metrics.images(), metrics.top1(), metrics.top5());
            assert_eq!(numbers(found), numbers(&alone));
            assert!((found.loss() - alone.loss()).abs() < 1e-5, "{} {}", found.loss(), alone.loss());
        }
        assert_ne!(report.metrics[0].loss(), report.metrics[1].loss(), "they see other sizes");
        assert_eq!(report.metrics[0], report.metrics[2]);
        Ok(())
    }

    #[test]
    fn what_no_network_has_is_refused() -> Result<()> {
        let classifier = at(32)?;
        let error = |set: &InMemoryDataset<ClassificationItem>, batch: usize| {
            Classifier::validate_in_one_pass(&[&classifier], set, batch).expect_err("refused").to_string()
        };
        let expected = format!("item 2 has class 10, and {NAME} tells 10 apart, numbered from 0");
        assert_eq!(error(&images([0, 0, 10].into_iter()), 2), expected);
        assert_eq!(error(&images([].into_iter()), 2), "the dataset has no images");
        assert_eq!(error(&images([0].into_iter()), 0), "the option batch is 0; it has to be at least 1");
        Ok(())
    }

    #[test]
    fn the_caller_s_error_ends_the_pass() -> Result<()> {
        let classifier = at(32)?;
        let mut batches = 0;
        let open = |number: usize| (number, (number != 1).then(|| RgbImage::new(33, 32)));
        let ended = Classifier::logits_in_one_pass(&[&classifier], 0..1000, open, 2, |batch| {
            batches += 1;
            let seen: Vec<_> = batch.iter().map(|image| (image.label, image.logits.is_some())).collect();
            match batches {
                1 => assert_eq!(seen, [(0, true), (1, false)]),
                _ => return Err(request(format!("{seen:?}"))),
            }
            Ok(())
        });
        assert_eq!(ended.expect_err("it ends").to_string(), "[(2, true), (3, true)]");
        let mut seen = 0;
        Classifier::logits_in_one_pass(&[], 0..5, open, 2, |batch| {
            seen += batch.len();
            Ok::<_, Error>(())
        })?;
        assert_eq!(seen, 5, "nobody looks");
        Ok(())
    }
}
