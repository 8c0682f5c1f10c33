//! From raw levels to candidates: only anchors that pass the threshold are decoded.

use candle_core::{DType, Device, Result, Storage, Tensor};
use candle_vision::nms::{Candidate, NmsOptions};

use crate::modules::REG_MAX;

/// The candidates of each image of a batch, from raw levels (n, 4 · 16 + nc, h, w) and their strides.
///
/// The boxes and probabilities are those of [`crate::Yolo::decode`]; anchors run level by level, row by row.
pub fn candidates(raw: &[Tensor], strides: &[f64], options: &NmsOptions) -> Result<Vec<Vec<Candidate>>> {
    let batch = raw.first().map_or(Ok(0), |level| level.dim(0))?;
    let mut found = vec![Vec::new(); batch];
    for (level, stride) in raw.iter().zip(strides) {
        let (_, channels, h, w) = level.dims4()?;
        // No copy where channels are last already.
        let rows = level.to_device(&Device::Cpu)?.to_dtype(DType::F32)?.permute((0, 2, 3, 1))?.contiguous()?;
        let (storage, layout) = rows.storage_and_layout();
        let Storage::Cpu(storage) = &*storage else { candle_core::bail!("a level on the CPU") };
        let rows = &storage.as_slice::<f32>()?[layout.start_offset()..];
        for (rows, found) in rows.chunks_exact((h * w * channels).max(1)).zip(&mut found) {
            Level { rows, channels, width: w, stride: *stride as f32 }.collect(options, found);
        }
    }
    Ok(found)
}

/// One level of one image: a row of channels per anchor.
struct Level<'a> {
    rows: &'a [f32],
    channels: usize,
    width: usize,
    stride: f32,
}

impl Level<'_> {
    fn collect(&self, options: &NmsOptions, found: &mut Vec<Candidate>) {
        for (anchor, row) in self.rows.chunks_exact(self.channels).enumerate() {
            let (sides, logits) = row.split_at(4 * REG_MAX);
            if sigmoid(largest(logits)) <= options.conf {
                continue;
            }
            let xyxy = self.decode(anchor, sides);
            let mut scores = logits.iter().copied().enumerate();
            if options.multi_label {
                for (class_id, logit) in scores {
                    let confidence = sigmoid(logit);
                    if confidence > options.conf {
                        found.push(Candidate { class_id, confidence, xyxy });
                    }
                }
            } else {
                // The first of the largest; NaN never is the best.
                let best = largest(logits);
                let class_id = scores.find(|(_, logit)| *logit == best).map_or(0, |(class_id, _)| class_id);
                found.push(Candidate { class_id, confidence: sigmoid(best), xyxy });
            }
        }
    }

    /// Left, top, right, bottom in pixels of the network's input.
    fn decode(&self, anchor: usize, sides: &[f32]) -> [f32; 4] {
        let distance = |side: usize| {
            let bins: [f32; REG_MAX] = std::array::from_fn(|bin| sides[side * REG_MAX + bin]);
            let most = bins.iter().fold(f32::NEG_INFINITY, |most, logit| most.max(*logit));
            let weights = bins.map(|logit| (logit - most).exp());
            let total: f32 = weights.iter().sum();
            weights.iter().enumerate().map(|(bin, weight)| bin as f32 * weight).sum::<f32>() / total
        };
        let (x, y) = ((anchor % self.width) as f32 + 0.5, (anchor / self.width) as f32 + 0.5);
        [x - distance(0), y - distance(1), x + distance(2), y + distance(3)].map(|v| v * self.stride)
    }
}

/// The largest number, −∞ where there is none. Several maxima at a time, so that the compiler finds vectors.
fn largest(values: &[f32]) -> f32 {
    const LANES: usize = 8;
    let larger = |most: f32, value: f32| if value > most { value } else { most };
    let mut most = [f32::NEG_INFINITY; LANES];
    let (whole, rest) = values.as_chunks::<LANES>();
    for chunk in whole {
        most = std::array::from_fn(|i| larger(most[i], chunk[i]));
    }
    most.into_iter().chain(rest.iter().copied()).fold(f32::NEG_INFINITY, larger)
}

fn sigmoid(x: f32) -> f32 {
    1. / (1. + (-x).exp())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seeded;
    use crate::{Yolo, model_config};

    #[test]
    fn candidates_are_what_decode_gives() -> Result<()> {
        let def = model_config("yolov8n", Some(3)).expect("shipped");
        let model = Yolo::new(&def.for_inference(), seeded::var_builder(DType::F32, &Device::Cpu))?;
        let xs = seeded::tensor("input.weight", &(2, 3, 64, 96).into(), DType::F32, &Device::Cpu)?;
        let raw = model.forward_t(&xs, false)?;
        let decoded = model.decode(&raw)?.transpose(1, 2)?.contiguous()?;
        for multi_label in [false, true] {
            let options = NmsOptions::new().conf(0.3).multi_label(multi_label);
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
