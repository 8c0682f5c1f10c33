//! Objects in an image: `cargo run --release --example detect -- [IMAGE [MODEL]]`.

use std::path::{Path, PathBuf};

use ghostzoo::{Detector, Result};

fn main() -> Result<()> {
    let mut args = std::env::args_os().skip(1);
    let sample = Path::new(env!("CARGO_MANIFEST_DIR")).join("assets/BloodImage_00062.jpg");
    let image = args.next().map_or(sample, PathBuf::from);
    let model = args.next().unwrap_or_else(|| "yolov8n-ghostnet-bccd".into());
    print!("{}", run(&image, Path::new(&model))?);
    Ok(())
}

/// One line per object: class, confidence, and the corners of its box in pixels.
pub(crate) fn run(image: &Path, model: &Path) -> Result<String> {
    let detector = Detector::load(model)?.conf(0.5);
    let mut lines = String::new();
    for found in detector.predict_file(image)? {
        let [x1, y1, x2, y2] = found.xyxy;
        let class = detector.class_name(found.class_id);
        lines += &format!("{class} {:.2} at {x1:.0},{y1:.0} to {x2:.0},{y2:.0}\n", found.confidence);
    }
    Ok(lines)
}
