use super::*;
use crate::layers::{BatchNormMode, Conv, ConvBn, ConvBnConfig, Dfl, Layer};
use candle_nn::init::NonLinearity;
use ghostzoo_kernels::{Activation, ConvGeometry};

const CONFIG: ConvBnConfig = ConvBnConfig {
    in_c: 3,
    out_c: 4,
    geometry: ConvGeometry::square(3).same(),
    activation: Activation::Silu,
    batch_norm: crate::layers::BatchNormConfig { eps: 1e-3, momentum: 0.1 },
    norm: BatchNormMode::Keep,
};

fn variables(seed: u64) -> VarStore {
    VarStore::new(DType::F32, &Device::Cpu, seed)
}

fn conv_bn(variables: &VarStore, name: &str) -> Result<ConvBn> {
    let vb = variables.builder().pp(name);
    ConvBn::new(&CONFIG, vb.pp("conv"), vb.pp("bn"))
}

fn values(tensor: &Tensor) -> Result<Vec<f32>> {
    tensor.flatten_all()?.to_vec1()
}

fn all(variables: &VarStore) -> Result<BTreeMap<String, Vec<f32>>> {
    variables.tensors()?.iter().map(|(name, tensor)| Ok((name.clone(), values(tensor)?))).collect()
}

fn image() -> Result<Tensor> {
    crate::seeded::uniform("picture", &(2, 3, 8, 8).into(), &Device::Cpu)
}

#[test]
fn first_values_follow_the_layer_and_depend_on_name_and_seed_alone() -> Result<()> {
    let (one, other, same) = (variables(0), variables(1), variables(0));
    conv_bn(&one, "a")?;
    conv_bn(&one, "b")?;
    conv_bn(&other, "a")?;
    conv_bn(&same, "b")?;
    conv_bn(&same, "a")?;
    let (one, other, same) = (all(&one)?, all(&other)?, all(&same)?);
    assert_eq!(one, same, "the order of the layers does not matter");
    assert_ne!(one["a.conv.weight"], one["b.conv.weight"]);
    assert_ne!(one["a.conv.weight"], other["a.conv.weight"]);
    let bound = 1. / 27f32.sqrt();
    let largest = one["a.conv.weight"].iter().fold(0f32, |largest, x| largest.max(x.abs()));
    assert!((0.9 * bound..bound).contains(&largest), "{largest} of {bound}");
    for (name, start) in [("weight", 1.), ("bias", 0.), ("running_mean", 0.), ("running_var", 1.)] {
        assert_eq!(one[&format!("a.bn.{name}")], [start; 4], "{name}");
    }
    Ok(())
}

#[test]
fn drawn_values_have_the_distribution_of_their_hint() -> Result<()> {
    let uniform = |non_linearity| Init::Kaiming { dist: NormalOrUniform::Uniform, fan: FanInOut::FanIn, non_linearity };
    let normal = |non_linearity| Init::Kaiming { dist: NormalOrUniform::Normal, fan: FanInOut::FanOut, non_linearity };
    // Fan-in 25, fan-out 400.
    let cases = [
        (Init::Const(3.), 3., 0., 3.),
        (Init::Uniform { lo: -1., up: 3. }, 1., 2. / 3f64.sqrt(), 3.),
        (Init::Randn { mean: 2., stdev: 0.5 }, 2., 0.5, 4.5),
        (uniform(NonLinearity::Linear), 0., 0.2, 0.2 * 3f64.sqrt()),
        (normal(NonLinearity::ReLU), 0., 2f64.sqrt() / 20., 0.4),
    ];
    for (init, mean, deviation, largest) in cases {
        let drawn = draw(init, &Shape::from((400, 25)), &mut stream(7, &[1]));
        let found_mean = drawn.iter().sum::<f64>() / 1e4;
        let found = (drawn.iter().map(|x| (x - found_mean).powi(2)).sum::<f64>() / 1e4).sqrt();
        // Five standard errors of a mean and of a deviation over 10⁴ values, and the rounding of a constant.
        assert!((found_mean - mean).abs() <= 0.05 * deviation + 1e-12, "{init:?}: mean {found_mean}");
        assert!((found - deviation).abs() <= 0.05 * deviation + 1e-12, "{init:?}: deviation {found}");
        assert!(drawn.iter().all(|x| x.abs() <= largest), "{init:?} beyond {largest}");
    }
    Ok(())
}

#[test]
fn the_model_computes_with_what_is_written_into_the_variables() -> Result<()> {
    let vars = variables(0);
    let layer = Conv::new(3, 2, ConvGeometry::square(1), true, Activation::Identity, vars.builder().pp("conv"))?;
    let zeros = vars.tensors()?.into_iter().map(|(name, tensor)| Ok((name, tensor.zeros_like()?)));
    vars.set_all(&zeros.collect::<Result<_>>()?)?;
    assert_eq!(values(&layer.forward(&image()?)?)?, [0.; 256]);
    let error = vars.builder().get((3, 3), "conv.weight").expect_err("it is (2, 3, 1, 1)").to_string();
    assert!(error.contains("conv.weight is asked for as [3, 3], and exists as [2, 3, 1, 1]"), "{error}");
    Ok(())
}

#[test]
fn training_moves_the_running_statistics_of_the_variables() -> Result<()> {
    let vars = variables(0);
    let layer = conv_bn(&vars, "a")?;
    let before = all(&vars)?;
    layer.forward_t(&image()?, false)?;
    assert_eq!(all(&vars)?, before);
    layer.forward_t(&image()?, true)?;
    let after = all(&vars)?;
    for (name, value) in &after {
        assert_eq!(*value != before[name], is_running_statistic(name), "{name}");
    }
    let names: Vec<String> = vars.parameters().into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["a.bn.bias", "a.bn.weight", "a.conv.weight"]);
    Ok(())
}

#[test]
fn copies_outlive_later_changes_and_are_restored_whole_or_not_at_all() -> Result<()> {
    let vars = variables(0);
    let layer = conv_bn(&vars, "a")?;
    let (saved, before) = (vars.tensors()?, all(&vars)?);
    layer.forward_t(&image()?, true)?;
    let var = vars.get("a.conv.weight").expect("a variable");
    var.set(&var.zeros_like()?)?;
    assert_ne!(all(&vars)?, before);
    vars.set_all(&saved)?;
    assert_eq!(all(&vars)?, before);

    let other = variables(5);
    conv_bn(&other, "a")?;
    let mut wrong = other.tensors()?;
    wrong.insert("a.bn.weight".into(), Tensor::zeros(5, DType::F32, &Device::Cpu)?);
    wrong.remove("a.bn.bias");
    wrong.insert("stray".into(), Tensor::zeros(1, DType::F32, &Device::Cpu)?);
    let error = vars.set_all(&wrong).expect_err("three tensors differ").to_string();
    for part in ["missing    a.bn.bias", "unexpected stray", "a.bn.weight: the model has [4], the checkpoint [5]"] {
        assert!(error.contains(part), "{error}");
    }
    assert_eq!(all(&vars)?, before);
    Ok(())
}

#[test]
fn a_checkpoint_of_another_class_count_gives_all_but_the_head() -> Result<()> {
    let build = |variables: &VarStore, classes| -> Result<Conv> {
        conv_bn(variables, "body")?;
        Dfl::new(4, variables.builder().pp("dfl"))?;
        Conv::new(4, classes, ConvGeometry::square(1), true, Activation::Identity, variables.builder().pp("head"))
    };
    let (ours, theirs) = (variables(0), variables(1));
    build(&ours, 3)?;
    build(&theirs, 7)?;
    let before = all(&ours)?;
    let mut checkpoint = BTreeMap::new();
    for (name, tensor) in theirs.tensors()? {
        checkpoint.insert(name, tensor.to_dtype(DType::F16)?);
    }
    checkpoint.remove("body.bn.bias");
    for name in ["dfl.conv.weight", "body.bn.num_batches_tracked", "stray"] {
        checkpoint.insert(name.into(), Tensor::zeros(1, DType::F32, &Device::Cpu)?);
    }
    let transferred = ours.load(&checkpoint)?;
    let matched = ["body.bn.running_mean", "body.bn.running_var", "body.bn.weight", "body.conv.weight"];
    assert_eq!(transferred.matched, matched);
    assert_eq!(transferred.mismatch.missing, ["body.bn.bias"]);
    assert_eq!(transferred.mismatch.unexpected, ["stray"]);
    let head = |name: &str, ours: &[usize], theirs: &[usize]| (name.to_owned(), ours.to_vec(), theirs.to_vec());
    let expected = [head("head.bias", &[3], &[7]), head("head.weight", &[3, 4, 1, 1], &[7, 4, 1, 1])];
    assert_eq!(transferred.mismatch.misshaped, expected);
    let text = transferred.to_string();
    assert!(text.starts_with("4 tensors taken, 1 missing, 1 unexpected, 2 misshaped"), "{text}");
    for (name, value) in all(&ours)? {
        if matched.contains(&name.as_str()) {
            assert_eq!(value, values(&checkpoint[&name].to_dtype(DType::F32)?)?, "{name}");
        } else {
            assert_eq!(value, before[&name], "{name}");
        }
    }
    Ok(())
}

#[test]
fn frozen_tensors_are_loaded_and_not_trained() -> Result<()> {
    let vars = variables(0).freeze(|name| name.starts_with("a."));
    let build =
        |name: &str| Conv::new(3, 3, ConvGeometry::square(1), true, Activation::Identity, vars.builder().pp(name));
    let (a, b) = (build("a")?, build("b")?);
    let names: Vec<String> = vars.parameters().into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["b.bias", "b.weight"]);
    let hidden = a.forward_t(&image()?, true)?;
    assert!(!hidden.track_op(), "the backward pass ends before the frozen layer");
    let grads = b.forward_t(&hidden, true)?.sum_all()?.backward()?;
    for (name, var) in vars.iter() {
        assert_eq!(grads.get(&var).is_some(), name.starts_with("b."), "{name}");
    }
    let zeros = vars.tensors()?.into_iter().map(|(name, tensor)| Ok((name, tensor.zeros_like()?)));
    assert_eq!(vars.load(&zeros.collect::<Result<BTreeMap<_, _>>>()?)?.matched.len(), 4);
    assert_eq!(values(&a.forward(&image()?)?)?, [0.; 384], "the frozen layer holds the same storage");
    conv_bn(&vars, "a")?;
    let norm = vars.builder().pp("a.bn");
    assert!(norm.get(4, "running_mean")?.is_variable() && !norm.get(4, "weight")?.is_variable());
    assert_eq!(vars.parameters().len(), 2);
    Ok(())
}

#[test]
fn another_dtype_reads_a_copy() -> Result<()> {
    let vars = variables(0).freeze(|_| false);
    let weight = vars.builder().get((2, 2), "weight")?;
    assert!(weight.is_variable());
    let wide = vars.builder().set_dtype(DType::F64).get((2, 2), "weight")?;
    assert!(!wide.is_variable() && !wide.track_op());
    assert_eq!(values(&wide.to_dtype(DType::F32)?)?, values(&weight)?);
    assert_eq!(vars.iter().count(), 1);
    Ok(())
}
