//! Three training steps against timm, on the seeded weights and the batch of `tests/oracle/train_ghostnet.py`.

use std::collections::BTreeMap;
use std::path::Path;

use candle_core::{DType, Device, Result, Tensor};
use candle_ghostnet::seeded;
use candle_ghostnet::{Config, GhostNet, Variant};
use candle_nn::Optimizer;
use candle_vision::train::optim::{Algorithm, Config as OptimConfig, GroupedOptimizer, timm_groups};
use candle_vision::train::{Ema, EmaDecay, GradAccumulator, VarStore, loss, stream};
use ghostzoo_kernels::with_emulated_gpu;
use serde_json::Value;

const SIZE: (usize, usize, usize, usize) = (4, 3, 64, 64);
const LABELS: [u32; 4] = [1, 4, 7, 2];
const NUM_CLASSES: usize = 10;
const RATES: [f64; 3] = [0.0005, 0.001, 0.0015];
const MOMENTA: [f64; 3] = [0.8, 0.85, 0.9];

/// Scale of a gradient: its largest magnitude, but at least this share of the largest of all (`FLOOR` of the script).
const FLOOR: f64 = 1e-4;

/// Largest difference in `f64` of a gradient, relative to its scale, and of a weight, relative to how far it moved: the
/// digits of the golden file, and rounding that batch norms over few positions amplify.
const TOLERANCE: f64 = 1e-6;

/// The same in `f32`, where a weight's scale is its own largest magnitude; or twice what rounding moves PyTorch by, where
/// that is more than half of this.
const SINGLE_TOLERANCE: f64 = 1e-3;

/// Largest relative difference of a loss in `f32`, or twice what rounding moves PyTorch's by.
const LOSS_TOLERANCE: f64 = 1e-4;

type Tensors = BTreeMap<String, Tensor>;

fn golden(name: &str) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../tests/golden/train/{name}.json"));
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_str(&text).expect("JSON")
}

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().expect("a list").iter().map(|v| v.as_f64().expect("a number")).collect()
}

/// Losses; the seeded state; gradients of the first step, how far the steps moved the state, and how far its average.
fn train(
    name: &str,
    dtype: DType,
    device: &Device,
    batch: &str,
    factor: f64,
) -> Result<(Vec<f64>, Tensors, [Tensors; 3])> {
    let config = Config::new(Variant::from_name(name).expect("a variant")).num_classes(NUM_CLASSES);
    let variables = VarStore::new(dtype, device, 0);
    let model = GhostNet::new(&config, variables.builder())?;
    let seed = |name: &str, tensor: &Tensor| seeded::tensor(name, tensor.shape(), dtype, device);
    let before: Tensors =
        variables.iter().map(|(name, var)| Ok((name.clone(), seed(&name, &var)?))).collect::<Result<_>>()?;
    variables.set_all(&before)?;

    let algorithm = Algorithm::Sgd { nesterov: true };
    let options = OptimConfig::new(algorithm, 0.).momentum(0.).weight_decay(0.01);
    let parameters = variables.parameters();
    let mut optimizer = GroupedOptimizer::of_groups(algorithm, timm_groups(parameters.clone(), &options))?;
    let mut ema = Ema::new(&variables, EmaDecay::Constant(0.75))?;
    let images = (seeded::uniform(batch, &SIZE.into(), device)?.to_dtype(dtype)? * 2.)?;
    let targets = loss::class_targets(&LABELS, NUM_CLASSES, 0.1, dtype, device)?;
    let (mut losses, mut first) = (Vec::new(), Tensors::new());
    for (rate, momentum) in RATES.into_iter().zip(MOMENTA) {
        for group in optimizer.groups_mut() {
            (group.learning_rate, group.momentum) = (rate * factor, momentum);
        }
        let loss = loss::cross_entropy(&model.forward_train(&images, 0., &mut stream(0, &[]))?, &targets)?;
        losses.push(loss.to_dtype(DType::F64)?.to_scalar()?);
        let mut sum = GradAccumulator::new(&parameters);
        sum.add(loss.backward()?)?;
        let grads = sum.take().expect("gradients");
        if first.is_empty() {
            let grad = |name: &String, var| grads.get(var).unwrap_or_else(|| panic!("{name} has no gradient")).clone();
            first = parameters.iter().map(|(name, var)| (name.clone(), grad(name, var))).collect();
        }
        optimizer.step(&grads)?;
        ema.update(&variables)?;
    }
    let moved = |after: Tensors| -> Result<Tensors> {
        after.into_iter().map(|(name, tensor)| Ok((name.clone(), (tensor - &before[&name])?))).collect()
    };
    let parts = [first, moved(variables.tensors()?)?, moved(ema.tensors()?)?];
    Ok((losses, before, parts))
}

fn flat(tensor: &Tensor) -> Result<Vec<f64>> {
    tensor.flatten_all()?.to_dtype(DType::F64)?.to_vec1()
}

/// `dot` of the script.
fn dot(name: &str, tensor: &Tensor) -> Result<f64> {
    let values = flat(tensor)?;
    let directions = seeded::uniform(&format!("dot.{name}"), &values.len().into(), &Device::Cpu)?.to_vec1::<f32>()?;
    Ok(values.iter().zip(directions).map(|(x, direction)| x * f64::from(direction)).sum())
}

fn largest(tensor: &Tensor) -> Result<f64> {
    Ok(flat(tensor)?.into_iter().fold(0., |largest, x| f64::max(largest, x.abs())))
}

/// A number of the golden file beside ours.
struct Pair {
    part: &'static str,
    tensor: String,
    found: f64,
    expected: f64,
    scale: f64,
}

/// The numbers of all tensors, in the order of the script's lists. The scale of a weight is its magnitude among
/// `seeded_weights`, or else how far it moved.
fn pairs(golden: &Value, parts: &[Tensors; 3], seeded_weights: Option<&Tensors>) -> Result<Vec<Pair>> {
    let [grads, weights, ema] = parts;
    let mut pairs = Vec::new();
    for (key, tensors) in [("grads", grads), ("weights", weights)] {
        let rows: Vec<Vec<f64>> = golden[key].as_array().expect("tensors").iter().map(numbers).collect();
        assert_eq!(rows.len(), tensors.len(), "{key}");
        let of_parameters = rows.iter().zip(tensors).filter(|(_, (name, _))| grads.contains_key(*name));
        let floor = FLOOR * of_parameters.map(|(row, _)| row[0]).fold(0., f64::max);
        for (row, (name, tensor)) in rows.iter().zip(tensors) {
            let &[largest_there, dot_there, last_there] = row.as_slice() else { panic!("{row:?} are not three") };
            let scale = match seeded_weights {
                Some(seeded) if key == "weights" => largest(&seeded[name])?,
                _ => largest_there.max(floor),
            };
            // A product with values in [−1, 1) adds up as many differences as there are elements, at random.
            let dot_scale = scale * (tensor.elem_count() as f64).sqrt();
            let mut add = |part, found, expected, scale| {
                pairs.push(Pair { part, tensor: name.clone(), found, expected, scale });
            };
            add(key, largest(tensor)?, largest_there, scale);
            add(key, dot(name, tensor)?, dot_there, dot_scale);
            if key == "grads" {
                add(key, flat(tensor)?[tensor.elem_count() / 2], last_there, scale);
            } else {
                add("ema", dot(name, &ema[name])?, last_there, dot_scale);
            }
        }
    }
    Ok(pairs)
}

fn assert_steps_equal(name: &str, dtype: DType, device: &Device) -> Result<()> {
    let golden = golden(name);
    let batch = golden["batch"].as_str().expect("a name");
    let (losses, before, parts) = train(name, dtype, device, batch, golden["factor"].as_f64().expect("a factor"))?;
    // Of a number that rounding moves by so much, or by less than half of `least`.
    let within = |part: &str, key: &str, least: f64| match golden["float32"][part][key].as_f64() {
        _ if dtype == DType::F64 => TOLERANCE,
        Some(distance) => least.max(2. * distance),
        None => least,
    };
    for (step, (loss, expected)) in losses.iter().zip(numbers(&golden["losses"])).enumerate() {
        let tolerance = within("losses", &step.to_string(), LOSS_TOLERANCE);
        let close = (loss / expected - 1.).abs() < tolerance;
        assert!(close, "{name} {dtype:?}: losses {losses:?}, not {}", golden["losses"]);
    }
    let seeded_weights = (dtype == DType::F32).then_some(&before);
    let mut worst = (0., String::new());
    for Pair { part, tensor, found, expected, scale } in pairs(&golden, &parts, seeded_weights)? {
        let tolerance = within(part, &tensor, SINGLE_TOLERANCE);
        let off = (found - expected).abs() / scale;
        if off / tolerance > worst.0 || off.is_nan() {
            worst =
                (off / tolerance, format!("{part} {tensor}: {found} is not {expected}, off by {off:.1e} of its scale"));
        }
    }
    println!("{name} {dtype:?}: {:.2} of the tolerance: {}", worst.0, worst.1);
    assert!(worst.0 < 1., "{name} {dtype:?}: {:.2} times the tolerance: {}", worst.0, worst.1);
    Ok(())
}

const VARIANTS: [&str; 3] = ["ghostnet_100", "ghostnetv2_100", "ghostnetv3_100"];

#[test]
fn steps_in_double_precision_equal_timms() -> Result<()> {
    VARIANTS.iter().try_for_each(|name| assert_steps_equal(name, DType::F64, &Device::Cpu))
}

#[test]
fn steps_in_single_precision_differ_by_rounding() -> Result<()> {
    VARIANTS.iter().try_for_each(|name| assert_steps_equal(name, DType::F32, &Device::Cpu))
}

/// By the kernels of a GPU: emulated, and on one where the build has it and it opens. Variants are tests of their own, which run
/// beside each other.
fn assert_gpu_steps_equal(name: &str) -> Result<()> {
    if let Some(emulated) = with_emulated_gpu(|| assert_steps_equal(name, DType::F32, &Device::Cpu)) {
        emulated?;
    }
    match Device::new_cuda(0) {
        Ok(gpu) => assert_steps_equal(name, DType::F32, &gpu),
        Err(_) => {
            println!("not run on CUDA: no GPU opens, or the build is without it");
            Ok(())
        }
    }
}

#[test]
fn steps_of_v1_on_a_gpu_differ_by_rounding() -> Result<()> {
    assert_gpu_steps_equal(VARIANTS[0])
}

#[test]
fn steps_of_v2_on_a_gpu_differ_by_rounding() -> Result<()> {
    assert_gpu_steps_equal(VARIANTS[1])
}

#[test]
fn steps_of_v3_on_a_gpu_differ_by_rounding() -> Result<()> {
    assert_gpu_steps_equal(VARIANTS[2])
}
