//! Suppression of all that a detector gives.

use candle_core::{DType, Device, Result, Tensor};
use rayon::prelude::*;

use ghostzoo_kernels::suppress as gpu;

use super::{Candidate, MAX_CANDIDATES, NmsOptions, NmsOutput, nms};

/// What is kept of a detector's output (images, 4 + classes, anchors): rows of centre x, centre y, width, height, then a
/// probability for each class.
///
/// On CUDA and Metal by kernels, so that only boxes that are kept come to the host; with several classes per anchor
/// ([`NmsOptions::multi_label`]) and on the CPU by [`nms`], after a copy of the output. The results are the same to the
/// bit where both kinds of kernels are emulated; none has been run on a Mac.
///
/// # Errors
/// If the output has fewer than four rows per image, or the device fails.
pub fn nms_batched(decoded: &Tensor, options: &NmsOptions) -> Result<Vec<NmsOutput>> {
    let (images, rows, anchors) = decoded.dims3()?;
    if rows < 4 {
        candle_core::bail!("a detector's output has rows for boxes and classes, this one has {rows}")
    }
    let decoded = decoded.to_dtype(DType::F32)?;
    if let Some(kept) = on_gpu(&decoded, options)? {
        return Ok(kept);
    }
    if rows * anchors == 0 {
        return Ok(vec![NmsOutput::default(); images]);
    }
    let values = decoded.to_device(&Device::Cpu)?.flatten_all()?.to_vec1::<f32>()?;
    let kept = |image: &[f32]| nms(candidates(image, anchors, options), options);
    Ok(values.par_chunks_exact(rows * anchors).map(kept).collect())
}

/// What kernels keep; `None` where that is the host's to say.
fn on_gpu(decoded: &Tensor, options: &NmsOptions) -> Result<Option<Vec<NmsOutput>>> {
    let NmsOptions { conf, iou, max_det, agnostic, ref classes, multi_label, loose_iou } = *options;
    if multi_label {
        return Ok(None);
    }
    let classes = classes.as_deref();
    let options = gpu::Options { conf, iou, max_candidates: MAX_CANDIDATES, max_det, agnostic, classes };
    let candidate = |row: &[f32; 6]| Candidate {
        xyxy: [row[0], row[1], row[2], row[3]],
        confidence: row[4],
        class_id: row[5] as usize,
    };
    let Some(images) = gpu::suppress(decoded, &options)? else { return Ok(None) };
    let loose = match loose_iou {
        Some(iou) => gpu::suppress(decoded, &gpu::Options { iou, ..options })?,
        None => None,
    };
    let candidates = |image: &gpu::Suppressed| image.rows.iter().map(candidate).collect();
    let kept = |(index, image): (usize, &gpu::Suppressed)| NmsOutput {
        candidates: candidates(image),
        loose: loose.as_ref().and_then(|images| images.get(index)).map(candidates).unwrap_or_default(),
        dropped: image.dropped,
    };
    Ok(Some(images.iter().enumerate().map(kept).collect()))
}

/// The candidates of one image in the order of their anchors, each for its best class or for all.
fn candidates(decoded: &[f32], anchors: usize, options: &NmsOptions) -> Vec<Candidate> {
    let (boxes, scores) = decoded.split_at(4 * anchors);
    let mut found = Vec::new();
    for anchor in 0..anchors {
        let [x, y, w, h] = [0, 1, 2, 3].map(|row| boxes[row * anchors + anchor]);
        let xyxy = [x - w / 2., y - h / 2., x + w / 2., y + h / 2.];
        let scores = scores.iter().skip(anchor).step_by(anchors).copied().enumerate();
        let above = scores.filter(|(_, confidence)| *confidence > options.conf);
        let candidate = |(class_id, confidence)| Candidate { class_id, confidence, xyxy };
        if options.multi_label {
            found.extend(above.map(candidate));
        } else {
            // The first of the largest.
            found.extend(above.reduce(|best, other| if other.1 > best.1 { other } else { best }).map(candidate));
        }
    }
    found
}

#[cfg(test)]
#[path = "decoded_tests.rs"]
mod tests;
