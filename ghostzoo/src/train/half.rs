//! The weights as a run writes them: in half precision, where they fit.

use candle_core::{DType, Tensor};
use ghostzoo_weights::Checkpoint;

use crate::error::Result;

/// Most tensors that are named.
const SHOWN: usize = 3;

/// The same checkpoint in f16, but for tensors with values that are finite and beyond its largest: those stay in f32, and
/// what to say of them is returned.
pub(super) fn halved(checkpoint: &Checkpoint) -> Result<(Checkpoint, Option<String>)> {
    let mut halved = checkpoint.to_dtype(DType::F16)?;
    let mut names = Vec::new();
    for (name, tensor) in &checkpoint.tensors {
        let Some(half) = halved.tensors.get_mut(name).filter(|half| half.dtype() == DType::F16) else { continue };
        if outgrows(tensor, half)? {
            *half = tensor.to_dtype(DType::F32)?;
            names.push(name.as_str());
        }
    }
    let more = match names.len().saturating_sub(SHOWN) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let note = (!names.is_empty()).then(|| {
        format!(
            "{} of {} tensors have values beyond f16's 65504 and are written in f32: {}{more}; a lower learning rate keeps \
             them small",
            names.len(),
            checkpoint.tensors.len(),
            names[..names.len().min(SHOWN)].join(", ")
        )
    });
    Ok((halved, note))
}

/// Whether a finite value became infinite.
fn outgrows(tensor: &Tensor, half: &Tensor) -> Result<bool> {
    let [before, after] = [tensor, half].map(|tensor| tensor.flatten_all()?.to_dtype(DType::F32)?.to_vec1::<f32>());
    Ok(before?.iter().zip(after?).any(|(before, after)| before.is_finite() && !after.is_finite()))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::error::Error;

    use candle_core::Device;

    use super::*;

    #[test]
    fn what_f16_cannot_hold_stays_in_f32_and_is_named() -> Result<(), Box<dyn Error>> {
        let tensor = |values: &[f32]| Tensor::new(values, &Device::Cpu);
        let checkpoint = |pairs: Vec<(&str, Tensor)>| Checkpoint {
            tensors: pairs.into_iter().map(|(name, tensor)| (name.to_owned(), tensor)).collect::<BTreeMap<_, _>>(),
            ..Default::default()
        };
        let fits = vec![
            ("a", tensor(&[65504., -1e-9])?),
            ("b", tensor(&[f32::INFINITY])?),
            ("n", Tensor::new(3u32, &Device::Cpu)?),
        ];
        let (halves, note) = halved(&checkpoint(fits.clone()))?;
        assert_eq!((note, halves.tensors["a"].dtype(), halves.tensors["n"].dtype()), (None, DType::F16, DType::U32));
        let wide =
            [("c", tensor(&[0., 1e6])?), ("d", tensor(&[-7e4])?), ("e", tensor(&[1e30])?), ("f", tensor(&[1e5])?)];
        let (mixed, note) = halved(&checkpoint(fits.into_iter().chain(wide).collect()))?;
        assert_eq!(mixed.tensors["c"].to_vec1::<f32>()?, [0., 1e6]);
        assert_eq!((mixed.tensors["a"].dtype(), mixed.tensors["f"].dtype()), (DType::F16, DType::F32));
        let expected = "4 of 7 tensors have values beyond f16's 65504 and are written in f32: c, d, e and 1 more; a lower \
                        learning rate keeps them small";
        assert_eq!(note.as_deref(), Some(expected));
        // As they are read again.
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("last.safetensors");
        ghostzoo_weights::write(&path, &mixed)?;
        assert_eq!(ghostzoo_weights::read(&path)?.tensors["e"].to_vec1::<f32>()?, [1e30]);
        Ok(())
    }
}
