//! Runs of the library: how they begin, go on and are refused.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::path::Path;
use std::sync::Arc;

use ghostzoo::candle_vision::data::InMemoryDataset;
use ghostzoo::candle_yolov8::data::{Annotation, DetectionItem};
use ghostzoo::image::{Rgb, RgbImage, save};
use ghostzoo::train::{
    Callbacks, ClassificationOptions, ClassificationTask, DetectionOptions, DetectionTask, End, EpochReport,
    FitOptions, FitReport, Message, Messages, Pretrained, SavedRun, StepReport, StopFlag, TrainTask, fit, resume,
    state_file,
};
use ghostzoo::{LoadOptions, Result};

/// A folder of dark and of light images, four of each to train with and two to validate with.
fn images(folder: &Path) {
    for number in 0..12_u8 {
        let part = folder
            .join(["train", "train", "val"][usize::from(number / 4)])
            .join(["dark", "light"][usize::from(number % 2)]);
        std::fs::create_dir_all(&part).unwrap();
        let image = RgbImage::from_fn(32, 32, |x, y| Rgb([number % 2 * 150 + ((x * y) % 40) as u8 + number; 3]));
        save(&image, &part.join(format!("{number}.png"))).unwrap();
    }
}

fn options() -> ClassificationOptions {
    ClassificationOptions::new("ghostnet_050-cifar10").batch(4).imgsz(32)
}

fn task(folder: &Path, options: ClassificationOptions) -> ClassificationTask {
    ClassificationTask::open(folder, None, 1 << 20, options).unwrap()
}

/// Keeps what it is told.
#[derive(Default)]
struct Heard {
    messages: Vec<String>,
    epochs: Vec<usize>,
    best: usize,
}

impl<T: TrainTask> Callbacks<T> for Heard {
    fn on_epoch_end(&mut self, _: &T, report: &EpochReport<'_>) -> Result<()> {
        self.epochs.push(report.epoch);
        if report.is_best {
            self.best = report.epoch;
        }
        assert_eq!((report.columns.len(), report.metrics.len()), (report.row.len(), 2));
        Ok(())
    }

    fn message(&mut self, message: &Message) {
        self.messages.push(message.text().to_owned());
    }
}

#[test]
fn a_run_goes_on_with_more_epochs_from_the_same_task_or_another() {
    let folder = tempfile::tempdir().unwrap();
    images(folder.path());
    let run = |name: &str, epochs: usize| FitOptions::new(folder.path().join(name)).epochs(epochs);
    let mut heard = Heard::default();
    let mut first = task(folder.path(), options());
    let report = fit(&mut first, &run("a", 1), &mut heard).unwrap();
    assert_eq!((report.end, report.epochs, heard.epochs.as_slice()), (End::Finished, 1, [1].as_slice()));
    assert!(heard.messages.iter().any(|text| text.contains("tensors are taken from")), "{:?}", heard.messages);
    let error = fit(&mut first, &run("a", 1), &mut ()).unwrap_err();
    assert!(error.is_request() && error.to_string().contains("holds a run already"), "{error}");
    let error = resume(&mut first, &run("a", 1), &mut ()).unwrap_err();
    assert!(error.to_string().contains("is finished, after 1 epochs"), "{error}");

    let report = resume(&mut first, &run("a", 2), &mut heard).unwrap();
    assert_eq!((report.epochs, report.results.rows().len(), report.best_epoch), (2, 2, heard.best));
    assert!(heard.messages.iter().any(|text| text.starts_with("2 epochs instead of 1")), "{:?}", heard.messages);
    fit(&mut task(folder.path(), options()), &run("b", 1), &mut ()).unwrap();
    let other = resume(&mut task(folder.path(), options()), &run("b", 2), &mut ()).unwrap();
    let bytes = |path: &Path| std::fs::read(path).unwrap();
    assert_eq!(bytes(&report.last), bytes(&other.last), "the same task and another come to the same weights");
    // The same task begins anew as another does.
    fit(&mut first, &run("c", 1), &mut ()).unwrap();
    let last = |name: &str| folder.path().join(name).join("weights/last.safetensors");
    fit(&mut task(folder.path(), options()), &run("d", 1), &mut ()).unwrap();
    assert_eq!(bytes(&last("c")), bytes(&last("d")));
}

#[test]
fn a_run_goes_on_with_its_own_options_and_data_alone() {
    let folder = tempfile::tempdir().unwrap();
    images(folder.path());
    let run = |epochs: usize| FitOptions::new(folder.path().join("run")).epochs(epochs);
    let error = resume(&mut task(folder.path(), options()), &run(1), &mut ()).unwrap_err();
    assert!(error.is_request() && error.to_string().starts_with("there is no run in"), "{error}");
    let stop = StopFlag::new();
    stop.set();
    let report = fit(&mut task(folder.path(), options()), &run(2).stop(stop), &mut ()).unwrap();
    assert_eq!((report.end, report.epochs), (End::Interrupted, 0));
    let saved = SavedRun::open::<ClassificationTask>(folder.path().join("run")).unwrap();
    assert_eq!((saved.record()["batch"].as_u64(), saved.decided()["recipe"]["batch"].as_u64()), (Some(4), Some(4)));
    assert!(saved.over(&run(2)).is_none() && !saved.is_finished());
    let error = SavedRun::open::<ClassificationTask>(folder.path().join("run")).unwrap_err();
    assert!(error.to_string().contains("is in use by another process"), "{error}");
    drop(saved);
    let error = resume(&mut task(folder.path(), options().seed(1)), &run(2), &mut ()).unwrap_err();
    assert!(
        error.is_request() && error.to_string().starts_with("`seed` is 0 in this run and cannot change to 1"),
        "{error}"
    );
    std::fs::remove_file(folder.path().join("train/dark/0.png")).unwrap();
    let error = resume(&mut task(folder.path(), options()), &run(2), &mut ()).unwrap_err();
    assert!(error.is_request() && error.to_string().contains("other images (8 then, 7 now)"), "{error}");
    let mut heard = Heard::default();
    let accepted = run(2).accept_changed_data(true);
    let report = resume(&mut task(folder.path(), options()), &accepted, &mut heard).unwrap();
    assert_eq!((report.end, report.epochs), (End::Finished, 2));
    assert!(heard.messages.iter().any(|text| text.ends_with("the run goes on with them")), "{:?}", heard.messages);
}

#[test]
fn a_state_that_was_edited_does_not_open() {
    let folder = tempfile::tempdir().unwrap();
    images(folder.path());
    let (run, stop) = (folder.path().join("run"), StopFlag::new());
    stop.set();
    fit(&mut task(folder.path(), options()), &FitOptions::new(&run).epochs(1).stop(stop), &mut ()).unwrap();
    let path = state_file(&run);
    let mut state = std::fs::read(&path).unwrap();
    let view = state.windows(4).position(|part| part == b"view").unwrap();
    state[view..view + 4].copy_from_slice(b"wiev");
    std::fs::write(&path, state).unwrap();
    let error = SavedRun::open::<ClassificationTask>(&run).unwrap_err().to_string();
    assert!(error.contains("is not as a run wrote it: missing field `view`"), "{error}");
}

const NET: &str = "
nc: 2
backbone:
  - [-1, 1, Conv, [8, 3, 2]]
  - [-1, 1, Conv, [8, 3, 2]]
  - [-1, 1, Conv, [8, 3, 2]]
  - [-1, 1, Conv, [WIDTH, 3, 2]]
head:
  - [[2, 3], 1, Detect, [nc]]
";

/// A detector whose last layer has so many channels.
fn detector(folder: &Path, width: usize) -> DetectionTask {
    detector_from(folder, width, Pretrained::No)
}

fn detector_from(folder: &Path, width: usize, pretrained: Pretrained) -> DetectionTask {
    let yaml = folder.join(format!("{width}.yaml"));
    std::fs::write(&yaml, NET.replace("WIDTH", &width.to_string())).unwrap();
    let mut options = DetectionOptions::new(yaml.to_string_lossy().into_owned()).batch(2).workers(1);
    options.recipe.nbs = 2;
    options.pretrained = pretrained;
    let item = |number: usize| {
        let is_inside = |x: u32, y: u32| (8..32).contains(&x) && (20..44).contains(&y);
        let color = [250, 120 * (number % 2) as u8, 30];
        let image = RgbImage::from_fn(64, 64, |x, y| Rgb(if is_inside(x, y) { color } else { [90; 3] }));
        DetectionItem::new(image, vec![Annotation::normalised(number % 2, [0.3125, 0.5, 0.375, 0.375])])
    };
    let set = || Arc::new((0..4).map(item).collect::<InMemoryDataset<_>>());
    let names = ["red", "orange"].map(str::to_owned).to_vec();
    DetectionTask::from_datasets(set(), set(), names, 64, options).unwrap()
}

/// Asks to end at the third step.
struct Stops(StopFlag);

impl<T: TrainTask> Callbacks<T> for Stops {
    fn on_step(&mut self, task: &T, report: &StepReport<'_>) -> Result<()> {
        assert_eq!(report.step.losses.len(), task.columns().0.len());
        if report.number == 2 {
            self.0.set();
        }
        Ok(())
    }
}

#[test]
fn a_detector_that_was_stopped_goes_on_with_its_teacher_to_the_same_weights() {
    let folder = tempfile::tempdir().unwrap();
    let run = |name: &str, epochs: usize| FitOptions::new(folder.path().join(name)).epochs(epochs);
    let teacher = fit(&mut detector(folder.path(), 16), &run("teacher", 1), &mut ()).unwrap().last;
    let loaded = || LoadOptions::new().model(&teacher).unwrap();
    let student = || detector(folder.path(), 8).learn_from(loaded());
    let whole = fit(&mut student(), &run("whole", 2), &mut ()).unwrap();
    let column = |report: &FitReport, name: &str| report.results.names().iter().position(|column| column == name);
    let distilled = column(&whole, "train/distill_loss").unwrap();
    assert!(whole.results.rows().iter().all(|row| row[distilled] > 0.), "{:?}", whole.results);
    assert_eq!(column(&whole, "val/distill_loss"), None);

    let stop = StopFlag::new();
    let mut part = student();
    let report = fit(&mut part, &run("part", 2).stop(stop.clone()), &mut Stops(stop)).unwrap();
    assert_eq!((report.end, report.epochs), (End::Interrupted, 1));
    // The same task finds it by its name, and so does another by its options.
    let resumed = resume(&mut part, &run("part", 2), &mut ()).unwrap();
    let bytes = |report: &FitReport| std::fs::read(&report.last).unwrap();
    assert!(bytes(&resumed) == bytes(&whole));
    let error = resume(&mut detector(folder.path(), 8), &run("whole", 3), &mut ()).unwrap_err();
    assert!(error.is_request() && error.to_string().contains("cannot change to null"), "{error}");
    let mut other = detector(folder.path(), 8).learn_from(loaded());
    assert_eq!(resume(&mut other, &run("whole", 3), &mut ()).unwrap().epochs, 3);
    let plain = fit(&mut detector(folder.path(), 8), &run("plain", 2), &mut ()).unwrap();
    assert!(column(&plain, "train/distill_loss").is_none() && bytes(&plain) != bytes(&resumed));
}

#[test]
fn what_is_said_of_many_images_is_cut() {
    let messages = Messages::default();
    messages.note_each(&(0..23).collect::<Vec<_>>());
    let said = messages.take();
    assert_eq!((said.len(), said.last()), (21, Some(&Message::Note("and 3 more".to_owned()))));
}

#[test]
fn what_is_made_of_weights_that_bind_is_under_their_licence() {
    let folder = tempfile::tempdir().unwrap();
    images(folder.path());
    let run = |name: &str, epochs: usize| FitOptions::new(folder.path().join(name)).epochs(epochs);
    let own = fit(&mut detector(folder.path(), 8), &run("own", 1), &mut ()).unwrap().last;
    let licence = |path: &Path| ghostzoo_weights::read(path).unwrap().metadata.licence;
    assert_eq!(licence(&own), None);
    let under = |theirs: &str, of: &Path| {
        let mut checkpoint = ghostzoo_weights::read(of).unwrap();
        checkpoint.metadata.licence = Some(theirs.to_owned());
        let path = folder.path().join("theirs.safetensors");
        ghostzoo_weights::write(&path, &checkpoint).unwrap();
        Pretrained::From(path.to_string_lossy().into_owned())
    };
    for (theirs, binds) in [("AGPL-3.0 (an address)", true), ("MIT", false), ("cc-by-sa-4.0", true)] {
        let expected = binds.then(|| theirs.to_owned());
        let start = || detector_from(folder.path(), 8, under(theirs, &own));
        let last = fit(&mut start(), &run(theirs, 1), &mut ()).unwrap().last;
        assert_eq!(licence(&last), expected);
        resume(&mut start(), &run(theirs, 2), &mut ()).unwrap();
        assert_eq!(licence(&last), expected, "of a run that went on");
    }
    let first = fit(&mut task(folder.path(), options()), &run("classifier", 1), &mut ()).unwrap().last;
    let bound = || options().pretrained(under("GPLv3", &first));
    let last = fit(&mut task(folder.path(), bound()), &run("bound", 1), &mut ()).unwrap().last;
    assert_eq!(licence(&last).as_deref(), Some("GPLv3"));
    resume(&mut task(folder.path(), bound()), &run("bound", 2), &mut ()).unwrap();
    assert_eq!(licence(&last).as_deref(), Some("GPLv3"));
}
