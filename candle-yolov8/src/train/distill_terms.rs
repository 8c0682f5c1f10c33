//! The terms of the distillation loss over one level of one image, and their gradients by the student's logits.
//!
//! Elements are `f32` or `f64`; sums are `f64`.

use ghostzoo_kernels::{Real, widest};

use crate::modules::REG_MAX;

/// Elements, or cells, that are computed at once.
const BLOCK: usize = 64;

/// The highest class probability of each cell, from class logits (nc, cells).
pub(super) fn confidences<T: Real>(logits: &[T], cells: usize) -> Vec<T> {
    let mut top = vec![T::neg_infinity(); cells];
    for plane in logits.chunks_exact(cells) {
        for (top, x) in top.iter_mut().zip(plane) {
            *top = if *x > *top { *x } else { *top };
        }
    }
    top.into_iter().map(|x| T::nearest(1. / (1. + (-x.to_wide()).exp()))).collect()
}

/// `Σ |t − s| · BCE(s, t)` with `s` and `t` the probabilities of the student's and the teacher's logits. Sets `gradient` to
/// `scale` times its derivative, `|t − s| · (s − t)`.
pub(super) fn class_terms<T: Real>(student: &[T], teacher: &[T], scale: f64, gradient: &mut [T]) -> f64 {
    let parts = student.chunks(BLOCK).zip(teacher.chunks(BLOCK)).zip(gradient.chunks_mut(BLOCK));
    parts.map(|((xs, ys), gs)| widest(|| class_block(xs, ys, T::nearest(scale), gs))).sum()
}

#[inline(always)]
fn class_block<T: Real>(xs: &[T], ys: &[T], scale: T, gs: &mut [T]) -> f64 {
    let (zero, one) = (T::zero(), T::one());
    let (mut small, mut weight, mut linear) = ([zero; BLOCK], [zero; BLOCK], [zero; BLOCK]);
    let results = gs.iter_mut().zip(&mut small).zip(&mut weight).zip(&mut linear);
    for ((x, y), (((g, small), weight), linear)) in xs.iter().zip(ys).zip(results) {
        *small = (zero - x.abs()).exp_approx();
        let of_teacher = (zero - y.abs()).exp_approx();
        let [s, t] = [(*x, *small), (*y, of_teacher)].map(|(x, small)| {
            let part = one / (one + small);
            if x < zero { small * part } else { part }
        });
        *weight = (t - s).abs();
        *linear = x.at_least(zero) - t * *x;
        *g = scale * *weight * (s - t);
    }
    // By ln(1 + eˣ) = max(x, 0) + ln(1 + e^−|x|).
    let terms = weight.iter().zip(&linear).zip(&small).take(xs.len());
    terms.map(|((weight, linear), small)| weight.to_wide() * (linear.to_wide() + small.to_wide().ln_1p())).sum()
}

/// The sum over cells of `confidences` times the mean over the four sides of the divergence of the student's softmax over bins
/// from the teacher's, `Σ p_t · ln(p_t / p_s)`; logits are (4 · 16, cells). Sets `gradient` to `scale` times its derivative.
pub(super) fn box_terms<T: Real>(
    student: &[T],
    teacher: &[T],
    confidences: &[T],
    scale: f64,
    gradient: &mut [T],
) -> f64 {
    let cells = confidences.len();
    let side = REG_MAX * cells;
    let sides = student.chunks_exact(side).zip(teacher.chunks_exact(side)).zip(gradient.chunks_exact_mut(side));
    let mut sum = 0.;
    for ((student, teacher), gradient) in sides {
        for (start, confidences) in (0..cells).step_by(BLOCK).zip(confidences.chunks(BLOCK)) {
            let block = Block { cells, start, confidences };
            sum += widest(|| block.divergence(student, teacher, T::nearest(scale / 4.), gradient));
        }
    }
    sum / 4.
}

/// Some cells of a level, from `start` on, with the confidence of each.
struct Block<'a, T> {
    cells: usize,
    start: usize,
    confidences: &'a [T],
}

impl<T: Real> Block<'_, T> {
    /// The bins of these cells, of logits (16, cells).
    #[inline(always)]
    fn bins<'b>(&self, logits: &'b [T]) -> impl Iterator<Item = &'b [T]> {
        let (start, count) = (self.start, self.confidences.len());
        logits.chunks_exact(self.cells).map(move |bin| &bin[start..][..count])
    }

    /// The sum of confidences times divergences; sets `gradient` to `scale` times its derivative.
    #[inline(always)]
    fn divergence(&self, student: &[T], teacher: &[T], scale: T, gradient: &mut [T]) -> f64 {
        let (own, theirs) = (self.softmax(student), self.softmax(teacher));
        let mut sums = [0f64; BLOCK];
        let logits = self.bins(student).zip(self.bins(teacher));
        for ((xs, ys), gs) in logits.zip(gradient.chunks_exact_mut(self.cells)) {
            let gs = &mut gs[self.start..][..self.confidences.len()];
            let elements = xs.iter().zip(ys).zip(gs).zip(self.confidences).zip(&mut sums);
            let tops = own.tops.iter().zip(&theirs.tops).zip(own.totals.iter().zip(&theirs.totals));
            for (((((x, y), g), confidence), sum), ((own_top, their_top), (own_total, their_total))) in
                elements.zip(tops)
            {
                let (own, theirs) = (*x - *own_top, *y - *their_top);
                let p = own.exp_approx() / *own_total;
                let target = theirs.exp_approx() / *their_total;
                *sum += target.to_wide() * (theirs - own).to_wide();
                *g = scale * *confidence * (p - target);
            }
        }
        let totals = own.totals.iter().zip(&theirs.totals);
        let cells = self.confidences.iter().zip(&sums).zip(totals);
        cells
            .map(|((weight, sum), (own, theirs))| weight.to_wide() * (sum + (own.to_wide() / theirs.to_wide()).ln()))
            .sum()
    }

    /// Of each cell, what its softmax over bins is made by.
    #[inline(always)]
    fn softmax(&self, logits: &[T]) -> Softmax<T> {
        let mut softmax = Softmax { tops: [T::neg_infinity(); BLOCK], totals: [T::zero(); BLOCK] };
        for bin in self.bins(logits) {
            for (top, x) in softmax.tops.iter_mut().zip(bin) {
                *top = if *x > *top { *x } else { *top };
            }
        }
        for bin in self.bins(logits) {
            for ((total, x), top) in softmax.totals.iter_mut().zip(bin).zip(&softmax.tops) {
                *total += (*x - *top).exp_approx();
            }
        }
        softmax
    }
}

/// Of each cell the largest logit, and the sum of the exponentials of what the logits are below it.
struct Softmax<T> {
    tops: [T; BLOCK],
    totals: [T; BLOCK],
}
