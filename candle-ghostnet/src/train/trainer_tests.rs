use std::thread;

use candle_vision::train::distributed::LocalGroup;

use super::*;
use crate::Variant;
use crate::seeded;

fn config() -> Config {
    Config { num_classes: 3, ..Config::new(Variant::from_name("ghostnet_050").expect("a variant")) }
}

fn trainer(recipe: &Recipe, teacher: Option<GhostNet>) -> Result<Trainer> {
    let config = config();
    let config = TrainerConfig::new(&config, recipe, 4).seed(3).teacher(teacher);
    Ok(Trainer::new(config, None, &Device::Cpu)?.0)
}

fn batch() -> Result<(Tensor, Targets)> {
    let images = seeded::uniform("pictures", &(3, 3, 64, 64).into(), &Device::Cpu)?;
    Ok((images, Targets::Classes(Tensor::new(&[0u32, 1, 2], &Device::Cpu)?)))
}

fn steps(trainer: &mut Trainer, steps: std::ops::Range<usize>) -> Result<Vec<f64>> {
    let (images, targets) = batch()?;
    steps.map(|iteration| trainer.step(iteration, &images, &targets)).collect()
}

fn bits(tensors: &BTreeMap<String, Tensor>) -> Result<Vec<Vec<f64>>> {
    tensors.values().map(|tensor| tensor.to_dtype(DType::F64)?.flatten_all()?.to_vec1()).collect()
}

fn recipe() -> Recipe {
    Recipe { epochs: 5, lr: Some(0.05), warmup_epochs: 0.5, drop: 0.2, clip_grad: Some(5.), ..Default::default() }
}

#[test]
fn a_classifier_learns_three_images_by_heart() -> Result<()> {
    let mut trainer = trainer(&recipe(), None)?;
    let losses = steps(&mut trainer, 0..20)?;
    assert!(losses[19] < 0.7 * losses[1], "{losses:?}");
    let probabilities = trainer.classifier()?.forward(&batch()?.0)?;
    assert_eq!(probabilities.dims(), [3, 3]);
    Ok(())
}

#[test]
fn a_trainer_goes_on_from_its_state_to_the_same_weights() -> Result<()> {
    let recipe = Recipe { model_ema: true, model_ema_decay: 0.9, ..recipe() };
    let mut whole = trainer(&recipe, None)?;
    steps(&mut whole, 0..3)?;
    let (state, updates) = whole.state()?;
    steps(&mut whole, 3..6)?;
    let mut resumed = trainer(&recipe, None)?;
    resumed.load_state(&state, updates)?;
    steps(&mut resumed, 3..6)?;
    assert_eq!(bits(&resumed.state()?.0)?, bits(&whole.state()?.0)?);
    let (average, last) = (bits(&whole.weights()?)?, bits(&whole.train_state().variables().tensors()?)?);
    assert_ne!(average, last, "with an average, that is what is saved");
    assert_eq!(average, bits(&whole.train_state().average().tensors()?)?);
    Ok(())
}

#[test]
fn a_teacher_is_part_of_the_loss_and_gets_no_gradient() -> Result<()> {
    let network = || GhostNet::new(&config(), seeded::var_builder(DType::F32, &Device::Cpu));
    let loss = |alpha: f64, teacher| -> Result<f64> {
        Ok(steps(&mut trainer(&Recipe { distill_alpha: alpha, ..recipe() }, teacher)?, 0..1)?[0])
    };
    let alone = loss(0.5, None)?;
    let (all_task, half, all_teacher) =
        (loss(0., Some(network()?))?, loss(0.5, Some(network()?))?, loss(1., Some(network()?))?);
    assert!((all_task - alone).abs() < 1e-6, "{all_task} {alone}");
    assert!((half - (all_task + all_teacher) / 2.).abs() < 1e-5, "{half} between {all_task} and {all_teacher}");
    assert!((all_teacher - alone).abs() > 1e-3, "the teacher says something else");
    Ok(())
}

/// The losses of 20 steps in f64, of this process's images where there are others: batches of 6 images, and of 3.
fn losses(group: Option<&Communicator>) -> Result<Vec<f64>> {
    let (config, recipe) = (config(), recipe());
    let config = TrainerConfig::new(&config, &recipe, 4).seed(3).dtype(DType::F64);
    let mut trainer = Trainer::new(config, None, &Device::Cpu)?.0;
    group.into_iter().for_each(|group| trainer.distribute(group, true));
    let step = |step: usize| {
        let count = [6, 6, 3][step % 3];
        let images = seeded::uniform(&format!("step{step}"), &(count, 3, 48, 48).into(), &Device::Cpu)?;
        let shard = group.map_or(BatchShard::whole(count), |group| group.shard().of(count));
        let own = images.narrow(0, shard.images.start, shard.images.len())?.to_dtype(DType::F64)?;
        let classes: Vec<u32> = shard.images.clone().map(|image| (image + step) as u32 % 3).collect();
        let targets = Targets::Classes(Tensor::new(classes, &Device::Cpu)?);
        trainer.step_shard(step, &own, &targets, &shard)
    };
    (0..20).map(step).collect()
}

#[test]
fn two_and_four_processes_have_the_losses_of_one() -> Result<()> {
    let expected = losses(None)?;
    for world_size in [2, 4] {
        let found: Vec<Vec<f64>> = thread::scope(|scope| {
            let spawn = |member| scope.spawn(move || losses(Some(&Communicator::new(member))));
            let members: Vec<_> = LocalGroup::new(world_size).into_iter().map(spawn).collect();
            members.into_iter().map(|member| member.join().expect("no panic")).collect::<Result<_>>()
        })?;
        for (rank, own) in found.iter().enumerate() {
            let apart = own.iter().zip(&expected).map(|(a, b)| (a - b).abs()).fold(0., f64::max);
            // Rounding of sums in another order, and what 20 steps make of it.
            assert!(apart < 1e-6, "rank {rank} of {world_size} is {apart:e} off: {own:?} {expected:?}");
            assert_eq!(own, &found[0], "every rank has the same to the bit");
        }
    }
    Ok(())
}

/// Weights of batch norms, and of convolutions, that are 0.
fn zeros(trainer: &Trainer) -> Result<[usize; 2]> {
    let (mut norms, mut others) = (0, 0);
    for (name, var) in trainer.train_state().variables().parameters() {
        let count = var.flatten_all()?.to_vec1::<f32>()?.iter().filter(|value| **value == 0.).count();
        match (name.ends_with(".weight"), var.rank()) {
            (true, 1) => norms += count,
            (true, _) => others += count,
            _ => {}
        }
    }
    Ok([norms, others])
}

#[test]
fn slimming_brings_batch_norms_to_zero_and_refuses_less_than_nothing() -> Result<()> {
    let slim = |slim: f64| Recipe { slim: Some(slim), lr: Some(0.01), warmup_epochs: 0., ..recipe() };
    let mut free = trainer(&recipe(), None)?;
    steps(&mut free, 0..4)?;
    assert_eq!(zeros(&free)?, [0, 0]);
    let mut slimmed = trainer(&slim(40.), None)?;
    steps(&mut slimmed, 0..4)?;
    let [norms, others] = zeros(&slimmed)?;
    assert!(norms > 0 && others == 0, "{norms} {others}");
    for value in [-1., f64::NAN] {
        let error = trainer(&slim(value), None).expect_err("an error").to_string();
        assert!(error.contains("slim is a number of at least 0"), "{error}");
    }
    Ok(())
}
