//! Training, class counts and refusals.

use candle_core::{DType, Device, Result, Shape, Tensor};
use candle_ghostnet::seeded;
use candle_ghostnet::{BatchNormMode, Config, GhostNet, Variant, config_from_shapes, summary};
use candle_nn::{VarBuilder, VarMap};
use candle_vision::spec::ParamSpec;
use candle_vision::train::stream;

fn variant(name: &str) -> Variant {
    Variant::from_name(name).expect("a variant")
}

#[test]
fn every_parameter_gets_a_gradient() -> Result<()> {
    for name in ["ghostnet_050", "ghostnetv2_100", "ghostnetv3_050", "repghostnet_050"] {
        let config = Config::new(variant(name)).num_classes(10);
        let vars = VarMap::new();
        let model = GhostNet::new(&config, VarBuilder::from_varmap(&vars, DType::F32, &Device::Cpu))?;
        let vars = vars.data().lock().unwrap().clone();
        for (name, var) in &vars {
            var.set(&seeded::tensor(name, var.shape(), DType::F32, &Device::Cpu)?)?;
        }
        let mean = |model: &str| vars[model].flatten_all()?.to_vec1::<f32>();
        let mean_before = mean("bn1.running_mean")?;
        let xs = (seeded::tensor("input", &(3, 3, 128, 96).into(), DType::F32, &Device::Cpu)? * 10.)?;
        let labels = Tensor::new(&[1u32, 4, 7], &Device::Cpu)?;
        let grads = candle_nn::loss::cross_entropy(&model.forward_t(&xs, true)?, &labels)?.backward()?;
        assert_ne!(mean("bn1.running_mean")?, mean_before, "training moves the running statistics");
        let (_, spec) = ParamSpec::of(|vb| GhostNet::new(&config, vb))?;
        assert_eq!(vars.len(), spec.shapes.len());
        for (tensor, var) in vars.iter().filter(|(tensor, _)| !tensor.contains(".running_")) {
            let grad = grads.get(var).unwrap_or_else(|| panic!("{name}: {tensor} has no gradient"));
            let sum = grad.abs()?.sum_all()?.to_scalar::<f32>()?;
            assert!(sum.is_finite() && sum > 0., "{name}: the gradient of {tensor} sums to {sum}");
        }
    }
    Ok(())
}

#[test]
fn dropout_acts_in_training_only_and_as_the_stream_says() -> Result<()> {
    let config = Config::new(variant("ghostnet_050")).num_classes(0);
    let model = GhostNet::new(&config, seeded::var_builder(DType::F32, &Device::Cpu))?;
    let xs = seeded::uniform("xs", &(2, 3, 64, 64).into(), &Device::Cpu)?;
    let values = |xs: Tensor| xs.flatten_all()?.to_vec1::<f32>();
    let train = |rate, epoch| values(model.forward_train(&xs, rate, &mut stream(0, &[epoch]))?);
    let (ys, dropped) = (values(model.forward_t(&xs, true)?)?, train(0.25, 0)?);
    assert_eq!(ys.len(), 2 * 1280, "without classes the network ends at the hidden layer");
    assert_eq!(train(0., 0)?, ys);
    assert_eq!(train(0.25, 0)?, dropped);
    assert_ne!(train(0.25, 1)?, dropped);
    for (y, dropped) in ys.iter().zip(&dropped) {
        assert!(*dropped == 0. || (dropped / y - 4. / 3.).abs() < 1e-5, "{y} became {dropped}");
    }
    assert!(dropped.iter().zip(&ys).any(|(dropped, y)| *dropped == 0. && *y != 0.));
    Ok(())
}

#[test]
fn any_class_count_is_built_and_inferred() -> Result<()> {
    for num_classes in [0, 1, 37] {
        let config = Config::new(variant("ghostnetv2_130")).num_classes(num_classes);
        let (model, spec) = ParamSpec::of(|vb| GhostNet::new(&config, vb))?;
        assert_eq!(config_from_shapes(&spec.shapes), Some(config));
        assert_eq!(model.modules().all, 524, "without classes timm has an identity");
        let logits = model.forward(&Tensor::zeros((2, 3, 64, 64), DType::F32, &Device::Cpu)?)?;
        assert_eq!(logits.dims(), [2, if num_classes == 0 { 1280 } else { num_classes }]);
    }
    Ok(())
}

#[test]
fn other_networks_are_not_inferred() {
    let dims = |dims: &'static [usize]| dims;
    let inferred = |tensors: &[(&str, &[usize])]| {
        config_from_shapes(&tensors.iter().map(|(name, dims)| ((*name).to_owned(), Shape::from(*dims))).collect())
    };
    assert_eq!(inferred(&[]), None);
    let other = [("conv_stem.weight", dims(&[16, 3, 3, 3])), ("blocks.0.0.conv_pw.weight", dims(&[1]))];
    assert_eq!(inferred(&other), None);
    let ghost = ("blocks.0.0.ghost1.primary_conv.0.weight", dims(&[8, 16, 1, 1]));
    let last = |out_c| ("blocks.9.0.conv.weight", out_c);
    let stem = |out_c| ("conv_stem.weight", out_c);
    let (wide, narrow) = (dims(&[960, 160, 1, 1]), dims(&[16, 3, 3, 3]));
    assert!(inferred(&[stem(narrow), last(wide), ghost]).is_some());
    assert_eq!(inferred(&[stem(dims(&[17, 3, 3, 3])), last(wide), ghost]), None, "no variant has this width");
    assert_eq!(inferred(&[stem(narrow), last(dims(&[964, 160, 1, 1])), ghost]), None, "no variant has this width");
    assert_eq!(inferred(&[stem(dims(&[])), last(wide), ghost]), None);
    assert_eq!(inferred(&[stem(narrow), ghost]), None, "there is no last convolution");
}

#[test]
fn maps_have_the_stated_channels_and_reductions() -> Result<()> {
    for variant in Variant::ALL {
        let config = Config::new(variant).for_inference();
        let (model, _) = ParamSpec::of(|vb| GhostNet::new(&config, vb))?;
        let maps = model.features(&Tensor::zeros((1, 3, 97, 131), DType::F32, &Device::Cpu)?, false)?;
        for ((map, channels), reduction) in maps.iter().zip(config.feature_channels()).zip(GhostNet::FEATURE_REDUCTIONS)
        {
            let expected = [1, channels, 97usize.div_ceil(reduction), 131usize.div_ceil(reduction)];
            assert_eq!(map.dims(), expected, "{}", variant.name);
        }
        assert_eq!(maps.len(), 5);
    }
    Ok(())
}

#[test]
fn an_image_too_small_for_the_attention_is_refused() -> Result<()> {
    let (model, _) = ParamSpec::of(|vb| GhostNet::new(&Config::new(variant("ghostnetv2_100")), vb))?;
    let forward = |side| model.forward(&Tensor::zeros((1, 3, side, 64), DType::F32, &Device::Cpu)?);
    assert!(forward(33).is_ok());
    let error = forward(32).expect_err("the last map is one position high").to_string();
    assert!(error.contains("at least 33 x 33"), "{error}");
    Ok(())
}

#[test]
fn a_network_with_batch_norms_of_its_own_has_no_plan() -> Result<()> {
    let (model, _) = ParamSpec::of(|vb| GhostNet::new(&Config::new(variant("ghostnet_050")), vb))?;
    let error = model.launches([64, 64]).expect_err("its batch norms are kept").to_string();
    assert!(error.contains("the batch norm bn1 is not folded"), "{error}");
    Ok(())
}

#[test]
fn folding_leaves_the_multiplications_and_drops_the_batch_norms() -> Result<()> {
    for name in ["ghostnet_050", "ghostnetv2_100"] {
        let separate = summary(&Config::new(variant(name)), [64, 96])?;
        let folded = summary(&Config::new(variant(name)).norm(BatchNormMode::Fuse), [64, 96])?;
        assert!(separate.flops > 2 * separate.macs, "{name}");
        assert_eq!((folded.macs, folded.flops), (separate.macs, 2 * separate.macs), "{name}");
    }
    Ok(())
}

#[test]
fn branches_that_a_builder_makes_are_merged_and_not_replaced() -> Result<()> {
    let xs = seeded::uniform("input", &(1, 3, 64, 64).into(), &Device::Cpu)?;
    for name in ["ghostnetv3_100", "repghostnet_050"] {
        let config = Config::new(variant(name));
        let logits = |config: &Config| -> Result<Tensor> {
            GhostNet::new(config, seeded::var_builder(DType::F32, &Device::Cpu))?.forward(&xs)
        };
        let (expected, merged) = (logits(&config)?, logits(&config.for_inference())?);
        let largest = expected.abs()?.max_all()?.to_scalar::<f32>()?;
        let difference = (&expected - &merged)?.abs()?.max_all()?.to_scalar::<f32>()?;
        // The order of sums differs.
        assert!(difference < 1e-4 * largest, "{name}: {difference} of {largest}");
    }
    Ok(())
}
