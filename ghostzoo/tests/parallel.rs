//! Runs of several processes, as threads of one: what they give, and how they end.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use ghostzoo::candle_vision::data::{ClassificationItem, InMemoryDataset};
use ghostzoo::candle_vision::train::distributed::{Communicator, LocalGroup};
use ghostzoo::candle_yolov8::data::{Annotation, DetectionItem};
use ghostzoo::candle_yolov8::train::Optimizer;
use ghostzoo::image::{Rgb, RgbImage};
use ghostzoo::train::{
    Callbacks, ClassificationOptions, ClassificationTask, DetectionOptions, DetectionTask, End, FitOptions, FitReport,
    Message, StepReport, StopFlag, TrainTask, fit, resume,
};
use ghostzoo::{Error, Result};

const NET: &str = "
nc: 2
backbone:
  - [-1, 1, Conv, [8, 3, 2]]
  - [-1, 1, Conv, [8, 3, 2]]
  - [-1, 1, C2f, [8, True]]
  - [-1, 1, Conv, [16, 3, 2]]
  - [-1, 1, Conv, [16, 3, 2]]
head:
  - [[3, 4], 1, Detect, [nc]]
";

/// Rounding of sums in f32, in another order, and what some steps make of it, relative to a loss.
const TOLERANCE: f64 = 1e-4;

/// An image with a bright box.
fn boxed(number: usize) -> DetectionItem {
    let (left, top) = (8 + (number * 5 % 17) as u32, 8 + (number * 7 % 19) as u32);
    let is_in = |at: u32, from: u32| (from..from + 24).contains(&at);
    let image = RgbImage::from_fn(64, 64, |x, y| match is_in(x, left) && is_in(y, top) {
        true => Rgb([220, 180 * (number % 2) as u8, 30]),
        false => Rgb([(x * 3 + number as u32) as u8 / 4, (y * 2) as u8, 90]),
    });
    let centre = [left, top].map(|at| f64::from(at + 12) / 64.);
    DetectionItem::new(image, vec![Annotation::normalised(number % 2, [centre[0], centre[1], 0.375, 0.375])])
}

fn detection(folder: &Path, images: usize, batch: usize) -> DetectionTask {
    let yaml = folder.join("small.yaml");
    std::fs::write(&yaml, NET).unwrap();
    let mut options = DetectionOptions::new(yaml.to_string_lossy().into_owned()).batch(batch).workers(1);
    // Every step moves the weights, and by as much as later ones.
    (options.recipe.optimizer, options.recipe.warmup_epochs, options.recipe.nbs) = (Optimizer::Sgd, 0., batch);
    let set = |range: std::ops::Range<usize>| Arc::new(range.map(boxed).collect::<InMemoryDataset<_>>());
    let names = vec!["even".to_owned(), "odd".to_owned()];
    DetectionTask::from_datasets(set(0..images), set(0..4), names, 64, options).unwrap()
}

fn classification(_: &Path, images: usize, batch: usize) -> ClassificationTask {
    let item = |number: usize| {
        let image = RgbImage::from_fn(32, 32, |x, y| Rgb([(number % 2 * 150) as u8 + ((x * y) % 40) as u8; 3]));
        ClassificationItem::new(image, number % 2)
    };
    let set = |count: usize| Arc::new((0..count).map(item).collect::<InMemoryDataset<_>>());
    let mut options = ClassificationOptions::new("ghostnet_050-cifar10").batch(batch).imgsz(32).workers(1);
    (options.augment.mixup, options.recipe.drop) = (0.4, 0.1);
    let names = vec!["dark".to_owned(), "light".to_owned()];
    ClassificationTask::from_datasets(set(images), set(4), names, options).unwrap()
}

/// Keeps what it is told, and fails or asks to end at a step.
#[derive(Default)]
struct Heard {
    messages: Vec<String>,
    losses: Vec<f64>,
    fails_at: Option<usize>,
    stops_at: Option<(usize, StopFlag)>,
}

impl<T: TrainTask> Callbacks<T> for Heard {
    fn on_step(&mut self, _: &T, report: &StepReport<'_>) -> Result<()> {
        self.losses.extend(&report.step.losses);
        if let Some((_, stop)) = self.stops_at.as_ref().filter(|(at, _)| *at == report.number) {
            stop.set();
        }
        match self.fails_at == Some(report.number) {
            true => Err(Error::Callback("the disk is full".into())),
            false => Ok(()),
        }
    }

    fn message(&mut self, message: &Message) {
        self.messages.push(message.text().to_owned());
    }
}

/// What each member's thread gives, by rank.
fn each<R: Send>(members: Vec<LocalGroup>, f: impl Fn(usize, Communicator) -> R + Sync) -> Vec<R> {
    thread::scope(|scope| {
        let f = &f;
        let spawn = |(rank, member)| scope.spawn(move || f(rank, Communicator::new(member)));
        let threads: Vec<_> = members.into_iter().enumerate().map(spawn).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    })
}

fn near(found: &[f64], expected: &[f64]) {
    assert_eq!(found.len(), expected.len());
    let apart = found.iter().zip(expected).map(|(a, b)| (a - b).abs() / b.abs().max(1.)).fold(0., f64::max);
    assert!(apart < TOLERANCE, "{apart:e} apart: {found:?} {expected:?}");
}

/// A run of one process beside one of two that synchronise, each rank in a folder of its own.
fn two_beside_one<T: TrainTask>(root: &Path, task: impl Fn() -> T + Sync) {
    let options = |name: &str| FitOptions::new(root.join(name)).epochs(2);
    let mut heard = Heard::default();
    let one = fit(&mut task(), &options("one"), &mut heard).unwrap();
    assert!(one.traffic.is_none());
    let two = each(LocalGroup::new(2), |rank, group| {
        let (mut heard, mut task) = (Heard::default(), task());
        let options = options(&format!("rank{rank}")).group(group).sync_bn(true);
        (fit(&mut task, &options, &mut heard).unwrap(), heard)
    });
    for (rank, (report, own)) in two.iter().enumerate() {
        assert_eq!((report.end, report.epochs, report.best_epoch), (End::Finished, 2, two[0].0.best_epoch));
        near(&own.losses, &heard.losses);
        assert_eq!(own.losses, two[0].1.losses, "losses are those of the whole batch on every rank");
        let (measured, expected) = (report.results.last().unwrap(), one.results.last().unwrap());
        assert_eq!(
            (measured.len(), rank == 0 || measured[2..] == two[0].0.results.last().unwrap()[2..]),
            (expected.len(), true)
        );
        assert_eq!(root.join(format!("rank{rank}")).exists(), rank == 0, "the first writes, and nobody else");
        assert!(report.traffic.unwrap().bytes > 100_000);
        let costs = own.messages.iter().filter(|text| text.contains("MB a step went to the other processes"));
        assert_eq!(costs.count(), if rank == 0 { 2 } else { 0 });
    }
    let read = |report: &FitReport| {
        ghostzoo::candle_core::safetensors::load(&report.last, &ghostzoo::candle_core::Device::Cpu)
    };
    let (one, two) = (read(&one).unwrap(), read(&two[0].0).unwrap());
    assert_eq!(one.len(), two.len());
}

#[test]
fn two_processes_train_a_detector_as_one_does() {
    let folder = tempfile::tempdir().unwrap();
    // Three batches of an epoch, the last of one image, which both take as a whole.
    two_beside_one(folder.path(), || detection(folder.path(), 9, 4));
}

#[test]
fn two_processes_train_a_classifier_as_one_does() {
    let folder = tempfile::tempdir().unwrap();
    two_beside_one(folder.path(), || classification(folder.path(), 12, 6));
}

#[test]
fn a_lost_process_ends_the_run_with_one_line_and_one_two_or_four_go_on() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let run = |name: &str| FitOptions::new(root.join(name)).epochs(2);
    let said = each(LocalGroup::new(2), |rank, group| {
        let mut heard = Heard { fails_at: (rank == 1).then_some(2), ..Heard::default() };
        fit(&mut detection(root, 8, 4), &run("run").group(group).sync_bn(true), &mut heard).unwrap_err()
    });
    let texts: Vec<String> = said.iter().map(chain).collect();
    let lost = "the processes do not go on together; the state that was last saved can be resumed: rank 1 of 2 is gone: the \
                disk is full";
    assert_eq!(texts, [lost, "the disk is full"]);
    // What was saved is the end of the first epoch.
    let copy = |to: &str| {
        std::fs::create_dir_all(root.join(to).join("weights")).unwrap();
        for name in ["results.csv", "weights/resume.safetensors", "weights/best.safetensors"] {
            std::fs::copy(root.join("run").join(name), root.join(to).join(name)).unwrap();
        }
    };
    copy("one");
    let mut heard = Heard::default();
    let one = resume(&mut detection(root, 8, 4), &run("one"), &mut heard).unwrap();
    assert_eq!((one.end, one.epochs, heard.losses.len()), (End::Finished, 2, 6));
    let changed = "the run goes on with one process in place of 2 processes with synchronised batch norms: sums are rounded \
                   otherwise, and nothing else changes";
    assert!(heard.messages.iter().any(|text| text == changed), "{:?}", heard.messages);
    for world_size in [2, 4] {
        copy(&format!("{world_size}"));
        let found = each(LocalGroup::new(world_size), |rank, group| {
            // Only the first has the folder.
            let options = run(&if rank == 0 { world_size.to_string() } else { "elsewhere".to_owned() });
            let mut heard = Heard::default();
            let report = resume(&mut detection(root, 8, 4), &options.group(group).sync_bn(true), &mut heard).unwrap();
            (report.epochs, heard)
        });
        for (epochs, own) in found {
            assert_eq!(epochs, 2);
            near(&own.losses, &heard.losses);
            let is_said = own.messages.iter().any(|text| text.contains("the run goes on with 4 processes"));
            assert_eq!(is_said, world_size == 4, "{:?}", own.messages);
        }
        assert!(!root.join("elsewhere").exists());
    }
}

#[test]
fn any_process_may_be_asked_to_end_and_all_do() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let ended = each(LocalGroup::new(2), |rank, group| {
        let stop = StopFlag::new();
        let stops_at = (rank == 1).then(|| (1, stop.clone()));
        let mut heard = Heard { stops_at, ..Heard::default() };
        let options = FitOptions::new(root.join("run")).epochs(2).stop(stop).group(group);
        (fit(&mut detection(root, 8, 4), &options, &mut heard).unwrap(), heard.losses.len())
    });
    assert!(ended.iter().all(|(report, losses)| (report.end, report.epochs, *losses) == (End::Interrupted, 0, 6)));
    let ended = each(LocalGroup::new(2), |_, group| {
        let options = FitOptions::new(root.join("run")).epochs(2).group(group);
        resume(&mut detection(root, 8, 4), &options, &mut ()).unwrap().end
    });
    assert_eq!(ended, [End::Finished; 2]);
}

/// What is said to each of two processes that begin a run.
fn refused(
    root: &Path,
    task: impl Fn(usize) -> DetectionTask + Sync,
    options: impl Fn(usize) -> FitOptions + Sync,
) -> Vec<String> {
    let said = each(LocalGroup::new(2), |rank, group| {
        let error = fit(&mut task(rank), &options(rank).group(group), &mut ()).unwrap_err();
        assert!(error.is_request(), "{error}");
        chain(&error)
    });
    assert!(!root.join("run").exists(), "nothing was written");
    said
}

#[test]
fn processes_that_differ_are_told_so_in_one_line() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let run = |_| FitOptions::new(root.join("run")).epochs(1);
    let data = refused(root, |rank| detection(root, 8 + rank, 4), run);
    let line = "rank 1 has other data than rank 0: other images (8 of rank 0, 9 of this one), labels, training images (8 of \
                rank 0, 9 of this one; new or changed: item 8)";
    assert_eq!(data, [line; 2]);
    let batches = refused(root, |rank| detection(root, 8, 4 + 2 * rank), run);
    assert!(batches[1].contains("rank 1 has `batch` 6, and rank 0 4"), "{batches:?}");
    let epochs = refused(root, |_| detection(root, 8, 4), |rank| run(rank).epochs(1 + rank));
    assert!(epochs[0].contains("rank 1 has `epochs` 2, and rank 0 1: start all with the same"), "{epochs:?}");
    let norms = refused(root, |_| detection(root, 8, 4), |rank| run(rank).sync_bn(rank == 0));
    assert!(norms[0].contains("rank 1 has `sync_bn` false, and rank 0 true"), "{norms:?}");
    let odd = refused(root, |_| detection(root, 8, 3), run);
    assert!(odd[0].contains("`options.recipe.batch` 3 is that of all 2 processes together"), "{odd:?}");
}

#[test]
fn a_process_that_nobody_joins_ends_in_time() {
    let folder = tempfile::tempdir().unwrap();
    let mut members = LocalGroup::with_timeout(2, Duration::from_millis(100));
    let (_other, own) = (members.pop().unwrap(), members.pop().unwrap());
    let options = FitOptions::new(folder.path().join("run")).epochs(1).group(Communicator::new(own));
    let error = fit(&mut detection(folder.path(), 8, 4), &options, &mut ()).unwrap_err();
    assert!(chain(&error).contains("rank 1 of 2 did not come within 0 s"), "{}", chain(&error));
    assert!(!options.folder.exists());
}

fn chain(error: &Error) -> String {
    let mut texts = vec![error.to_string()];
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        texts.push(error.to_string());
        cause = error.source();
    }
    texts.dedup();
    texts.join(": ")
}
