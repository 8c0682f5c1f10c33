//! The terms of the loss over one image's raw output, and their gradients.
//!
//! Elements are `f32` or `f64`; sums, and all that concerns single anchors, are `f64`.

use ghostzoo_kernels::{Real, widest};

use super::anchors::Anchor;
use super::ciou;
use crate::modules::REG_MAX;

/// Elements whose sums run side by side.
const LANES: usize = 16;
/// Factors of at most 2 whose product is finite.
const FACTORS: usize = 512;
/// Anchors that are decoded at once.
const BLOCK: usize = 64;
/// How far below the last bin the target of a distance ends.
const LAST_BIN_MARGIN: f64 = 0.01;

/// `Σ ln(1 + eˣ)`, which is the binary cross entropy of logits whose target is 0. Sets `gradient` to `scale` times its
/// derivative, `σ(x)`.
///
/// By `ln(1 + eˣ) = max(x, 0) + ln(1 + e^−|x|)`, whose logarithms are taken of products of [`FACTORS`] elements: an element
/// adds the error of `e^−|x|` and at most the epsilon of `f64`.
pub(super) fn softplus_sum<T: Real>(logits: &[T], scale: f64, gradient: &mut [T]) -> f64 {
    let parts = logits.chunks(LANES * FACTORS).zip(gradient.chunks_mut(LANES * FACTORS));
    parts.map(|(logits, gradient)| widest(|| softplus_part(logits, T::nearest(scale), gradient))).sum()
}

#[inline(always)]
fn softplus_part<T: Real>(logits: &[T], scale: T, gradient: &mut [T]) -> f64 {
    let (mut linear, mut product) = ([0f64; LANES], [1f64; LANES]);
    let (mut xs, mut gs) = (logits.chunks_exact(LANES), gradient.chunks_exact_mut(LANES));
    for (xs, gs) in (&mut xs).zip(&mut gs) {
        softplus(xs, scale, gs, &mut linear, &mut product);
    }
    softplus(xs.remainder(), scale, gs.into_remainder(), &mut linear, &mut product);
    linear.iter().sum::<f64>() + product.iter().map(|product| product.ln()).sum::<f64>()
}

/// One element per lane.
#[inline(always)]
fn softplus<T: Real>(xs: &[T], scale: T, gs: &mut [T], linear: &mut [f64; LANES], product: &mut [f64; LANES]) {
    let (zero, one) = (T::zero(), T::one());
    let mut small = [zero; LANES];
    for (small, x) in small.iter_mut().zip(xs) {
        *small = (zero - x.abs()).exp_approx();
    }
    for ((g, small), x) in gs.iter_mut().zip(&small).zip(xs) {
        let part = scale / (one + *small);
        *g = if *x < zero { *small * part } else { part };
    }
    for (((linear, product), small), x) in linear.iter_mut().zip(product).zip(&small).zip(xs) {
        *linear += x.at_least(zero).to_wide();
        *product *= 1. + small.to_wide();
    }
}

/// The distances of all anchors of a level, (4, cells), from its box logits (4 · 16, cells): the means of the softmax over
/// bins.
pub(super) fn distances<T: Real>(logits: &[T], cells: usize) -> Vec<T> {
    let mut distances = vec![T::zero(); 4 * cells];
    for (bins, distances) in logits.chunks_exact(REG_MAX * cells).zip(distances.chunks_exact_mut(cells)) {
        for (start, distances) in (0..cells).step_by(BLOCK).zip(distances.chunks_mut(BLOCK)) {
            widest(|| means(bins, cells, start, distances));
        }
    }
    distances
}

/// The mean bins of the cells from `start` on, from logits (16, cells).
#[inline(always)]
fn means<T: Real>(logits: &[T], cells: usize, start: usize, means: &mut [T]) {
    let (mut top, mut total, mut mean) = ([T::neg_infinity(); BLOCK], [T::zero(); BLOCK], [T::zero(); BLOCK]);
    let bins = || logits.chunks_exact(cells).map(|bin| &bin[start..][..means.len()]);
    for bin in bins() {
        for (top, x) in top.iter_mut().zip(bin) {
            *top = if *x > *top { *x } else { *top };
        }
    }
    let mut value = T::zero();
    for bin in bins() {
        for (((total, mean), x), top) in total.iter_mut().zip(&mut mean).zip(bin).zip(&top) {
            let weight = (*x - *top).exp_approx();
            *total += weight;
            *mean += weight * value;
        }
        value += T::one();
    }
    for ((means, mean), total) in means.iter_mut().zip(&mean).zip(&total) {
        *means = *mean / *total;
    }
}

/// What one positive anchor adds.
pub(super) struct BoxTerms {
    /// `1 − CIoU` of its box and the object's.
    pub(super) ciou: f64,
    /// Mean over the four sides of the cross entropy to the two bins around the object's distance.
    pub(super) dfl: f64,
    /// Derivatives of both by the box logits, (4, 16).
    pub(super) gradients: [[[f64; 2]; REG_MAX]; 4],
}

/// The terms of an anchor with these box logits, (4, 16), for an object's box in cells of the anchor's level.
pub(super) fn box_terms(anchor: &Anchor, logits: &[[f64; REG_MAX]; 4], object: [f64; 4]) -> BoxTerms {
    let sides = logits.map(|logits| Softmax::new(&logits));
    let distances = [0, 1, 2, 3].map(|side| sides[side].mean);
    let (ciou, by_side) = ciou::with_gradient(anchor.xyxy(distances), object);
    let targets = anchor.distances(object);
    let mut terms = BoxTerms { ciou: 1. - ciou, dfl: 0., gradients: [[[0.; 2]; REG_MAX]; 4] };
    for (side, softmax) in sides.iter().enumerate() {
        // Left and top lie at the centre minus the distance.
        let ciou_by_distance = if side < 2 { by_side[side] } else { -by_side[side] };
        let target = targets[side].clamp(0., (REG_MAX - 1) as f64 - LAST_BIN_MARGIN);
        let low = target as usize;
        let high_share = target - low as f64;
        let shares = [(low, 1. - high_share), (low + 1, high_share)];
        for (bin, share) in shares {
            terms.dfl += (softmax.log_total - logits[side][bin]) * share / 4.;
        }
        for (bin, (p, [by_ciou, by_dfl])) in softmax.p.iter().zip(&mut terms.gradients[side]).enumerate() {
            let share: f64 = shares.iter().filter(|(at, _)| *at == bin).map(|(_, share)| share).sum();
            *by_ciou = ciou_by_distance * p * (bin as f64 - softmax.mean);
            *by_dfl = (p - share) / 4.;
        }
    }
    terms
}

struct Softmax {
    p: [f64; REG_MAX],
    /// Logarithm of the sum of all exponentials.
    log_total: f64,
    /// Mean bin.
    mean: f64,
}

impl Softmax {
    fn new(logits: &[f64; REG_MAX]) -> Self {
        let top = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let weights = logits.map(|x| (x - top).exp());
        let total: f64 = weights.iter().sum();
        let p = weights.map(|weight| weight / total);
        let mean = p.iter().enumerate().map(|(bin, p)| bin as f64 * p).sum();
        Self { p, log_total: top + total.ln(), mean }
    }
}
