//! Gradients of whole networks in training mode, through their raw outputs.

use candle_core::{DType, Device, Result, Tensor, Var};
use candle_nn::{VarBuilder, VarMap};
use candle_vision::layers::BatchNormMode;
use candle_yolov8::seeded;
use candle_yolov8::{Yolo, model_config};

const FAMILIES: [&str; 3] = ["yolov8n", "yolov8n-ghost", "yolov8n-ghostnet"];

/// Trained variables by name, in the order of their names.
type VarStore = Vec<(String, Var)>;

fn noise(name: &str, dims: &[usize]) -> Result<Tensor> {
    seeded::uniform(name, &dims.into(), &Device::Cpu)?.to_dtype(DType::F64)
}

fn is_trained(name: &str) -> bool {
    !name.ends_with(".running_mean") && !name.ends_with(".running_var")
}

/// The trained variables of a network of seeded values, and the function of them to differentiate.
fn network(name: &str) -> Result<(VarStore, impl Fn() -> Result<Tensor>)> {
    let map = VarMap::new();
    let def = model_config(name, Some(3)).expect("a shipped architecture");
    let model = Yolo::new(&def, VarBuilder::from_varmap(&map, DType::F64, &Device::Cpu))?;
    let variables = map.data().lock().expect("no other thread").clone();
    let mut trained = Vec::new();
    for (name, var) in variables {
        var.set(&seeded::tensor(&name, var.shape(), DType::F64, &Device::Cpu)?)?;
        if is_trained(&name) {
            trained.push((name, var));
        }
    }
    trained.sort_by(|a, b| a.0.cmp(&b.0));
    let xs = ((noise("picture", &[2, 3, 64, 64])? + 1.)? / 2.)?;
    let loss = move || {
        let levels = model.forward_t(&xs, true)?;
        let weighted = levels
            .iter()
            .enumerate()
            .map(|(level, raw)| raw.mul(&noise(&format!("cotangent{level}"), raw.dims())?)?.sum_all());
        Tensor::stack(&weighted.collect::<Result<Vec<_>>>()?, 0)?.sum_all()
    };
    Ok((trained, loss))
}

#[test]
fn every_parameter_has_a_finite_gradient_that_equals_differences_of_the_loss() -> Result<()> {
    for family in FAMILIES {
        let (variables, loss) = network(family)?;
        let parameters: usize = variables.iter().map(|(_, var)| var.elem_count()).sum();
        let def = model_config(family, Some(3)).expect("a shipped architecture");
        assert_eq!(parameters, candle_yolov8::summary(&def, [640; 2])?.gradients, "{family}");

        let grads = loss()?.backward()?;
        let mut slope = 0.;
        let mut directions = Vec::new();
        for (name, var) in &variables {
            let grad = grads.get(var).unwrap_or_else(|| panic!("{family}: {name} has no gradient"));
            let size = grad.abs()?.sum_all()?.to_scalar::<f64>()?;
            assert!(size.is_finite() && size > 0., "{family}: the gradient of {name} has the size {size}");
            // Along the sign of the gradient, so that no part of it can cancel another's error.
            let direction = grad.sign()?;
            slope += (grad * &direction)?.sum_all()?.to_scalar::<f64>()?;
            directions.push(direction);
        }
        let step = 1e-8;
        let shifted = |by: f64| {
            for ((_, var), direction) in variables.iter().zip(&directions) {
                var.set(&(var.as_tensor() + (direction * by)?)?)?;
            }
            loss()?.to_scalar::<f64>()
        };
        let numeric = (shifted(step)? - shifted(-2. * step)?) / (2. * step);
        let relative = (numeric - slope).abs() / slope;
        println!("{family}: slope {slope:.6e}, by differences {numeric:.6e}, relative difference {relative:.1e}");
        assert!(relative < 1e-5, "{family}: slope {slope} but differences give {numeric}");
    }
    Ok(())
}

/// Packed weights would miss both.
#[test]
fn a_folded_network_of_variables_follows_them_and_has_gradients_outside_training() -> Result<()> {
    let def = model_config("yolov8n-ghostnet", Some(3)).expect("a shipped architecture");
    for norm in [BatchNormMode::Fuse, BatchNormMode::Fused] {
        let map = VarMap::new();
        let model = Yolo::new(&def.clone().with_norm(norm), VarBuilder::from_varmap(&map, DType::F32, &Device::Cpu))?;
        let xs = noise("picture", &[1, 3, 64, 64])?.to_dtype(DType::F32)?;
        let sum = || model.forward_t(&xs, false)?[0].sqr()?.sum_all();
        let before = sum()?;
        let last = map.data().lock().expect("no other thread")["model.22.cv3.0.2.bias"].clone();
        assert!(before.backward()?.get(last.as_tensor()).is_some(), "{norm:?}: a gradient");
        last.set(&(last.as_tensor() + 1.)?)?;
        assert_ne!(sum()?.to_scalar::<f32>()?, before.to_scalar::<f32>()?, "{norm:?}: what was set");
    }
    Ok(())
}
