//! Networks in 8 bits: made, written, loaded, refused.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::path::Path;

use candle_core::DType;
use ghostzoo::candle_vision::data::InMemoryDataset;
use ghostzoo::image::{Rgb, RgbImage};
use ghostzoo::quantize::{
    QuantizeCallbacks, QuantizeOptions, Quantized, RangeMethod, Source, quantize, quantize_within,
};
use ghostzoo::train::{DetectionOptions, DetectionStart, Message};
use ghostzoo::{Classifier, Error, LoadOptions, Model, Result, weights};

const DETECTOR: &str = "yolov8n-ghostnet-bccd";
const CLASSIFIER: &str = "ghostnet_050-cifar10";

fn images(count: u32) -> InMemoryDataset<RgbImage> {
    let level = |x: u32, y: u32, seed: u32| ((x * (3 + seed) + y * 5 + (x * y / 7) * seed) % 256) as u8;
    let image = |seed: u32| RgbImage::from_fn(64, 48, |x, y| Rgb([0, 1, 2].map(|c| level(x, y, seed + c))));
    (0..count).map(image).collect()
}

/// Keeps what it is told.
#[derive(Default)]
struct Heard {
    messages: Vec<String>,
    done: Vec<usize>,
}

impl QuantizeCallbacks for Heard {
    fn on_image(&mut self, done: usize, total: usize) -> Result<()> {
        assert!(done <= total);
        self.done.push(done);
        Ok(())
    }

    fn message(&mut self, message: &Message) {
        self.messages.push(message.text().to_owned());
    }
}

fn options() -> QuantizeOptions {
    QuantizeOptions::new().imgsz(Some([64; 2]))
}

fn made(name: &str, options: &QuantizeOptions, count: u32) -> (Quantized, Heard) {
    let mut heard = Heard::default();
    let quantized = quantize(&Source::find(name).unwrap(), &images(count), options, &mut heard).unwrap();
    (quantized, heard)
}

#[test]
fn what_is_made_is_written_and_loads_and_its_weights_are_near_the_floats() {
    let folder = tempfile::tempdir().unwrap();
    for (name, first) in [(DETECTOR, "model.0."), (CLASSIFIER, "conv_stem")] {
        let (found, heard) = made(name, &options(), 3);
        assert_eq!(heard.done, (1..=6).collect::<Vec<_>>());
        assert!(heard.messages[0].starts_with("3 images show little"), "{:?}", heard.messages);
        let report = &found.report;
        assert!(report.layers.len() > 20, "{name}: {}", report.layers.len());
        assert!(report.layers.iter().all(|layer| layer.weight_sqnr_db > 25. && layer.input_sqnr_db > 15.));
        assert!(report.layers.windows(2).all(|pair| pair[0].sqnr_db() <= pair[1].sqnr_db()));
        assert!(report.left.iter().any(|path| path.starts_with(first)), "{:?}", report.left);
        let path = folder.path().join(format!("{name}.safetensors"));
        weights::write(&path, &found.checkpoint).unwrap();
        let model = LoadOptions::new().model(&path).unwrap();
        assert!(model.quantized && !model.widened);
        let halved = LoadOptions::new().dtype(DType::BF16).model(&path).unwrap();
        assert!(!halved.quantized && halved.widened);
        assert!(!LoadOptions::new().model(name).unwrap().quantized);
        let error = Source::find(&path).unwrap_err();
        assert!(error.is_request() && error.to_string().contains("is quantized to 8 bits already"), "{error}");
    }
}

#[test]
fn methods_and_paths_to_skip_are_followed() {
    let (all, _) = made(CLASSIFIER, &options(), 2);
    let path = all.report.layers[0].path.clone();
    for method in [RangeMethod::MinMax, RangeMethod::Percentile(99.)] {
        let (found, _) = made(CLASSIFIER, &options().method(method).skip(vec![path.clone()]), 2);
        assert_eq!(found.report.layers.len() + 1, all.report.layers.len());
        assert!(found.report.left.contains(&path) && !found.checkpoint.quantized.contains_key(&path));
        let info = found.checkpoint.metadata.quantization.unwrap();
        assert_eq!((info.method.as_str(), info.images, info.skipped), (method.name(), 2, vec![path.clone()]));
    }
    let (plain, _) = made(CLASSIFIER, &options().bias_correction(false), 2);
    let bias = |found: &Quantized| found.checkpoint.tensors[&format!("{path}.bias")].to_vec1::<f32>().unwrap();
    assert_ne!(bias(&plain), bias(&all));
}

/// How near the probabilities of a model are to those of the floats, 0 at best.
fn nearness(model: Model) -> Result<f64> {
    let image = RgbImage::from_fn(48, 40, |x, y| Rgb([(x * 5) as u8, (y * 6) as u8, ((x + y) * 3) as u8]));
    let probabilities = |classifier: &Classifier| -> Result<Vec<f32>> {
        let mut all: Vec<_> = classifier.predict(&image)?.top(10).to_vec();
        all.sort_by_key(|class| class.class_id);
        Ok(all.iter().map(|class| class.probability).collect())
    };
    let floats = probabilities(&Classifier::load(CLASSIFIER)?)?;
    let own = probabilities(&Classifier::of(model)?)?;
    let furthest = floats.iter().zip(&own).map(|(a, b)| f64::from((a - b).abs())).fold(0., f64::max);
    Ok(-furthest)
}

#[test]
fn the_worst_layers_stay_in_floats_until_the_metric_holds() {
    let source = Source::find(CLASSIFIER).unwrap();
    let within = |max_drop: f64| {
        let mut heard = Heard::default();
        let found = quantize_within(&source, &images(2), &options(), max_drop, &mut nearness, &mut heard);
        (found, heard)
    };
    let (all, heard) = within(1.);
    let all = all.unwrap().report;
    let drop = -all.metric.unwrap().quantized;
    assert!(drop > 0. && all.metric.unwrap().floats == 0. && heard.messages.len() == 2, "{:?}", heard.messages);

    let (some, _) = within(drop / 2.);
    let some = some.unwrap();
    let (layers, metric) = (some.report.layers.len(), some.report.metric.unwrap());
    assert!(0 < layers && layers < all.layers.len() && metric.quantized >= -drop / 2., "{layers} {metric:?}");
    let worst: Vec<_> = all.layers.iter().take(all.layers.len() - layers).map(|layer| layer.path.clone()).collect();
    assert_eq!(some.checkpoint.metadata.quantization.unwrap().skipped.len(), worst.len());
    assert!(worst.iter().all(|path| some.report.left.contains(path) && !some.checkpoint.quantized.contains_key(path)));

    let error = within(0.).0.unwrap_err().to_string();
    assert!(error.contains("even with one convolution in 8 bits"), "{error}");
    let error = within(f64::NAN).0.unwrap_err();
    assert!(error.is_request() && error.to_string().starts_with("`max_drop` is NaN"), "{error}");
}

fn refused(count: u32, options: &QuantizeOptions) -> Error {
    quantize(&Source::find(CLASSIFIER).unwrap(), &images(count), options, &mut ()).unwrap_err()
}

#[test]
fn requests_that_cannot_be_met_are_refused_in_a_line() {
    for (error, part) in [
        (refused(0, &options()), "there are no images to quantize ghostnet_050-cifar10 by"),
        (refused(2, &options().images(513)), "`options.images` is 513, and lies from 1 to 512"),
        (refused(2, &options().skip(vec!["no.such".into()])), "`options.skip`: no.such is no dense convolution"),
    ] {
        let text = error.to_string();
        assert!(error.is_request() && text.contains(part) && !text.contains('\n'), "{text}");
    }
    let empty: InMemoryDataset<RgbImage> = [RgbImage::new(0, 4)].into_iter().collect();
    let source = Source::find(CLASSIFIER).unwrap();
    let mut heard = Heard::default();
    let error = quantize(&source, &empty, &options(), &mut heard).unwrap_err().to_string();
    assert!(error.contains("none of the 1 images can be read"), "{error}");
    assert_eq!(heard.messages, ["item 0: the image has no pixels; it is left out"]);
}

#[test]
fn what_does_not_fit_its_network_is_refused_and_no_training_begins_from_8_bits() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m.safetensors");
    let (found, _) = made(DETECTOR, &options(), 2);
    weights::write(&path, &found.checkpoint).unwrap();
    let start = DetectionStart::find(&DetectionOptions::new(path.to_str().unwrap()), 3);
    let error = start.unwrap_err().to_string();
    assert!(error.contains("is quantized to 8 bits, and cannot be trained on"), "{error}");
    let mut wrong = found.checkpoint;
    let depthwise = wrong.tensors.iter().find(|(name, tensor)| {
        let dims = tensor.dims();
        name.ends_with(".weight") && dims.len() == 4 && dims[1] == 1 && dims[2] > 1 && dims[0] > 1
    });
    let (name, weight) = depthwise.map(|(name, weight)| (name.clone(), weight.clone())).unwrap();
    let channels = weight.dims()[0];
    let conv = weights::QuantizedConv { weight_scale: vec![1.; channels], input_scale: 1., input_zero_point: 0 };
    wrong.tensors.insert(name.clone(), weight.zeros_like().unwrap());
    wrong.quantized.insert(name.trim_end_matches(".weight").to_owned(), conv);
    refuses(&path, &wrong, "is no dense convolution of the network");
}

fn refuses(path: &Path, checkpoint: &weights::Checkpoint, part: &str) {
    weights::write(path, checkpoint).unwrap();
    let error = LoadOptions::new().model(path).unwrap_err().to_string();
    assert!(error.contains(part) && !error.contains('\n'), "{error}");
}
