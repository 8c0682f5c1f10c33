//! Networks that test one rewrite or one placement each.

use candle_core::Result;

use super::net::Net;
use super::{check, random, steps};
use crate::plan::Graph;
use crate::{Activation, ConvGeometry, Isa};

const ONE: ConvGeometry = ConvGeometry::square(1);
const THREE: ConvGeometry = ConvGeometry::square(3).same();

/// A network from how it grows, with its last value as an output.
fn net(image: [usize; 3], grow: impl FnOnce(&mut Net) -> Result<usize>) -> Result<Net> {
    let mut net = Net::new(image);
    let last = grow(&mut net)?;
    net.outputs.push(last);
    Ok(net)
}

/// Checks a network and how many of its steps are additions and copies.
fn check_steps(net: &Net, adds: usize, copies: usize) -> Result<()> {
    let steps = steps(net, Isa::Portable, false)?;
    let count = |name: &str| steps.iter().filter(|(step, _)| step == name).count();
    assert_eq!([count("add"), count("copy")], [adds, copies], "additions and copies of {steps:?}");
    check(net, 2)
}

fn conv(net: &mut Net, xs: usize, out_c: usize, geometry: ConvGeometry) -> Result<usize> {
    net.conv(xs, out_c, geometry, Activation::Silu, true)
}

#[test]
fn a_residual_is_added_where_a_convolution_stores() -> Result<()> {
    for geometry in [ONE, THREE, THREE.groups(12), THREE.groups(3)] {
        let adds = |net: &mut Net, is_first: bool| {
            let xs = conv(net, 0, 12, ONE)?;
            let ys = conv(net, xs, 12, geometry)?;
            Ok(if is_first { net.add(ys, xs) } else { net.add(xs, ys) })
        };
        for is_first in [true, false] {
            // Convolutions of some channels each are fused as the parts of a concatenation.
            check_steps(&net([3, 9, 7], |net| adds(net, is_first))?, 0, 0)?;
        }
    }
    Ok(())
}

#[test]
fn the_image_is_a_residual() -> Result<()> {
    for channels in [3, 12] {
        let residual = net([channels, 6, 5], |net| {
            let ys = conv(net, 0, channels, THREE)?;
            Ok(net.add(ys, 0))
        })?;
        check_steps(&residual, 0, 0)?;
    }
    let late = net([3, 6, 5], |net| {
        let xs = conv(net, 0, 8, THREE)?;
        let ys = conv(net, xs, 3, ONE)?;
        Ok(net.add(ys, 0))
    })?;
    check_steps(&late, 0, 0)
}

#[test]
fn a_ghost_module_takes_its_residual_along() -> Result<()> {
    let ghost = |net: &mut Net, xs: usize, half: usize| -> Result<[usize; 3]> {
        let primary = conv(net, xs, half, ONE)?;
        let cheap = conv(net, primary, half, THREE.groups(half))?;
        Ok([primary, cheap, net.concat(&[primary, cheap])])
    };
    for half in [3, 8, 17] {
        let plain = net([2 * half, 7, 9], |net| {
            let xs = conv(net, 0, 2 * half, ONE)?;
            let [_, _, ys] = ghost(net, xs, half)?;
            Ok(net.add(xs, ys))
        })?;
        check_steps(&plain, 0, 0)?;
        // The parts are read without the residual too, one of them by another concatenation.
        let mut read = net([2 * half, 7, 9], |net| {
            let [primary, cheap, ys] = ghost(net, 0, half)?;
            let sum = net.add(ys, 0);
            let again = net.concat(&[sum, primary]);
            net.outputs.push(cheap);
            conv(net, again, 5, ONE)
        })?;
        read.outputs.reverse();
        check_steps(&read, 0, 0)?;
    }
    Ok(())
}

#[test]
fn a_residual_may_be_computed_after_its_convolution_or_from_it() -> Result<()> {
    let after = net([5, 8, 8], |net| {
        let xs = conv(net, 0, 9, THREE)?;
        let ys = conv(net, xs, 9, THREE)?;
        let late = net.pool(xs, THREE, true)?;
        Ok(net.add(ys, late))
    })?;
    check_steps(&after, 0, 0)?;
    let from_it = net([5, 8, 8], |net| {
        let xs = conv(net, 0, 9, THREE)?;
        let ys = net.pool(xs, THREE, false)?;
        Ok(net.add(xs, ys))
    })?;
    check_steps(&from_it, 1, 0)?;
    let from_part = net([6, 8, 8], |net| {
        let part = conv(net, 0, 4, ONE)?;
        let rest = conv(net, part, 4, THREE.groups(4))?;
        let sum = net.concat(&[part, rest]);
        let residual = conv(net, part, 8, ONE)?;
        let residual = net.pool(residual, THREE, true)?;
        Ok(net.add(sum, residual))
    })?;
    check_steps(&from_part, 1, 0)
}

#[test]
fn sums_that_no_convolution_makes_alone_stay_additions() -> Result<()> {
    let twice = net([7, 5, 5], |net| {
        let xs = conv(net, 0, 7, ONE)?;
        Ok(net.add(xs, xs))
    })?;
    check_steps(&twice, 1, 0)?;
    let same_part = net([7, 5, 5], |net| {
        let xs = conv(net, 0, 14, ONE)?;
        let part = conv(net, xs, 7, THREE)?;
        let ys = net.concat(&[part, part]);
        Ok(net.add(ys, xs))
    })?;
    check_steps(&same_part, 1, 1)?;
    let pooled = net([7, 5, 5], |net| {
        let (a, b) = (net.pool(0, THREE, true)?, net.pool(0, THREE, false)?);
        Ok(net.add(a, b))
    })?;
    check_steps(&pooled, 1, 0)?;
    let read = net([7, 5, 5], |net| {
        let xs = net.pool(0, THREE, true)?;
        let ys = conv(net, xs, 7, ONE)?;
        net.outputs.push(ys);
        Ok(net.add(ys, xs))
    })?;
    check_steps(&read, 1, 0)
}

#[test]
fn parts_are_joined_in_place_or_copied() -> Result<()> {
    let used_twice = net([4, 5, 9], |net| {
        let (a, b) = (conv(net, 0, 5, ONE)?, conv(net, 0, 9, THREE)?);
        let (ab, ba) = (net.concat(&[a, b]), net.concat(&[b, a]));
        let (ab, ba) = (conv(net, ab, 3, ONE)?, conv(net, ba, 3, ONE)?);
        Ok(net.concat(&[ab, ba, ab]))
    })?;
    check_steps(&used_twice, 0, 3)?;
    let nested = net([4, 5, 9], |net| {
        let (a, b) = (conv(net, 0, 5, ONE)?, conv(net, 0, 9, THREE)?);
        let inner = net.concat(&[a, b]);
        let slice = net.narrow(inner, 3, 6);
        Ok(net.concat(&[inner, slice, 0, inner]))
    })?;
    check_steps(&nested, 0, 3)?;
    let narrowed = net([4, 5, 9], |net| {
        let (a, b) = (conv(net, 0, 5, ONE)?, conv(net, 0, 9, THREE)?);
        let joined = net.concat(&[a, b]);
        let slice = net.narrow(joined, 2, 7);
        let slice = net.narrow(slice, 1, 5);
        let outer = net.concat(&[joined, b]);
        let slice = conv(net, slice, 14 + 9, THREE)?;
        Ok(net.add(outer, slice))
    })?;
    check_steps(&narrowed, 0, 1)
}

#[test]
fn split_blocks_with_residuals_share_one_map() -> Result<()> {
    let split = net([3, 10, 6], |net| {
        let xs = conv(net, 0, 16, ONE)?;
        let (left, mut last) = (net.narrow(xs, 0, 8), net.narrow(xs, 8, 8));
        let mut parts = vec![left, last];
        for _ in 0..2 {
            let ys = conv(net, last, 8, THREE)?;
            let ys = conv(net, ys, 8, THREE)?;
            last = net.add(ys, last);
            parts.push(last);
        }
        let all = net.concat(&parts);
        conv(net, all, 11, ONE)
    })?;
    check_steps(&split, 0, 2)
}

#[test]
fn gates_resampling_and_pools() -> Result<()> {
    let gated = net([6, 9, 13], |net| {
        let xs = conv(net, 0, 37, ONE)?;
        let mean = net.mean(xs);
        let small = net.conv(mean, 5, ONE, Activation::Relu, true)?;
        let gate = net.conv(small, 37, ONE, Activation::HardSigmoid, true)?;
        let gated = net.multiply(xs, gate);
        conv(net, gated, 4, ONE)
    })?;
    check_steps(&gated, 0, 0)?;
    for size in [[1, 1], [5, 13], [7, 3], [27, 11]] {
        let resampled = net([5, 9, 4], |net| {
            let xs = conv(net, 0, 19, ONE)?;
            let ys = net.resample(xs, size);
            let gated = net.multiply(ys, xs);
            Ok(net.concat(&[ys, gated]))
        })?;
        check_steps(&resampled, 0, 0)?;
    }
    let strided = ConvGeometry::square(3).same().stride([2, 2]);
    for geometry in
        [ConvGeometry::square(2).stride([2, 2]), ConvGeometry::square(5).same(), strided, strided.stride([1, 2])]
    {
        for is_max in [true, false] {
            check_steps(&net([21, 9, 6], |net| net.pool(0, geometry, is_max))?, 0, 0)?;
        }
    }
    Ok(())
}

#[test]
fn a_bias_that_does_not_fit_is_refused() -> Result<()> {
    let (mut graph, image) = Graph::new([3, 4, 4]);
    let (weight, bias) = (random((20, 3, 1, 1), 1)?, random(8, 2)?);
    assert!(graph.conv2d(image, &weight, Some(&bias), &ONE, Activation::Identity, "conv").is_err(), "8 of 20 channels");
    Ok(())
}
