//! `ghostzoo bench --train`: how long a step of training takes, and its memory.

use std::time::Instant;

use anyhow::Result;
use candle_core::{DType, Device, Tensor};
use candle_ghostnet::GhostNet;
use candle_nn::Optimizer as _;
use candle_vision::layers::BatchNormMode;
use candle_vision::seeded;
use candle_vision::train::VarStore;
use candle_vision::train::loss::{class_targets, cross_entropy};
use candle_vision::train::optim::{Algorithm, Config, GroupedOptimizer};
use candle_yolov8::Yolo;
use candle_yolov8::train::{DetectionLoss, LossWeights, Target, initial_head_biases};
use ghostzoo_kernels::retain_heap;

use crate::cli::BenchArgs;
use crate::output::Stdout;
use candle_vision::sysinfo;
use ghostzoo::Architecture;

/// Steps, the first of which warm up.
const STEPS: usize = 7;
const WARM_UP: usize = 2;
/// As `torch.optim.SGD(lr=1e-3, momentum=0.9, nesterov=True)`.
const SGD: Config = Config::new(Algorithm::Sgd { nesterov: true }, 1e-3).momentum(0.9);
/// Objects of an image.
const OBJECTS: usize = 12;

/// Steps of a network from its first weights, on images of noise.
pub(super) fn run(
    args: &BenchArgs,
    name: &str,
    architecture: &Architecture,
    device: &Device,
    dtype: DType,
) -> Result<()> {
    retain_heap();
    let (batch, size) = match architecture {
        Architecture::Classifier(_) => (32, 224),
        Architecture::Detector(_) => (16, 320),
    };
    let (batch, [height, width]) = (args.batch.unwrap_or(batch), args.imgsz.unwrap_or([size; 2]));
    let variables = VarStore::new(dtype, device, 0);
    let xs = seeded::uniform("input", &(batch, 3, height, width).into(), &Device::Cpu)?;
    let xs = ((xs + 1.)? / 2.)?.to_device(device)?.to_dtype(dtype)?;
    let loss: Box<dyn Fn() -> Result<Tensor>> = match architecture {
        Architecture::Classifier(config) => {
            let net = GhostNet::new(config, variables.builder())?;
            let classes: Vec<u32> = (0..batch).map(|i| (i * 31 % config.num_classes.max(1)) as u32).collect();
            let targets = class_targets(&classes, config.num_classes, 0., dtype, device)?;
            Box::new(move || Ok(cross_entropy(&net.forward_t(&xs, true)?, &targets)?))
        }
        Architecture::Detector(def) => {
            let net = Yolo::new(&def.clone().with_norm(BatchNormMode::Keep), variables.builder())?;
            for (name, values) in initial_head_biases(def) {
                if let Some(bias) = variables.get(&name) {
                    bias.set(&Tensor::new(values, device)?.to_dtype(dtype)?)?;
                }
            }
            let loss = DetectionLoss::new(def.nc, net.strides(), LossWeights::default());
            let targets = targets(batch, def.nc);
            Box::new(move || Ok(loss.forward(&net.forward_t(&xs, true)?, &targets)?.total))
        }
    };
    let vars = variables.parameters().into_iter().map(|(_, var)| var).collect();
    let mut optimizer = GroupedOptimizer::new(vars, SGD)?;
    let mut times = Vec::with_capacity(STEPS);
    for _ in 0..STEPS {
        let start = Instant::now();
        optimizer.backward_step(&loss()?)?;
        device.synchronize()?;
        times.push(start.elapsed().as_secs_f64());
    }
    let mut times = times.split_off(WARM_UP);
    times.sort_by(f64::total_cmp);
    let peak = sysinfo::peak().map_or("unknown".to_owned(), |bytes| format!("{:.0} MB", bytes as f64 / 1024. / 1024.));
    let side = if height == width { height.to_string() } else { format!("{height}x{width}") };
    Stdout::new().line(&format!(
        "step {} batch {batch} size {side} threads {}: peak {peak}, median s {:.3}",
        name,
        rayon::current_num_threads(),
        times[times.len() / 2]
    ))
}

/// Boxes of 0.3 to 0.7 of a side with their centres between these.
fn targets(images: usize, classes: usize) -> Vec<Target> {
    let mut state = 1;
    let mut part = || (0.5 + 0.2 * seeded::splitmix(&mut state)) as f32;
    let target = |number: usize| Target {
        image: number / OBJECTS,
        class: number * 7 % classes,
        xywhn: [part(), part(), part(), part()],
    };
    (0..images * OBJECTS).map(target).collect()
}
