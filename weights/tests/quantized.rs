//! Weights in 8 bits, to a file and back.

use std::collections::BTreeMap;
use std::path::Path;

use candle_core::{DType, Device, Tensor};
use ghostzoo_weights::{Checkpoint, KeyLayout, Metadata, QuantizationInfo, QuantizedConv, read, write};
use safetensors::tensor::{Dtype, TensorView};

/// Two channels of six weights each, `integer · scale`, beside tensors in floats.
fn checkpoint() -> Checkpoint {
    let weight_scale = vec![0.013_f32, 1.7e-3];
    let integers = [[-127_i8, 0, 3, 127, 55, -1], [1, 2, -77, 100, -128 + 1, 64]];
    let weights: Vec<f32> = integers
        .iter()
        .zip(&weight_scale)
        .flat_map(|(row, scale)| row.iter().map(move |integer| f32::from(*integer) * scale))
        .collect();
    let tensors = [
        ("model.0.conv.weight".to_owned(), Tensor::from_vec(weights, (2, 3, 1, 2), &Device::Cpu).expect("a tensor")),
        ("model.0.conv.bias".to_owned(), Tensor::new(&[0.5_f32, -1.], &Device::Cpu).expect("a tensor")),
        ("model.1.conv.weight".to_owned(), Tensor::ones((1, 2, 1, 1), DType::F32, &Device::Cpu).expect("a tensor")),
    ];
    let conv = QuantizedConv { weight_scale, input_scale: 0.02, input_zero_point: 14 };
    let quantization = QuantizationInfo { method: "mse".to_owned(), images: 16, ..Default::default() };
    Checkpoint {
        tensors: tensors.into(),
        metadata: Metadata {
            quantization: Some(quantization),
            layout: KeyLayout::Ultralytics,
            fused: true,
            ..Default::default()
        },
        quantized: [("model.0.conv".to_owned(), conv)].into(),
    }
}

fn bits(tensor: &Tensor) -> Vec<u32> {
    let values = tensor.flatten_all().and_then(|values| values.to_vec1::<f32>()).expect("f32");
    values.into_iter().map(f32::to_bits).collect()
}

#[test]
fn weights_in_8_bits_are_read_as_they_were_written_to_the_bit() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("q.safetensors");
    let written = checkpoint();
    write(&path, &written).expect("writable");
    let found = read(&path).expect("readable");
    assert_eq!(found.quantized, written.quantized);
    assert_eq!(found.metadata.quantization, written.metadata.quantization);
    assert_eq!(found.tensors.keys().collect::<Vec<_>>(), written.tensors.keys().collect::<Vec<_>>());
    for (name, tensor) in &written.tensors {
        assert_eq!(bits(&found.tensors[name]), bits(tensor), "{name}");
    }
    let bytes = std::fs::read(&path).expect("the file");
    let file = safetensors::SafeTensors::deserialize(&bytes).expect("safetensors");
    let view = |name: &str| file.tensor(name).map(|view| (view.dtype(), view.shape().to_vec())).expect(name);
    assert_eq!(view("model.0.conv.weight"), (Dtype::I8, vec![2, 3, 1, 2]));
    assert_eq!(view("model.0.conv.weight_scale"), (Dtype::F32, vec![2]));
    assert_eq!(view("model.0.conv.input_scale"), (Dtype::F32, vec![1]));
    assert_eq!(view("model.0.conv.input_zero_point"), (Dtype::U8, vec![1]));
    write(&path, &found).expect("writable");
    assert_eq!(std::fs::read(&path).expect("the file"), bytes);
    let floats = found.to_dtype(DType::F32).expect("floats");
    assert!(floats.quantized.is_empty() && floats.metadata.quantization.is_none());
}

#[test]
fn weights_that_are_no_multiples_of_their_steps_are_not_written() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("q.safetensors");
    let refused = |change: fn(&mut QuantizedConv), part: &str| {
        let mut checkpoint = checkpoint();
        change(checkpoint.quantized.get_mut("model.0.conv").expect("it is there"));
        let error = write(&path, &checkpoint).expect_err(part).to_string();
        assert!(error.contains(part) && !error.contains('\n') && !path.exists(), "{error}");
    };
    refused(|conv| conv.weight_scale[1] *= 1.01, "not a whole number from −127 to 127");
    refused(|conv| conv.weight_scale[0] /= 2., "not a whole number from −127 to 127");
    refused(|conv| conv.weight_scale.truncate(1), "a step per output channel");
    refused(|conv| conv.input_scale = f32::NAN, "model.0.conv.input_scale holds NaN");
}

/// A file of these tensors.
fn file(path: &Path, tensors: &BTreeMap<&str, (Dtype, Vec<usize>, Vec<u8>)>) {
    let views = tensors
        .iter()
        .map(|(name, (dtype, shape, bytes))| (*name, TensorView::new(*dtype, shape.clone(), bytes).expect("a view")));
    std::fs::write(path, safetensors::serialize(views, None).expect("bytes")).expect("written");
}

#[test]
fn companions_that_are_missing_or_wrong_are_refused_by_name() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("q.safetensors");
    let floats =
        |values: &[f32]| (Dtype::F32, vec![values.len()], values.iter().flat_map(|v| v.to_le_bytes()).collect());
    let whole: BTreeMap<&str, (Dtype, Vec<usize>, Vec<u8>)> = [
        ("a.weight", (Dtype::I8, vec![2, 1, 1, 1], vec![1, 255])),
        ("a.weight_scale", floats(&[0.1, 0.2])),
        ("a.input_scale", floats(&[0.1])),
        ("a.input_zero_point", (Dtype::U8, vec![1], vec![3])),
    ]
    .into();
    file(&path, &whole);
    let found = read(&path).expect("readable");
    assert_eq!(bits(&found.tensors["a.weight"]), [0.1_f32, -0.2].map(f32::to_bits));
    let refused = |name: &'static str, tensor: Option<(Dtype, Vec<usize>, Vec<u8>)>, part: &str| {
        let mut tensors = whole.clone();
        match tensor {
            Some(tensor) => drop(tensors.insert(name, tensor)),
            None => drop(tensors.remove(name)),
        }
        file(&path, &tensors);
        let error = read(&path).expect_err(part).to_string();
        assert!(error.contains(name) && error.contains(part) && !error.contains('\n'), "{name}, {part}: {error}");
    };
    for name in ["a.weight_scale", "a.input_scale", "a.input_zero_point"] {
        refused(name, None, "is not there");
    }
    refused("a.weight_scale", Some(floats(&[0.1])), "needs F32 of size [2]");
    refused("a.weight_scale", Some((Dtype::F16, vec![2], vec![0; 4])), "needs F32 of size [2]");
    refused("a.input_scale", Some(floats(&[0.1, 0.1])), "needs F32 of size [1]");
    refused("a.input_zero_point", Some(floats(&[1.])), "needs U8 of size [1]");
    for scale in [0., -0.1, f32::NAN, f32::INFINITY, 1e-40] {
        refused("a.weight_scale", Some(floats(&[0.1, scale])), "a step is a positive, normal number");
        refused("a.input_scale", Some(floats(&[scale])), "a step is a positive, normal number");
    }
    refused("a.weight", Some((Dtype::I8, vec![2, 1, 1, 1], vec![1, 128])), "−128");
    refused("a.weight", Some((Dtype::I8, vec![2], vec![1, 1])), "no weights of a convolution");
    let float = (Dtype::F32, vec![2, 1, 1, 1], vec![0; 8]);
    refused("a.weight", Some(float), "and there is none");
}
