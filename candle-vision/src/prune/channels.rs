//! The shapes that a pruned network's tensors have.

use std::collections::BTreeMap;

use candle_core::{DType, Device, Result, Shape, Tensor};
use candle_nn::var_builder::SimpleBackend;
use candle_nn::{Init, VarBuilder};
use serde::{Deserialize, Serialize};

/// Leading axes of a tensor that are channels: outputs and inputs of a convolution or a linear layer, the one axis of a batch norm.
const AXES: usize = 2;

/// By a tensor's name, the sizes of the axes along which it was pruned; `None` of an axis that is as its network has it, which may
/// depend on the number of classes. Tensors that were not pruned are left out, so that the table of a whole network is empty.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Channels(BTreeMap<String, Vec<Option<usize>>>);

impl Channels {
    /// What `found` has fewer of than the tensors of the `whole` network.
    ///
    /// A tensor that differs in another way, by its rank, its window, or by more channels, has no entry: a
    /// [check](crate::spec::ParamSpec::check) lists it.
    #[must_use]
    pub fn between(whole: &BTreeMap<String, Shape>, found: &BTreeMap<String, Shape>) -> Self {
        let sizes = |name: &String, whole: &Shape| {
            let (whole, found) = (whole.dims(), found.get(name)?.dims());
            let is_pruned = |(axis, (whole, found)): (usize, (&usize, &usize))| {
                found == whole || (axis < AXES && (1..*whole).contains(found))
            };
            if whole == found || whole.len() != found.len() || !whole.iter().zip(found).enumerate().all(is_pruned) {
                return None;
            }
            Some(whole.iter().zip(found).take(AXES).map(|(whole, found)| (whole != found).then_some(*found)).collect())
        };
        Self(whole.iter().filter_map(|(name, shape)| Some((name.clone(), sizes(name, shape)?))).collect())
    }

    /// Whether the network is whole.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// A builder that gives layers, which ask `vb` for the tensors of the whole network, those of the pruned one: names are those
    /// below `vb`.
    #[must_use]
    pub fn builder<'a>(&self, vb: VarBuilder<'a>) -> VarBuilder<'a> {
        if self.is_empty() {
            return vb;
        }
        let (dtype, device, prefix) = (vb.dtype(), vb.device().clone(), vb.prefix());
        let start = if prefix.is_empty() { 0 } else { prefix.len() + 1 };
        let pruned = Pruned { channels: self.clone(), inner: vb.root(), start };
        let outer = VarBuilder::from_backend(Box::new(pruned), dtype, device);
        if prefix.is_empty() { outer } else { outer.pp(prefix) }
    }

    /// The shape of the tensor `name`, which is `shape` in the whole network.
    fn shape(&self, name: &str, shape: Shape) -> Shape {
        match self.0.get(name) {
            Some(sizes) if sizes.len() <= shape.rank() => {
                let mut dims = shape.into_dims();
                let fits = |(dim, size): (&mut usize, &Option<usize>)| {
                    *dim = size.filter(|size| (1..*dim).contains(size)).unwrap_or(*dim)
                };
                dims.iter_mut().zip(sizes).for_each(fits);
                Shape::from(dims)
            }
            _ => shape,
        }
    }
}

/// The tensors of a builder, asked for by the shapes of a pruned network.
struct Pruned<'a> {
    channels: Channels,
    inner: VarBuilder<'a>,
    /// Where names below the network begin.
    start: usize,
}

impl SimpleBackend for Pruned<'_> {
    fn get(&self, shape: Shape, name: &str, init: Init, dtype: DType, device: &Device) -> Result<Tensor> {
        let shape = self.channels.shape(name.get(self.start..).unwrap_or(name), shape);
        self.inner.clone().set_device(device.clone()).get_with_hints_dtype(shape, name, init, dtype)
    }

    fn get_unchecked(&self, name: &str, dtype: DType, device: &Device) -> Result<Tensor> {
        self.inner.clone().set_device(device.clone()).get_unchecked_dtype(name, dtype)
    }

    fn contains_tensor(&self, name: &str) -> bool {
        self.inner.contains_tensor(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::ParamSpec;

    fn shapes(list: &[(&str, &[usize])]) -> BTreeMap<String, Shape> {
        list.iter().map(|(name, dims)| ((*name).to_owned(), Shape::from(*dims))).collect()
    }

    #[test]
    fn only_fewer_channels_are_pruned_ones() {
        let whole = shapes(&[("a", &[8, 4, 3, 3]), ("b", &[8]), ("c", &[8, 4, 3, 3]), ("d", &[8]), ("e", &[8])]);
        let found = shapes(&[("a", &[6, 4, 3, 3]), ("b", &[6]), ("c", &[8, 4, 1, 1]), ("d", &[9]), ("e", &[0])]);
        let channels = Channels::between(&whole, &found);
        assert_eq!(serde_json::to_string(&channels).expect("json"), r#"{"a":[6,null],"b":[6]}"#);
        assert!(Channels::between(&whole, &whole).is_empty());
    }

    #[test]
    fn layers_get_the_pruned_tensors_below_any_prefix() -> Result<()> {
        let whole = shapes(&[("x.weight", &[8, 4, 3, 3])]);
        let channels = Channels::between(&whole, &shapes(&[("x.weight", &[6, 3, 3, 3])]));
        let dims = |vb: VarBuilder| -> Result<Vec<usize>> {
            let weight = channels.builder(vb).pp("x").get((8, 4, 3, 3), "weight")?;
            Ok(weight.dims().to_vec())
        };
        let (found, spec) = ParamSpec::of(dims)?;
        assert_eq!(found, [6, 3, 3, 3]);
        assert_eq!(spec.shapes["x.weight"].dims(), [6, 3, 3, 3]);
        let (found, spec) = ParamSpec::of(|vb| dims(vb.pp("net.1")))?;
        assert_eq!(found, [6, 3, 3, 3]);
        assert!(spec.shapes.contains_key("net.1.x.weight"), "{spec:?}");
        Ok(())
    }
}
