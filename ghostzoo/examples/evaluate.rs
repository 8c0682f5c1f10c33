//! How well a detector finds what is labelled: `cargo run --release --example evaluate -- [data.yaml [MODEL]]`.

use std::path::{Path, PathBuf};

use ghostzoo::candle_yolov8::data::{DataYaml, DatasetSplit};
use ghostzoo::{Detector, Result};

fn main() -> Result<()> {
    let mut args = std::env::args_os().skip(1);
    let sample = Path::new(env!("CARGO_MANIFEST_DIR")).join("assets/cells.yaml");
    let data = args.next().map_or(sample, PathBuf::from);
    let model = args.next().unwrap_or_else(|| "yolov8n-ghostnet-bccd".into());
    print!("{}", run(&data, Path::new(&model))?);
    Ok(())
}

/// The mean average precisions over all classes, then per class.
pub(crate) fn run(data: &Path, model: &Path) -> Result<String> {
    let detector = Detector::load(model)?;
    let (images, _) = DatasetSplit::open(&DataYaml::read(data)?, "val")?.labels()?;
    let report = detector.validate(&images, &detector.val_options())?;
    let [precision, recall, map50, map] = report.measured.ultralytics.means();
    let mut lines = format!("all: P {precision:.3} R {recall:.3} mAP50 {map50:.3} mAP50-95 {map:.3}\n");
    for class in &report.measured.ultralytics.classes {
        lines += &format!("{}: mAP50-95 {:.3}\n", detector.class_name(class.class), class.ap50_95());
    }
    Ok(lines)
}
