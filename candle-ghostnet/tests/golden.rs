//! Every variant in every form against timm, on the seeded weights of `tests/oracle/ghostnet.py`.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use candle_core::{DType, Device, Result, Tensor};
use candle_ghostnet::seeded;
use candle_ghostnet::{BatchNormMode, Config, GhostNet, Reparam, Variant, Version, config_from_shapes, summary};
use candle_nn::VarBuilder;
use candle_vision::layers::Modules;
use candle_vision::spec::ParamSpec;
use ghostzoo_kernels::{Isa, with_emulated_gpu};
use serde_json::Value;

/// Largest difference, relative to the largest magnitude of the output.
const TOLERANCE: f64 = 1e-4;
const NAMED_TENSORS: usize = 20;

type Tensors = HashMap<String, Tensor>;

fn golden(variant: Variant) -> Value {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden/ghostnet");
    let path = folder.join(format!("{}.json", variant.name));
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_str(&text).expect("JSON")
}

fn number(value: &Value) -> usize {
    value.as_u64().expect("a count") as usize
}

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().expect("a list").iter().map(|v| v.as_f64().expect("a number")).collect()
}

fn uniform(name: &str, shape: (usize, usize, usize, usize)) -> Result<Tensor> {
    seeded::tensor(name, &shape.into(), DType::F32, &Device::Cpu)? * 5.
}

/// `image` of the script: the seeded rule gives a nameless role the range ±0.2.
fn image([height, width]: [usize; 2]) -> Result<Tensor> {
    let coarse = uniform("blocks", (2, 3, height.div_ceil(32), width.div_ceil(32)))?;
    let (_, _, rows, columns) = coarse.dims4()?;
    let blocks = coarse.upsample_nearest2d(32 * rows, 32 * columns)?.narrow(2, 0, height)?.narrow(3, 0, width)?;
    (blocks * 2.)? + uniform("input", (2, 3, height, width))?
}

fn maps(model: &GhostNet, images: &Tensor) -> Result<BTreeMap<String, Tensor>> {
    let maps = model.features(images, false)?.into_iter().enumerate();
    Ok(maps.map(|(index, map)| (format!("map{index}"), map)).collect())
}

fn head(model: &GhostNet, images: &Tensor) -> Result<BTreeMap<String, Tensor>> {
    let features = model.forward_features(images, false)?;
    Ok(BTreeMap::from([
        ("pre_logits".to_owned(), model.pre_logits(&features)?),
        ("logits".to_owned(), model.forward_head(&features)?),
        ("features".to_owned(), features),
    ]))
}

/// The largest relative difference of any output, and which output has it. Maps that fail are enough.
fn difference(model: &GhostNet, device: &Device, case: &Value) -> Result<(f64, String)> {
    let size = numbers(&case["size"]);
    let images = image([size[0] as usize, size[1] as usize])?.to_device(device)?;
    let maps = compare(&maps(model, &images)?, &case["outputs"])?;
    if maps.0.is_nan() || maps.0 >= TOLERANCE {
        return Ok(maps);
    }
    let mut worst = maps;
    for head in [head(model, &images)?, BTreeMap::from([("logits".to_owned(), model.forward(&images)?)])] {
        let head = compare(&head, &case["outputs"])?;
        if head.0 > worst.0 || head.0.is_nan() {
            worst = head;
        }
    }
    Ok(worst)
}

fn compare(found: &BTreeMap<String, Tensor>, outputs: &Value) -> Result<(f64, String)> {
    let mut worst = (0., String::new());
    for name in found.keys() {
        let golden = &outputs[name];
        let dims: Vec<f64> = found[name].dims().iter().map(|d| *d as f64).collect();
        assert_eq!(dims, numbers(&golden["shape"]), "{name}");
        let scale = golden["max"].as_f64().expect("a number");
        assert!(golden["spread"].as_f64().expect("a number") >= 0.1 * scale, "{name} hardly varies");
        let values = found[name].flatten_all()?.to_vec1::<f32>()?;
        let samples = values.iter().step_by(number(&golden["stride"]));
        let expected = numbers(&golden["values"]);
        assert_eq!(samples.len(), expected.len(), "{name}");
        let peak = values.iter().fold(0f32, |peak, v| peak.max(v.abs()));
        let pairs = samples.zip(&expected).chain([(&peak, &scale)]);
        for (value, expected) in pairs {
            let relative = (f64::from(*value) - expected).abs() / scale;
            if relative > worst.0 || relative.is_nan() {
                worst = (relative, name.clone());
            }
        }
    }
    Ok(worst)
}

fn assert_close(model: &GhostNet, cases: &Value, form: &str) -> Result<()> {
    assert_close_on(&Device::Cpu, model, cases, form)
}

fn assert_close_on(device: &Device, model: &GhostNet, cases: &Value, form: &str) -> Result<()> {
    for case in cases.as_array().expect("cases") {
        let (relative, output) = difference(model, device, case)?;
        let name = model.config().variant.name;
        assert!(relative < TOLERANCE, "{name} {form} at {}: {output} is off by {relative:e}", case["size"]);
        println!("{name} {form} {}: {relative:.1e} ({output})", case["size"]);
    }
    Ok(())
}

fn load(config: &Config, tensors: Tensors) -> Result<GhostNet> {
    GhostNet::new(config, VarBuilder::from_tensors(tensors, DType::F32, &Device::Cpu))
}

fn seeded_tensors(config: &Config) -> Result<Tensors> {
    let (_, spec) = ParamSpec::of(|vb| GhostNet::new(config, vb))?;
    spec.shapes.iter().map(|(n, s)| Ok((n.clone(), seeded::tensor(n, s, DType::F32, &Device::Cpu)?))).collect()
}

fn state_dict(model: &GhostNet) -> Tensors {
    model.tensors().into_iter().collect()
}

fn inferred(tensors: &Tensors) -> Option<Config> {
    config_from_shapes(&tensors.iter().map(|(name, tensor)| (name.clone(), tensor.shape().clone())).collect())
}

/// Loads a state dict by what `infer` makes of it, and checks that it is the model it came from.
fn assert_loads_back(model: &GhostNet, expected: Config) -> Result<GhostNet> {
    let tensors = state_dict(model);
    let config = inferred(&tensors).expect("a GhostNet");
    assert_eq!(config, expected);
    let (_, spec) = ParamSpec::of(|vb| GhostNet::new(&config, vb))?;
    let mismatch = spec.check(tensors.iter().map(|(name, tensor)| (name.as_str(), tensor.dims())));
    assert!(mismatch.is_empty(), "{mismatch}");
    let again = load(&config, tensors)?;
    let images = image([64, 64])?;
    let bits = |model: &GhostNet| model.forward(&images)?.flatten_all()?.to_vec1::<f32>();
    assert_eq!(bits(model)?, bits(&again)?);
    Ok(again)
}

#[test]
fn every_form_gives_timms_values() -> Result<()> {
    for variant in Variant::ALL {
        let golden = golden(variant);
        let trained = Config::new(variant);
        let tensors = seeded_tensors(&trained)?;
        let separate = load(&trained, tensors.clone())?;
        assert_close(&separate, &golden["trained"]["cases"], "as trained")?;
        assert_loads_back(&separate, trained.clone())?;

        let mut folded = load(&trained.for_inference(), tensors.clone())?;
        for isa in Isa::available() {
            folded.set_isa(isa)?;
            assert_close(&folded, &golden["trained"]["cases"], &format!("folded, {isa}"))?;
        }
        // Folded, a V3 is the V2 of its width.
        let alias = Variant::ALL.into_iter().find(|v| v.version == Version::V2 && v.width == variant.width);
        let alias = alias.filter(|_| variant.version == Version::V3).unwrap_or(variant);
        let branches = if alias.version.has_branches() { Reparam::Deploy } else { Reparam::Train };
        let form = Config::new(alias).branches(branches).norm(BatchNormMode::Fused);
        let again = assert_loads_back(&folded, form)?;
        for named in [trained.clone().norm(BatchNormMode::Fused), trained.for_inference()] {
            let model = load(&named, state_dict(&again))?;
            assert_close(&model, &golden["trained"]["cases"], "from a folded checkpoint")?;
        }

        if variant.version.has_branches() {
            let merged = load(&trained.clone().branches(Reparam::Fuse), tensors)?;
            assert_close(&merged, &golden["trained"]["cases"], "merged")?;
            let deploy = trained.branches(Reparam::Deploy);
            assert_loads_back(&merged, deploy.clone())?;
            for form in [deploy.for_inference(), deploy] {
                let model = load(&form, seeded_tensors(&form)?)?;
                assert_close(&model, &golden["deployed"]["cases"], "from timm's deploy form")?;
            }
        }
    }
    Ok(())
}

/// The launches of a GPU give the same values: emulated, and on one where the build has it and it opens.
#[test]
fn a_gpu_gives_timms_values() -> Result<()> {
    let emulated = with_emulated_gpu(|| {
        for variant in Variant::ALL {
            let trained = Config::new(variant);
            let model = load(&trained.for_inference(), seeded_tensors(&trained)?)?;
            assert_close(&model, &golden(variant)["trained"]["cases"], "folded, emulated")?;
        }
        Ok::<_, candle_core::Error>(())
    });
    if let Some(emulated) = emulated {
        emulated?;
    }
    let Ok(gpu) = Device::new_cuda(0) else {
        println!("not run on CUDA: no GPU opens, or the build is without it");
        return Ok(());
    };
    for variant in Variant::ALL {
        let config = Config::new(variant);
        let tensors = seeded_tensors(&config)?.into_iter().map(|(name, tensor)| Ok((name, tensor.to_device(&gpu)?)));
        let vb = VarBuilder::from_tensors(tensors.collect::<Result<_>>()?, DType::F32, &gpu);
        let model = GhostNet::new(&config.for_inference(), vb)?;
        assert_close_on(&gpu, &model, &golden(variant)["trained"]["cases"], "folded, on CUDA")?;
    }
    Ok(())
}

/// A launch does a convolution with its bias, activation and residual; means, gates and the copy of an output come on top, and
/// with DFC attention its pools.
#[test]
fn a_gpu_launches_little_more_than_the_convolutions() -> Result<()> {
    for variant in Variant::ALL {
        let config = Config::new(variant).for_inference();
        let (model, _) = ParamSpec::of(|vb| GhostNet::new(&config, vb))?;
        let launches = model.launches([224, 224])?;
        let convs = launches.iter().filter(|launch| launch.is_conv).count();
        println!("{}: {} launches for {convs} convolutions", variant.name, launches.len());
        let most = if matches!(variant.version, Version::V2 | Version::V3) { 1.35 } else { 1.2 };
        assert!(launches.len() as f64 <= most * convs as f64, "{}: {launches:#?}", variant.name);
    }
    Ok(())
}

/// Zeroes tensors spread over the net, of every role, and expects the golden test to fail each time.
#[test]
fn no_tensor_can_be_lost_unnoticed() -> Result<()> {
    for variant in Variant::ALL {
        let golden = golden(variant);
        let config = Config::new(variant).for_inference();
        let tensors = seeded_tensors(&config)?;
        let mut names: Vec<&String> = tensors.keys().collect();
        names.sort();
        let mut failures = Vec::new();
        for index in 0..NAMED_TENSORS {
            let name = names[(2 * index + 1) * names.len() / (2 * NAMED_TENSORS)];
            let mut damaged = tensors.clone();
            damaged.insert(name.clone(), tensors[name].zeros_like()?);
            let (relative, _) = difference(&load(&config, damaged)?, &Device::Cpu, &golden["trained"]["cases"][0])?;
            if relative < TOLERANCE {
                failures.push((name, relative));
            }
        }
        assert!(failures.is_empty(), "{}: zeroing goes unnoticed: {failures:?}", variant.name);
    }
    Ok(())
}

#[test]
fn sizes_equal_timms() -> Result<()> {
    for variant in Variant::ALL {
        let golden = golden(variant);
        for (form, branches) in [("trained", Reparam::Train), ("deployed", Reparam::Deploy)] {
            if let Some(golden) = golden.get(form) {
                let summary = summary(&Config::new(variant).branches(branches), [224, 224])?;
                let modules = Modules { all: number(&golden["modules"]), leaves: number(&golden["layers"]) };
                assert_eq!(summary.modules, modules, "{} {form}", variant.name);
                assert_eq!(summary.parameters, number(&golden["parameters"]), "{} {form}", variant.name);
                assert_eq!(summary.macs as usize, number(&golden["macs"]), "{} {form}", variant.name);
            }
        }
        for config in [Config::new(variant), Config::new(variant).for_inference()] {
            let (model, _) = ParamSpec::of(|vb| GhostNet::new(&config, vb))?;
            assert_eq!(model.modules().all, number(&golden["trained"]["modules"]), "{} {config:?}", variant.name);
        }
    }
    Ok(())
}
