use std::sync::Arc;
use std::thread;

use candle_vision::data::{Dataset, InMemoryDataset};
use candle_vision::image::{Rgb, RgbImage};
use candle_vision::train::distributed::{Communicator, LocalGroup};
use candle_yolov8::data::{Annotation, DetectionItem};

use super::*;
use crate::train::{DetectionOptions, Plan, TrainTask};

const NET: &str = "
nc: 2
backbone:
  - [-1, 1, Conv, [8, 3, 2]]
  - [-1, 1, Conv, [8, 3, 2]]
  - [-1, 1, Conv, [16, 3, 2]]
  - [-1, 1, Conv, [16, 3, 2]]
head:
  - [[2, 3], 1, Detect, [nc]]
";

/// Images of several shapes with a box each; one that cannot be read.
#[derive(Debug)]
struct Boxed(InMemoryDataset<DetectionItem>);

impl Dataset for Boxed {
    type Item = DetectionItem;

    fn len(&self) -> usize {
        self.0.len()
    }

    fn get(&self, index: usize) -> Result<DetectionItem, ItemError> {
        match index {
            5 => Err(ItemError::other("it is on the moon")),
            index => self.0.get(index),
        }
    }

    fn name(&self, index: usize) -> String {
        format!("item {index}")
    }
}

fn boxed(number: usize) -> DetectionItem {
    let (left, top, height) = ((number * 5 % 17) as u32, (number * 7 % 19) as u32, 48 + 16 * (number % 3) as u32);
    let is_in = |at: u32, from: u32| (from..from + 24).contains(&at);
    let image = RgbImage::from_fn(64, height, |x, y| match is_in(x, left) && is_in(y, top) {
        true => Rgb([220, 180 * (number % 2) as u8, 30]),
        false => Rgb([(x * 3 + number as u32) as u8 / 4, (y * 2) as u8, 90]),
    });
    let centre = [f64::from(left + 12) / 64., f64::from(top + 12) / f64::from(height)];
    let sides = [24. / 64., 24. / f64::from(height)];
    DetectionItem::new(image, vec![Annotation::normalised(number % 2, [centre[0], centre[1], sides[0], sides[1]])])
}

/// A task that made two steps as one of several processes.
fn trained(yaml: &str, group: &Communicator) -> Result<DetectionTask> {
    let set = |range: Range<usize>| range.map(boxed).collect::<InMemoryDataset<_>>();
    let options = DetectionOptions::new(yaml).batch(6).workers(1);
    let names = vec!["even".to_owned(), "odd".to_owned()];
    let val = Arc::new(Boxed(set(0..40)));
    let mut task = DetectionTask::from_datasets(Arc::new(set(0..12)), val, names, 64, options)?;
    task.distribute(Some(group), false)?;
    task.prepare(&Plan { epochs: 1, is_timed: false }, None)?;
    task.begin(0, 0)?;
    task.step()?;
    task.step()?;
    Ok(task)
}

/// What each process's thread gives, by rank.
fn each<R: Send>(count: usize, f: impl Fn(&Communicator, DetectionTask) -> Result<R> + Sync) -> Result<Vec<R>> {
    let folder = tempfile::tempdir().expect("a folder");
    let yaml = folder.path().join("small.yaml");
    std::fs::write(&yaml, NET).expect("a file");
    let (f, yaml) = (&f, &yaml.to_string_lossy().into_owned());
    let run = |member| {
        let group = Communicator::new(member);
        f(&group, trained(yaml, &group)?)
    };
    thread::scope(|scope| {
        let threads: Vec<_> =
            LocalGroup::new(count).into_iter().map(|member| scope.spawn(move || run(member))).collect();
        threads.into_iter().map(|thread| thread.join().expect("no panic")).collect()
    })
}

#[test]
fn processes_measure_together_what_the_first_measures_alone() -> Result<()> {
    for count in [2, 3] {
        let found = each(count, |group, task| {
            let stop = StopFlag::new();
            let (together, losses) = task.measure_together(Ranks::new(Some(group)), &stop)?.expect("not stopped");
            let told = task.take_messages().iter().filter(|message| message.text().contains("on the moon")).count();
            let detector = task.ready.get()?.trainer.detector()?;
            let mut batches = 0;
            let alone = task.measure(
                &detector,
                |_, _| {
                    batches += 1;
                    Ok(())
                },
                &stop,
            )?;
            let (alone, alone_losses) = alone.expect("not stopped");
            let texts = |report: &ValReport| -> Vec<_> {
                report.images.iter().map(|image| image.as_ref().map_err(ToString::to_string).cloned()).collect()
            };
            Ok((
                together.measured.clone(),
                losses,
                texts(&together),
                alone.measured.clone(),
                alone_losses,
                texts(&alone),
                batches,
                told,
            ))
        })?;
        let (_, _, _, alone, losses, images, batches, _) = &found[0];
        assert!(*batches > count, "each has a part");
        assert!(images.iter().flatten().map(Vec::len).sum::<usize>() > 100 && losses.iter().all(|loss| *loss > 0.));
        assert_eq!(images.iter().filter(|image| image.is_err()).count(), 1);
        for (rank, (together, sums, seen, _, _, own, ..)) in found.iter().enumerate() {
            assert_eq!((together, sums, seen), (alone, losses, images), "rank {rank}");
            assert_eq!(own == images, rank == 0, "batch norms of other ranks have other statistics");
            assert_eq!(found[rank].7, usize::from(rank == 0), "the first tells of what cannot be read, once");
        }
    }
    Ok(())
}

#[test]
fn a_process_that_is_asked_to_end_ends_the_validation_of_all() -> Result<()> {
    let ended = each(2, |group, task| {
        let stop = StopFlag::new();
        if group.rank() == 1 {
            stop.set();
        }
        Ok(task.measure_together(Ranks::new(Some(group)), &stop)?.is_none())
    })?;
    assert_eq!(ended, [true, true]);
    Ok(())
}

#[test]
fn a_process_that_fails_says_so_to_all() -> Result<()> {
    let said = each(2, |group, task| {
        let own = match group.rank() {
            0 => Ok(Some(vec![1, 2])),
            _ => task.val.labels(0).is_empty().then_some(None).ok_or_else(|| crate::error::request("no labels")),
        };
        Ok(Ranks::new(Some(group)).shares(own).expect_err("one failed").to_string())
    })?;
    assert_eq!(said, ["rank 1: no labels", "no labels"]);
    Ok(())
}
