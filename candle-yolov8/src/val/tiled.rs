//! What tiles show of the images of a validation.

use std::time::Duration;

use candle_core::{Result, bail};
use candle_vision::nms::{Candidate, NmsOptions, NmsOutput};

use super::batches::ValSample;
use super::options::ValOptions;
use crate::detector::{Detection, Detector, PredictOptions};
use crate::tiles::{TileError, TileOptions};

/// What is found in images as they are, in their pixels, and the time of scaling, of the network, and of decoding,
/// suppression and merging. `name` says what an image is called.
pub(super) fn predict(
    detector: &Detector,
    samples: &[ValSample],
    tiles: &TileOptions,
    options: &ValOptions,
    nms: &NmsOptions,
    name: impl Fn(usize) -> String,
) -> Result<(Vec<NmsOutput>, [Duration; 3])> {
    let predict = PredictOptions::new().imgsz([options.side(); 2]).rect(options.rect).nms(nms.clone());
    let (mut found, mut times) = (Vec::with_capacity(samples.len()), [Duration::ZERO; 3]);
    for (number, sample) in samples.iter().enumerate() {
        let prediction = match detector.predict_tiled(&sample.input, &predict, tiles) {
            Ok(prediction) => prediction,
            Err(TileError::Candle(error)) => return Err(error),
            Err(error) => bail!("{}: {error}", name(number)),
        };
        let spent = [prediction.preprocess, prediction.inference, prediction.postprocess];
        times.iter_mut().zip(spent).for_each(|(time, spent)| *time += spent);
        let candidate = |Detection { class_id, confidence, xyxy }: Detection| Candidate { class_id, confidence, xyxy };
        let candidates = prediction.detections.into_iter().map(candidate).collect();
        found.push(NmsOutput { candidates, dropped: prediction.dropped, ..Default::default() });
    }
    Ok((found, times))
}
