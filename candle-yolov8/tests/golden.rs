//! Outputs of every shipped architecture against Ultralytics, from seeded weights (`tests/oracle/yolov8.py`).

use std::collections::BTreeMap;
use std::path::Path;

use candle_core::{DType, Device, Result, Tensor};
use candle_nn::{VarBuilder, VarMap};
use candle_vision::layers::Norm;
use candle_vision::seeded;
use candle_yolov8::{Yolo, architecture, infer, spec};
use serde_json::Value;

/// Largest difference in `f32`, relative to the largest magnitude of the output.
const TOLERANCE: f64 = 1e-4;

fn cases() -> Vec<Value> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden/yolov8.json");
    serde_json::from_slice(&std::fs::read(path).expect("golden file")).expect("golden JSON")
}

/// `seeded.uniform("input", …) / 2 + 1 / 2` of the oracle, as (2, 3, h, w).
fn input(size: &Value) -> Result<Tensor> {
    let side = |i: usize| size[i].as_u64().expect("a side") as usize;
    let shape = (2, 3, side(0), side(1)).into();
    let values = seeded::uniform("input", &shape, &Device::Cpu)?;
    (values * 0.5)? + 0.5
}

type Tensors = BTreeMap<String, Tensor>;

fn seeded_tensors(name: &str) -> Result<Tensors> {
    let spec = spec(&architecture(name, None).expect("shipped"), Norm::Separate)?;
    let tensor = |(name, shape)| Ok((String::clone(name), seeded::tensor(name, shape, DType::F32, &Device::Cpu)?));
    spec.shapes.iter().map(tensor).collect()
}

fn build(name: &str, norm: Norm, tensors: &Tensors) -> Result<Yolo> {
    let tensors = tensors.iter().map(|(name, tensor)| (name.clone(), tensor.clone())).collect();
    let vb = VarBuilder::from_tensors(tensors, DType::F32, &Device::Cpu);
    Yolo::new(&architecture(name, None).expect("shipped"), norm, vb)
}

/// The outputs that the oracle samples, each as (n, channels, positions).
fn outputs(model: &Yolo, xs: &Tensor) -> Result<BTreeMap<String, Tensor>> {
    let raw = model.forward_t(xs, false)?;
    let decoded = model.decode(&raw)?;
    let mut outputs = BTreeMap::new();
    for (level, xs) in raw.iter().enumerate() {
        outputs.insert(format!("level{level}"), xs.flatten_from(2)?);
    }
    outputs.insert("boxes".to_owned(), decoded.narrow(1, 0, 4)?);
    outputs.insert("scores".to_owned(), decoded.narrow(1, 4, model.num_classes())?);
    Ok(outputs)
}

/// The largest difference of any output, relative to that output's largest magnitude.
fn difference(case: &Value, outputs: &BTreeMap<String, Tensor>) -> Result<f64> {
    let expected = case["outputs"].as_object().expect("outputs");
    assert_eq!(outputs.len(), expected.len(), "{}", case["model"]);
    let mut worst = 0f64;
    for (name, output) in outputs {
        let expected = &expected[name];
        let dims: Vec<Value> = output.dims().iter().map(|side| Value::from(*side)).collect();
        assert_eq!(Value::from(dims), expected["shape"], "{} {name}", case["model"]);
        let (largest, spread) = (expected["max"].as_f64().expect("max"), expected["spread"].as_f64().expect("spread"));
        assert!(spread >= 0.1 * largest, "{} {name} says something about positions", case["model"]);
        let values = output.to_dtype(DType::F64)?.flatten_all()?.to_vec1::<f64>()?;
        let found = values.iter().fold(0f64, |largest, v| largest.max(v.abs()));
        worst = worst.max((found - largest).abs() / largest);
        let samples = expected["values"].as_array().expect("values");
        for (i, sample) in samples.iter().enumerate() {
            // numpy.linspace(0, size - 1, count).round(): halves to even.
            let at = (i as f64 * (values.len() - 1) as f64 / (samples.len() - 1) as f64).round_ties_even() as usize;
            worst = worst.max((values[at] - sample.as_f64().expect("a number")).abs() / largest);
        }
    }
    Ok(worst)
}

#[test]
fn every_architecture_in_every_form_computes_what_ultralytics_does() -> Result<()> {
    let cases = cases();
    assert_eq!(cases.len(), 42, "7 families, 5 scales, the smallest at two sizes");
    for case in &cases {
        let name = case["model"].as_str().expect("a name");
        let tensors = seeded_tensors(name)?;
        let xs = input(&case["size"])?;
        let separate = build(name, Norm::Separate, &tensors)?;
        let folded = build(name, Norm::Fold, &tensors)?;
        let again = build(name, Norm::Folded, &folded.tensors())?;
        for (form, model) in [("separate", separate), ("folded at load", folded), ("folded in the file", again)] {
            let difference = difference(case, &outputs(&model, &xs)?)?;
            assert!(difference < TOLERANCE, "{name} {form}: {difference:e}");
        }
    }
    Ok(())
}

#[test]
fn a_zeroed_tensor_is_noticed() -> Result<()> {
    for name in ["yolov8n", "yolov8n-ghost", "yolov8n-ghostnet"] {
        let cases = cases();
        let case = cases.iter().find(|case| case["model"] == name).expect("a case");
        let (tensors, xs) = (seeded_tensors(name)?, input(&case["size"])?);
        let names: Vec<&String> = tensors.keys().collect();
        for i in 0..20 {
            let zeroed = names[i * (names.len() - 1) / 19];
            let mut tensors = tensors.clone();
            tensors.insert(zeroed.clone(), tensors[zeroed].zeros_like()?);
            let difference = difference(case, &outputs(&build(name, Norm::Fold, &tensors)?, &xs)?)?;
            assert!(difference > TOLERANCE, "{name} without {zeroed}: {difference:e}");
        }
    }
    Ok(())
}

#[test]
fn a_bare_state_dict_is_recognised() -> Result<()> {
    for name in ["yolov8n", "yolov8s-ghost", "yolov8n-ghostnet", "yolov8n-p2", "yolov8n-ghost-p6"] {
        let def = architecture(name, Some(7)).expect("shipped");
        for norm in [Norm::Separate, Norm::Folded] {
            let mut shapes = spec(&def, norm)?.shapes;
            shapes.retain(|tensor, _| !tensor.ends_with("dfl.conv.weight"));
            let (found, found_def, found_norm) = infer(&shapes).expect("recognised");
            assert_eq!((found.as_str(), found_def.nc, found_norm), (name, 7, norm));
            shapes.insert("model.99.extra".to_owned(), 1.into());
            assert_eq!(infer(&shapes), None, "{name} with a tensor too many");
        }
    }
    Ok(())
}

#[test]
fn every_parameter_gets_a_gradient() -> Result<()> {
    for name in ["yolov8n", "yolov8n-ghost", "yolov8n-ghostnet"] {
        let vars = VarMap::new();
        let vb = VarBuilder::from_varmap(&vars, DType::F32, &Device::Cpu);
        let model = Yolo::new(&architecture(name, Some(3)).expect("shipped"), Norm::Separate, vb)?;
        let xs = seeded::uniform("input", &(2, 3, 64, 64).into(), &Device::Cpu)?;
        let levels = model.forward_t(&xs, true)?;
        let sums: Vec<Tensor> = levels.iter().map(|level| level.sqr()?.sum_all()).collect::<Result<_>>()?;
        let grads = Tensor::stack(&sums, 0)?.sum_all()?.backward()?;
        for (tensor, var) in vars.data().lock().expect("no thread panics").iter() {
            if tensor.contains("running_") || tensor.contains("dfl") {
                continue;
            }
            let grad = grads.get(var).unwrap_or_else(|| panic!("{name}: no gradient of {tensor}"));
            let size = grad.abs()?.sum_all()?.to_scalar::<f32>()?;
            assert!(size.is_finite() && size > 0., "{name}: gradient of {tensor} is {size}");
        }
    }
    Ok(())
}
