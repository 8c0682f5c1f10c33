//! The tensors that a model asks its builder for: parameter counts, and a check of a checkpoint before it is loaded.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use candle_core::{DType, Device, Result, Shape, Tensor};
use candle_nn::var_builder::SimpleBackend;
use candle_nn::{Init, VarBuilder};

/// Names and shapes of a model's tensors, in the order of their names.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ParamSpec {
    /// Shape of each tensor by its full name.
    pub shapes: BTreeMap<String, Shape>,
}

impl ParamSpec {
    /// Builds a model on a builder that allocates nothing (every tensor is one zero, broadcast) and notes each request.
    pub fn of<M>(build: impl FnOnce(VarBuilder<'static>) -> Result<M>) -> Result<(M, Self)> {
        let shapes = Arc::new(Mutex::new(BTreeMap::new()));
        let recorder = Box::new(Recorder(shapes.clone()));
        let model = build(VarBuilder::from_backend(recorder, DType::F32, Device::Cpu))?;
        let shapes = shapes.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Ok((model, Self { shapes }))
    }

    /// Trainable elements: everything but the running statistics of batch norms.
    pub fn parameters(&self) -> usize {
        let trained = |name: &str| !name.ends_with(".running_mean") && !name.ends_with(".running_var");
        self.shapes.iter().filter(|(name, _)| trained(name)).map(|(_, shape)| shape.elem_count()).sum()
    }

    /// Compares with the tensors of a checkpoint, given as names and dimensions.
    pub fn check<'a>(&self, found: impl IntoIterator<Item = (&'a str, &'a [usize])>) -> KeyMismatch {
        let found: BTreeMap<&str, &[usize]> = found.into_iter().collect();
        let mut mismatch = KeyMismatch::default();
        for (name, shape) in &self.shapes {
            match found.get(name.as_str()) {
                None => mismatch.missing.push(name.clone()),
                Some(dims) if *dims != shape.dims() => {
                    mismatch.misshaped.push((name.clone(), shape.dims().to_vec(), dims.to_vec()));
                }
                Some(_) => {}
            }
        }
        let unexpected = found.keys().filter(|name| !self.shapes.contains_key(**name));
        mismatch.unexpected = unexpected.map(|name| (*name).to_owned()).collect();
        mismatch
    }
}

/// Every way in which a checkpoint does not fit a model.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KeyMismatch {
    /// Tensors that the model needs and the checkpoint lacks.
    pub missing: Vec<String>,
    /// Tensors of the checkpoint that the model does not know.
    pub unexpected: Vec<String>,
    /// Name, the model's shape, the checkpoint's shape.
    pub misshaped: Vec<(String, Vec<usize>, Vec<usize>)>,
}

impl KeyMismatch {
    /// Whether the checkpoint fits exactly.
    pub fn is_empty(&self) -> bool {
        self.missing.is_empty() && self.unexpected.is_empty() && self.misshaped.is_empty()
    }
}

/// Most tensors of each kind that a message names.
const SHOWN: usize = 6;

impl fmt::Display for KeyMismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counts = [self.missing.len(), self.unexpected.len(), self.misshaped.len()];
        write!(f, "{} missing, {} unexpected, {} misshaped tensors", counts[0], counts[1], counts[2])?;
        for name in self.missing.iter().take(SHOWN) {
            write!(f, "\n  missing    {name}")?;
        }
        for name in self.unexpected.iter().take(SHOWN) {
            write!(f, "\n  unexpected {name}")?;
        }
        for (name, model, checkpoint) in self.misshaped.iter().take(SHOWN) {
            write!(f, "\n  misshaped  {name}: the model has {model:?}, the checkpoint {checkpoint:?}")?;
        }
        match counts.iter().map(|count| count.saturating_sub(SHOWN)).sum() {
            0 => Ok(()),
            more => write!(f, "\n  and {more} more"),
        }
    }
}

struct Recorder(Arc<Mutex<BTreeMap<String, Shape>>>);

impl SimpleBackend for Recorder {
    fn get(&self, shape: Shape, name: &str, _: Init, dtype: DType, device: &Device) -> Result<Tensor> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(name.to_owned(), shape.clone());
        Tensor::zeros((), dtype, device)?.broadcast_as(shape)
    }

    fn get_unchecked(&self, name: &str, _: DType, _: &Device) -> Result<Tensor> {
        candle_core::bail!("the shape of {name} is not known before it is read")
    }

    fn contains_tensor(&self, _: &str) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checkpoint_that_does_not_fit_is_listed_in_full() -> Result<()> {
        let (_, spec) = ParamSpec::of(|vb| {
            vb.get((2, 3), "a.weight")?;
            vb.get(2, "bn.running_var")?;
            vb.get(4, "b.bias")
        })?;
        assert_eq!(spec.parameters(), 10, "running statistics are not parameters");
        let found: [(&str, &[usize]); 3] = [("a.weight", &[3, 2]), ("b.bias", &[4]), ("c", &[1])];
        let mismatch = spec.check(found);
        assert_eq!(mismatch.missing, ["bn.running_var"]);
        assert_eq!(mismatch.unexpected, ["c"]);
        assert_eq!(mismatch.misshaped, [("a.weight".to_owned(), vec![2, 3], vec![3, 2])]);
        assert!(!mismatch.is_empty());
        Ok(())
    }

    #[test]
    fn a_message_names_a_few_tensors_of_each_kind_and_counts_the_others() {
        let names = |count: usize| (0..count).map(|i| format!("layer.{i}")).collect::<Vec<_>>();
        let misshaped = |count| names(count).into_iter().map(|name| (name, vec![1], vec![2])).collect();
        let text = |missing, unexpected, shapes| {
            let mismatch =
                KeyMismatch { missing: names(missing), unexpected: names(unexpected), misshaped: misshaped(shapes) };
            mismatch.to_string()
        };
        let long = text(865, 7, 33);
        assert!(long.starts_with("865 missing, 7 unexpected, 33 misshaped tensors\n  missing    layer.0\n"), "{long}");
        assert!(long.ends_with("layer.5: the model has [1], the checkpoint [2]\n  and 887 more"), "{long}");
        assert_eq!(long.lines().count(), 1 + 3 * 6 + 1);
        let short = text(6, 0, 6);
        assert!(short.lines().count() == 13 && !short.contains("more"), "{short}");
    }
}
