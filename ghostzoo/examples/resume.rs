//! Stops a training and goes on with it, to the bytes of one that was never stopped:
//! `cargo run --release --example resume`.

use std::error::Error;
use std::path::Path;

use ghostzoo::Result;
use ghostzoo::image::{Rgb, RgbImage, save};
use ghostzoo::train::{
    Callbacks, ClassificationOptions, ClassificationTask, End, FitOptions, StepReport, StopFlag, TrainTask, fit, resume,
};

fn main() -> Result<(), Box<dyn Error>> {
    let folder = std::env::temp_dir().join("ghostzoo-resume");
    print!("{}", run(&folder, 3)?);
    Ok(())
}

/// Asks the run to end after some steps; Ctrl-C or a scheduler might do so.
struct StopAt(usize, StopFlag);

impl<T: TrainTask> Callbacks<T> for StopAt {
    fn on_step(&mut self, _: &T, report: &StepReport<'_>) -> Result<()> {
        if report.number == self.0 {
            self.1.set();
        }
        Ok(())
    }
}

/// Says whether both runs came to the same weights.
pub(crate) fn run(folder: &Path, epochs: usize) -> Result<String, Box<dyn Error>> {
    for number in 0..12_u8 {
        let class = ["dark", "light"][usize::from(number % 2)];
        let part = folder.join(if number < 8 { "train" } else { "val" }).join(class);
        std::fs::create_dir_all(&part)?;
        let image = RgbImage::from_fn(32, 32, |x, y| Rgb([number % 2 * 150 + ((x * y) % 40) as u8 + number; 3]));
        save(&image, &part.join(format!("{number}.png")))?;
    }
    let task = || {
        let options = ClassificationOptions::new("ghostnet_050-cifar10").batch(4).imgsz(32);
        ClassificationTask::open(folder, None, 1 << 20, options)
    };
    let options = |name: &str| FitOptions::new(folder.join(name)).epochs(epochs).exist_ok(true);
    let whole = fit(&mut task()?, &options("whole"), &mut ())?;

    let stop = StopFlag::new();
    let stopped = fit(&mut task()?, &options("parts").stop(stop.clone()), &mut StopAt(2, stop))?;
    let step = if stopped.end == End::Interrupted { "within" } else { "behind" };
    // Another program, or this one after a reboot, goes on.
    let resumed = resume(&mut task()?, &options("parts"), &mut ())?;
    let same = std::fs::read(&whole.last)? == std::fs::read(&resumed.last)?;
    Ok(format!("stopped {step} epoch {}, went on to {}: same weights {same}\n", stopped.epochs + 1, resumed.epochs))
}
