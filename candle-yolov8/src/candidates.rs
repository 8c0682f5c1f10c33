//! From raw levels to candidates: only anchors that pass the threshold are decoded.

use candle_core::{DType, Device, Result, Tensor};

use crate::modules::REG_MAX;
use crate::nms::{Candidate, NmsOptions};

/// The candidates of each picture of a batch, from raw levels (n, 4 · 16 + nc, h, w) and their strides.
///
/// The boxes and probabilities are those of [`crate::Yolo::decode`]; anchors run level by level, row by row.
pub fn candidates(raw: &[Tensor], strides: &[f64], options: &NmsOptions) -> Result<Vec<Vec<Candidate>>> {
    let batch = raw.first().map_or(Ok(0), |level| level.dim(0))?;
    let mut found = vec![Vec::new(); batch];
    for (level, stride) in raw.iter().zip(strides) {
        let (_, channels, _, w) = level.dims4()?;
        let level = level.to_device(&Device::Cpu)?.to_dtype(DType::F32)?.flatten_from(2)?;
        for (image, found) in found.iter_mut().enumerate() {
            let planes = level.get(image)?.contiguous()?.to_vec2::<f32>()?;
            let view = Level { planes: &planes, classes: 4 * REG_MAX..channels, width: w, stride: *stride as f32 };
            view.collect(options, found);
        }
    }
    Ok(found)
}

/// One level of one picture: channels of planes.
struct Level<'a> {
    planes: &'a [Vec<f32>],
    classes: std::ops::Range<usize>,
    width: usize,
    stride: f32,
}

impl Level<'_> {
    fn collect(&self, options: &NmsOptions, found: &mut Vec<Candidate>) {
        let scores = &self.planes[self.classes.clone()];
        let anchors = scores.first().map_or(0, Vec::len);
        // The best class of each anchor, plane by plane so that memory is read in order. NaN never is the best.
        let mut best = vec![(0, f32::NEG_INFINITY); anchors];
        for (class_id, plane) in scores.iter().enumerate() {
            for (best, logit) in best.iter_mut().zip(plane) {
                if *logit > best.1 {
                    *best = (class_id, *logit);
                }
            }
        }
        for (anchor, (class_id, logit)) in best.into_iter().enumerate() {
            if sigmoid(logit) <= options.conf {
                continue;
            }
            let xyxy = self.decode(anchor);
            if options.multi_label {
                for (class_id, plane) in scores.iter().enumerate() {
                    let confidence = sigmoid(plane[anchor]);
                    if confidence > options.conf {
                        found.push(Candidate { class_id, confidence, xyxy });
                    }
                }
            } else {
                found.push(Candidate { class_id, confidence: sigmoid(logit), xyxy });
            }
        }
    }

    /// Left, top, right, bottom in pixels of the network's input.
    fn decode(&self, anchor: usize) -> [f32; 4] {
        let distance = |side: usize| {
            let bins: [f32; REG_MAX] = std::array::from_fn(|bin| self.planes[side * REG_MAX + bin][anchor]);
            let most = bins.iter().fold(f32::NEG_INFINITY, |most, logit| most.max(*logit));
            let weights = bins.map(|logit| (logit - most).exp());
            let total: f32 = weights.iter().sum();
            weights.iter().enumerate().map(|(bin, weight)| bin as f32 * weight).sum::<f32>() / total
        };
        let (x, y) = ((anchor % self.width) as f32 + 0.5, (anchor / self.width) as f32 + 0.5);
        [x - distance(0), y - distance(1), x + distance(2), y + distance(3)].map(|v| v * self.stride)
    }
}

fn sigmoid(x: f32) -> f32 {
    1. / (1. + (-x).exp())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Yolo, architecture};
    use candle_vision::layers::Norm;
    use candle_vision::seeded;

    #[test]
    fn candidates_are_what_decode_gives() -> Result<()> {
        let def = architecture("yolov8n", Some(3)).expect("shipped");
        let model = Yolo::new(&def, Norm::Fold, seeded::var_builder(DType::F32, &Device::Cpu))?;
        let xs = seeded::tensor("input.weight", &(2, 3, 64, 96).into(), DType::F32, &Device::Cpu)?;
        let raw = model.forward_t(&xs, false)?;
        let decoded = model.decode(&raw)?.transpose(1, 2)?.contiguous()?;
        for multi_label in [false, true] {
            let options = NmsOptions { conf: 0.3, multi_label, ..Default::default() };
            let found = candidates(&raw, model.strides(), &options)?;
            for (image, found) in found.iter().enumerate() {
                let mut expected = Vec::new();
                for row in decoded.get(image)?.to_vec2::<f32>()? {
                    let scores = row[4..].iter().copied().enumerate().filter(|(_, score)| *score > 0.3);
                    let best = scores.clone().reduce(|a, b| if b.1 > a.1 { b } else { a });
                    let chosen: Vec<_> = if multi_label { scores.collect() } else { best.into_iter().collect() };
                    expected.extend(chosen.into_iter().map(|(class_id, score)| (class_id, score, row[..4].to_vec())));
                }
                assert!(expected.len() > 20, "the test has something to compare: {}", expected.len());
                assert_eq!(found.len(), expected.len(), "image {image}, multi-label {multi_label}");
                for (found, (class_id, score, xywh)) in found.iter().zip(expected) {
                    let [x1, y1, x2, y2] = found.xyxy;
                    assert_eq!(found.class_id, class_id);
                    assert!((found.confidence - score).abs() < 1e-5, "{found:?} {score}");
                    for (got, expected) in [(x1 + x2) / 2., (y1 + y2) / 2., x2 - x1, y2 - y1].iter().zip(&xywh) {
                        assert!((got - expected).abs() < 1e-2, "{found:?} {xywh:?}");
                    }
                }
            }
        }
        Ok(())
    }
}
