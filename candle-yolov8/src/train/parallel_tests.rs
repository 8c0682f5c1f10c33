//! Steps of several processes against those of one.

use std::thread;

use candle_core::{DType, Device, Result, Tensor};
use candle_vision::train::distributed::{BatchShard, Communicator, LocalGroup};
use candle_vision::train::stream;
use rand::Rng;

use super::{Optimizer, Recipe, Target, Trainer, TrainerConfig};
use crate::seeded;
use crate::{ModelConfig, Yolo};

/// Rounding of sums in f64, in another order, and what 20 steps make of it.
const TOLERANCE: f64 = 1e-6;
const STEPS: usize = 20;
const SIDE: usize = 64;
const CLASSES: usize = 3;

const NET: &str = "
nc: 3
backbone:
  - [-1, 1, Conv, [8, 3, 2]]
  - [-1, 1, Conv, [8, 3, 2]]
  - [-1, 1, C2f, [8, True]]
  - [-1, 1, Conv, [16, 3, 2]]
  - [-1, 1, Conv, [16, 3, 2]]
head:
  - [[3, 4], 1, Detect, [nc]]
";

/// Images and objects of a step; the last ones of the steps are of fewer images, also than there are processes.
fn batch(step: usize) -> Result<(Tensor, Vec<Target>)> {
    let images = [8, 8, 8, 7, 3][step % 5];
    let values = seeded::uniform(&format!("step{step}"), &(images, 3, SIDE, SIDE).into(), &Device::Cpu)?;
    let mut rng = stream(7, &[step as u64]);
    let mut targets = Vec::new();
    for image in 0..images {
        // Some images show nothing.
        for _ in 0..rng.random_range(0..4) {
            let mut side = |from: f32, to: f32| rng.random_range(from..to);
            let xywhn = [side(0.3, 0.7), side(0.3, 0.7), side(0.1, 0.5), side(0.1, 0.5)];
            targets.push(Target { image, class: rng.random_range(0..CLASSES), xywhn });
        }
    }
    Ok(((values.to_dtype(DType::F64)? * 0.5)?.affine(1., 0.5)?, targets))
}

/// The losses of all steps, and the weights after them.
type Trained = (Vec<Vec<f64>>, Vec<Vec<f64>>);

/// A training of a small network, with a teacher where `is_taught`; in a group, of its part of each batch.
fn train(group: Option<&Communicator>, sync_batch_norm: bool, is_taught: bool) -> Result<Trained> {
    let def = ModelConfig::from_yaml(NET, None, None).map_err(candle_core::Error::wrap)?;
    let mut recipe = Recipe::default().epochs(2).batch(8);
    (recipe.optimizer, recipe.warmup_epochs, recipe.nbs, recipe.weight_decay) = (Optimizer::Sgd, 1., 16, 0.01);
    let config = TrainerConfig::new(&def, &recipe, STEPS / 2).seed(1).dtype(DType::F64);
    let (mut trainer, _) = Trainer::new(config, None, &Device::Cpu)?;
    if is_taught {
        let weights = seeded::var_builder(DType::F64, &Device::Cpu);
        trainer.learn_from(Yolo::new(&def.for_inference(), weights)?, 2.)?;
    }
    if let Some(group) = group {
        trainer.distribute(group, sync_batch_norm);
    }
    let mut losses = Vec::new();
    for step in 0..STEPS {
        let (images, targets) = batch(step)?;
        let count = images.dim(0)?;
        let shard = group.map_or(BatchShard::whole(count), |group| group.shard().of(count));
        let own = images.narrow(0, shard.images.start, shard.images.len())?;
        let is_own = |target: &&Target| shard.images.contains(&target.image);
        let moved = |target: &Target| Target { image: target.image - shard.images.start, ..*target };
        let targets: Vec<Target> = targets.iter().filter(is_own).map(moved).collect();
        let found = trainer.step_shard(step, &own, &targets, &shard)?;
        losses.push(found.parts.into_iter().chain(found.distillation).collect());
    }
    let weights = trainer.train_state().variables().tensors()?;
    // Running statistics of a process's own images are its own.
    let trained = |name: &String| sync_batch_norm || !name.contains("running_");
    let weights = weights.into_iter().filter(|(name, _)| trained(name));
    Ok((losses, weights.map(|(_, tensor)| tensor.flatten_all()?.to_vec1()).collect::<Result<_>>()?))
}

fn together(world_size: usize, sync_batch_norm: bool, is_taught: bool) -> Result<Vec<Trained>> {
    thread::scope(|scope| {
        let spawn = |member| scope.spawn(move || train(Some(&Communicator::new(member)), sync_batch_norm, is_taught));
        let members: Vec<_> = LocalGroup::new(world_size).into_iter().map(spawn).collect();
        members.into_iter().map(|member| member.join().expect("no panic")).collect()
    })
}

/// What so many processes find beside what one does.
fn assert_as_one(world_size: usize, is_taught: bool, (losses, weights): &Trained) -> Result<()> {
    let found = together(world_size, true, is_taught)?;
    for (rank, (own, own_weights)) in found.iter().enumerate() {
        let pairs = own.iter().flatten().zip(losses.iter().flatten());
        let apart = pairs.map(|(a, b)| (a - b).abs()).fold(0., f64::max);
        assert!(apart < TOLERANCE, "losses of rank {rank} of {world_size} are {apart:e} off");
        let pairs = own_weights.iter().flatten().zip(weights.iter().flatten());
        let apart = pairs.map(|(a, b)| (a - b).abs()).fold(0., f64::max);
        assert!(apart < TOLERANCE, "weights of rank {rank} of {world_size} are {apart:e} off");
        assert_eq!((own, own_weights), (&found[0].0, &found[0].1), "every rank has the same to the bit");
    }
    Ok(())
}

#[test]
fn two_and_four_processes_have_the_losses_and_weights_of_one() -> Result<()> {
    let one = train(None, true, false)?;
    assert!(one.0.iter().flatten().all(|loss| loss.is_finite() && *loss > 0.), "{:?}", one.0);
    [2, 4].into_iter().try_for_each(|world_size| assert_as_one(world_size, false, &one))
}

#[test]
fn two_processes_learn_from_a_teacher_as_one_does() -> Result<()> {
    let one = train(None, true, true)?;
    let losses = one.0.iter().flatten();
    assert!(one.0.iter().all(|step| step.len() == 4) && losses.clone().all(|loss| *loss > 0.), "{:?}", one.0);
    let alone = train(None, true, false)?;
    assert_eq!(alone.0[0][..], one.0[0][..3], "the first step's other losses are as without a teacher");
    assert_ne!(alone.1, one.1, "the teacher moves the weights");
    assert_as_one(2, true, &one)
}

#[test]
fn processes_keep_equal_weights_with_batch_norms_of_their_own() -> Result<()> {
    let (losses, _) = train(None, false, false)?;
    let found = together(2, false, false)?;
    assert_eq!(found[0], found[1], "all but the running statistics");
    let apart = |step: usize| (found[0].0[step][1] - losses[step][1]).abs();
    assert!(apart(0) > TOLERANCE, "moments of half a batch are others: {}", apart(0));
    Ok(())
}
