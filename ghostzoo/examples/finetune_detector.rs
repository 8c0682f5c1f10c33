//! Fine-tunes a detector on images of squares made here: `cargo run --release --example finetune_detector`.

use std::error::Error;
use std::path::Path;
use std::sync::Arc;

use ghostzoo::candle_yolov8::data::{AnnotatedImage, Annotation, BBox, ImageId};
use ghostzoo::candle_yolov8::train::{DetectionDataset, DetectionDatasetOptions};
use ghostzoo::image::{Rgb, RgbImage, save};
use ghostzoo::train::{Callbacks, DetectionOptions, DetectionTask, EpochReport, FitOptions, TrainTask, fit};
use ghostzoo::{Detector, Result};

fn main() -> Result<(), Box<dyn Error>> {
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

/// What came of so many epochs, and how many squares the best weights find in an image.
pub(crate) fn run(folder: &Path, epochs: usize) -> Result<String, Box<dyn Error>> {
    std::fs::create_dir_all(folder)?;
    let train: Vec<AnnotatedImage> = (0..16).map(|number| image(folder, number)).collect::<Result<_>>()?;
    let val: Vec<AnnotatedImage> = (16..20).map(|number| image(folder, number)).collect::<Result<_>>()?;
    let shown = val[0].path.clone();
    let images = DetectionDatasetOptions { imgsz: 64, ..Default::default() };
    let train = Arc::new(DetectionDataset::new(train, &images)?);
    let options = DetectionOptions::new("yolov8n-ghostnet-bccd").batch(4);
    let mut task = DetectionTask::new(train, val, vec!["square".to_owned()], options)?;
    let options = FitOptions::new(folder.join("run")).epochs(epochs).exist_ok(true);
    let report = fit(&mut task, &options, &mut Print)?;
    let found = Detector::load(&report.best)?.predict_file(shown)?;
    Ok(format!("epoch {} of {} is the best: {} squares\n", report.best_epoch, report.epochs, found.len()))
}

/// A white square on a grey image, in a file of the folder.
fn image(folder: &Path, number: u32) -> Result<AnnotatedImage> {
    let [left, top, side] = [number * 7 % 30, number * 11 % 30, 16 + number % 8];
    let is_in = |x: u32, y: u32| (left..left + side).contains(&x) && (top..top + side).contains(&y);
    let image = RgbImage::from_fn(64, 64, |x, y| Rgb([if is_in(x, y) { 255 } else { 90 }; 3]));
    let path = folder.join(format!("{number}.png"));
    save(&image, &path)?;
    let place = BBox::Pixels([left, top, side, side].map(f64::from));
    let label = Annotation { class: 0, place, outline_area: None, crowd: false };
    Ok(AnnotatedImage { image_id: ImageId::of_path(&path), path, size: None, labels: vec![label] })
}
