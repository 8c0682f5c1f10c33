//! Boxes from raw levels against their definition in `f64`.

use candle_core::{DType, Device, Result, Tensor};
use proptest::prelude::*;

use super::{LAUNCHERS, failed, random, values};
use crate::plan::{Graph, Session, Value};
use crate::{Isa, sources};

/// Largest error of a coordinate in cells (bins go to 15), and of a probability.
const ROUNDING: f64 = 1e-5;

/// Two levels: an image of raw values, and the image resampled.
fn check([height, width]: [usize; 2], small: [usize; 2], classes: usize, scale: f64, batch: usize) -> Result<()> {
    let channels = 64 + classes;
    let xs = (random((batch, channels, height, width), 9)? * scale)?.to_dtype(DType::F32)?;
    let raw = values(&xs)?;
    let (strides, anchors) = ([8., 13.], height * width + small[0] * small[1]);
    let mut expected = vec![0.; batch * (4 + classes) * anchors];
    for image in 0..batch {
        let mut anchor = 0;
        for (size, stride) in [[height, width], small].into_iter().zip(strides) {
            let (rows, columns) = (sources(height, size[0]), sources(width, size[1]));
            for (y, x) in (0..size[0]).flat_map(|y| (0..size[1]).map(move |x| (y, x))) {
                let at = |channel: usize| raw[((image * channels + channel) * height + rows[y]) * width + columns[x]];
                let mut put = |row: usize, value: f64| {
                    expected[(image * (4 + classes) + row) * anchors + anchor] = value;
                };
                let side = |side: usize| {
                    let weight = |bin: usize| at(side * 16 + bin).exp();
                    (0..16).map(|bin| weight(bin) * bin as f64).sum::<f64>() / (0..16).map(weight).sum::<f64>()
                };
                let [left, top, right, bottom] = [0, 1, 2, 3].map(side);
                put(0, (x as f64 + 0.5 + (right - left) / 2.) * stride);
                put(1, (y as f64 + 0.5 + (bottom - top) / 2.) * stride);
                put(2, (left + right) * stride);
                put(3, (top + bottom) * stride);
                (0..classes).for_each(|class| put(4 + class, 1. / (1. + (-at(64 + class)).exp())));
                anchor += 1;
            }
        }
    }
    let net = |graph: &mut Graph, image: Value| {
        let second = graph.upsample_nearest2d(image, small);
        graph.output_boxes(&[(image, strides[0]), (second, strides[1])])
    };
    let mut runs = Vec::new();
    for isa in Isa::available() {
        runs.push((isa.to_string(), Session::new(isa)?.run(&net, (), &xs)?));
    }
    for (place, dtype) in LAUNCHERS.iter().filter(|(_, dtype)| *dtype == DType::F32) {
        let xs = xs.to_device(place.device())?;
        let got = place.run(|| Session::new(Isa::Portable)?.forward(&net, (), &xs))?;
        let got = got.iter().map(|xs| xs.to_device(&Device::Cpu)).collect::<Result<_>>()?;
        runs.push((format!("launches in {dtype:?} on {place:?}"), got));
    }
    for (what, got) in runs {
        assert_eq!(got[0].dims(), [batch, 4 + classes, anchors]);
        for (index, (got, expected)) in values(&got[0])?.iter().zip(&expected).enumerate() {
            let unit = if index / anchors % (4 + classes) < 4 { 13. } else { 1. };
            assert!((got - expected).abs() <= unit * ROUNDING, "{what}: element {index} is {got}, not {expected}");
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn boxes_equal_their_definition(
        size in [1..=30usize, 1..=30usize],
        small in [1..=9usize, 1..=9usize],
        classes in 1..=20usize,
        scale in prop_oneof![Just(1.), Just(5.), Just(30.)],
        batch in 1..=2usize,
    ) {
        check(size, small, classes, scale, batch).map_err(failed)?;
    }
}

#[test]
fn levels_that_do_not_fit_are_refused() -> Result<()> {
    let xs = Tensor::zeros((1, 70, 2, 2), DType::F32, &Device::Cpu)?;
    for (first, second) in [(70, 69), (65, 70), (63, 63)] {
        let net = |graph: &mut Graph, image: Value| {
            let levels = [graph.narrow(image, 0, first)?, graph.narrow(image, 0, second)?];
            graph.output_boxes(&levels.map(|level| (level, 8.)))
        };
        let result = Session::new(Isa::Portable)?.run(&net, (), &xs);
        assert!(result.is_err(), "levels of {first} and {second} channels");
    }
    Ok(())
}
