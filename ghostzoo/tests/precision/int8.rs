//! Networks with some of their dense convolutions in 8 bits, against those that `tests/oracle/int8.py` computed with PyTorch.
//!
//! Both sum the same integers, exactly. What lies between is `f32` and rounds differently, so that an input close to the middle of
//! two integers may become the other; the script says what comes of it in deep networks.

use std::collections::HashMap;

use candle_core::{DType, Device, Result, Tensor};
use candle_nn::VarBuilder;
use ghostzoo::{Architecture, Network, model};
use ghostzoo_kernels::Isa;
use ghostzoo_kernels::plan::{ConvQuantization, Quantization};
use serde_json::Value;

use super::{classifiers_images, detectors_image, golden, network, outputs};

/// Largest distance from PyTorch's, of the distance that 8 bits have from `f32`: roots of mean squares.
const MOST: f64 = 0.1;
/// Rounding of `f32` in a whole network, of an output's root of the mean square.
const ROUNDING: f64 = 3e-6;

/// A folded network's weights as multiples of their steps, and what its convolutions compute by.
fn quantized(float: &Network, convs: &Value) -> Result<(HashMap<String, Tensor>, Quantization)> {
    let mut tensors = match float {
        Network::Detector(net) => net.tensors(),
        Network::Classifier(net) => net.tensors(),
    };
    let mut quantization = Quantization::new();
    for (path, found) in convs.as_object().expect("convolutions") {
        let name = format!("{path}.weight");
        let weight = tensors.get(&name).unwrap_or_else(|| panic!("{name} is in {:?}", tensors.keys()));
        let values = weight.flatten_all()?.to_vec1::<f32>()?;
        let (mut steps, mut near) = (Vec::new(), Vec::new());
        for row in values.chunks(values.len() / weight.dims()[0]) {
            let largest = row.iter().fold(0f32, |most, value| most.max(value.abs()));
            let step = if largest > 0. { largest / 127. } else { 1. };
            near.extend(row.iter().map(|value| (value / step).round_ties_even() * step));
            steps.push(step);
        }
        let weight = Tensor::from_vec(near, weight.shape(), &Device::Cpu)?;
        tensors.insert(name, weight);
        let number = |key: &str| found[key].as_f64().expect("a number");
        let conv = ConvQuantization {
            weight_scale: steps,
            input_scale: number("scale") as f32,
            input_zero_point: number("zero_point") as u8,
        };
        quantization.insert(path.clone(), conv);
    }
    Ok((tensors.into_iter().collect(), quantization))
}

/// Every network of a task, on every instruction set.
fn check(
    task: &str,
    seeded: fn(DType, &Device) -> VarBuilder<'static>,
    images: fn([usize; 2]) -> Result<Tensor>,
) -> Result<()> {
    let mut far = Vec::new();
    for (name, case) in golden("int8", task).as_object().expect("networks") {
        let whole = |value: &Value| value.as_u64().expect("a whole number") as usize;
        let (sets, step) = (case["sets"].as_array().expect("sets"), whole(&case["step"]));
        let images = images([0, 1].map(|axis| whole(&case["size"][axis])))?;
        for (isa, part) in Isa::available()
            .into_iter()
            .chain([Isa::EmulatedAmx])
            .flat_map(|isa| sets.iter().map(move |part| (isa, part)))
        {
            let float = network(name, seeded, DType::F32, isa);
            let (tensors, quantization) = quantized(&float, &part["convs"])?;
            let first = part["convs"].as_object().and_then(|convs| convs.keys().next()).expect("a convolution");
            let architecture = Architecture::named(name, None).expect("an architecture that ships");
            let vb = VarBuilder::from_tensors(tensors, DType::F32, &Device::Cpu);
            let mut network = model::build_with(&architecture, vb).expect("a network");
            match &mut network {
                Network::Detector(net) => net.quantize(quantization).and_then(|()| net.set_isa(isa)),
                Network::Classifier(net) => net.quantize(quantization).and_then(|()| net.set_isa(isa)),
            }?;
            for (output, found) in outputs(&network, &images)? {
                let golden = &part["outputs"][&output];
                let number = |value: &Value| value.as_f64().expect("a number");
                let theirs = golden["values"].as_array().expect("values");
                let ours = found.flatten_all()?.to_vec1::<f32>()?;
                let ours: Vec<f64> = ours.iter().step_by(step).map(|x| f64::from(*x)).collect();
                assert_eq!(ours.len(), theirs.len(), "{name}, {output}");
                let squares = ours.iter().zip(theirs).map(|(a, b)| (a - number(b)).powi(2));
                let distance = (squares.sum::<f64>() / ours.len() as f64).sqrt();
                let (noise, size) = (number(&golden["noise"]), number(&golden["size"]));
                let line =
                    format!("{name}, {isa}, {first}, {output}: {distance:.2e}, from f32 {noise:.2e}, of {size:.2e}");
                println!("{line}");
                if distance.is_nan() || distance > MOST * noise + ROUNDING * size {
                    far.push(line);
                }
            }
        }
    }
    assert!(far.is_empty(), "further than {MOST}: {far:#?}");
    Ok(())
}

#[test]
fn detectors_compute_pytorchs_integers() -> Result<()> {
    check("detectors", candle_yolov8::seeded::var_builder, detectors_image)
}

#[test]
fn classifiers_compute_pytorchs_integers() -> Result<()> {
    check("classifiers", candle_ghostnet::seeded::var_builder, classifiers_images)
}
