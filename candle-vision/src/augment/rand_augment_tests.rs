use image::imageops;
use serde_json::{Value, json};

use super::*;
use crate::augment::fixtures::{cases, check, check_images, image, value};
use crate::train::stream;

/// The oracle's fill.
const FILL: [u8; 3] = [124, 116, 104];

/// Draws of a distribution test; five standard errors of a share are below 5 / (2 · 200).
const DRAWS: usize = 40_000;
const ERROR: f64 = 5. / 400.;

fn filter(case: &Value) -> Resample {
    match case["values"][1].as_str() {
        Some("bilinear") => Resample::Bilinear,
        Some("bicubic") => Resample::Bicubic,
        other => panic!("the filter {other:?}"),
    }
}

#[test]
fn operations_are_bit_equal_with_pil() {
    check_images("operations", |case| {
        let mut image = image(case);
        let number = || case["values"][0].as_f64().unwrap();
        let operation = match case["name"].as_str().unwrap() {
            "auto_contrast" => Operation::AutoContrast,
            "equalize" => Operation::Equalize,
            "invert" => Operation::Invert,
            "posterize" => Operation::Posterize(number() as u8),
            "solarize" => Operation::Solarize(number() as u16),
            "solarize_add" => Operation::SolarizeAdd(number() as u8),
            "brightness" => Operation::Brightness(number() as f32),
            "contrast" => Operation::Contrast(number() as f32),
            "saturation" => Operation::Color(number() as f32),
            "sharpness" => Operation::Sharpness(number() as f32),
            "rotate" => Operation::Rotate(number(), filter(case)),
            "shear_x" => Operation::ShearX(number(), filter(case)),
            "shear_y" => Operation::ShearY(number(), filter(case)),
            "translate_x_rel" => Operation::TranslateXRel(number(), filter(case)),
            "translate_y_rel" => Operation::TranslateYRel(number(), filter(case)),
            name => {
                match name {
                    "grayscale" => color::grayscale(&mut image),
                    "hue" => color::hue(&mut image, number()),
                    "hflip" => imageops::flip_horizontal_in_place(&mut image),
                    "vflip" => imageops::flip_vertical_in_place(&mut image),
                    _ => panic!("the operation {name}"),
                }
                return image;
            }
        };
        operation.apply(&mut image, FILL);
        image
    });
}

/// Pillow 13 refuses 0 bits; earlier releases, and TensorFlow's policies that timm follows, give a black image.
#[test]
fn no_bits_are_black_and_all_are_the_image() {
    let case = &cases("operations")[0];
    let mut changed = image(case);
    point_ops::posterize(&mut changed, 8);
    assert_eq!(changed, image(case));
    point_ops::posterize(&mut changed, 0);
    assert!(changed.iter().all(|&level| level == 0));
}

#[test]
fn operations_take_empty_images() {
    for kind in Kind::ALL {
        for size in [[0, 0], [0, 4], [4, 0]] {
            let mut image = RgbImage::new(size[0], size[1]);
            kind.at(5., false, 1., Resample::Bicubic).apply(&mut image, FILL);
            assert_eq!(image, RgbImage::new(size[0], size[1]), "{kind:?}");
        }
    }
}

/// timm's functions are of f64; factors are f32 here, as in PIL's `blend`.
#[test]
fn strengths_are_those_of_timm() {
    check("policy", |case| {
        let name = value::<String>(case, "name");
        let kind = Kind::ALL.into_iter().find(|kind| format!("{kind:?}") == name).unwrap();
        let [magnitude, sign]: [f64; 2] = [value(case, "magnitude"), value(case, "sign")];
        let expected: Option<f64> = case["values"].get(0).map(|number| number.as_f64().unwrap());
        let operation = kind.at(magnitude, value(case, "increasing"), sign, Resample::Bilinear);
        let is_right = match operation {
            Operation::AutoContrast | Operation::Equalize | Operation::Invert => expected.is_none(),
            Operation::Rotate(strength, _)
            | Operation::ShearX(strength, _)
            | Operation::ShearY(strength, _)
            | Operation::TranslateXRel(strength, _)
            | Operation::TranslateYRel(strength, _) => {
                // Both round the product and the quotient, in another order.
                (strength - expected.unwrap()).abs() <= 4. * f64::EPSILON * expected.unwrap().abs()
            }
            Operation::Posterize(bits) => Some(f64::from(bits)) == expected,
            Operation::Solarize(threshold) => Some(f64::from(threshold)) == expected,
            Operation::SolarizeAdd(add) => Some(f64::from(add)) == expected,
            Operation::Color(factor)
            | Operation::Contrast(factor)
            | Operation::Brightness(factor)
            | Operation::Sharpness(factor) => Some(factor) == expected.map(|factor| factor as f32),
        };
        (!is_right).then_some(operation)
    });
}

#[test]
fn strings_mean_what_they_mean_to_timm() {
    check("config", |case| {
        let policy: RandAugment = value::<String>(case, "text").parse().unwrap();
        let found = json!({
            "text": case["text"], "layers": policy.layers, "magnitude": policy.magnitude,
            "probability": policy.probability, "std": policy.magnitude_std, "max": policy.magnitude_max,
            "increasing": policy.increasing,
        });
        let again: RandAugment = policy.to_string().parse().unwrap();
        assert_eq!(again, policy);
        let stored: RandAugment = serde_json::from_str(&serde_json::to_string(&policy).unwrap()).unwrap();
        assert_eq!(stored, policy);
        (&found != case).then_some(found)
    });
}

#[test]
fn other_strings_are_refused() {
    for (text, part) in [
        ("", "begin with `rand`"),
        ("augmix-m5", "begin with `rand`"),
        ("original", "begin with `rand`"),
        ("rand-m", "`m` needs a whole number"),
        ("rand-m9.5", "`m9.5` needs a whole number"),
        ("rand-x3", "`x3` is none of"),
        ("rand--m9", "`` is none of"),
        ("rand-p1.5", "`p1.5` needs a number from 0 to 1"),
        ("rand-mstd-1", "`mstd` needs a number"),
        ("rand-tweights", "`tweights` is none of"),
        ("rand-mmax0", "leaves no magnitude"),
        ("rand-n99999999999", "`n99999999999` needs a whole number"),
    ] {
        let message = text.parse::<RandAugment>().unwrap_err().to_string();
        assert!(message.contains(part) && message.contains("rand-m9-mstd0.5-inc1"), "{text}: {message}");
    }
    assert!(serde_json::from_str::<RandAugment>("\"rand-q1\"").is_err());
}

#[test]
fn draws_have_the_policy_s_frequencies() {
    let policy: RandAugment = "rand-m9-n3-p0.4-mstd0.5-inc1".parse().unwrap();
    let mut rng = stream(7, &[]);
    let (mut done, mut right, mut bilinear, mut moved) = (0, 0, 0, 0);
    let mut kinds = std::collections::BTreeMap::<String, usize>::new();
    let mut magnitudes = Vec::new();
    for _ in 0..DRAWS {
        for operation in policy.draw(&mut rng, &[Resample::Bilinear, Resample::Bicubic]) {
            done += 1;
            let text = format!("{operation:?}");
            *kinds.entry(text.split('(').next().unwrap_or_default().to_owned()).or_default() += 1;
            if let Operation::TranslateXRel(share, filter) | Operation::TranslateYRel(share, filter) = operation {
                moved += 1;
                right += usize::from(share > 0.);
                bilinear += usize::from(filter == Resample::Bilinear);
                magnitudes.push(share.abs() / 0.45 * 10.);
            }
        }
    }
    let share = |part: usize, of: usize| part as f64 / of as f64;
    assert!((share(done, 3 * DRAWS) - 0.4).abs() < ERROR, "{}", share(done, 3 * DRAWS));
    assert_eq!(kinds.len(), 15);
    assert!(kinds.values().all(|&count| (share(count, done) - 1. / 15.).abs() < ERROR), "{kinds:?}");
    assert!((share(right, moved) - 0.5).abs() < 4. * ERROR && (share(bilinear, moved) - 0.5).abs() < 4. * ERROR);
    // Normal about 9 with deviation 0.5, cut at 10, which two deviations away loses little of either.
    let mean = magnitudes.iter().sum::<f64>() / magnitudes.len() as f64;
    let variance = magnitudes.iter().map(|m| (m - mean).powi(2)).sum::<f64>() / magnitudes.len() as f64;
    assert!(magnitudes.iter().all(|&magnitude| (0. ..=10. + 1e-9).contains(&magnitude)));
    assert!((mean - 9.).abs() < 0.05 && (variance.sqrt() - 0.5).abs() < 0.05, "{mean} {variance}");
}

#[test]
fn a_large_deviation_means_even_magnitudes() {
    let policy: RandAugment = "rand-m8-n1-p1-mstd101".parse().unwrap();
    let mut rng = stream(8, &[]);
    let mut degrees = Vec::new();
    for _ in 0..DRAWS {
        degrees.extend(policy.draw(&mut rng, &[Resample::Bilinear]).iter().filter_map(|operation| match operation {
            Operation::Rotate(degrees, _) => Some(degrees.abs()),
            _ => None,
        }));
    }
    let below = |limit: f64| degrees.iter().filter(|&&degrees| degrees < limit).count() as f64 / degrees.len() as f64;
    assert!(below(24.) == 1. && (below(12.) - 0.5).abs() < 0.05 && (below(3.) - 0.125).abs() < 0.04);
}
