//! `batch=-1`: as many images a step as the memory takes.

use candle_core::Device;
use candle_vision::sysinfo;
use candle_yolov8::ModelConfig;

/// The batch where the memory sets no bound: what Ultralytics takes on a CPU.
const DEFAULT: usize = 16;
/// Bytes that a training holds of an image for each value that a layer of the model puts out.
const BYTES_A_VALUE: f64 = 60.;

/// Images a step that take at most `share` of the memory, and how that came about.
///
/// A GPU does not say what is free; there it is [`DEFAULT`].
pub(super) fn auto_batch(share: f64, def: &ModelConfig, imgsz: usize, device: &Device) -> (usize, String) {
    match sysinfo::available().filter(|_| device.is_cpu()) {
        Some(free) => {
            let batch = fitting(share * free as f64, bytes(def, imgsz));
            let [each, free] = [bytes(def, imgsz), free as f64].map(|bytes| bytes / 1e9);
            (
                batch,
                format!(
                    "`options.recipe.batch` {batch}: an image takes some {each:.2} GB of {free:.1} GB that are free; {DEFAULT} at most"
                ),
            )
        }
        None => (DEFAULT, format!("`options.recipe.batch` {DEFAULT}: it is not known how much memory is free")),
    }
}

/// Images in so many bytes.
fn fitting(room: f64, each: f64) -> usize {
    ((room / each) as usize).clamp(1, DEFAULT)
}

/// Bytes that a training holds of one image.
fn bytes(def: &ModelConfig, imgsz: usize) -> f64 {
    let values = |row: &candle_yolov8::LayerSpec| row.channels as f64 * (imgsz as f64 / row.stride).powi(2);
    def.rows.iter().map(values).sum::<f64>() * BYTES_A_VALUE
}
