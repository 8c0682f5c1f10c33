//! The distillation loss against PyTorch, by the golden of `tests/oracle/distill.py`, and by what it must be.

use std::path::Path;

use candle_core::{DType, Device, Result, Tensor, Var};
use candle_vision::train::distributed::{BatchShard, Communicator, LocalGroup};
use serde_json::Value;

use super::{DistillationLoss, LossWeights, Recipe, Trainer, TrainerConfig};
use crate::modules::REG_MAX;
use crate::{Yolo, model_config, seeded};

/// Differences to PyTorch, of an element of a gradient relative to the largest: both in `f64`, and ours in `f32`.
const DOUBLE: (DType, f64) = (DType::F64, 1e-9);
const SINGLE: (DType, f64) = (DType::F32, 1e-5);

fn golden() -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden/train/distill.json");
    serde_json::from_str(&std::fs::read_to_string(path).expect("a golden file")).expect("JSON")
}

fn list(value: &Value) -> &[Value] {
    value.as_array().expect("a list")
}

fn numbers(value: &Value) -> Vec<f64> {
    list(value).iter().map(number).collect()
}

fn number(value: &Value) -> f64 {
    value.as_f64().expect("a number")
}

fn count(value: &Value) -> usize {
    value.as_u64().expect("a count") as usize
}

fn values(tensor: &Tensor) -> Result<Vec<f64>> {
    tensor.to_dtype(DType::F64)?.flatten_all()?.to_vec1()
}

/// The raw levels of a case by `who`: 3 · u(name), of which the class logits are moved by `shift`.
fn levels(who: &str, sizes: &[[usize; 2]], [images, classes]: [usize; 2], shift: f64) -> Result<Vec<Tensor>> {
    let channels = 4 * REG_MAX + classes;
    let shifts: Vec<f64> = (0..channels).map(|c| if c < 4 * REG_MAX { 0. } else { shift }).collect();
    let shifts = Tensor::from_vec(shifts, (1, channels, 1, 1), &Device::Cpu)?;
    let level = |(index, [h, w]): (usize, &[usize; 2])| {
        let name = format!("distill {who} {index}");
        let level = seeded::uniform(&name, &(images, channels, *h, *w).into(), &Device::Cpu)?;
        (level.to_dtype(DType::F64)? * 3.)?.broadcast_add(&shifts)
    };
    sizes.iter().enumerate().map(level).collect()
}

/// The levels of a golden case, of the student and of the teacher.
fn of_case(case: &Value) -> Result<[Vec<Tensor>; 2]> {
    let name = case["name"].as_str().expect("a name");
    let sizes: Vec<[usize; 2]> = list(&case["sizes"]).iter().map(|size| [count(&size[0]), count(&size[1])]).collect();
    let counts = [count(&case["images"]), count(&case["classes"])];
    let shifts = numbers(&case["shifts"]);
    Ok([
        levels(&format!("{name} student"), &sizes, counts, shifts[0])?,
        levels(&format!("{name} teacher"), &sizes, counts, shifts[1])?,
    ])
}

fn variables(levels: &[Tensor], dtype: DType) -> Result<(Vec<Var>, Vec<Tensor>)> {
    let variables: Vec<Var> =
        levels.iter().map(|level| Var::from_tensor(&level.to_dtype(dtype)?)).collect::<Result<_>>()?;
    let tensors = variables.iter().map(|variable| variable.as_tensor().clone()).collect();
    Ok((variables, tensors))
}

#[track_caller]
fn assert_close(what: &str, found: f64, expected: f64, allowed: f64) {
    assert!((found - expected).abs() < allowed, "{what}: {found} against {expected}, {allowed:.1e} allowed");
}

#[test]
fn losses_and_their_gradients_equal_pytorch() -> Result<()> {
    let golden = golden();
    let cases = list(&golden["cases"]);
    assert_eq!(cases.len(), 5);
    let gains = numbers(&golden["gains"]);
    let gains = LossWeights { boxes: 7.5, classes: gains[0], dfl: gains[1] };
    for (dtype, tolerance) in [DOUBLE, SINGLE] {
        for case in cases {
            let name = format!("{} in {dtype:?}", case["name"]);
            let [student, teacher] = of_case(case)?;
            let (variables, student) = variables(&student, dtype)?;
            let weight = number(&case["weight"]);
            let losses = DistillationLoss::new(count(&case["classes"]), gains, weight).forward(&student, &teacher)?;
            assert_eq!(losses.total.dtype(), dtype);
            let total = number(&case["total"]);
            assert_close(&name, values(&losses.total)?[0], total, tolerance * total);
            for (found, expected) in losses.parts.into_iter().zip(numbers(&case["parts"])) {
                assert_close(&name, found, expected, tolerance * expected);
            }
            let grads = losses.total.backward()?;
            assert_eq!(list(&case["gradients"]).len(), variables.len());
            for (index, (level, expected)) in variables.iter().zip(list(&case["gradients"])).enumerate() {
                let name = format!("gradient of level {index}, {name}");
                let found = values(grads.get(level).expect("a gradient"))?;
                let [norm, largest, product] = ["norm", "max", "product"].map(|part| number(&expected[part]));
                let direction = values(&seeded::uniform("direction", &found.len().into(), &Device::Cpu)?)?;
                let own_product = found.iter().zip(direction).map(|(g, d)| g * d).sum();
                assert_close(&name, own_product, product, tolerance * norm);
                assert_close(&name, found.iter().map(|g| g * g).sum::<f64>().sqrt(), norm, tolerance * norm);
                let samples = numbers(&expected["samples"]);
                for (place, expected) in samples.iter().enumerate() {
                    assert_close(&name, found[place * found.len() / samples.len()], *expected, tolerance * largest);
                }
            }
        }
    }
    Ok(())
}

const SIZES: [[usize; 2]; 2] = [[9, 8], [4, 5]];
const COUNTS: [usize; 2] = [3, 2];

fn criterion() -> DistillationLoss {
    DistillationLoss::new(COUNTS[1], LossWeights::default(), 1.)
}

#[test]
fn a_student_that_answers_as_its_teacher_has_no_loss_and_no_gradient() -> Result<()> {
    for dtype in [DType::F64, DType::F32, DType::F16] {
        let teacher = levels("a", &SIZES, COUNTS, 0.)?;
        let (variables, student) = variables(&teacher, dtype)?;
        let losses = criterion().forward(&student, &student)?;
        assert_eq!(losses.parts, [0.; 2], "{dtype:?}");
        let grads = losses.total.backward()?;
        for variable in &variables {
            assert!(values(grads.get(variable).expect("a gradient"))?.iter().all(|gradient| *gradient == 0.));
        }
    }
    Ok(())
}

#[test]
fn logits_far_out_are_finite_and_nan_is_nan() -> Result<()> {
    let student = levels("a", &SIZES, COUNTS, 0.)?;
    for factor in [30., 1e4] {
        let far: Vec<Tensor> =
            levels("b", &SIZES, COUNTS, 0.)?.iter().map(|level| level * factor).collect::<Result<_>>()?;
        for (student, teacher) in [(&student, &far), (&far, &student)] {
            let (variables, student) = variables(student, DType::F32)?;
            let losses = criterion().forward(&student, teacher)?;
            assert!(losses.parts.iter().all(|part| part.is_finite() && *part > 0.), "{:?}", losses.parts);
            let grads = losses.total.backward()?;
            for variable in &variables {
                assert!(values(grads.get(variable).expect("a gradient"))?.iter().all(|gradient| gradient.is_finite()));
            }
        }
    }
    // A box logit, then a class logit.
    for channel in [3, 4 * REG_MAX] {
        let mut level = values(&student[0])?;
        level[channel * 72 + 70] = f64::NAN;
        let level = Tensor::from_vec(level, student[0].shape(), &Device::Cpu)?;
        let damaged = [level, student[1].clone()];
        for (student, teacher) in [(&student[..], &damaged[..]), (&damaged, &student)] {
            assert!(values(&criterion().forward(student, teacher)?.total)?[0].is_nan(), "channel {channel}");
        }
    }
    Ok(())
}

#[test]
fn levels_that_do_not_fit_are_refused() -> Result<()> {
    let [own, fewer] = [COUNTS, [2, COUNTS[1]]].map(|counts| levels("a", &SIZES, counts, 0.));
    let (own, fewer) = (own?, fewer?);
    let wide = levels("a", &SIZES, [COUNTS[0], 4], 0.)?;
    for (student, teacher, expected) in [
        (&own[..], &own[..1], "levels of the same shapes"),
        (&own, &fewer, "levels of the same shapes"),
        (&wide, &wide, "must be (n, 66, h, w)"),
        (&[], &[], "without levels"),
    ] {
        let error = criterion().forward(student, teacher).expect_err("an error").to_string();
        assert!(error.contains(expected), "{error}");
    }
    Ok(())
}

#[test]
fn the_sum_over_two_processes_is_the_loss_of_one() -> Result<()> {
    let (student, teacher) = (levels("a", &SIZES, COUNTS, 0.)?, levels("b", &SIZES, COUNTS, -1.)?);
    let (variables, whole) = variables(&student, DType::F64)?;
    let expected = criterion().forward(&whole, &teacher)?;
    let grads = expected.total.backward()?;
    let work = |group: Communicator| -> Result<()> {
        let BatchShard { images, weight, .. } = group.shard().of(COUNTS[0]);
        let part = |levels: &[Tensor]| {
            levels.iter().map(|level| level.narrow(0, images.start, images.len())).collect::<Result<Vec<_>>>()
        };
        let (own, leaves): (Vec<Var>, Vec<Tensor>) = self::variables(&part(&student)?, DType::F64)?;
        let losses = criterion().forward_together(&leaves, &part(&teacher)?, &group, weight)?;
        for (found, expected) in losses.parts.into_iter().zip(expected.parts) {
            assert_close("part", found, expected, 1e-12);
        }
        let found = losses.total.backward()?;
        for (own, whole) in own.iter().zip(&variables) {
            let expected = grads.get(whole).expect("a gradient").narrow(0, images.start, images.len())?;
            let found = values(found.get(own).expect("a gradient"))?;
            found.into_iter().zip(values(&expected)?).for_each(|(a, b)| assert_close("gradient", a, b, 1e-12));
        }
        Ok(())
    };
    std::thread::scope(|scope| {
        let work = &work;
        let spawn = |member| scope.spawn(move || work(Communicator::new(member)));
        let members: Vec<_> = LocalGroup::new(2).into_iter().map(spawn).collect();
        members.into_iter().try_for_each(|member| member.join().expect("no panic"))
    })
}

#[test]
fn a_teacher_has_the_classes_and_strides_of_its_student() -> Result<()> {
    let def = model_config("yolov8n-ghost", Some(2)).expect("shipped");
    let recipe = Recipe::default().resolve(8, 2);
    let (mut trainer, _) = Trainer::new(TrainerConfig::new(&def, &recipe, 2), None, &Device::Cpu)?;
    let net = |name: &str, classes: usize| {
        let def = model_config(name, Some(classes)).expect("shipped");
        Yolo::new(&def.for_inference(), seeded::var_builder(DType::F32, &Device::Cpu))
    };
    for (name, classes, weight, expected) in [
        ("yolov8n-ghost", 3, 1., "the classes and strides"),
        ("yolov8n-p6", 2, 1., "the classes and strides"),
        ("yolov8n", 2, 0., "a number above 0, not 0"),
        ("yolov8n", 2, f64::INFINITY, "a number above 0, not inf"),
    ] {
        let error = trainer.learn_from(net(name, classes)?, weight).expect_err("an error").to_string();
        assert!(error.contains(expected), "{error}");
    }
    trainer.learn_from(net("yolov8n", 2)?, 0.5)
}
