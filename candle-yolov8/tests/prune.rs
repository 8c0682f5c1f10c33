//! Detectors with fewer channels: what is removed, and that the rest computes the same.

use std::collections::BTreeMap;

use candle_core::{DType, Device, Result, Tensor};
use candle_nn::VarBuilder;
use candle_vision::prune::{Channels, Criterion, Dependencies, PruneRule, Scope};
use candle_vision::seeded::channels;
use candle_vision::spec::ParamSpec;
use candle_yolov8::{BatchNormMode, ModelConfig, Yolo, architectures, model_config, seeded, spec};

/// Largest difference of raw outputs, relative to the largest: sums over fewer terms are rounded in another order.
const TOLERANCE: f32 = 1e-5;

/// Every module of the grammar, grouped convolutions and depthwise ones that multiply or divide channels among them.
const EVERY_MODULE: &str = "nc: 3
backbone:
  - [-1, 1, Conv, [16, 3, 2]]
  - [-1, 1, DWConv, [32, 3, 2]]
  - [-1, 2, Bottleneck, [32, True, 2]]
  - [-1, 1, C2, [32, True]]
  - [-1, 1, Conv, [48, 3, 2, None, 4]]
  - [-1, 1, DWConv, [32, 3]]
  - [-1, 2, C3, [32, True]]
  - [-1, 1, GhostBottleneck, [48, 3, 2]]
  - [-1, 1, C3Ghost, [48, True]]
  - [-1, 1, GhostConv, [48, 3, 2]]
  - [-1, 2, C2f, [48, False]]
  - [-1, 1, SPPF, [48, 5]]
head:
  - [-1, 1, nn.Upsample, [None, 2, nearest]]
  - [[-1, 8], 1, Concat, [1]]
  - [-1, 1, C2fGhost, [32, True]]
  - [[14, 11], 1, Detect, [nc]]
";

/// The tensors of a seeded network.
fn tensors(def: &ModelConfig) -> Result<BTreeMap<String, Tensor>> {
    let tensor = |(name, shape): (&String, &candle_core::Shape)| {
        Ok((name.clone(), seeded::tensor(name, shape, DType::F32, &Device::Cpu)?))
    };
    spec(def)?.shapes.iter().map(tensor).collect()
}

fn network(def: &ModelConfig, tensors: &BTreeMap<String, Tensor>) -> Result<Yolo> {
    let tensors = tensors.iter().map(|(name, tensor)| (name.clone(), tensor.clone())).collect();
    Yolo::new(def, VarBuilder::from_tensors(tensors, DType::F32, &Device::Cpu))
}

fn dependencies(def: &ModelConfig) -> Result<Dependencies> {
    ParamSpec::of(|vb| Yolo::new(def, vb))?.0.dependencies()
}

/// The network of tensors that a pruning left.
fn pruned_def(def: &ModelConfig, tensors: &BTreeMap<String, Tensor>) -> Result<ModelConfig> {
    let found = tensors.iter().map(|(name, tensor)| (name.clone(), tensor.shape().clone())).collect();
    Ok(def.clone().with_channels(Channels::between(&spec(def)?.shapes, &found)))
}

fn assert_same(a: &[Tensor], b: &[Tensor], what: &str) -> Result<()> {
    for (a, b) in a.iter().zip(b) {
        let scale = a.abs()?.max_all()?.to_scalar::<f32>()?;
        let off = (a - b)?.abs()?.max_all()?.to_scalar::<f32>()? / scale;
        assert!(off < TOLERANCE, "{what}: {off}");
    }
    Ok(())
}

fn smallest() -> Vec<(String, ModelConfig)> {
    let shipped = architectures().filter(|name| name.starts_with("yolov8n"));
    let mut all: Vec<_> = shipped.map(|name| (name.clone(), model_config(&name, Some(3)).expect("it ships"))).collect();
    all.push(("every module".to_owned(), ModelConfig::from_yaml(EVERY_MODULE, None, None).expect("a model")));
    all
}

#[test]
fn a_network_without_channels_that_are_zero_computes_the_same() -> Result<()> {
    for (name, def) in smallest() {
        let (net, tensors) = (dependencies(&def)?, tensors(&def)?);
        for seed in [1, 2] {
            let removed = channels(&net, seed);
            assert!(!removed.is_empty(), "{name}");
            let (zeroed, pruned) = (net.zeroed(&tensors, &removed)?, net.prune(&tensors, &removed)?);
            let small = pruned_def(&def, &pruned)?;
            let xs = seeded::uniform("input", &(1, 3, 64, 64).into(), &Device::Cpu)?;
            let expected = network(&def, &zeroed)?.forward_t(&xs, false)?;
            for form in [small.clone(), small.for_inference()] {
                let found = network(&form, &pruned)?;
                assert_same(&expected, &found.forward_t(&xs, false)?, &format!("{name}, seed {seed}"))?;
                // A folded checkpoint of it.
                if form.norm == BatchNormMode::Fuse {
                    let folded = found.tensors();
                    let def = pruned_def(&def.clone().with_norm(BatchNormMode::Fused), &folded)?;
                    let again = network(&def, &folded)?.forward_t(&xs, false)?;
                    assert_same(&expected, &again, &format!("{name} folded, seed {seed}"))?;
                }
            }
        }
    }
    Ok(())
}

#[test]
fn every_architecture_loses_channels_and_none_by_a_ratio_of_zero() -> Result<()> {
    for name in architectures() {
        let def = model_config(&name, None).expect("it ships");
        let (net, shapes) = (dependencies(&def)?, spec(&def)?.shapes);
        let equal = vec![Some(1.); net.count()];
        assert!(net.select(&equal, &PruneRule::new(0.)).is_empty());
        let removed = net.select(&equal, &PruneRule::new(0.5).scope(Scope::Uniform));
        let left = net.pruned_shapes(&shapes, &removed);
        let small = def.clone().with_channels(Channels::between(&shapes, &left));
        assert_eq!(spec(&small)?.shapes, left, "{name}");
        let count = |shapes: &BTreeMap<String, candle_core::Shape>| -> usize {
            shapes.values().map(candle_core::Shape::elem_count).sum()
        };
        assert!(count(&left) < count(&shapes) * 2 / 3, "{name}: {} of {}", count(&left), count(&shapes));
    }
    Ok(())
}

#[test]
fn a_pruned_network_can_be_pruned_again_and_for_other_classes() -> Result<()> {
    let def = model_config("yolov8n-ghostnet", Some(3)).expect("it ships");
    let (net, first) = (dependencies(&def)?, tensors(&def)?);
    let once = net.prune(&first, &net.select(&net.importance(&first, Criterion::L2)?, &PruneRule::new(0.3)))?;
    let small = pruned_def(&def, &once)?;
    let net = dependencies(&small)?;
    let twice = net.prune(&once, &net.select(&net.importance(&once, Criterion::BatchNorm)?, &PruneRule::new(0.3)))?;
    let smaller = pruned_def(&def, &twice)?;
    assert!(spec(&smaller)?.parameters() < spec(&small)?.parameters());
    network(&smaller, &twice)?;
    let others = ModelConfig { nc: 7, ..smaller };
    let shapes = spec(&others)?.shapes;
    assert_eq!(shapes["model.22.cv3.0.2.bias"].dims(), [7]);
    assert_eq!(shapes["model.5.cv1.conv.weight"].dims(), twice["model.5.cv1.conv.weight"].dims());
    Ok(())
}

#[test]
fn shapes_that_do_not_agree_are_an_error_of_one_line() -> Result<()> {
    let def = model_config("yolov8n", Some(3)).expect("it ships");
    let mut found = spec(&def)?.shapes;
    found.insert("model.2.m.0.cv1.conv.weight".to_owned(), (16, 9, 3, 3).into());
    let wrong = def.clone().with_channels(Channels::between(&spec(&def)?.shapes, &found));
    let error = spec(&wrong).expect_err("nine channels of sixteen").to_string();
    assert!(error.starts_with("a sum of ") || error.contains(" reads "), "{error}");
    assert_eq!(error.lines().count(), 1, "{error}");
    Ok(())
}
