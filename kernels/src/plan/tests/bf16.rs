//! Which maps are stored as `bf16`, and what multiplies them.

use candle_core::Result;

use super::net::Net;
use super::{check, steps};
use crate::simd::Dot;
use crate::{Activation, ConvGeometry, Isa};

const ONE: ConvGeometry = ConvGeometry::square(1);
const THREE: ConvGeometry = ConvGeometry::square(3).same();

fn conv(net: &mut Net, xs: usize, out_c: usize, geometry: ConvGeometry) -> Result<usize> {
    net.conv(xs, out_c, geometry, Activation::Silu, true)
}

/// A stem, a block of two halves with residuals as YOLOv8 has it, and a pooled branch.
fn yolo([height, width]: [usize; 2], channels: usize) -> Result<Net> {
    let mut net = Net::new([3, height, width]);
    let stem = conv(&mut net, 0, channels, THREE.stride([2, 2]))?;
    let down = conv(&mut net, stem, 2 * channels, THREE.stride([2, 2]))?;
    let both = conv(&mut net, down, 2 * channels, ONE)?;
    let mut parts = vec![net.narrow(both, 0, channels), net.narrow(both, channels, channels)];
    for _ in 0..2 {
        let last = parts[parts.len() - 1];
        let inner = conv(&mut net, last, channels, THREE)?;
        let outer = conv(&mut net, inner, channels, THREE)?;
        parts.push(net.add(outer, last));
    }
    let joined = net.concat(&parts);
    let mixed = conv(&mut net, joined, 2 * channels, ONE)?;
    let pooled = net.pool(mixed, THREE, true)?;
    let spread = net.concat(&[mixed, pooled]);
    let last = conv(&mut net, spread, channels, ONE)?;
    let [height, width, _] = net.shapes[stem];
    let up = net.resample(last, [height, width]);
    let end = conv(&mut net, up, channels, THREE)?;
    net.outputs.push(end);
    Ok(net)
}

fn count(net: &Net, isa: Isa, is_it: impl Fn(&str, &str) -> bool) -> Result<usize> {
    Ok(steps(net, isa, true)?.iter().filter(|(name, kernel)| is_it(name, kernel)).count())
}

#[test]
fn maps_between_dense_convolutions_are_stored_as_bf16() -> Result<()> {
    let net = yolo([23, 37], 16)?;
    let dots = |dot: Dot| move |_: &str, kernel: &str| kernel.starts_with(dot.name());
    // All but the stem; of these, five windows of three by three and one stride.
    assert_eq!(count(&net, Isa::EmulatedAmx, dots(Dot::EmulatedAmxBf16))?, 9);
    assert_eq!(count(&net, Isa::EmulatedBf16, dots(Dot::EmulatedAvx512Bf16))?, 4);
    // The pool reads `f32`, so that its two maps are rounded apart.
    assert_eq!(count(&net, Isa::EmulatedAmx, |name, _| name == "round")?, 2);
    assert_eq!(count(&net, Isa::Portable, |name, kernel| name == "round" || kernel.contains("bf16"))?, 0);
    check(&net, 2)
}

#[test]
fn odd_channels_and_few_positions_are_computed() -> Result<()> {
    for (size, channels) in [([9, 9], 7), ([4, 4], 33), ([61, 5], 1), ([8, 8], 65)] {
        check(&yolo(size, channels)?, 2)?;
    }
    Ok(())
}

#[test]
fn a_classifiers_layers_are_computed() -> Result<()> {
    let mut net = Net::new([3, 31, 18]);
    let stem = conv(&mut net, 0, 16, THREE.stride([2, 2]))?;
    let primary = conv(&mut net, stem, 24, ONE)?;
    let cheap = conv(&mut net, primary, 24, THREE.groups(24))?;
    let ghost = net.concat(&[primary, cheap]);
    let mean = net.mean(ghost);
    let squeezed = conv(&mut net, mean, 12, ONE)?;
    let gate = net.conv(squeezed, 48, ONE, Activation::HardSigmoid, true)?;
    let gated = net.multiply(ghost, gate);
    let out = conv(&mut net, gated, 40, ONE)?;
    let pooled = net.mean(out);
    let logits = net.conv(pooled, 1000, ONE, Activation::Identity, true)?;
    net.outputs.push(logits);
    // A map that others read too is rounded where it is read, without a step.
    assert_eq!(count(&net, Isa::EmulatedAmx, |name, _| name == "round")?, 0);
    assert_eq!(count(&net, Isa::EmulatedAmx, |_, kernel| kernel.contains("bf16"))?, 5);
    check(&net, 2)
}
