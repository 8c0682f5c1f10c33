//! Batch norms by the moments of several processes' maps.

use candle_core::{Result, bail};
use rayon::prelude::*;

use super::{Moment, Norm, PART, Pass};
use crate::maps::{Maps, unwritten};
use crate::real::Real;
use crate::shared::DisjointSliceMut;
use crate::sync::AllGather;

/// The moments of all processes' maps, from those of one's own and how many elements they are of; and how many all are.
///
/// Source: Chan et al., updating formulae for sample variances: means, then squares about the common one.
pub(crate) fn joined(own: &[Moment], count: f64, group: &dyn AllGather) -> Result<(Vec<Moment>, f64)> {
    let numbers = own.iter().flat_map(|moment| [moment.mean, moment.var]);
    let all = group.all_gather([count].into_iter().chain(numbers).collect())?;
    let count: f64 = all.iter().map(|numbers| numbers[0]).sum();
    if count <= 1. {
        bail!("batch norm in training needs more than one value per channel, all processes together have {count}")
    }
    let moment = |channel: usize| {
        let of = |at: usize| all.iter().map(move |numbers| (numbers[0], numbers[1 + 2 * channel + at]));
        let mean = of(0).map(|(count, mean)| count * mean).sum::<f64>() / count;
        let squares = of(0).zip(of(1)).map(|((count, own), (_, var))| count * (var + (own - mean) * (own - mean)));
        Moment { mean, var: squares.sum::<f64>() / count }
    };
    Ok(((0..own.len()).map(moment).collect(), count))
}

/// Pairs of each channel, added over all processes.
pub(crate) fn added(own: &[[f64; 2]], group: &dyn AllGather) -> Result<Vec<[f64; 2]>> {
    let all = group.all_gather(own.concat())?;
    let of = |at: usize| all.iter().map(|numbers| numbers[at]).sum::<f64>();
    Ok((0..own.len()).map(|channel| [of(2 * channel), of(2 * channel + 1)]).collect())
}

impl Norm {
    /// [`Norm::forward`] by the moments of all processes' maps; from then on `count` is that of all of them.
    pub(super) fn forward_together<T: Real>(
        &mut self,
        xs: Maps<'_, T>,
        weight: &[T],
        bias: &[T],
        group: &dyn AllGather,
    ) -> Result<(Vec<T>, Vec<Moment>)> {
        let own = |channel: usize| self.moment(xs, channel, &mut [T::zero(); PART]);
        let own: Vec<Moment> = (0..self.channels).into_par_iter().map(own).collect();
        let (moments, count) = joined(&own, self.count, group)?;
        self.count = count;
        // SAFETY: the parts of all channels make up the buffer, and each is written.
        let mut out = unsafe { unwritten(xs.batch() * xs.image_len()) };
        let scatter = DisjointSliceMut::new(&mut out);
        (0..self.channels).into_par_iter().for_each(|channel| {
            let affine = self.affine(moments[channel], weight[channel], bias[channel]);
            // SAFETY: the planes of this channel belong to this task alone.
            unsafe { self.write_normalised(xs, channel, affine, &mut [T::zero(); PART], &scatter) };
        });
        Ok((out, moments))
    }

    /// [`Norm::backward`] where all processes' maps decided the moments. Those of weight and bias are of this process's maps.
    pub(super) fn backward_together<T: Real>(
        &self,
        xs: Maps<'_, T>,
        grad: Maps<'_, T>,
        moments: &[Moment],
        weight: &[T],
        bias: &[T],
        group: &dyn AllGather,
    ) -> Result<(Vec<T>, Vec<T>, Vec<T>)> {
        let pass =
            |channel: usize| Pass::new(self, [xs, grad], channel, moments[channel], [weight[channel], bias[channel]]);
        let own: Vec<[f64; 2]> = (0..self.channels).into_par_iter().map(|channel| pass(channel).sums()).collect();
        let sums = added(&own, group)?;
        // SAFETY: the parts of all channels make up the buffer, and each is written.
        let mut out = unsafe { unwritten(xs.batch() * xs.image_len()) };
        let scatter = DisjointSliceMut::new(&mut out);
        let channel = |channel: usize| {
            let mut pass = pass(channel);
            // SAFETY: the planes of this channel belong to this task alone.
            unsafe { pass.write(sums[channel], &scatter) };
            pass.of_affine(own[channel])
        };
        let (of_weight, of_bias) = (0..self.channels).into_par_iter().map(channel).unzip();
        Ok((out, of_weight, of_bias))
    }
}
