//! Random networks.

use candle_core::Result;
use proptest::prelude::*;

use super::super::session::PER_THREAD;
use super::net::Net;
use super::{check, failed};
use crate::{Activation, ConvGeometry, ThreadPool};

/// A kind of operation and what decides its operands and sizes.
type Choice = (u8, [usize; 4]);

/// Adds what a choice asks for; operands are taken from the values that fit, the last ones first.
fn grow(net: &mut Net, (kind, [a, b, c, d]): Choice) -> Result<()> {
    let last = net.shapes.len() - 1;
    let xs = last - a % net.shapes.len().min(4);
    let [height, width, channels] = net.shapes[xs];
    let fitting = |net: &Net, fits: &dyn Fn(&[usize; 3]) -> bool| -> Vec<usize> {
        (0..net.shapes.len()).rev().filter(|value| fits(&net.shapes[*value])).collect()
    };
    let activation = Activation::ALL[c % Activation::ALL.len()];
    let (three, has_bias) = (ConvGeometry::square(3).same(), d % 2 == 0);
    let out_c = 1 + b % 19;
    match kind {
        0 => net.conv(xs, out_c, ConvGeometry::square(1), activation, has_bias)?,
        1 => net.conv(xs, out_c, three.stride([1 + c % 2, 1 + d % 2]), activation, has_bias)?,
        2 => net.conv(xs, channels, three.groups(channels), activation, has_bias)?,
        3 => {
            let groups = if channels.is_multiple_of(3) { 3 } else { 1 + usize::from(channels.is_multiple_of(2)) };
            net.conv(xs, groups * (1 + b % 9), three.groups(groups), activation, has_bias)?
        }
        4 | 5 => {
            let others = fitting(net, &|shape| *shape == net.shapes[xs]);
            net.add(xs, others[b % others.len()])
        }
        6 | 7 => {
            let others = fitting(net, &|shape| shape[..2] == [height, width] && shape[2] <= 20);
            let others = if others.is_empty() { vec![xs] } else { others };
            let parts = [xs, others[b % others.len()], others[c % others.len()]];
            net.concat(&parts[..1 + d % 3])
        }
        8 => {
            let start = b % channels;
            net.narrow(xs, start, 1 + c % (channels - start))
        }
        9 => net.pool(xs, ConvGeometry::square(1 + 2 * (b % 3)).same().stride([1 + c % 2; 2]), d % 2 == 0)?,
        10 => net.mean(xs),
        11 => net.resample(xs, [1 + b % 11, 1 + c % 11]),
        12 => {
            let others = fitting(net, &|shape| shape[2] == channels);
            net.multiply(xs, others[b % others.len()])
        }
        // A residual whose other operand is computed before or after the convolution.
        13 => {
            let before = if d % 2 == 0 { xs } else { net.conv(xs, channels, three, activation, true)? };
            let conv = net.conv(xs, channels, three, activation, has_bias)?;
            let after = if c % 2 == 0 { before } else { net.pool(before, three, true)? };
            if b % 2 == 0 { net.add(conv, after) } else { net.add(after, conv) }
        }
        // Ghost modules: a part and what is made of it.
        _ => {
            let half = channels.div_ceil(2);
            let primary = net.conv(xs, half, ConvGeometry::square(1), activation, has_bias)?;
            let cheap = net.conv(primary, half, three.groups(half), activation, true)?;
            let ghost = net.concat(&[primary, cheap]);
            if channels.is_multiple_of(2) { net.add(ghost, xs) } else { ghost }
        }
    };
    Ok(())
}

fn nets() -> impl Strategy<Value = (Net, usize)> {
    let choices = proptest::collection::vec((0..16u8, [0..1000usize, 0..1000, 0..1000, 0..1000]), 3..=12);
    (
        (prop_oneof![1..=4usize, 5..=12usize], 1..=9usize, 1..=9usize),
        choices,
        1..=2usize,
        proptest::collection::vec(0..1000usize, 0..=2),
    )
        .prop_filter_map("sizes stay small", |((channels, height, width), choices, batch, extra)| {
            let mut net = Net::new([channels, height, width]);
            choices.into_iter().try_for_each(|choice| grow(&mut net, choice)).ok()?;
            net.outputs = net.unread();
            net.outputs.extend(extra.into_iter().map(|value| value % net.shapes.len()));
            net.shapes.iter().all(|shape| shape[2] <= 200).then_some((net, batch))
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn random_networks_equal_tensor_operations((net, batch) in nets()) {
        check(&net, batch).map_err(failed)?;
    }

    #[test]
    fn images_side_by_side_are_those_one_by_one((net, _) in nets()) {
        check(&net, PER_THREAD * ThreadPool::current().threads() + 1).map_err(failed)?;
    }
}
