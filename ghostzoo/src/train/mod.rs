//! Fine-tuning: a run of epochs in a folder, which can be stopped anywhere and go on to the same bytes.
//!
//! [`fit()`] trains a [`DetectionTask`] or a [`ClassificationTask`], or a [`TrainTask`] of one's own, as [`FitOptions`] say:
//! steps, an average of the weights, validation, the best and the last checkpoint, early stopping, a limit of time.
//! [`resume`] goes on with a run that was stopped or killed. What happens meanwhile is told to [`Callbacks`]; `&mut ()`
//! listens to nothing. Nothing is printed.
//!
//! ```no_run
//! use ghostzoo::candle_yolov8::train::DetectionDatasetOptions;
//! use ghostzoo::train::{DetectionOptions, DetectionTask, FitOptions, fit, resume};
//!
//! let images = DetectionDatasetOptions::new().imgsz(320);
//! let options = DetectionOptions::new("yolov8n-ghostnet-bccd").batch(16);
//! let mut task = DetectionTask::open("cells/data.yaml", &Default::default(), &images, options)?;
//! let report = fit(&mut task, &FitOptions::new("runs/cells").epochs(3), &mut ())?;
//! println!("epoch {} is the best: {}", report.best_epoch, report.best.display());
//! resume(&mut task, &FitOptions::new("runs/cells").epochs(5), &mut ())?;
//! # Ok::<(), ghostzoo::Error>(())
//! ```
//!
//! With [`FitOptions::group`] several processes train together, each from its part of every batch; see
//! [`distributed`](candle_vision::train::distributed).
//!
//! | file of the run's folder | holds |
//! |---|---|
//! | `weights/best.safetensors`, `weights/last.safetensors` | checkpoints, which [`LoadOptions`](crate::LoadOptions) loads |
//! | `weights/epochN.safetensors` | those of [`FitOptions::save_period`] |
//! | `weights/resume.safetensors` | the state that [`resume`] goes on from |
//! | `results.csv` | a row per epoch |

mod callbacks;
mod checks;
mod classify;
mod detect;
mod fingerprints;
mod fit;
mod half;
mod messages;
mod options;
mod parallel;
mod prepared;
mod pretrained;
mod ranks;
mod record;
mod results;
mod run_folder;
mod saved;
mod saved_run;
mod state;
mod stop;
mod task;
mod train_loop;

pub use callbacks::{Callbacks, EpochReport, RunStart, StepReport};
pub use classify::{ClassificationOptions, ClassificationStart, ClassificationTask};
pub use detect::{DetectionData, DetectionDataOptions, DetectionOptions, DetectionStart, DetectionTask};
pub use fingerprints::ImageRecord;
pub use fit::{FitReport, fit, prepare};
pub use messages::{Message, Messages};
pub use options::FitOptions;
pub use pretrained::Pretrained;
pub use record::{CHANGEABLE, without_folders};
pub use results::Results;
pub use run_folder::state_file;
pub use saved_run::{SavedRun, resume};
pub use state::Over;
pub use stop::StopFlag;
pub use task::{Plan, Step, TrainTask, Validation};
pub use train_loop::End;
