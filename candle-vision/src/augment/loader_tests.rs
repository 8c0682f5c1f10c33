use std::sync::Arc;
use std::time::{Duration, Instant};

use candle_core::{DType, Device};

use super::*;
use crate::augment::{ClassificationAugment, Targets, TrainInterpolation};
use crate::data::{CachedDataset, ClassificationDataset, InMemoryDataset};
use crate::image::fixtures::synthetic;
use crate::image::{Interpolation, save};

/// A training set of two classes: `count` small images of several sizes, of which those of `broken` are damaged.
fn folder(count: usize, broken: &[usize]) -> (tempfile::TempDir, Arc<CachedDataset>) {
    let dir = tempfile::tempdir().unwrap();
    for part in ["train/cat", "train/dog", "val/cat", "val/dog"] {
        std::fs::create_dir_all(dir.path().join(part)).unwrap();
    }
    for index in 0..count {
        let class = if index % 2 == 0 { "cat" } else { "dog" };
        let path = dir.path().join(format!("train/{class}/{index:03}.png"));
        save(&synthetic(index as u32, 20 + index % 7, 24 + index % 5), &path).unwrap();
        if broken.contains(&index) {
            std::fs::write(&path, b"\x89PNG\r\n\x1a\nno image").unwrap();
        }
    }
    for class in ["cat", "dog"] {
        save(&synthetic(1, 20, 20), &dir.path().join(format!("val/{class}/1.png"))).unwrap();
    }
    let set = ClassificationDataset::open(dir.path(), 1 << 20).unwrap();
    (dir, Arc::new(set.train))
}

fn view() -> EvalTransform {
    EvalTransform { input_size: [16, 16], crop_pct: 1., interpolation: Interpolation::Bilinear, ..Default::default() }
}

/// All kinds of changes at once.
fn augment() -> ClassificationAugment {
    ClassificationAugment {
        aa: Some("rand-m9-mstd0.5-inc1".parse().unwrap()),
        vflip: 0.5,
        grayscale_prob: 0.2,
        reprob: 0.5,
        mixup: 0.8,
        cutmix: 1.,
        ..Default::default()
    }
}

fn loader(set: &Arc<CachedDataset>, augment: ClassificationAugment, workers: usize) -> DataLoader {
    let transform = TrainTransform::new(augment, &view()).unwrap();
    let options = LoaderOptions { batch: 4, workers, seed: 5, ..Default::default() };
    DataLoader::train(set.clone(), transform, 2, options).unwrap()
}

fn batches(loader: &DataLoader, epoch: usize) -> Vec<Batch> {
    loader.epoch(epoch).unwrap().collect::<Result<_, _>>().unwrap()
}

#[test]
fn batches_do_not_depend_on_threads_or_on_where_a_run_starts() {
    let (_dir, set) = folder(23, &[]);
    let expected: Vec<Vec<Batch>> = (0..3).map(|epoch| batches(&loader(&set, augment(), 0), epoch)).collect();
    for workers in [1, 2, 5] {
        let loader = loader(&set, augment(), workers);
        for epoch in [2, 0, 1] {
            assert_eq!(batches(&loader, epoch), expected[epoch], "{workers} workers, epoch {epoch}");
            let rest: Vec<Batch> = loader.epoch_from(epoch, 3).unwrap().collect::<Result<_, _>>().unwrap();
            assert_eq!(rest, expected[epoch][3..], "{workers} workers, from the middle of epoch {epoch}");
            assert_eq!(loader.epoch_from(epoch, 9).unwrap().count(), 0);
        }
    }
    assert_ne!(expected[0], expected[1], "each epoch has an order and changes of its own");
    for epoch in &expected {
        assert_eq!(epoch.len(), 5);
        let mut seen: Vec<usize> = epoch.iter().flat_map(|batch| batch.indices.clone()).collect();
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen.len(), 20, "no image comes twice");
        for batch in epoch {
            assert!(
                batch.indices.iter().zip(&batch.classes).all(|(&index, &class)| set.set().class_of(index) == class)
            );
            assert_eq!(batch.images.len(), 4 * 3 * 16 * 16);
            let soft = batch.soft.as_ref().unwrap();
            assert!(soft.chunks(2).all(|row| (row[0] + row[1] - 1.).abs() < 1e-6), "{soft:?}");
        }
    }
}

#[test]
fn the_rest_of_an_epoch_is_kept_where_it_is_wanted() {
    let (_dir, set) = folder(6, &[]);
    let transform = TrainTransform::new(ClassificationAugment::default(), &view()).unwrap();
    for (batch, drop_last, sizes) in
        [(4, true, vec![4]), (4, false, vec![4, 2]), (3, true, vec![3, 3]), (9, true, vec![6]), (9, false, vec![6])]
    {
        let options = LoaderOptions { batch, drop_last, ..Default::default() };
        let loader = DataLoader::train(set.clone(), transform.clone(), 2, options).unwrap();
        let found: Vec<usize> = batches(&loader, 0).iter().map(|batch| batch.classes.len()).collect();
        assert_eq!((loader.batches(), found), (sizes.len(), sizes), "{batch} {drop_last}");
    }
    let options = LoaderOptions { batch: 0, ..Default::default() };
    let error = DataLoader::train(set, transform, 2, options).unwrap_err().to_string();
    assert_eq!(error, "the option batch is 0; it has to be at least 1");
}

#[test]
fn unreadable_images_give_their_place_to_the_next_and_are_reported() {
    let (_dir, set) = folder(8, &[2, 3, 7]);
    for workers in [0, 2] {
        let mut indices: Vec<usize> = batches(&loader(&set, ClassificationAugment::cifar(), workers), 0)
            .iter()
            .flat_map(|b| b.indices.clone())
            .collect();
        indices.sort_unstable();
        // The set lists cats first: 0 2 4 6, then 1 3 5 7. Damaged are its 1st, 5th and 7th.
        assert_eq!(indices, [0, 0, 2, 2, 3, 4, 6, 6], "{workers} workers");
    }
    let reports: Vec<String> = set.unreadable().iter().map(ToString::to_string).collect();
    assert_eq!(reports.len(), 3);
    assert!(reports[0].starts_with("cat/002.png: the PNG image is"), "{reports:?}");
}

#[test]
fn evaluation_leaves_unreadable_images_out_and_keeps_the_order() {
    let (_dir, set) = folder(9, &[2, 7, 8]);
    for workers in [0, 3] {
        let options = LoaderOptions { batch: 4, workers, ..Default::default() };
        let loader = DataLoader::eval(set.clone(), view(), options).unwrap();
        let batches = batches(&loader, 0);
        let found: Vec<Vec<usize>> = batches.iter().map(|batch| batch.indices.clone()).collect();
        assert_eq!(found, [vec![0, 2, 3], vec![5, 6, 7]], "{workers} workers");
        for batch in batches {
            for (at, &index) in batch.indices.iter().enumerate() {
                let expected = view().apply(&set.image(index).unwrap(), &Device::Cpu).unwrap();
                let expected: Vec<f32> = expected.flatten_all().unwrap().to_vec1().unwrap();
                assert_eq!(batch.images[at * 768..(at + 1) * 768], expected);
            }
            assert_eq!(batch.soft, None);
        }
    }
}

#[test]
fn a_set_of_unreadable_images_ends_with_an_error() {
    let (_dir, set) = folder(6, &[0, 1, 2, 3, 4, 5]);
    for workers in [0, 2] {
        let mut epoch = loader(&set, augment(), workers).epoch(0).unwrap();
        let error = epoch.next().unwrap().unwrap_err().to_string();
        assert!(error.starts_with("50 images in a row cannot be read, the last `"), "{error}");
        assert!(epoch.next().is_none(), "after an error there is nothing");
    }
}

#[test]
fn a_panic_becomes_an_error() {
    let (_dir, set) = folder(6, &[]);
    for workers in [0, 2] {
        let transform = TrainTransform::new(augment(), &view()).unwrap();
        let options = LoaderOptions { batch: 6, workers, ..Default::default() };
        // One class fewer than the set has.
        let mut epoch = DataLoader::train(set.clone(), transform, 1, options).unwrap().epoch(3).unwrap();
        let error = epoch.next().unwrap().unwrap_err().to_string();
        assert!(error.contains("batch 0 of epoch 3 failed: the class 1 is none of 1"), "{error}");
        assert!(epoch.next().is_none());
    }
}

#[test]
fn an_epoch_that_is_dropped_ends_its_thread() {
    let (_dir, set) = folder(20, &[]);
    let loader = loader(&set, augment(), 2);
    for taken in 0..3 {
        let mut epoch = loader.epoch(0).unwrap();
        epoch.by_ref().take(taken).for_each(|batch| drop(batch.unwrap()));
        drop(epoch);
        // The epoch's thread has been joined, so nothing but the loader holds the source.
        assert_eq!(Arc::strong_count(&loader.source), 1, "after {taken} batches");
    }
}

#[test]
fn waiting_is_measured() {
    let (_dir, set) = folder(20, &[]);
    let start = Instant::now();
    let mut epoch = loader(&set, augment(), 0).epoch(0).unwrap();
    assert_eq!(epoch.waited(), Duration::ZERO);
    assert_eq!(epoch.by_ref().count(), 5);
    assert!(epoch.waited() > Duration::ZERO && epoch.waited() <= start.elapsed());
}

#[test]
fn tensors_have_the_batch_s_shape() {
    let (_dir, set) = folder(8, &[]);
    for (augment, is_soft) in [(augment(), true), (ClassificationAugment::cifar(), false)] {
        let batch = batches(&loader(&set, augment, 0), 0).remove(0);
        let classes = batch.classes.clone();
        let (images, targets) = batch.into_tensors(&Device::Cpu).unwrap();
        assert_eq!((images.dims(), images.dtype()), (&[4, 3, 16, 16][..], DType::F32));
        match targets {
            Targets::Soft(soft) => assert!(is_soft && soft.dims() == [4, 2]),
            Targets::Classes(found) => {
                let found: Vec<usize> = found.to_vec1::<u32>().unwrap().iter().map(|&class| class as usize).collect();
                assert!(!is_soft && found == classes);
            }
        }
    }
}

/// The same images from memory, whatever the change and the number of threads.
#[test]
fn batches_of_a_list_are_those_of_files() {
    let (_dir, set) = folder(11, &[]);
    let items = (0..11).map(|index| Dataset::get(&*set, index).unwrap());
    let list = Arc::new(items.collect::<InMemoryDataset<_>>());
    let transform = TrainTransform::new(augment(), &view()).unwrap();
    for workers in [0, 2] {
        let options = LoaderOptions { batch: 4, workers, seed: 5, ..Default::default() };
        let of_list = DataLoader::train(list.clone(), transform.clone(), 2, options).unwrap();
        for epoch in 0..2 {
            assert_eq!(batches(&of_list, epoch), batches(&loader(&set, augment(), 1), epoch));
        }
        let of_list = DataLoader::eval(list.clone(), view(), options).unwrap();
        assert_eq!(batches(&of_list, 0), batches(&DataLoader::eval(set.clone(), view(), options).unwrap(), 0));
        assert!(of_list.unreadable().is_empty());
    }
    let error = DataLoader::eval(Arc::new(InMemoryDataset::new(Vec::new())), view(), Default::default()).unwrap_err();
    assert_eq!(error.to_string(), "the dataset has no images");
}

#[test]
fn images_that_a_dataset_cannot_give_are_named() {
    let item = |side: u32, class| ClassificationItem::new(image::RgbImage::new(side, side), class);
    let list = Arc::new(InMemoryDataset::new(vec![item(9, 0), item(0, 1), item(9, 1)]));
    let options = LoaderOptions { batch: 3, workers: 0, ..Default::default() };
    let loader = DataLoader::eval(list, view(), options).unwrap();
    assert_eq!(batches(&loader, 0)[0].indices, [0, 2]);
    let named: Vec<String> = loader.unreadable().iter().map(ToString::to_string).collect();
    assert_eq!(named, ["item 1: the image has no pixels"]);
}

/// The recipe of CIFAR: the crop of the padded image, flipped or not, resized and normalised; and nothing else.
#[test]
fn cifar_s_recipe_is_a_window_and_a_flip() {
    let (_dir, set) = folder(8, &[]);
    let mut flips = 0;
    for batch in (0..8).flat_map(|epoch| batches(&loader(&set, ClassificationAugment::cifar(), 0), epoch)) {
        for (at, &index) in batch.indices.iter().enumerate() {
            let source = set.image(index).unwrap();
            let (width, height) = (source.width() as usize, source.height() as usize);
            let input = &batch.images[at * 768..(at + 1) * 768];
            let found = (-4..=4).flat_map(|top| (-4..=4).flat_map(move |left| [(top, left, false), (top, left, true)]));
            let found = found.into_iter().find(|&(top, left, hflip)| {
                let crop = super::super::CropBox { top, left, height, width };
                let mut image = crop.apply_resized(&source, [16, 16], Interpolation::Bilinear);
                if hflip {
                    image::imageops::flip_horizontal_in_place(&mut image);
                }
                let mut expected = vec![0.; 768];
                write_planes(&image, &view().tables(), &mut expected);
                input == expected
            });
            flips += usize::from(found.expect("a window of the padded image").2);
        }
    }
    assert!((16..48).contains(&flips), "{flips} of 64 are flipped");
}

/// `cargo test --release -p candle-vision time_of_a_sample -- --ignored --nocapture`; timm's are printed by
/// `tests/oracle/augment_classify.py speed`.
#[test]
#[ignore = "prints times"]
fn time_of_a_sample() {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
    let bicubic =
        ClassificationAugment { interpolation: TrainInterpolation::Bicubic, color_jitter: 0., ..Default::default() };
    let policy = Some("rand-m9-mstd0.5-inc1".parse().unwrap());
    for (name, size, input, augment) in [
        ("cifar", [32, 32], 64, ClassificationAugment::cifar()),
        ("crop", [375, 500], 224, bicubic.clone()),
        ("RandAugment", [375, 500], 224, ClassificationAugment { aa: policy, ..bicubic.clone() }),
        ("jitter", [375, 500], 224, ClassificationAugment { color_jitter: 0.4, ..bicubic.clone() }),
        ("erasing", [375, 500], 224, ClassificationAugment { reprob: 0.25, ..bicubic }),
    ] {
        let view = EvalTransform { input_size: [input, input], ..Default::default() };
        let transform = TrainTransform::new(augment, &view).unwrap();
        let (image, mut out) = (synthetic(0, size[0], size[1]), vec![0.; 3 * input * input]);
        let count = 300;
        let start = Instant::now();
        pool.install(|| {
            for index in 0..count {
                transform.apply(&transform.draw(&mut stream(0, &[index]), size), &image, &mut out);
            }
        });
        println!("{:.3} ms for {size:?} to {input}: {name}", start.elapsed().as_secs_f64() / count as f64 * 1e3);
    }
}

#[test]
fn processes_share_the_batches_of_one_mixed_images_with_their_partners() {
    let (_dir, set) = folder(11, &[3]);
    let options = LoaderOptions::new().batch(4).workers(0).seed(5).drop_last(false);
    let of = |augment: ClassificationAugment, options| {
        let transform = TrainTransform::new(augment, &view()).unwrap();
        DataLoader::train(set.clone(), transform, 2, options).unwrap()
    };
    for augment in [augment(), ClassificationAugment { mixup: 0., cutmix: 0., ..augment() }] {
        let whole = batches(&of(augment.clone(), options), 1);
        assert_eq!(whole.len(), 3);
        for world_size in [2, 3, 4] {
            for rank in 0..world_size {
                let loader = of(augment.clone(), options.shard(Shard::new(rank, world_size)));
                for (number, (own, whole)) in batches(&loader, 1).into_iter().zip(&whole).enumerate() {
                    let images = loader.shard(number).images;
                    let length = 3 * 16 * 16;
                    assert_eq!(own.images, whole.images[images.start * length..images.end * length]);
                    assert_eq!(own.indices, whole.indices[images.clone()]);
                    assert_eq!(own.classes, whole.classes[images.clone()]);
                    let soft =
                        |batch: &Batch| batch.soft.as_ref().map(|soft| soft.chunks(2).map(<[f32]>::to_vec).collect());
                    let expected: Option<Vec<Vec<f32>>> = soft(whole);
                    assert_eq!(
                        soft(&own),
                        expected.map(|soft| soft[images].to_vec()),
                        "{number}: {rank} of {world_size}"
                    );
                }
            }
        }
    }
}
