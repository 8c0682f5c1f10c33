//! Every shipped architecture in every form against Ultralytics, on the seeded weights of `tests/oracle/yolov8.py`.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use candle_core::{DType, Device, Result, Tensor};
use candle_nn::VarBuilder;
use candle_vision::layers::{BatchNormMode, Modules};
use candle_vision::train::class_rows;
use candle_yolov8::seeded;
use candle_yolov8::train::{Recipe, Trainer, TrainerConfig};
use candle_yolov8::{
    ModelConfig, Summary, Yolo, architectures, config_from_shapes, model_config, spec, summary, trained_on_from,
};
use ghostzoo_kernels::{Isa, with_emulated_gpu};
use serde_json::Value;

/// Largest difference, relative to the largest magnitude of the output.
const TOLERANCE: f64 = 1e-4;
/// How many tensors are lost, one at a time, in the smallest scale, and in others, which repeat its modules.
const LOST_TENSORS: [usize; 2] = [20, 4];

type Tensors = HashMap<String, Tensor>;

/// The yaml of a user's own, which has the modules that no shipped architecture has.
const OWN: &str = include_str!("../../tests/golden/yolov8/own.yaml");

/// Name, definition and golden entry of every shipped architecture and of [`OWN`].
fn zoo() -> Vec<(String, ModelConfig, Value)> {
    let entry = |name: String| {
        let (family, scale) = family(&name);
        let entry = golden(&family)["scales"][scale].clone();
        let def = model_config(&name, None).expect("a shipped architecture");
        (name, def, entry)
    };
    let own = ModelConfig::from_yaml(OWN, Some("own.yaml"), None).expect("a model");
    architectures().map(entry).chain([("own".to_owned(), own, golden("own"))]).collect()
}

/// `yolov8n-ghost` to `yolov8-ghost` and `n`.
fn family(name: &str) -> (String, String) {
    let (head, tail) = name.split_at("yolov8".len());
    let (scale, tail) = tail.split_at(1);
    (format!("{head}{tail}"), scale.to_owned())
}

fn golden(family: &str) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../tests/golden/yolov8/{family}.json"));
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_str(&text).expect("JSON")
}

fn number(value: &Value) -> f64 {
    value.as_f64().expect("a number")
}

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().expect("a list").iter().map(number).collect()
}

/// `image` of the script.
fn image([height, width]: [usize; 2]) -> Result<Tensor> {
    let uniform =
        |name: &str, height: usize, width: usize| seeded::uniform(name, &(1, 3, height, width).into(), &Device::Cpu);
    let coarse = uniform("blocks", height / 16, width / 16)?.upsample_nearest2d(height, width)?;
    ((coarse / 3.)? + (uniform("input", height, width)? / 6.)?)? + 0.5
}

/// The boxes and the scores of a decoded output.
fn decoded(output: &Tensor, classes: usize) -> Result<BTreeMap<String, Tensor>> {
    let [boxes, scores] = [output.narrow(1, 0, 4)?, output.narrow(1, 4, classes)?];
    Ok(BTreeMap::from([("boxes".to_owned(), boxes), ("scores".to_owned(), scores)]))
}

/// Largest relative difference of the raw levels and the decoded output from a golden case, and where it is. Where they fail, the
/// output that is computed at once is not asked for.
fn difference(model: &Yolo, device: &Device, case: &Value) -> Result<(f64, String)> {
    let size = numbers(&case["size"]);
    let image = image([size[0] as usize, size[1] as usize])?.to_device(device)?;
    let raw = model.forward_t(&image, false)?;
    let mut found = decoded(&model.decode(&raw)?, model.num_classes())?;
    found.extend(raw.into_iter().enumerate().map(|(index, level)| (format!("level{index}"), level)));
    assert_eq!(found.len(), case["outputs"].as_object().expect("outputs").len());
    let worst = compare(found, &case["outputs"])?;
    if worst.0.is_nan() || worst.0 >= TOLERANCE {
        return Ok(worst);
    }
    let at_once = compare(decoded(&model.forward(&image)?, model.num_classes())?, &case["outputs"])?;
    Ok(if at_once.0.is_nan() || at_once.0 > worst.0 { at_once } else { worst })
}

fn compare(found: BTreeMap<String, Tensor>, outputs: &Value) -> Result<(f64, String)> {
    let mut worst = (0., String::new());
    for (name, found) in found {
        let golden = &outputs[&name];
        assert_eq!(found.dims().iter().map(|d| *d as f64).collect::<Vec<_>>(), numbers(&golden["shape"]), "{name}");
        let scale = number(&golden["max"]);
        assert!(number(&golden["spread"]) >= 0.1 * scale, "{name} hardly varies");
        let values = found.flatten_all()?.to_vec1::<f32>()?;
        let samples = values.iter().step_by(number(&golden["stride"]) as usize);
        let expected = numbers(&golden["values"]);
        assert_eq!(samples.len(), expected.len(), "{name}");
        let peak = values.iter().fold(0f32, |peak, v| peak.max(v.abs()));
        for (value, expected) in samples.zip(&expected).chain([(&peak, &scale)]) {
            let relative = (f64::from(*value) - expected).abs() / scale;
            if relative > worst.0 || relative.is_nan() {
                worst = (relative, name.clone());
            }
        }
    }
    Ok(worst)
}

fn assert_close(name: &str, form: &str, model: &Yolo, entry: &Value) -> Result<()> {
    assert_close_on(&Device::Cpu, name, form, model, entry)
}

fn assert_close_on(device: &Device, name: &str, form: &str, model: &Yolo, entry: &Value) -> Result<()> {
    for case in entry["cases"].as_array().expect("cases") {
        let (relative, output) = difference(model, device, case)?;
        assert!(relative < TOLERANCE, "{name} {form} at {}: {output} is off by {relative:e}", case["size"]);
        println!("{name} {form} {}: {relative:.1e} ({output})", case["size"]);
    }
    Ok(())
}

fn load(def: &ModelConfig, norm: BatchNormMode, tensors: Tensors) -> Result<Yolo> {
    Yolo::new(&def.clone().with_norm(norm), VarBuilder::from_tensors(tensors, DType::F32, &Device::Cpu))
}

fn seeded_tensors(def: &ModelConfig) -> Result<Tensors> {
    let shapes = spec(def)?.shapes;
    shapes.iter().map(|(n, s)| Ok((n.clone(), seeded::tensor(n, s, DType::F32, &Device::Cpu)?))).collect()
}

#[test]
fn every_form_gives_ultralytics_values() -> Result<()> {
    for (name, def, entry) in zoo() {
        let tensors = seeded_tensors(&def)?;
        assert_close(&name, "as trained", &load(&def, BatchNormMode::Keep, tensors.clone())?, &entry)?;
        let mut folded = load(&def, BatchNormMode::Fuse, tensors)?;
        for isa in Isa::available() {
            folded.set_isa(isa)?;
            assert_close(&name, &format!("folded, {isa}"), &folded, &entry)?;
        }
        let mut tensors: Tensors = folded.tensors().into_iter().collect();
        assert!(tensors.keys().all(|name| !name.contains(".bn.")), "{name}");
        tensors.retain(|name, _| !name.ends_with("dfl.conv.weight"));
        for norm in [BatchNormMode::Fused, BatchNormMode::Fuse] {
            let again = load(&def, norm, tensors.clone())?;
            assert_close(&name, "from a folded checkpoint without bins", &again, &entry)?;
        }
    }
    Ok(())
}

/// The launches of a GPU give the same values: emulated, and on one where the build has it and it opens.
#[test]
fn a_gpu_gives_ultralytics_values() -> Result<()> {
    let emulated = with_emulated_gpu(|| {
        // The other scales have the same launches on more channels.
        for (name, def, entry) in zoo().into_iter().filter(|(name, ..)| name.starts_with("yolov8n") || name == "own") {
            assert_close(&name, "folded, emulated", &load(&def, BatchNormMode::Fuse, seeded_tensors(&def)?)?, &entry)?;
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
    for (name, def, entry) in zoo() {
        let tensors = seeded_tensors(&def)?.into_iter().map(|(name, tensor)| Ok((name, tensor.to_device(&gpu)?)));
        let vb = VarBuilder::from_tensors(tensors.collect::<Result<_>>()?, DType::F32, &gpu);
        assert_close_on(&gpu, &name, "folded, on CUDA", &Yolo::new(&def.for_inference(), vb)?, &entry)?;
    }
    Ok(())
}

/// A launch does a convolution with its bias, activation and residual, and the parts of a concatenation are written in place.
#[test]
fn a_gpu_launches_little_more_than_the_convolutions() -> Result<()> {
    for name in ["yolov8n", "yolov8n-ghost", "yolov8n-ghostnet", "yolov8n-ghostnet-all"] {
        let def = model_config(name, None).expect("shipped");
        let launches = load(&def, BatchNormMode::Fuse, seeded_tensors(&def)?)?.launches([640, 640])?;
        let convs = launches.iter().filter(|launch| launch.is_conv).count();
        println!("{name}: {} launches for {convs} convolutions", launches.len());
        assert!(launches.len() as f64 <= 1.2 * convs as f64, "{name}: {launches:#?}");
    }
    Ok(())
}

/// Zeroes tensors spread over the network, of every role, and expects the golden test to fail each time.
#[test]
fn no_tensor_can_be_lost_unnoticed() -> Result<()> {
    for (name, def, entry) in zoo() {
        let tensors = seeded_tensors(&def)?;
        let mut names: Vec<&String> = tensors.keys().collect();
        names.sort();
        let mut unnoticed = Vec::new();
        let [most, few] = LOST_TENSORS;
        let count = if name.starts_with("yolov8n") || name == "own" { most } else { few };
        for index in 0..count {
            let lost = names[(2 * index + 1) * names.len() / (2 * count)];
            let mut damaged = tensors.clone();
            damaged.insert(lost.clone(), tensors[lost].zeros_like()?);
            let (relative, _) =
                difference(&load(&def, BatchNormMode::Keep, damaged)?, &Device::Cpu, &entry["cases"][0])?;
            if relative < TOLERANCE {
                unnoticed.push((lost, relative));
            }
        }
        assert!(unnoticed.is_empty(), "{name}: zeroing goes unnoticed: {unnoticed:?}");
    }
    Ok(())
}

fn assert_counts(name: &str, counted: &Summary, entry: &Value) {
    let expected = ["modules", "layers", "parameters", "flops"].map(|key| number(&entry[key]) as u64);
    let Modules { all, leaves } = counted.modules;
    assert_eq!([all as u64, leaves as u64, counted.parameters as u64, counted.flops], expected, "{name}");
}

fn assert_size(name: &str, def: &ModelConfig, entry: &Value) -> Result<()> {
    let counted = summary(def, [640; 2])?;
    assert_counts(name, &counted, entry);
    let Summary { modules, parameters, gradients, .. } = counted;
    assert_eq!(gradients, parameters - 16, "{name}");
    for norm in [BatchNormMode::Keep, BatchNormMode::Fuse] {
        let model = Yolo::new(&def.clone().with_norm(norm), seeded::var_builder(DType::F32, &Device::Cpu))?;
        assert_eq!(model.modules(), modules, "{name} {norm:?}");
        assert_eq!(model.strides(), numbers(&entry["strides"]), "{name}");
    }
    Ok(())
}

#[test]
fn sizes_equal_ultralytics_for_every_class_count() -> Result<()> {
    let families: std::collections::BTreeSet<String> = architectures().map(|name| family(&name).0).collect();
    assert_eq!(families.len(), 8);
    for (name, def, entry) in zoo() {
        if name.starts_with("yolov8n") || name == "own" {
            assert_size(&name, &def, &entry)?;
        } else {
            let counted = summary(&def, [640; 2])?;
            assert_counts(&name, &counted, &entry);
        }
    }
    for family in families {
        for (nc, entry) in golden(&family)["classes"].as_object().expect("class counts") {
            let def = model_config(&family, nc.parse().ok()).expect("a family means its smallest scale");
            assert_size(&format!("{family} with {nc} classes"), &def, entry)?;
        }
    }
    Ok(())
}

#[test]
fn a_bare_state_dict_says_what_it_is() -> Result<()> {
    for name in architectures() {
        for (nc, norm) in [(80, BatchNormMode::Keep), (64, BatchNormMode::Fused), (1, BatchNormMode::Keep)] {
            let def = model_config(&name, Some(nc)).expect("shipped").with_norm(norm);
            let mut shapes = spec(&def)?.shapes;
            shapes.retain(|name, _| !name.ends_with("dfl.conv.weight"));
            assert_eq!(config_from_shapes(&shapes), Some((name.clone(), def.clone())));
            shapes.remove("model.2.cv1.conv.weight").expect("in every family");
            shapes.insert("extra".to_owned(), 1.into());
            assert_eq!(config_from_shapes(&shapes), Some((name.clone(), def)), "the nearest");
        }
    }
    let only = |names: &[&str]| config_from_shapes(&names.iter().map(|name| ((*name).to_owned(), 80.into())).collect());
    assert_eq!(only(&["model.22.cv3.0.2.bias", "other", "more", "still.more"]), None);
    assert_eq!(only(&["conv_stem.weight"]), None);
    Ok(())
}

/// A network that is trained on for other classes keeps the class branches of its checkpoint, and their channels.
#[test]
fn a_network_trained_on_for_other_classes_gives_ultralytics_values() -> Result<()> {
    let entries = golden("finetuned");
    for entry in entries.as_array().expect("a list") {
        let name = entry["model"].as_str().expect("a name");
        let classes = texts(&entry["names"]);
        let label = format!("{name} for {} classes", classes.len());
        let of = |nc: usize| model_config(name, Some(nc)).expect("shipped");
        let source = seeded_tensors(&of(texts(&entry["source"]).len()))?;
        let shapes = source.iter().map(|(name, tensor)| (name.clone(), tensor.shape().clone())).collect();
        let def = trained_on_from(&shapes, of(classes.len()));
        assert_ne!(def, of(classes.len()), "{label}");

        let counted = summary(&def, [640; 2])?;
        // The copied class branches have an activation of their own there.
        let modules = counted.modules + Modules::leaves(1);
        assert_counts(&label, &Summary { modules, ..counted }, entry);
        let tensors = seeded_tensors(&def)?;
        assert_close(&label, "as trained", &load(&def, BatchNormMode::Keep, tensors.clone())?, entry)?;
        assert_close(&label, "folded", &load(&def, BatchNormMode::Fuse, tensors)?, entry)?;
        let shapes = spec(&def)?.shapes;
        assert_eq!(config_from_shapes(&shapes), Some((name.to_owned(), def)), "{label}");
    }
    Ok(())
}

/// Which tensors a training takes from a checkpoint of other classes, and which rows of its last class layers.
#[test]
fn a_training_takes_what_ultralytics_takes() -> Result<()> {
    let entries = golden("finetuned");
    for entry in entries.as_array().expect("a list") {
        let name = entry["model"].as_str().expect("a name");
        let (theirs, ours) = (texts(&entry["source"]), texts(&entry["names"]));
        let def = model_config(name, Some(theirs.len())).expect("shipped");
        let source: BTreeMap<String, Tensor> = seeded_tensors(&def)?.into_iter().collect();
        let shapes = source.iter().map(|(name, tensor)| (name.clone(), tensor.shape().clone())).collect();
        let def = trained_on_from(&shapes, model_config(name, Some(ours.len())).expect("shipped"));
        let recipe = Recipe::default().resolve(1, ours.len());
        let numbers: Vec<String> = (0..ours.len()).map(|id| id.to_string()).collect();
        for (key, classes) in [("by_name", &ours), ("by_place", &numbers)] {
            let rows = class_rows(&theirs, classes);
            let class_rows = rows.as_deref();
            let config = TrainerConfig::new(&def, &recipe, 1).class_rows(class_rows);
            let (trainer, transferred) = Trainer::new(config, Some(&source), &Device::Cpu)?;
            let label = format!("{name} for {} classes {key}", ours.len());
            let golden = &entry[key];
            let anew = texts(&golden["anew"]);
            let transferred = transferred.expect("there is a checkpoint");
            let counters = source.keys().filter(|name| name.ends_with("running_mean")).count();
            // Beside the DFL's bins, which are no variable here.
            let taken = number(&golden["tensors"]) as usize - anew.len() - 1;
            assert_eq!(transferred.matched.len() + counters, taken, "{label}");
            for (tensor, rows) in golden["rows"].as_object().expect("tensors") {
                let found = trainer.train_state().variables().get(tensor).expect("a variable");
                for (class, row) in numbers_of(rows).into_iter().enumerate() {
                    let own = found.get(class)?.flatten_all()?.to_vec1::<f32>()?;
                    let is_row = |row: usize| -> Result<bool> {
                        Ok(source[tensor].get(row)?.flatten_all()?.to_vec1::<f32>()? == own)
                    };
                    match usize::try_from(row) {
                        Ok(row) => assert!(is_row(row)?, "{label}: {tensor}, class {class} has not row {row}"),
                        Err(_) => {
                            for row in 0..theirs.len() {
                                assert!(!is_row(row)?, "{label}: {tensor}, class {class} has row {row}");
                            }
                        }
                    }
                }
            }
            let mut misshaped: Vec<String> =
                transferred.mismatch.misshaped.into_iter().map(|(tensor, ..)| tensor).collect();
            misshaped.sort();
            let mut anew = anew;
            anew.sort();
            assert_eq!(misshaped, anew, "{label}");
        }
    }
    Ok(())
}

fn texts(value: &Value) -> Vec<String> {
    value.as_array().expect("a list").iter().map(|text| text.as_str().expect("a text").to_owned()).collect()
}

fn numbers_of(value: &Value) -> Vec<i64> {
    value.as_array().expect("a list").iter().map(|number| number.as_i64().expect("a whole number")).collect()
}
