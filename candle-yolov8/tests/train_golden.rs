//! The loss and the first steps of a training against Ultralytics, by the goldens of `tests/oracle/train_yolov8.py`.

use std::collections::BTreeMap;
use std::path::Path;

use candle_core::{DType, Device, Result, Tensor, Var};
use candle_nn::Optimizer;
use candle_vision::train::optim::{Algorithm, Config, GroupedOptimizer, ultralytics_groups};
use candle_vision::train::schedule::UltralyticsSchedule;
use candle_vision::train::{Ema, EmaDecay, GradAccumulator, VarStore};
use candle_yolov8::seeded;
use candle_yolov8::train::{DetectionLoss, LossWeights, Target, initial_head_biases};
use candle_yolov8::{Yolo, model_config};
use ghostzoo_kernels::with_emulated_gpu;
use serde_json::Value;

const MODELS: [&str; 3] = ["yolov8n", "yolov8n-ghost", "yolov8n-ghostnet"];
const STEPS: usize = 3;

/// How close an element must come, relative to the largest of its tensor.
#[derive(Clone, Copy)]
struct Precision {
    dtype: DType,
    loss: f64,
    tensor: f64,
}

/// Both sides compute in `f64`, in different orders.
const DOUBLE: Precision = Precision { dtype: DType::F64, loss: 1e-10, tensor: 1e-9 };
/// The limits for training in `f32`; where PyTorch itself is further off than half of them, twice its distance.
const SINGLE: Precision = Precision { dtype: DType::F32, loss: 1e-4, tensor: 1e-3 };
/// Of the largest element of all tensors: below it an element is the rounding of zero. A bias before another batch norm
/// has no gradient in truth.
const NOISE: f64 = 1e-6;

fn golden(name: &str) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../tests/golden/train/{name}.json"));
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_str(&text).expect("JSON")
}

fn list(value: &Value) -> &[Value] {
    value.as_array().expect("a list")
}

fn number(value: &Value) -> f64 {
    value.as_f64().expect("a number")
}

fn count(value: &Value) -> usize {
    value.as_u64().expect("a count") as usize
}

fn numbers(value: &Value) -> Vec<f64> {
    list(value).iter().map(number).collect()
}

fn targets(value: &Value) -> Vec<Target> {
    let target = |row: &Value| {
        let row = numbers(row);
        Target {
            image: row[0] as usize,
            class: row[1] as usize,
            xywhn: [row[2], row[3], row[4], row[5]].map(|x| x as f32),
        }
    };
    list(value).iter().map(target).collect()
}

fn uniform(name: &str, dims: &[usize]) -> Result<Tensor> {
    seeded::uniform(name, &dims.into(), &Device::Cpu)?.to_dtype(DType::F64)
}

fn values(tensor: &Tensor) -> Result<Vec<f64>> {
    tensor.to_dtype(DType::F64)?.flatten_all()?.to_vec1()
}

/// Largest ratio of a difference to what is allowed, and where it is.
#[derive(Debug, Default)]
struct Worst(f64, String);

impl Worst {
    fn add(&mut self, what: &str, off: f64, allowed: f64) {
        let ratio = off / allowed;
        if ratio > self.0 || ratio.is_nan() {
            *self = Self(ratio, format!("{what}: {off:.3e} of {allowed:.3e} allowed"));
        }
    }

    #[track_caller]
    fn check(&self, what: &str) {
        println!("{what}: {:.1e} of what is allowed ({})", self.0, self.1);
        assert!(self.0 < 1., "{what}: {}", self.1);
    }
}

/// Compares a tensor with its description: norm, largest magnitude, product with a direction, samples. Each element may
/// differ by `allowed`.
fn compare(worst: &mut Worst, name: &str, found: &Tensor, golden: &[f64], allowed: f64) -> Result<()> {
    let found = values(found)?;
    let direction = values(&uniform(&format!("direction {name}"), &[found.len()])?)?;
    let norm = found.iter().map(|x| x * x).sum::<f64>().sqrt();
    let largest = found.iter().fold(0f64, |largest, x| largest.max(x.abs()));
    let product: f64 = found.iter().zip(&direction).map(|(x, d)| x * d).sum();
    // Sums of independent differences grow with the root of their number.
    let of_sums = allowed * (found.len() as f64).sqrt();
    worst.add(&format!("norm of {name}"), (norm - golden[0]).abs(), of_sums);
    worst.add(&format!("largest of {name}"), (largest - golden[1]).abs(), allowed);
    worst.add(&format!("product of {name}"), (product - golden[2]).abs(), of_sums);
    let samples = &golden[3..];
    for (index, sample) in samples.iter().enumerate() {
        let place = index * found.len() / samples.len();
        worst.add(&format!("{name}[{place}]"), (found[place] - sample).abs(), allowed);
    }
    Ok(())
}

/// The raw levels of a case of `yolov8-parts.json`.
fn raw_levels(case: &Value, dtype: DType) -> Result<Vec<Var>> {
    let name = case["name"].as_str().expect("a name");
    let channels = 64 + count(&case["classes"]);
    let falling: Vec<f64> = (0..channels).map(|c| if c < 64 { (c % 16) as f64 / 4. } else { 0. }).collect();
    let falling = Tensor::from_vec(falling, (1, channels, 1, 1), &Device::Cpu)?;
    let level = |(index, stride): (usize, f64)| {
        let [h, w] = [0, 1].map(|axis| (number(&case["size"][axis]) / stride) as usize);
        let level = (uniform(&format!("{name}{index}"), &[count(&case["pictures"]), channels, h, w])? * 2.)?;
        Var::from_tensor(&level.broadcast_sub(&falling)?.to_dtype(dtype)?)
    };
    numbers(&case["strides"]).into_iter().enumerate().map(level).collect()
}

#[test]
fn losses_of_raw_levels_and_their_gradients_equal_ultralytics() -> Result<()> {
    let golden = golden("yolov8-parts");
    let cases = list(&golden["losses"]);
    assert_eq!(cases.len(), 9);
    for precision in [DOUBLE, SINGLE] {
        for case in cases {
            let name = case["name"].as_str().expect("a name");
            let levels = raw_levels(case, precision.dtype)?;
            let raw: Vec<Tensor> = levels.iter().map(|level| level.as_tensor().clone()).collect();
            let mut criterion =
                DetectionLoss::new(count(&case["classes"]), &numbers(&case["strides"]), LossWeights::default());
            if case["class_weights"].is_array() {
                criterion = criterion.with_class_weights(numbers(&case["class_weights"]))?;
            }
            let losses = criterion.forward(&raw, &targets(&case["objects"]))?;
            let grads = losses.total.backward()?;
            let mut worst = Worst::default();
            let (total, parts) = (values(&losses.total)?[0], numbers(&case["parts"]));
            worst.add("total", (total - number(&case["total"])).abs(), precision.loss * total);
            for (part, (found, expected)) in losses.parts.iter().zip(parts).enumerate() {
                let allowed = precision.loss * expected.max(f64::EPSILON);
                worst.add(&format!("part {part}"), (found - expected).abs(), allowed);
            }
            for (index, (level, golden)) in levels.iter().zip(list(&case["gradients"])).enumerate() {
                let (gradient, golden) = (grads.get(level).expect("a gradient"), numbers(golden));
                compare(&mut worst, &format!("{name}{index}"), gradient, &golden, precision.tensor * golden[1])?;
            }
            worst.check(&format!("{name} in {:?}", precision.dtype));
        }
    }
    Ok(())
}

/// `images` of the script.
fn images(golden: &Value) -> Result<Tensor> {
    let (n, [h, w]) = (count(&golden["pictures"]), [0, 1].map(|axis| count(&golden["size"][axis])));
    let coarse = uniform("train blocks", &[n, 3, h / 16, w / 16])?;
    let coarse = coarse.reshape((n, 3, h / 16, 1, w / 16, 1))?.broadcast_as((n, 3, h / 16, 16, w / 16, 16))?;
    ((coarse.reshape((n, 3, h, w))? / 3.)? + (uniform("train noise", &[n, 3, h, w])? / 6.)?)? + 0.5
}

/// A network on the weights of `fill` of the script.
fn network(name: &str, classes: usize, dtype: DType, device: &Device) -> Result<(VarStore, Yolo)> {
    let def = model_config(name, Some(classes)).expect("a shipped architecture");
    let variables = VarStore::new(dtype, device, 0);
    let model = Yolo::new(&def, variables.builder())?;
    let falling: Vec<f64> = (0..64).map(|channel| f64::from(channel % 16) / 2.).collect();
    let falling = Tensor::new(falling, &Device::Cpu)?.to_dtype(dtype)?.to_device(device)?;
    for (name, var) in variables.iter() {
        let value = seeded::tensor(&name, var.shape(), dtype, device)?;
        let is_box_bias = name.contains(".cv2.") && name.ends_with(".2.bias");
        var.set(&if is_box_bias { (value - &falling)? } else { value })?;
    }
    Ok((variables, model))
}

/// How far each tensor moved.
fn moved(from: &BTreeMap<String, Tensor>, to: &BTreeMap<String, Tensor>) -> Result<BTreeMap<String, Tensor>> {
    to.iter().map(|(name, value)| Ok((name.clone(), (value - &from[name])?))).collect()
}

/// Compares the tensors of one part of a golden, all of them.
fn compare_part(golden: &Value, part: &str, found: &BTreeMap<String, Tensor>, precision: Precision) -> Result<Worst> {
    let golden = golden[part].as_object().expect("descriptions");
    let rows: BTreeMap<&String, Vec<f64>> = golden.iter().map(|(name, row)| (name, numbers(row))).collect();
    let noise = NOISE * rows.values().fold(0f64, |most, row| most.max(row[1]));
    let mut worst = Worst::default();
    for (name, row) in &rows {
        let (torch_f32, description) = row.split_last().expect("a description");
        let allowed = match precision.dtype {
            DType::F64 => precision.tensor * description[1].max(noise),
            _ if description[1] < noise => noise,
            _ => (precision.tensor * description[1]).max(2. * torch_f32),
        };
        let found = found.get(*name).unwrap_or_else(|| panic!("{part} has no {name}"));
        compare(&mut worst, name, found, description, allowed)?;
    }
    Ok(worst)
}

fn assert_first_steps(name: &str, precision: Precision, device: &Device) -> Result<()> {
    let golden = golden(name);
    let (classes, batch) = (count(&golden["classes"]), count(&golden["pictures"]));
    let (variables, model) = network(name, classes, precision.dtype, device)?;
    let images = images(&golden)?.to_dtype(precision.dtype)?.to_device(device)?;
    let targets = targets(&golden["objects"]);
    let criterion = DetectionLoss::new(classes, model.strides(), LossWeights::default());
    let title = |what: &str| format!("{name} in {:?}, {what}", precision.dtype);

    let mut worst = Worst::default();
    let evaluated = criterion.forward(&model.forward_t(&images, false)?, &targets)?;
    for (found, expected) in evaluated.parts.iter().zip(numbers(&golden["in_evaluation"])) {
        worst.add("part", (found - expected).abs(), precision.loss * expected);
    }
    worst.check(&title("loss in evaluation"));

    let algorithm = Algorithm::Sgd { nesterov: true };
    let schedule = UltralyticsSchedule {
        learning_rate: 0.01,
        final_fraction: 0.01,
        is_cosine: false,
        momentum: 0.937,
        warmup_epochs: 1.,
        warmup_momentum: 0.8,
        warmup_bias_rate: 0.1,
        epochs: 100,
        batches: 4,
        batch,
        nominal_batch: batch,
    };
    let config = Config::new(algorithm, 0.01).momentum(0.937).weight_decay(schedule.weight_decay(5e-4));
    let parameters = variables.parameters();
    let groups = ultralytics_groups(parameters.clone(), &config, |_| false);
    let mut optimizer = GroupedOptimizer::of_groups(algorithm, groups)?;
    let mut ema = Ema::new(&variables, EmaDecay::ULTRALYTICS)?;
    let start = variables.tensors()?;
    let steps = list(&golden["steps"]);
    assert_eq!(steps.len(), STEPS);
    for (step, golden_step) in steps.iter().enumerate() {
        let golden_step = numbers(golden_step);
        let torch_f32 = numbers(&golden["steps_f32"][step]);
        let losses = criterion.forward(&model.forward_t(&images, true)?, &targets)?;
        let found = [values(&losses.total)?[0], losses.parts[0], losses.parts[1], losses.parts[2]];
        let mut worst = Worst::default();
        for ((found, expected), torch_f32) in found.iter().zip(&golden_step).zip(&torch_f32) {
            let mut allowed = precision.loss * expected;
            if precision.dtype == DType::F32 {
                allowed = allowed.max(2. * torch_f32);
            }
            worst.add("a loss", (found - expected).abs(), allowed);
        }
        worst.check(&title(&format!("loss of step {step}")));

        let grads = losses.total.backward()?;
        if step == 0 {
            let named =
                parameters.iter().map(|(name, var)| (name.clone(), grads.get(var).expect("a gradient").clone()));
            compare_part(&golden, "gradients", &named.collect(), precision)?.check(&title("gradients"));
        }
        let mut sum = GradAccumulator::new(&parameters);
        sum.add(grads)?;
        let norm = sum.clip_norm(10.)?;
        assert!((norm / golden_step[4] - 1.).abs() < precision.tensor, "{}: {norm}", title("norm of the gradient"));
        schedule.apply(&mut optimizer, step);
        optimizer.step(&sum.take().expect("gradients"))?;
        ema.update(&variables)?;
    }
    let weights = moved(&start, &variables.tensors()?)?;
    let averaged = moved(&start, &ema.tensors()?)?;
    for (part, found) in
        [("weights", &weights), ("averaged", &averaged), ("statistics", &weights), ("averaged_statistics", &averaged)]
    {
        compare_part(&golden, part, found, precision)?.check(&title(part));
    }
    let compared = ["weights", "statistics"].map(|part| golden[part].as_object().expect("descriptions").len());
    assert_eq!(compared.iter().sum::<usize>(), weights.len(), "every tensor is compared");
    Ok(())
}

#[test]
fn first_steps_in_f64_equal_ultralytics() -> Result<()> {
    MODELS.iter().try_for_each(|name| assert_first_steps(name, DOUBLE, &Device::Cpu))
}

#[test]
fn first_steps_in_f32_equal_ultralytics() -> Result<()> {
    MODELS.iter().try_for_each(|name| assert_first_steps(name, SINGLE, &Device::Cpu))
}

/// By the kernels of a GPU: emulated, and on one where the build has it and it opens.
#[test]
fn first_steps_on_a_gpu_equal_ultralytics() -> Result<()> {
    let steps = |device: &Device| MODELS.iter().try_for_each(|name| assert_first_steps(name, SINGLE, device));
    if let Some(emulated) = with_emulated_gpu(|| steps(&Device::Cpu)) {
        emulated?;
    }
    match Device::new_cuda(0) {
        Ok(gpu) => steps(&gpu),
        Err(_) => {
            println!("not run on CUDA: no GPU opens, or the build is without it");
            Ok(())
        }
    }
}

#[test]
fn heads_start_with_ultralytics_biases() {
    for name in MODELS {
        let golden = golden(name);
        let def = model_config(name, Some(count(&golden["classes"]))).expect("a shipped architecture");
        let expected: BTreeMap<String, Vec<f32>> = golden["biases"]
            .as_object()
            .expect("biases")
            .iter()
            .map(|(name, value)| (name.clone(), vec![number(&value[0]) as f32; count(&value[1])]))
            .collect();
        assert_eq!(expected.len(), 6, "{name}");
        assert_eq!(initial_head_biases(&def).into_iter().collect::<BTreeMap<_, _>>(), expected, "{name}");
    }
}
