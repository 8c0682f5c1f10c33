//! A dataset of one's own: images that are drawn when they are asked for, as they could come from a database.
//! `cargo run --release --example custom_dataset`.

use std::path::Path;
use std::sync::Arc;

use ghostzoo::candle_vision::data::{ClassificationItem, Dataset, ItemError};
use ghostzoo::image::{Rgb, RgbImage};
use ghostzoo::train::{ClassificationOptions, ClassificationTask, FitOptions, fit};
use ghostzoo::{Classifier, Result};

fn main() -> Result<()> {
    let folder = std::env::temp_dir().join("ghostzoo-custom-dataset");
    print!("{}", run(&folder, 4)?);
    Ok(())
}

/// Stripes, upright or lying, which differ from one number to the next.
struct Stripes(std::ops::Range<usize>);

impl Dataset for Stripes {
    type Item = ClassificationItem;

    fn len(&self) -> usize {
        self.0.len()
    }

    fn get(&self, index: usize) -> Result<ClassificationItem, ItemError> {
        let (number, class) = ((self.0.start + index) as u32, index % 2);
        let along = |x: u32, y: u32| if class == 0 { x } else { y };
        let image = RgbImage::from_fn(32, 32, |x, y| Rgb([((along(x, y) + number) / 4 % 2 * 200) as u8; 3]));
        Ok(ClassificationItem::new(image, class))
    }
}

/// How many of eight images that were not trained on are told right.
pub(crate) fn run(folder: &Path, epochs: usize) -> Result<String> {
    let mut options = ClassificationOptions::new("ghostnet_050-cifar10").batch(8).imgsz(32);
    options.recipe.warmup_epochs = 1.;
    let names = ["upright", "lying"].map(str::to_owned).to_vec();
    let (train, val) = (Arc::new(Stripes(0..32)), Arc::new(Stripes(100..108)));
    let mut task = ClassificationTask::from_datasets(train, val.clone(), names, options)?;
    let report = fit(&mut task, &FitOptions::new(folder).epochs(epochs).exist_ok(true), &mut ())?;
    let classifier = Classifier::load(&report.best)?;
    let measured = classifier.validate(val, &classifier.val_options())?;
    Ok(format!("top-1 {:.2} of {} images\n", measured.metrics.top1(), measured.metrics.images()))
}
