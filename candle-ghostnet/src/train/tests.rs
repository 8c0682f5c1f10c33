//! Each part of fine-tuning changes what it should, and nothing else.

use std::collections::BTreeMap;

use candle_core::{DType, Device, Result, Tensor};
use candle_nn::{Optimizer as _, VarBuilder};
use candle_vision::spec::ParamSpec;
use candle_vision::train::optim::{Algorithm, Config as OptimConfig, GroupedOptimizer, timm_groups};
use candle_vision::train::{VarStore, loss, stream};

use super::is_frozen;
use crate::seeded;
use crate::{Config, GhostNet, Reparam, Variant};

fn config(name: &str, num_classes: usize) -> Config {
    Config { num_classes, ..Config::new(Variant::from_name(name).expect("a variant")) }
}

fn values(variables: &VarStore) -> Result<BTreeMap<String, Vec<f32>>> {
    let flat = |(name, tensor): (String, Tensor)| Ok((name, tensor.flatten_all()?.to_vec1()?));
    variables.tensors()?.into_iter().map(flat).collect()
}

fn images() -> Result<Tensor> {
    seeded::uniform("pictures", &(3, 3, 64, 64).into(), &Device::Cpu)
}

fn step(model: &GhostNet, variables: &VarStore, num_classes: usize) -> Result<()> {
    let algorithm = Algorithm::Sgd { nesterov: true };
    let config = OptimConfig::new(algorithm, 0.01).weight_decay(0.01);
    let groups = timm_groups(variables.parameters(), &config);
    let mut optimizer = GroupedOptimizer::of_groups(algorithm, groups)?;
    let targets = loss::class_targets(&[0, 1, 2], num_classes, 0.1, DType::F32, &Device::Cpu)?;
    let logits = model.forward_train(&images()?, 0.2, &mut stream(0, &[0]))?;
    optimizer.backward_step(&loss::cross_entropy(&logits, &targets)?)
}

#[test]
fn layers_are_counted_from_the_stem() -> Result<()> {
    let (_, spec) = ParamSpec::of(|vb| GhostNet::new(&config("ghostnet_050", 10), vb))?;
    let frozen = |layers| spec.shapes.keys().filter(|name| is_frozen(name, layers)).cloned().collect::<Vec<_>>();
    assert!(frozen(0).is_empty());
    let stem = ["bn1.bias", "bn1.running_mean", "bn1.running_var", "bn1.weight", "conv_stem.weight"];
    assert_eq!(frozen(1), stem);
    assert!(frozen(2).iter().all(|name| stem.contains(&name.as_str()) || name.starts_with("blocks.0.")));
    assert!(frozen(2).len() > stem.len());
    let trained: Vec<&String> = spec.shapes.keys().filter(|name| !is_frozen(name, 11)).collect();
    assert_eq!(trained, ["classifier.bias", "classifier.weight", "conv_head.bias", "conv_head.weight"]);
    Ok(())
}

#[test]
fn a_step_moves_all_that_is_not_frozen() -> Result<()> {
    for layers in [0, 4] {
        let variables = VarStore::new(DType::F32, &Device::Cpu, 0).freeze(move |name| is_frozen(name, layers));
        let model = GhostNet::new(&config("ghostnet_050", 5), variables.builder())?;
        let before = values(&variables)?;
        step(&model, &variables, 5)?;
        for (name, after) in values(&variables)? {
            assert_eq!(after == before[&name], is_frozen(&name, layers), "{layers}: {name}");
        }
    }
    Ok(())
}

#[test]
fn a_new_set_of_classes_resets_the_head_alone() -> Result<()> {
    let pretrained = VarStore::new(DType::F32, &Device::Cpu, 1);
    GhostNet::new(&config("ghostnet_050", 10), pretrained.builder())?;
    let variables = VarStore::new(DType::F32, &Device::Cpu, 0);
    GhostNet::new(&config("ghostnet_050", 7), variables.builder())?;
    let fresh = values(&variables)?;
    let transferred = variables.load(&pretrained.tensors()?)?;
    let misshaped: Vec<&String> = transferred.mismatch.misshaped.iter().map(|(name, ..)| name).collect();
    assert_eq!(misshaped, ["classifier.bias", "classifier.weight"]);
    assert!(transferred.mismatch.missing.is_empty() && transferred.mismatch.unexpected.is_empty());
    let theirs = values(&pretrained)?;
    for (name, value) in values(&variables)? {
        let expected = if name.starts_with("classifier.") { &fresh[&name] } else { &theirs[&name] };
        assert_eq!(value, *expected, "{name}");
    }
    Ok(())
}

/// Largest difference of logits, relative to their largest magnitude: rounding of f32 through some 50 layers.
const MERGE_TOLERANCE: f32 = 1e-4;

#[test]
fn what_was_trained_in_branches_merges_into_the_same_network() -> Result<()> {
    for name in ["ghostnetv3_050", "repghostnet_050"] {
        let config = config(name, 5);
        let variables = VarStore::new(DType::F32, &Device::Cpu, 0);
        let model = GhostNet::new(&config, variables.builder())?;
        let untrained = model.forward(&images()?)?;
        for _ in 0..2 {
            step(&model, &variables, 5)?;
        }
        let trained = model.forward(&images()?)?;
        let tensors = variables.tensors()?.into_iter().collect();
        let vb = VarBuilder::from_tensors(tensors, DType::F32, &Device::Cpu);
        let difference = |a: &Tensor, b: &Tensor| (a - b)?.abs()?.max_all()?.to_scalar::<f32>();
        let scale = trained.abs()?.max_all()?.to_scalar::<f32>()?;
        let moved = difference(&trained, &untrained)? / scale;
        assert!(moved > 100. * MERGE_TOLERANCE, "{name}: the steps moved the logits by {moved}");
        for form in [config.clone().branches(Reparam::Fuse), config.for_inference()] {
            let merged = GhostNet::new(&form, vb.clone())?.forward(&images()?)?;
            let off = difference(&trained, &merged)? / scale;
            assert!(off < MERGE_TOLERANCE, "{name}: merging moved the logits by {off}");
        }
    }
    Ok(())
}
