//! Fine-tunes a classifier on dark and light images made here:
//! `cargo run --release --example finetune_classifier`.

use std::error::Error;
use std::path::Path;

use ghostzoo::Classifier;
use ghostzoo::image::{Rgb, RgbImage, save};
use ghostzoo::train::{ClassificationOptions, ClassificationTask, FitOptions, fit};

fn main() -> Result<(), Box<dyn Error>> {
    let folder = std::env::temp_dir().join("ghostzoo-finetune-classifier");
    print!("{}", run(&folder, 5)?);
    Ok(())
}

/// A line per epoch, and what the best weights say of a dark image.
pub(crate) fn run(folder: &Path, epochs: usize) -> Result<String, Box<dyn Error>> {
    for (class, level) in [("dark", 40), ("light", 200)] {
        for number in 0..12 {
            let part = folder.join(if number < 8 { "train" } else { "val" }).join(class);
            std::fs::create_dir_all(&part)?;
            save(&image(level, number), &part.join(format!("{number}.png")))?;
        }
    }
    let mut options = ClassificationOptions::new("ghostnet_050-cifar10").batch(8).imgsz(32);
    options.recipe.warmup_epochs = 1.;
    // Brightness is what tells the classes apart.
    options.augment.color_jitter = 0.;
    let mut task = ClassificationTask::open(folder, None, 1 << 20, options)?;
    let options = FitOptions::new(folder.join("run")).epochs(epochs).exist_ok(true);
    let report = fit(&mut task, &options, &mut ())?;
    let mut lines = format!("{}\n", report.results.names().join(" "));
    for row in report.results.rows() {
        lines += &format!("{row:.3?}\n");
    }
    let classifier = Classifier::load(&report.best)?;
    for class in classifier.predict(&image(45, 3))?.top(1) {
        lines += &format!("{} {:.2}\n", classifier.class_name(class.class_id), class.probability);
    }
    Ok(lines)
}

/// Stripes around a level.
fn image(level: u8, number: u32) -> RgbImage {
    RgbImage::from_fn(32, 32, |x, y| Rgb([level + ((x + number * y) % 32) as u8; 3]))
}
