//! Classifiers with fewer channels: what is removed, and that the rest computes the same.

use std::collections::BTreeMap;

use candle_core::{DType, Device, Result, Tensor};
use candle_ghostnet::{BatchNormMode, Config, GhostNet, Reparam, Variant, classes_from_shapes, in_form_of, seeded};
use candle_nn::VarBuilder;
use candle_vision::prune::{Channels, Criterion, Dependencies, PruneRule, Scope};
use candle_vision::seeded::channels;
use candle_vision::spec::ParamSpec;

/// Largest difference of logits, relative to the largest: sums over fewer terms are rounded in another order, and merged branches
/// once more.
const TOLERANCE: f32 = 1e-5;

fn spec(config: &Config) -> Result<ParamSpec> {
    Ok(ParamSpec::of(|vb| GhostNet::new(config, vb))?.1)
}

/// The tensors of a seeded network.
fn tensors(config: &Config) -> Result<BTreeMap<String, Tensor>> {
    let tensor = |(name, shape): (&String, &candle_core::Shape)| {
        Ok((name.clone(), seeded::tensor(name, shape, DType::F32, &Device::Cpu)?))
    };
    spec(config)?.shapes.iter().map(tensor).collect()
}

fn network(config: &Config, tensors: &BTreeMap<String, Tensor>) -> Result<GhostNet> {
    let tensors = tensors.iter().map(|(name, tensor)| (name.clone(), tensor.clone())).collect();
    GhostNet::new(config, VarBuilder::from_tensors(tensors, DType::F32, &Device::Cpu))
}

fn dependencies(config: &Config) -> Result<Dependencies> {
    ParamSpec::of(|vb| GhostNet::new(config, vb))?.0.dependencies()
}

/// The network of tensors that a pruning left, in the form that they are in.
fn pruned_config(config: &Config, tensors: &BTreeMap<String, Tensor>) -> Result<Config> {
    let found = tensors.iter().map(|(name, tensor)| (name.clone(), tensor.shape().clone())).collect();
    assert_eq!(classes_from_shapes(&found), Some(config.num_classes));
    let form = in_form_of(&found, config.clone());
    let channels = Channels::between(&spec(&form)?.shapes, &found);
    Ok(form.channels(channels))
}

fn assert_same(expected: &Tensor, found: &Tensor, what: &str) -> Result<()> {
    let scale = expected.abs()?.max_all()?.to_scalar::<f32>()?;
    let off = (expected - found)?.abs()?.max_all()?.to_scalar::<f32>()? / scale;
    assert!(off < TOLERANCE, "{what}: {off}");
    Ok(())
}

#[test]
fn a_network_without_channels_that_are_zero_computes_the_same() -> Result<()> {
    for name in ["ghostnet_050", "ghostnetv2_100", "ghostnetv3_050", "repghostnet_050"] {
        let trained = Config::new(Variant::from_name(name).expect("a variant")).num_classes(5);
        let mut forms = vec![trained.clone()];
        if trained.variant.version.has_branches() {
            forms.push(trained.branches(Reparam::Deploy));
        }
        for config in forms {
            let (net, tensors) = (dependencies(&config)?, tensors(&config)?);
            for seed in [1, 2] {
                let what = format!("{name}, {:?}, seed {seed}", config.branches);
                let removed = channels(&net, seed);
                assert!(!removed.is_empty(), "{what}");
                let (zeroed, pruned) = (net.zeroed(&tensors, &removed)?, net.prune(&tensors, &removed)?);
                let small = pruned_config(&config, &pruned)?;
                let xs = seeded::uniform("input", &(1, 3, 64, 64).into(), &Device::Cpu)?;
                let expected = network(&config, &zeroed)?.forward(&xs)?;
                assert_same(&expected, &network(&small, &pruned)?.forward(&xs)?, &what)?;
                let folded = network(&small.for_inference(), &pruned)?;
                assert_same(&expected, &folded.forward(&xs)?, &format!("{what}, folded"))?;
                // A folded checkpoint of it.
                let tensors = folded.tensors();
                let again = pruned_config(&config, &tensors)?;
                assert_eq!(again.norm, BatchNormMode::Fused);
                assert_same(&expected, &network(&again, &tensors)?.forward(&xs)?, &format!("{what}, read again"))?;
            }
        }
    }
    Ok(())
}

#[test]
fn every_variant_loses_channels_and_a_folded_one_those_of_its_stems_batch_norm_too() -> Result<()> {
    for variant in Variant::ALL {
        let trained = Config::new(variant);
        for config in [trained.clone(), trained.branches(Reparam::Deploy).norm(BatchNormMode::Fused)] {
            let (net, shapes) = (dependencies(&config.clone().norm(BatchNormMode::Keep))?, spec(&config)?.shapes);
            let equal = vec![Some(1.); net.count()];
            assert!(net.select(&equal, &PruneRule::new(0.)).is_empty());
            let removed = net.select(&equal, &PruneRule::new(0.5).scope(Scope::Uniform));
            let left = net.pruned_shapes(&shapes, &removed);
            let small = config.clone().channels(Channels::between(&shapes, &left));
            assert_eq!(spec(&small)?.shapes, left, "{} {:?}", variant.name, config.norm);
            let count = |shapes: &BTreeMap<String, candle_core::Shape>| -> usize {
                shapes.values().map(candle_core::Shape::elem_count).sum()
            };
            assert!(count(&left) < count(&shapes) * 2 / 3, "{}", variant.name);
            assert_eq!(left["bn1.weight"].dims()[0], left["conv_stem.weight"].dims()[0]);
            assert_eq!(left["classifier.weight"].dims()[0], 1000);
        }
    }
    Ok(())
}

#[test]
fn a_pruned_network_can_be_pruned_again() -> Result<()> {
    let config = Config::new(Variant::from_name("repghostnet_050").expect("a variant")).num_classes(3);
    let (net, first) = (dependencies(&config)?, tensors(&config)?);
    let once = net.prune(&first, &net.select(&net.importance(&first, Criterion::L1)?, &PruneRule::new(0.3)))?;
    let small = pruned_config(&config, &once)?;
    let net = dependencies(&small)?;
    let twice = net.prune(&once, &net.select(&net.importance(&once, Criterion::L2)?, &PruneRule::new(0.3)))?;
    let smaller = pruned_config(&config, &twice)?;
    assert!(spec(&smaller)?.parameters() < spec(&small)?.parameters());
    network(&smaller, &twice)?;
    Ok(())
}

#[test]
fn shapes_that_do_not_agree_are_an_error_of_one_line() -> Result<()> {
    let config = Config::new(Variant::from_name("ghostnet_050").expect("a variant"));
    let whole = spec(&config)?.shapes;
    for (name, shape) in [
        ("blocks.1.0.ghost1.cheap_operation.0.weight", vec![7, 1, 3, 3]),
        ("bn1.bias", vec![3]),
        ("blocks.3.0.se.conv_expand.bias", vec![5]),
        ("classifier.weight", vec![1000, 100]),
    ] {
        let mut found = whole.clone();
        found.insert(name.to_owned(), shape.into());
        let error = spec(&config.clone().channels(Channels::between(&whole, &found))).expect_err(name).to_string();
        assert_eq!(error.lines().count(), 1, "{name}: {error}");
    }
    Ok(())
}
