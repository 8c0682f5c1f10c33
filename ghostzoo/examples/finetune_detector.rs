//! Fine-tunes a detector on images of squares made in memory: `cargo run --release --example finetune_detector`.

use std::path::Path;
use std::sync::Arc;

use ghostzoo::candle_vision::data::InMemoryDataset;
use ghostzoo::candle_yolov8::data::{Annotation, DetectionItem};
use ghostzoo::image::{Rgb, RgbImage};
use ghostzoo::train::{Callbacks, DetectionOptions, DetectionTask, EpochReport, FitOptions, TrainTask, fit};
use ghostzoo::{Detector, Result};

fn main() -> Result<()> {
    let folder = std::env::temp_dir().join("ghostzoo-finetune-detector");
    print!("{}", run(&folder, 10)?);
    Ok(())
}

/// Prints a line per epoch.
struct Print;

impl<T: TrainTask> Callbacks<T> for Print {
    fn on_epoch_end(&mut self, _: &T, report: &EpochReport<'_>) -> Result<()> {
        println!("epoch {}/{}: losses {:.3?}", report.epoch, report.epochs, report.losses);
        Ok(())
    }
}

/// What came of so many epochs, and how many squares the best weights find in an image. The run is in `folder`.
pub(crate) fn run(folder: &Path, epochs: usize) -> Result<String> {
    let train: InMemoryDataset<_> = (0..16).map(item).collect();
    let val: InMemoryDataset<_> = (16..20).map(item).collect();
    let options = DetectionOptions::new("yolov8n-ghostnet-bccd").batch(4);
    let names = vec!["square".to_owned()];
    let mut task = DetectionTask::from_datasets(Arc::new(train), Arc::new(val), names, 64, options)?;
    let report = fit(&mut task, &FitOptions::new(folder).epochs(epochs).exist_ok(true), &mut Print)?;
    let found = Detector::load(&report.best)?.predict(&item(17).image)?;
    Ok(format!("epoch {} of {} is the best: {} squares\n", report.best_epoch, report.epochs, found.len()))
}

/// A white square on a grey image.
fn item(number: u32) -> DetectionItem {
    let [left, top, side] = [number * 7 % 30, number * 11 % 30, 16 + number % 8];
    let is_in = |x: u32, y: u32| (left..left + side).contains(&x) && (top..top + side).contains(&y);
    let image = RgbImage::from_fn(64, 64, |x, y| Rgb([if is_in(x, y) { 255 } else { 90 }; 3]));
    DetectionItem::new(image, vec![Annotation::pixels(0, [left, top, side, side].map(f64::from))])
}
