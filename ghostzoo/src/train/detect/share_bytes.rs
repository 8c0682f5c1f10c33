//! What a process found in a part of the validation images, as bytes for the others: numbers keep each of their bits.

use candle_vision::metrics::coco::GroundTruth;
use candle_vision::metrics::{IOU_LEVELS, IouMatches};
use candle_yolov8::Detection;
use candle_yolov8::val::ImageEval;

use crate::error::{Context as _, Result, invalid};

/// What a batch shows.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct BatchShare {
    pub(super) losses: [f64; 3],
    pub(super) images: Vec<ImageShare>,
}

/// What an image shows, or why it cannot be read. The place of its labels is not kept.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct ImageShare {
    /// Its number in the data.
    pub(super) number: usize,
    pub(super) found: Result<ImageEval, String>,
}

/// The bytes of batches: words of 32 bits, the lower byte first.
pub(super) fn to_bytes(batches: &[BatchShare]) -> Vec<u8> {
    let mut words = Words(Vec::new());
    for BatchShare { losses, images } in batches {
        losses.iter().for_each(|loss| words.double(*loss));
        words.count(images.len());
        for ImageShare { number, found } in images {
            words.count(*number);
            words.count(usize::from(found.is_ok()));
            match found {
                Ok(eval) => words.eval(eval),
                Err(error) => {
                    words.count(error.len());
                    error.bytes().for_each(|byte| words.count(byte.into()));
                }
            }
        }
    }
    words.0.into_iter().flat_map(u32::to_le_bytes).collect()
}

/// The batches of bytes.
///
/// # Errors
/// Bytes of something else.
pub(super) fn from_bytes(bytes: &[u8]) -> Result<Vec<BatchShare>> {
    let mut words = Given(bytes.chunks_exact(4).map(|word| u32::from_le_bytes(word.try_into().unwrap_or_default())));
    let mut batches = Vec::new();
    while let Some(first) = words.0.next() {
        let batch = words.batch(first);
        batches.push(batch.context("what a process found in the validation images came incomplete")?);
    }
    if !bytes.len().is_multiple_of(4) {
        invalid!("what a process found in the validation images came cut");
    }
    Ok(batches)
}

struct Words(Vec<u32>);

impl Words {
    fn count(&mut self, number: usize) {
        self.0.push(number as u32);
    }

    fn double(&mut self, value: f64) {
        let bits = value.to_bits();
        self.0.extend([bits as u32, (bits >> 32) as u32]);
    }

    fn eval(&mut self, ImageEval { detections, matches, truths, confusion }: &ImageEval) {
        self.count(detections.len());
        for (Detection { class_id, confidence, xyxy }, right) in detections.iter().zip(matches) {
            self.count(*class_id);
            self.0.push(confidence.to_bits());
            self.0.extend(xyxy.map(f32::to_bits));
            self.0.push(right.iter().enumerate().map(|(level, right)| u32::from(*right) << level).sum());
        }
        self.count(truths.len());
        for GroundTruth { class, bbox, area, crowd, .. } in truths {
            self.count(*class);
            bbox.iter().chain([area]).for_each(|value| self.double(*value));
            self.count(usize::from(*crowd));
        }
        self.count(confusion.len());
        confusion.iter().flat_map(|(predicted, truth)| [*predicted, *truth]).for_each(|class| self.count(class));
    }
}

/// Words that are still to be taken.
struct Given<I>(I);

impl<I: Iterator<Item = u32>> Given<I> {
    fn count(&mut self) -> Option<usize> {
        self.0.next().map(|number| number as usize)
    }

    fn single(&mut self) -> Option<f32> {
        self.0.next().map(f32::from_bits)
    }

    fn double(&mut self) -> Option<f64> {
        let low = self.0.next()?;
        self.second(low)
    }

    fn second(&mut self, low: u32) -> Option<f64> {
        Some(f64::from_bits(u64::from(low) | u64::from(self.0.next()?) << 32))
    }

    fn batch(&mut self, first: u32) -> Option<BatchShare> {
        let losses = [self.second(first)?, self.double()?, self.double()?];
        let images = self.many(|words| {
            let (number, is_read) = (words.count()?, words.count()? == 1);
            let found = match is_read {
                true => Ok(words.eval()?),
                false => Err(String::from_utf8(words.many(|words| u8::try_from(words.0.next()?).ok())?).ok()?),
            };
            Some(ImageShare { number, found })
        })?;
        Some(BatchShare { losses, images })
    }

    /// As many as the next word says.
    fn many<T>(&mut self, one: impl Fn(&mut Self) -> Option<T>) -> Option<Vec<T>> {
        let count = self.count()?;
        (0..count).map(|_| one(self)).collect()
    }

    fn eval(&mut self) -> Option<ImageEval> {
        let found = self.many(|words| {
            let (class_id, confidence) = (words.count()?, words.single()?);
            let xyxy = [words.single()?, words.single()?, words.single()?, words.single()?];
            let bits = words.0.next()?;
            let right: IouMatches = std::array::from_fn::<bool, IOU_LEVELS, _>(|level| bits >> level & 1 == 1);
            Some((Detection { class_id, confidence, xyxy }, right))
        })?;
        let (detections, matches) = found.into_iter().unzip();
        let truths = self.many(|words| {
            let class = words.count()?;
            let bbox = [words.double()?, words.double()?, words.double()?, words.double()?];
            let (area, crowd) = (words.double()?, words.count()? == 1);
            Some(GroundTruth { image: 0, class, bbox, area, crowd })
        })?;
        let confusion = self.many(|words| Some((words.count()?, words.count()?)))?;
        Some(ImageEval { detections, matches, truths, confusion })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_come_as_they_were_and_cut_ones_are_refused() -> Result<()> {
        let detection = |class_id| Detection { class_id, confidence: 0.1 + f32::EPSILON, xyxy: [-0., 1e-30, 3.5, 1e9] };
        let right = std::array::from_fn::<bool, IOU_LEVELS, _>(|level| level % 3 == 1);
        let truth = GroundTruth { image: 0, class: 79, bbox: [0.1, 1. / 3., 5e-324, 1e300], area: 0.3, crowd: true };
        let eval = ImageEval {
            detections: vec![detection(3), detection(0)],
            matches: vec![right, Default::default()],
            truths: vec![truth],
            confusion: vec![(80, 0), (1, 80)],
        };
        let none = ImageEval { detections: vec![], matches: vec![], truths: vec![], confusion: vec![] };
        let images = vec![
            ImageShare { number: 70_000, found: Ok(eval) },
            ImageShare { number: 0, found: Err("no image: é".to_owned()) },
            ImageShare { number: 1, found: Ok(none) },
        ];
        let batches = vec![
            BatchShare { losses: [0.1 + 0.2, 0., 1e-300], images },
            BatchShare { losses: [1.; 3], images: vec![] },
        ];
        let bytes = to_bytes(&batches);
        assert_eq!(from_bytes(&bytes)?, batches);
        assert!(from_bytes(&[])?.is_empty());
        let whole = to_bytes(&batches[..1]).len();
        for cut in (1..bytes.len()).filter(|cut| *cut != whole) {
            assert!(from_bytes(&bytes[..cut]).is_err(), "{cut}");
        }
        Ok(())
    }
}
