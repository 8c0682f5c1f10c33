use std::path::Path;

use crate::seeded;
use candle_core::backprop::GradStore;
use candle_core::{DType, Device, Result, Tensor, Var};
use serde_json::Value;

use super::anchors::{Anchor, anchors};
use super::assign::BoxTarget;
use super::image_loss::Image;
use super::loss_terms::{box_terms, softplus_sum};
use super::{DetectionLoss, LossWeights, Target, ciou};
use crate::modules::REG_MAX;

/// Difference to Ultralytics in `f64`, relative to the larger of the number and 1: the goldens have 12 digits.
const TOLERANCE: f64 = 1e-11;

/// `yolov8-parts.json` of `tests/oracle/train_yolov8.py`.
fn golden() -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden/train/yolov8-parts.json");
    serde_json::from_str(&std::fs::read_to_string(path).expect("a golden file")).expect("JSON")
}

fn list(value: &Value) -> &[Value] {
    value.as_array().expect("a list")
}

fn numbers(value: &Value) -> Vec<f64> {
    list(value).iter().map(|number| number.as_f64().expect("a number")).collect()
}

fn array<const N: usize>(value: &Value) -> [f64; N] {
    numbers(value).try_into().expect("a list of another length")
}

#[track_caller]
fn assert_close(what: &str, found: f64, expected: f64) {
    let off = (found - expected).abs() / expected.abs().max(1.);
    assert!(off < TOLERANCE, "{what}: {found} against {expected}");
}

#[test]
fn ciou_and_its_gradient_equal_ultralytics() {
    let golden = golden();
    let cases = list(&golden["ciou"]);
    assert_eq!(cases.len(), 26);
    for case in cases {
        let (a, b) = (array(&case[0]), array(&case[1]));
        let (value, gradient) = ciou::with_gradient(a, b);
        assert_close(&format!("{a:?} {b:?}"), value, case[2].as_f64().expect("a number"));
        for (found, expected) in gradient.iter().zip(numbers(&case[3])) {
            assert_close(&format!("gradient of {a:?} {b:?}"), *found, expected);
        }
        assert_eq!(ciou::ciou(b, a), value, "the order of boxes does not matter");
    }
}

fn uniform(name: &str, len: usize) -> Vec<f64> {
    let values = seeded::uniform(name, &len.into(), &Device::Cpu).expect("values");
    values.to_dtype(DType::F64).and_then(|values| values.to_vec1()).expect("values")
}

#[test]
fn dfl_and_its_gradient_equal_ultralytics() {
    let golden = golden();
    let cases = list(&golden["dfl"]);
    assert_eq!(cases.len(), 4);
    for (index, case) in cases.iter().enumerate() {
        let values = uniform(&format!("dfl{index}"), 4 * REG_MAX);
        let logits = std::array::from_fn(|side| std::array::from_fn(|bin| values[side * REG_MAX + bin] * 3.));
        let anchor = Anchor { level: 0, cell: 0, cells: 1, centre: [0.5, 0.5], stride: 8. };
        let terms = box_terms(&anchor, &logits, anchor.xyxy(array(&case["distances"])));
        assert_close("value", terms.dfl, case["value"].as_f64().expect("a number"));
        let found = terms.gradients.iter().flatten().map(|[_, by_dfl]| *by_dfl);
        let expected = numbers(&case["gradient"]);
        assert_eq!(expected.len(), 4 * REG_MAX);
        found.zip(expected).for_each(|(found, expected)| assert_close("gradient", found, expected));
    }
}

/// The raw level of a case of `losses`, (images, 4 · 16 + classes, cells).
fn level(name: &str, images: usize, classes: usize, cells: usize) -> Vec<f64> {
    let channels = 4 * REG_MAX + classes;
    let mut values = uniform(name, images * channels * cells);
    for (index, value) in values.iter_mut().enumerate() {
        let channel = index / cells % channels;
        *value = *value * 2. - if channel < 4 * REG_MAX { (channel % REG_MAX) as f64 / 4. } else { 0. };
    }
    values
}

#[test]
fn assignments_equal_ultralytics() {
    let golden = golden();
    let count = |value: &Value| value.as_u64().expect("a number") as usize;
    let mut shares = Vec::new();
    for case in list(&golden["losses"]) {
        let (name, [h, w]) = (case["name"].as_str().expect("a name"), array::<2>(&case["size"]));
        let (images, classes) = (count(&case["pictures"]), count(&case["classes"]));
        let strides = numbers(&case["strides"]);
        let cells = |stride: &f64| ([(h / stride) as usize, (w / stride) as usize], *stride);
        let grid: Vec<([usize; 2], f64)> = strides.iter().map(cells).collect();
        let anchors = anchors(&grid);
        let raw = |(index, ([h, w], _)): (usize, &([usize; 2], f64))| {
            level(&format!("{name}{index}"), images, classes, h * w)
        };
        let raw: Vec<Vec<f64>> = grid.iter().enumerate().map(raw).collect();
        let mut found = Vec::new();
        for image in 0..images {
            let rows = list(&case["objects"]).iter().map(array::<6>).filter(|row| row[0] == image as f64);
            let object = |[_, class, x, y, width, height]: [f64; 6]| {
                let ([x, width], [y, height]) = ([x * w, width * w], [y * h, height * h]);
                let xyxy = [x - width / 2., y - height / 2., x + width / 2., y + height / 2.];
                BoxTarget { class: class as usize, xyxy }
            };
            let objects: Vec<BoxTarget> = rows.map(object).collect();
            let levels = raw.iter().map(|level| level.chunks_exact(level.len() / images).nth(image).expect("a part"));
            let terms = Image { levels: levels.collect(), objects: &objects, anchors: &anchors };
            let positives = terms.positives(*strides.get(1).unwrap_or(&strides[0]));
            found.extend(positives.iter().map(|p| (image, p.anchor, p.object, p.score)));
        }
        let expected: Vec<[f64; 4]> = list(&case["positives"]).iter().map(array).collect();
        assert_eq!(found.len(), expected.len(), "{name}");
        for ((image, anchor, object, score), [e_image, e_anchor, e_object, e_score]) in found.into_iter().zip(expected)
        {
            let place = [image, anchor, object].map(|number| number as f64);
            assert_eq!(place, [e_image, e_anchor, e_object], "{name}: image, anchor and object");
            assert_close(name, score, e_score);
            shares.push(score);
        }
    }
    assert!(shares.len() > 300, "there is something to compare: {}", shares.len());
}

#[test]
fn softplus_holds_from_tiny_to_huge_and_keeps_nan() {
    let run = |logits: &[f32]| {
        let mut gradient = vec![0f32; logits.len()];
        (softplus_sum(logits, 1., &mut gradient), gradient)
    };
    for x in [-80f32, -20., -11.5, -1., 0., 1., 15., 300.] {
        for len in [1, 15, 16, 17, 20_000] {
            let (sum, gradient) = run(&vec![x; len]);
            let exact = f64::from(x).max(0.) + (-f64::from(x).abs()).exp().ln_1p();
            let off = (sum / len as f64 - exact).abs();
            assert!(off <= 3e-7 * exact + f64::EPSILON, "{x} · {len}: {sum}");
            let slope = 1. / (1. + (-f64::from(x)).exp());
            assert!(gradient.iter().all(|g| (f64::from(*g) - slope).abs() <= 3e-7 * slope), "{x}: {}", gradient[0]);
        }
    }
    for place in [0, 16, 36] {
        let mut logits = [0f32; 37];
        logits[place] = f32::NAN;
        assert!(run(&logits).0.is_nan() && run(&logits).1[place].is_nan());
        logits[place] = f32::NEG_INFINITY;
        assert!(run(&logits).0.is_finite());
    }
}

const STRIDES: [f64; 3] = [8., 16., 32.];
const CLASSES: usize = 2;

/// Raw levels for two images of 64 x 64 pixels.
fn levels(dtype: DType) -> Vec<Var> {
    let level = |(index, stride): (usize, &f64)| {
        let side = (64. / stride) as usize;
        let values = level(&format!("edge{index}"), 2, CLASSES, side * side);
        let shape = (2, 4 * REG_MAX + CLASSES, side, side);
        Var::from_tensor(&Tensor::from_vec(values, shape, &Device::Cpu)?.to_dtype(dtype)?)
    };
    STRIDES.iter().enumerate().map(level).collect::<Result<_>>().expect("levels")
}

fn tensors(levels: &[Var]) -> Vec<Tensor> {
    levels.iter().map(|level| level.as_tensor().clone()).collect()
}

fn criterion() -> DetectionLoss {
    DetectionLoss::new(CLASSES, &STRIDES, LossWeights::default())
}

#[test]
fn weights_that_do_not_fit_the_classes_are_refused() {
    for weights in [vec![1.], vec![1.; 3], vec![0., 1.], vec![f64::NAN, 1.]] {
        let error = criterion().with_class_weights(weights.clone()).expect_err("they do not fit").to_string();
        assert!(error.contains("the weights of 2 classes"), "{weights:?}: {error}");
    }
}

#[test]
fn equal_weights_multiply_the_class_loss_alone() -> Result<()> {
    let levels = tensors(&levels(DType::F64));
    let plain = criterion().forward(&levels, &[target(0, 1, BOX)])?.parts;
    let weighted = criterion().with_class_weights(vec![0.5; 2])?.forward(&levels, &[target(0, 1, BOX)])?.parts;
    assert_eq!((plain[0], plain[2]), (weighted[0], weighted[2]));
    assert_close("class part", weighted[1], plain[1] / 2.);
    Ok(())
}

fn target(image: usize, class: usize, xywhn: [f32; 4]) -> Target {
    Target { image, class, xywhn }
}

const BOX: [f32; 4] = [0.45, 0.55, 0.4, 0.5];

#[test]
fn a_multiple_of_the_total_has_that_multiple_of_its_gradient() -> Result<()> {
    let levels = levels(DType::F64);
    let total = criterion().forward(&tensors(&levels), &[target(0, 1, BOX)])?.total;
    let (once, twice) = (total.backward()?, (&total * 2.)?.backward()?);
    for level in &levels {
        let values = |grads: &GradStore| grads.get(level).expect("a gradient").flatten_all()?.to_vec1::<f64>();
        let (once, twice) = (values(&once)?, values(&twice)?);
        assert!(once.iter().any(|gradient| *gradient != 0.));
        assert_eq!(once.iter().map(|gradient| 2. * gradient).collect::<Vec<_>>(), twice);
    }
    Ok(())
}

#[test]
fn the_total_is_the_sum_of_parts_for_each_image() -> Result<()> {
    for dtype in [DType::F64, DType::F32, DType::F16] {
        let losses = criterion().forward(&tensors(&levels(dtype)), &[target(0, 1, BOX)])?;
        let expected = 2. * losses.parts.iter().sum::<f64>();
        let total = losses.total.to_dtype(DType::F64)?.to_scalar::<f64>()?;
        assert!((total / expected - 1.).abs() < 1e-7, "{dtype:?}: {total} {expected}");
        assert!(losses.parts.iter().all(|part| *part > 0.), "{:?}", losses.parts);
    }
    Ok(())
}

#[test]
fn other_devices_get_the_same_value_and_gradient() -> Result<()> {
    let levels = levels(DType::F32);
    let losses = criterion().forward(&tensors(&levels), &[target(0, 1, BOX)])?;
    let grads = losses.total.backward()?;
    for level in &levels {
        let gradient = grads.get(level).expect("a gradient");
        let composed = super::raw_levels::compose(level, 2.5, gradient)?;
        assert_eq!(composed.to_scalar::<f32>()?, 2.5);
        let found = composed.backward()?.get(level).expect("a gradient").flatten_all()?.to_vec1::<f32>()?;
        assert_eq!(found, gradient.flatten_all()?.to_vec1::<f32>()?);
    }
    Ok(())
}

#[test]
fn images_without_objects_have_a_class_loss_only() -> Result<()> {
    let levels = tensors(&levels(DType::F64));
    let none = criterion().forward(&levels, &[])?;
    assert!(none.parts[0] == 0. && none.parts[1] > 0. && none.parts[2] == 0., "{:?}", none.parts);
    // A box without area holds no anchor's prediction.
    for xywhn in [[0.5, 0.5, 0., 0.], [0.5, 0.5, 0.3, 0.], [0., 0., 0., 0.], [-2., -2., 0.5, 0.5]] {
        assert_eq!(criterion().forward(&levels, &[target(1, 0, xywhn)])?.parts, none.parts, "{xywhn:?}");
    }
    let some = criterion().forward(&levels, &[target(1, 0, BOX)])?;
    assert!(some.parts.iter().all(|part| *part > 0.), "{:?}", some.parts);
    Ok(())
}

#[test]
fn nan_in_predictions_is_nan_in_the_loss() -> Result<()> {
    let inside = target(0, 1, [0.5, 0.5, 0.9, 0.9]);
    // A class logit, and the box logits of all anchors of the middle of the finest level.
    for channels in [4 * REG_MAX..4 * REG_MAX + 1, 0..4 * REG_MAX] {
        let mut levels = tensors(&levels(DType::F32));
        let mut values = levels[0].flatten_all()?.to_vec1::<f32>()?;
        for channel in channels {
            values[channel * 64 + 16..channel * 64 + 48].fill(f32::NAN);
        }
        levels[0] = Tensor::from_vec(values, levels[0].shape(), &Device::Cpu)?;
        let losses = criterion().forward(&levels, &[inside])?;
        assert!(losses.total.to_scalar::<f32>()?.is_nan());
        assert!(losses.parts[1].is_nan(), "{:?}", losses.parts);
    }
    Ok(())
}

#[test]
fn what_does_not_fit_is_refused() -> Result<()> {
    let levels = tensors(&levels(DType::F32));
    let refused = |levels: &[Tensor], target: Target| {
        criterion().forward(levels, &[target]).map(|losses| losses.parts).expect_err("an error").to_string()
    };
    let fits = target(0, 0, BOX);
    for (levels, target, expected) in [
        (&levels[..], Target { class: 2, ..fits }, "object 0 has class 2, but the detector has 2 classes"),
        (&levels, Target { image: 2, ..fits }, "object 0 belongs to image 2 of a batch of 2"),
        (&levels, Target { xywhn: [0.5, f32::NAN, 0.1, 0.1], ..fits }, "object 0 has no finite box"),
        (&levels[..2], fits, "has not 2 levels"),
        (&[levels[0].clone(), levels[1].clone(), levels[2].narrow(1, 0, 65)?], fits, "must be (n, 66, h, w)"),
        (&[levels[0].clone(), levels[1].clone(), levels[2].narrow(0, 0, 1)?], fits, "must be (n, 66, h, w)"),
    ] {
        let error = refused(levels, target);
        assert!(error.contains(expected), "{error}");
    }
    Ok(())
}

#[test]
fn strided_levels_and_threads_change_nothing() -> Result<()> {
    let levels = tensors(&levels(DType::F32));
    let targets = [target(0, 1, BOX), target(1, 0, BOX), target(1, 1, [0.2, 0.2, 0.3, 0.3])];
    let strided = |level: &Tensor| level.permute((0, 2, 3, 1))?.contiguous()?.permute((0, 3, 1, 2));
    let strided: Vec<Tensor> = levels.iter().map(strided).collect::<Result<_>>()?;
    let expected = criterion().forward(&levels, &targets)?.parts;
    for threads in [1, 3] {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("a pool");
        assert_eq!(pool.install(|| criterion().forward(&strided, &targets))?.parts, expected);
    }
    Ok(())
}
