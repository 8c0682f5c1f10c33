use candle_vision::data::{Dataset, InMemoryDataset, ItemError};
use candle_vision::image::RgbImage;

use super::*;
use crate::data::{AnnotatedFiles, Annotation, DetectionItem};
use crate::train::augment::{BoxTarget, Scale};
use crate::train::dataset_options::{CacheMode, DetectionDatasetOptions};
use crate::train::fixtures::images;

const IMGSZ: usize = 32;

fn set(folder: &std::path::Path, count: usize, cache: CacheMode) -> Arc<DetectionDataset> {
    let options = DetectionDatasetOptions { imgsz: IMGSZ, cache, ..Default::default() };
    Arc::new(DetectionDataset::new(images(folder, count), &options).unwrap())
}

fn options(batch: usize, workers: usize) -> LoaderOptions {
    let augment = AugmentOptions { mixup: 0.3, degrees: 5., ..Default::default() };
    LoaderOptions::new().batch(batch).workers(workers).seed(3).augment(augment)
}

fn batches(loader: &DataLoader, epoch: usize, joined: bool, first: usize) -> Vec<Batch> {
    loader.epoch(epoch, joined, first).unwrap().map(Result::unwrap).collect()
}

#[test]
fn batches_are_the_same_for_any_threads_and_any_begin() {
    let folder = tempfile::tempdir().unwrap();
    let sets = [CacheMode::Ram, CacheMode::Off].map(|cache| set(folder.path(), 11, cache));
    for joined in [true, false] {
        let expected = batches(&DataLoader::new(sets[0].clone(), options(4, 0)).unwrap(), 2, joined, 0);
        assert_eq!(expected.iter().map(Batch::len).collect::<Vec<_>>(), [4, 4, 3]);
        for (workers, set) in [(0, 1), (1, 0), (1, 1), (2, 0), (5, 1)] {
            let loader = DataLoader::new(sets[set].clone(), options(4, workers)).unwrap();
            assert_eq!(loader.batches_per_epoch(), 3);
            for first in 0..=3 {
                assert!(batches(&loader, 2, joined, first) == expected[first..], "{workers} threads from {first}");
            }
        }
    }
}

#[test]
fn each_epoch_shows_each_image_once_in_an_order_of_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let loader = DataLoader::new(set(folder.path(), 13, CacheMode::Ram), options(5, 2)).unwrap();
    let orders: Vec<Vec<PathBuf>> = (0..4)
        .map(|epoch| batches(&loader, epoch, true, 0).into_iter().flat_map(|batch| batch.paths).collect())
        .collect();
    for (epoch, order) in orders.iter().enumerate() {
        let mut sorted = order.clone();
        sorted.sort();
        sorted.dedup();
        assert_eq!(sorted.len(), 13);
        assert!(orders[..epoch].iter().all(|other| other != order), "epoch {epoch}");
    }
}

#[test]
fn seeds_and_epochs_change_the_images() {
    let folder = tempfile::tempdir().unwrap();
    let set = set(folder.path(), 4, CacheMode::Ram);
    let one = |seed: u64, epoch: usize| {
        let loader = DataLoader::new(set.clone(), LoaderOptions { seed, ..options(4, 0) }).unwrap();
        let mut batch = batches(&loader, epoch, false, 0).remove(0);
        let first = set.path(0).to_path_buf();
        let image = batch.paths.iter().position(|path| *path == first).unwrap();
        let side = 3 * IMGSZ * IMGSZ;
        batch.images.drain(image * side..(image + 1) * side).collect::<Vec<u8>>()
    };
    assert_eq!(one(0, 0), one(0, 0));
    assert!(one(0, 0) != one(1, 0) && one(0, 0) != one(0, 1));
}

#[test]
fn planes_and_targets_are_those_of_the_samples() {
    let folder = tempfile::tempdir().unwrap();
    let set = set(folder.path(), 3, CacheMode::Ram);
    let still = AugmentOptions {
        hsv_h: 0.,
        hsv_s: 0.,
        hsv_v: 0.,
        translate: 0.,
        scale: Scale::Gain(0.),
        fliplr: 0.,
        mosaic: 0.,
        ..Default::default()
    };
    let loader = DataLoader::new(set.clone(), LoaderOptions { augment: still, ..options(8, 1) }).unwrap();
    let batch = batches(&loader, 0, true, 0).remove(0);
    let tensor = batch.tensor(&Device::Cpu).unwrap();
    assert_eq!(tensor.dims(), [3, 3, IMGSZ, IMGSZ]);
    let values = tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    assert!(values.iter().zip(&batch.images).all(|(value, level)| *value == f32::from(*level) / 255.));
    for (image, path) in batch.paths.iter().enumerate() {
        let index = (0..3).find(|index| set.path(*index) == path).unwrap();
        let scene = set.scene(index);
        let [height, width] = [scene.image.height() as usize, scene.image.width() as usize];
        let [top, left] = [(IMGSZ - height) / 2, (IMGSZ - width) / 2];
        for (x, y, pixel) in scene.image.enumerate_pixels() {
            for channel in 0..3 {
                let place = ((image * 3 + channel) * IMGSZ + top + y as usize) * IMGSZ + left + x as usize;
                assert_eq!(batch.images[place], pixel[channel], "{path:?} {x} {y}");
            }
        }
        let targets: Vec<&Target> = batch.targets.iter().filter(|target| target.image == image).collect();
        assert_eq!(targets.len(), scene.objects.len());
        for (target, BoxTarget { class, xywhn: [cx, cy, w, h] }) in targets.iter().zip(scene.objects) {
            let side = IMGSZ as f32;
            let [fit_x, fit_y] = [width as f32 / side, height as f32 / side];
            let expected = [0.5 + (cx - 0.5) * fit_x, 0.5 + (cy - 0.5) * fit_y, w * fit_x, h * fit_y];
            assert_eq!(target.class, class);
            let gap = target.xywhn.iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0., f32::max);
            assert!(gap < 1e-5, "{:?} is not {expected:?}", target.xywhn);
        }
    }
}

#[test]
fn rectangular_batches_hold_similar_shapes_in_one_order() {
    let folder = tempfile::tempdir().unwrap();
    // Of 40 x 30, 30 x 40, 32 x 32 and 64 x 20 pixels, in turn.
    let set = set(folder.path(), 11, CacheMode::Ram);
    let rect = |batch: usize| LoaderOptions { rect: Some(8), ..options(batch, 1) };
    let loader = DataLoader::new(set.clone(), rect(3)).unwrap();
    let first = batches(&loader, 0, true, 0);
    assert_eq!(first.iter().map(|batch| batch.size).collect::<Vec<_>>(), [[24, 32], [32, 32], [32, 32], [32, 24]]);
    let order: Vec<&PathBuf> = first.iter().flat_map(|batch| &batch.paths).collect();
    let expected = [3, 7, 0, 4, 8, 2, 6, 10, 1, 5, 9].map(|index| set.path(index).to_path_buf());
    assert_eq!(order, expected.iter().collect::<Vec<_>>());
    for batch in &first {
        assert_eq!(batch.images.len(), batch.len() * 3 * batch.size[0] * batch.size[1]);
        assert_eq!(batch.tensor(&Device::Cpu).unwrap().dims(), [batch.len(), 3, batch.size[0], batch.size[1]]);
    }
    let second = batches(&loader, 1, true, 0);
    assert!(first.iter().zip(&second).all(|(a, b)| a.paths == b.paths && a.images != b.images));
    assert!(batches(&loader, 1, true, 2) == second[2..], "an epoch may begin at any batch");
    // No mosaics: as in the last epochs.
    assert!(batches(&loader, 1, false, 0) == second);
    // Batches of one shape are shuffled.
    let loader = DataLoader::new(set, LoaderOptions { rect: Some(32), ..options(3, 1) }).unwrap();
    let paths = |epoch| batches(&loader, epoch, true, 0).into_iter().flat_map(|b| b.paths).collect::<Vec<_>>();
    assert_ne!(paths(0), paths(1));
}

/// Whatever is kept of them, and in whatever shapes.
#[test]
fn batches_of_a_list_are_those_of_files() {
    let folder = tempfile::tempdir().unwrap();
    let files = AnnotatedFiles::new(images(folder.path(), 11), u64::MAX);
    let list: Arc<dyn Dataset<Item = DetectionItem>> =
        Arc::new((0..11).map(|number| files.get(number).unwrap()).collect::<InMemoryDataset<_>>());
    for (cache, imgsz) in
        [(CacheMode::Auto, IMGSZ), (CacheMode::Off, IMGSZ), (CacheMode::Off, 64), (CacheMode::Disk, 64)]
    {
        let wanted = DetectionDatasetOptions { imgsz, cache, ..Default::default() };
        let expected = Arc::new(DetectionDataset::new(files.images().to_vec(), &wanted).unwrap());
        let found = Arc::new(DetectionDataset::from_dataset(list.clone(), &wanted).unwrap());
        assert_eq!((found.bytes(), found.is_cached()), (expected.bytes(), expected.is_cached()));
        assert!((0..11).all(|index| found.objects(index) == expected.objects(index)));
        assert!(found.take_messages().is_empty() && found.on_disk() == 0);
        for rect in [None, Some(8)] {
            let options = || LoaderOptions { rect, ..options(4, 2) };
            let [of_list, of_files] = [&found, &expected].map(|set| {
                let loader = DataLoader::new(set.clone(), options()).unwrap();
                batches(&loader, 0, true, 0).into_iter().chain(batches(&loader, 1, false, 0)).collect::<Vec<_>>()
            });
            assert_eq!(of_list.len(), 6);
            for (list, files) in of_list.iter().zip(&of_files) {
                assert!(list.images == files.images && list.targets == files.targets && list.size == files.size);
                let names = files.paths.iter().map(|path| (0..11).find(|index| expected.path(*index) == path).unwrap());
                assert_eq!(list.paths, names.map(|index| PathBuf::from(format!("item {index}"))).collect::<Vec<_>>());
            }
        }
    }
}

/// A dataset whose items fail from some call on.
struct Failing {
    items: InMemoryDataset<DetectionItem>,
    calls: std::sync::atomic::AtomicUsize,
    after: usize,
}

impl Dataset for Failing {
    type Item = DetectionItem;

    fn len(&self) -> usize {
        self.items.len()
    }

    fn get(&self, index: usize) -> Result<DetectionItem, ItemError> {
        match self.calls.fetch_add(1, Ordering::SeqCst) < self.after {
            true => self.items.get(index),
            false => Err(ItemError::other("the connection is closed")),
        }
    }

    fn name(&self, index: usize) -> String {
        format!("row {index}")
    }
}

#[test]
fn images_that_a_dataset_cannot_give_are_left_out_or_grey_and_named() {
    let item = |side: u32| DetectionItem::new(RgbImage::new(side, 20), vec![Annotation::normalised(1, [0.5; 4])]);
    let failing = |sides: &[u32], after: usize| {
        let items = sides.iter().map(|side| item(*side)).collect();
        Arc::new(Failing { items, calls: 0.into(), after })
    };
    let options = DetectionDatasetOptions { imgsz: 32, cache: CacheMode::Off, ..Default::default() };
    let set = DetectionDataset::from_dataset(failing(&[20, 0, 30, 40], 5), &options).unwrap();
    assert_eq!((set.len(), set.size(1)), (3, [20, 30]));
    assert_eq!(set.take_messages(), ["row 1: the image has no pixels; the image is left out"]);
    assert!(!set.scene(2).objects.is_empty() && set.scene(0).objects.is_empty());
    assert_eq!(set.scene(0).image.dimensions(), (32, 32));
    let told = "row 0: the connection is closed; it counts as a grey image without objects";
    assert_eq!((set.take_messages(), set.check_decoded().is_ok()), (vec![told.to_owned()], true));
    let _ = set.scene(1);
    assert!(set.check_decoded().unwrap_err().to_string().starts_with("2 of 3 images cannot be decoded"));
    // Kept ones are asked for once.
    let kept = DetectionDatasetOptions { cache: CacheMode::Ram, single_cls: true, ..options.clone() };
    let set = DetectionDataset::from_dataset(failing(&[20, 30], 2), &kept).unwrap();
    assert!(set.is_cached() && (0..2).all(|index| set.scene(index).objects[0].class == 0));
    let error = DetectionDataset::from_dataset(failing(&[20, 30], 0), &kept).unwrap_err().to_string();
    assert_eq!(
        error,
        "none of the 2 images can be read; the first: row 0: the connection is closed; the image is left out"
    );
}

#[test]
fn processes_share_the_batches_of_one() {
    let folder = tempfile::tempdir().unwrap();
    let set = set(folder.path(), 11, CacheMode::Ram);
    for rect in [None, Some(8)] {
        let options = options(4, 0).rect(rect);
        let whole = batches(&DataLoader::new(set.clone(), options.clone()).unwrap(), 1, true, 0);
        for world_size in [2, 4] {
            let mut shared: Vec<Batch> = Vec::new();
            for rank in 0..world_size {
                let options = options.clone().shard(Shard::new(rank, world_size));
                let loader = DataLoader::new(set.clone(), options).unwrap();
                let own = batches(&loader, 1, true, 0);
                for (number, (batch, whole)) in own.into_iter().zip(&whole).enumerate() {
                    let part = loader.shard(number);
                    assert_eq!((batch.len(), batch.size), (part.images.len(), whole.size));
                    // The last batch has three images: four processes take it as a whole.
                    if part.weight < 1. {
                        assert_eq!((number, world_size, &batch), (2, 4, whole));
                        continue;
                    }
                    match shared.get_mut(number) {
                        None => shared.push(batch),
                        Some(all) => {
                            let before = all.len();
                            all.images.extend(batch.images);
                            all.paths.extend(batch.paths);
                            let moved = |target: Target| Target { image: target.image + before, ..target };
                            all.targets.extend(batch.targets.into_iter().map(moved));
                        }
                    }
                }
            }
            assert!(shared == whole[..shared.len()], "{world_size} of {rect:?}");
            assert_eq!(shared.len(), if world_size == 2 { 3 } else { 2 });
        }
    }
}
