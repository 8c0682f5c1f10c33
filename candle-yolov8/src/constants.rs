//! What PyTorch's modules hold among their tensors, and no training moves.

use std::collections::BTreeMap;

use candle_core::{Result, Tensor};
use candle_vision::layers::Dfl;

/// The bins of a detection head's distribution focal loss, `model.N.dfl.conv.weight`, where `tensors` are those of a
/// detector without it: name, and values of the head's dtype.
///
/// `Yolo` does not need it, and PyTorch's `load_state_dict(strict=True)` does.
pub fn absent_bins(tensors: &BTreeMap<String, Tensor>) -> Result<Option<(String, Tensor)>> {
    for (name, bias) in tensors {
        let Some(head) = name.strip_suffix("cv2.0.2.bias") else { continue };
        let bins = format!("{head}dfl.conv.weight");
        let reg_max = bias.elem_count() / 4;
        if reg_max > 1 && tensors.contains_key(&format!("{head}cv3.0.2.bias")) && !tensors.contains_key(&bins) {
            return Ok(Some((bins, Dfl::bins(reg_max)?.to_dtype(bias.dtype())?)));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::{DType, Device};

    #[test]
    fn a_detector_lacks_its_bins_once() -> Result<()> {
        let of = |name: &str, count: usize| -> Result<(String, Tensor)> {
            Ok((name.to_owned(), Tensor::zeros(count, DType::F16, &Device::Cpu)?))
        };
        let boxes = of("model.22.cv2.0.2.bias", 64)?;
        let mut tensors = BTreeMap::from([boxes.clone(), of("model.22.cv3.0.2.bias", 3)?]);
        let (name, bins) = absent_bins(&tensors)?.expect("it lacks them");
        assert_eq!(
            (name.as_str(), bins.dims(), bins.dtype()),
            ("model.22.dfl.conv.weight", &[1, 16, 1, 1][..], DType::F16)
        );
        let values = bins.to_dtype(DType::F32)?.flatten_all()?.to_vec1::<f32>()?;
        assert_eq!(values, (0..16).map(|bin| bin as f32).collect::<Vec<_>>());
        tensors.insert(name, bins);
        assert!(absent_bins(&tensors)?.is_none(), "it has them");
        assert!(absent_bins(&BTreeMap::from([boxes]))?.is_none(), "no head");
        let direct = BTreeMap::from([of("model.22.cv2.0.2.bias", 4)?, of("model.22.cv3.0.2.bias", 3)?]);
        assert!(absent_bins(&direct)?.is_none(), "a head without a distribution");
        Ok(())
    }
}
