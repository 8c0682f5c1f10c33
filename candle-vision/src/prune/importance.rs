//! How much a channel counts.

use std::collections::BTreeMap;

use candle_core::{DType, Device, Result, Tensor};

use super::Dependencies;

/// What a channel's importance is measured by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Criterion {
    /// The sum of the magnitudes of its weights.
    L1,
    /// The root of the sum of the squares of its weights.
    #[default]
    L2,
    /// The magnitude of its batch norms' weights: network slimming, Liu et al., <https://arxiv.org/abs/1708.06519>.
    BatchNorm,
}

impl Dependencies {
    /// By a channel's number its importance, `None` where the criterion says nothing of it.
    ///
    /// By [`Criterion::L1`] and [`Criterion::L2`], the norm of the slice of each weight that goes with the channel (filters,
    /// the inputs of the filters that read it, batch norms' weights), over the mean of that norm along the weight's axis, and of these
    /// the mean: layers of other sizes and scales are comparable, and so are groups of many layers and of one. That is DepGraph's
    /// group norm (Fang et al., <https://arxiv.org/abs/2301.12900>) with each weight, instead of each group, scaled by its mean.
    ///
    /// By [`Criterion::BatchNorm`], the mean of the magnitudes, which are not scaled.
    ///
    /// # Errors
    /// A device that gives no values.
    pub fn importance(&self, tensors: &BTreeMap<String, Tensor>, criterion: Criterion) -> Result<Vec<Option<f64>>> {
        let is_scaled = criterion != Criterion::BatchNorm;
        let measured = tensors.iter().filter(|(name, _)| is_scaled || self.is_norm(name));
        let sums = self.sums(measured, criterion, is_scaled)?;
        Ok(sums.into_iter().map(|(sum, count)| (count > 0).then(|| sum / count as f64)).collect())
    }

    /// By a channel's number its importance where `products` has, of each weight, its value times the loss's derivative by it: the sum of
    /// the magnitudes that go with the channel, the first-order Taylor expansion of the loss. Source: Molchanov et al.,
    /// <https://arxiv.org/abs/1906.10771>, with the magnitude in the place of the square.
    ///
    /// # Errors
    /// A device that gives no values.
    pub fn taylor_importance(&self, products: &BTreeMap<String, Tensor>) -> Result<Vec<Option<f64>>> {
        let sums = self.sums(products, Criterion::L1, false)?;
        Ok(sums.into_iter().map(|(sum, count)| (count > 0).then_some(sum)).collect())
    }

    /// By a channel's number, the sum of the norms of the weights' slices that go with it, over their mean along the axis where `is_scaled`,
    /// and how many they are.
    fn sums<'a>(
        &self,
        tensors: impl IntoIterator<Item = (&'a String, &'a Tensor)>,
        criterion: Criterion,
        is_scaled: bool,
    ) -> Result<Vec<(f64, usize)>> {
        let mut sums = vec![(0., 0); self.count()];
        for (name, tensor) in tensors.into_iter().filter(|(name, _)| name.ends_with(".weight")) {
            let axes = self.axes(name);
            let values = if axes.is_empty() { Vec::new() } else { values(tensor)? };
            for (axis, channels) in axes.iter().enumerate() {
                let norms = norms(&values, tensor.dims(), axis, criterion);
                let mean = norms.iter().sum::<f64>() / norms.len().max(1) as f64;
                let scale = if is_scaled && mean > 0. { mean.recip() } else { 1. };
                for (channel, norm) in channels.iter().zip(norms) {
                    let (sum, count) = &mut sums[*channel];
                    *sum += norm * scale;
                    *count += 1;
                }
            }
        }
        Ok(sums)
    }
}

/// Values in `f64`, row by row.
fn values(tensor: &Tensor) -> Result<Vec<f64>> {
    tensor.to_device(&Device::Cpu)?.to_dtype(DType::F64)?.flatten_all()?.to_vec1()
}

/// The norm of each slice along an axis.
fn norms(values: &[f64], dims: &[usize], axis: usize, criterion: Criterion) -> Vec<f64> {
    let inner: usize = dims[axis + 1..].iter().product();
    let mut norms = vec![0.; dims[axis]];
    for (row, values) in values.chunks_exact(inner.max(1)).enumerate() {
        let term = |value: &f64| if criterion == Criterion::L2 { value * value } else { value.abs() };
        norms[row % dims[axis]] += values.iter().map(term).sum::<f64>();
    }
    if criterion == Criterion::L2 {
        norms.iter_mut().for_each(|norm| *norm = norm.sqrt());
    }
    norms
}

#[cfg(test)]
mod tests {
    use super::super::ChannelGraph;
    use super::*;
    use crate::layers::Backend;
    use ghostzoo_kernels::{Activation, ConvGeometry};

    /// Two convolutions with two channels between them.
    fn net() -> Result<(Dependencies, BTreeMap<String, Tensor>)> {
        let first = Tensor::new(&[[3_f32, 4.], [0., 1.]], &Device::Cpu)?.reshape((2, 2, 1, 1))?;
        let second = Tensor::new(&[[1_f32, 3.], [1., 5.]], &Device::Cpu)?.reshape((2, 2, 1, 1))?;
        let net = ChannelGraph::trace(2, |graph, image| {
            let mut conv = |xs: &Vec<usize>, weight: &Tensor, path: &str| {
                graph.conv2d(xs, weight, None, &ConvGeometry::square(1), Activation::Identity, path)
            };
            let a = conv(image, &first, "a.")?;
            Ok(vec![conv(&a, &second, "b.")?])
        })?;
        Ok((net, [("a.weight".to_owned(), first), ("b.weight".to_owned(), second)].into()))
    }

    #[test]
    fn norms_are_scaled_by_their_mean_and_averaged() -> Result<()> {
        let (net, tensors) = net()?;
        let of = |criterion| -> Result<Vec<f64>> {
            let found = net.importance(&tensors, criterion)?;
            Ok(net.groups()[0].iter().filter_map(|channel| found[*channel]).collect())
        };
        // Filters 7 and 1, read by 2 and 8.
        assert_eq!(of(Criterion::L1)?, [(7. / 4. + 2. / 5.) / 2., (1. / 4. + 8. / 5.) / 2.]);
        let (a, b) = (2_f64.sqrt(), 34_f64.sqrt());
        let expected = [(5. / 3. + a / ((a + b) / 2.)) / 2., (1. / 3. + b / ((a + b) / 2.)) / 2.];
        let found = of(Criterion::L2)?;
        assert!(found.iter().zip(expected).all(|(found, expected)| (found - expected).abs() < 1e-12), "{found:?}");
        assert!(of(Criterion::BatchNorm)?.is_empty(), "there is no batch norm");
        let taylor = net.taylor_importance(&tensors)?;
        let taylor: Vec<f64> = net.groups()[0].iter().filter_map(|channel| taylor[*channel]).collect();
        assert_eq!(taylor, [9., 9.], "seven and two, one and eight");
        Ok(())
    }
}
