use super::*;
use crate::train::augment::{BoxTarget, Scale};
use crate::train::dataset::{CacheMode, DetectionDatasetOptions};
use crate::train::fixtures::images;

const IMGSZ: usize = 32;

fn set(folder: &std::path::Path, count: usize, cache: CacheMode) -> Arc<DetectionDataset> {
    let options = DetectionDatasetOptions { imgsz: IMGSZ, cache, ..Default::default() };
    Arc::new(DetectionDataset::new(images(folder, count), &options).unwrap())
}

fn options(batch: usize, workers: usize) -> LoaderOptions {
    let augment = AugmentOptions { mixup: 0.3, degrees: 5., ..Default::default() };
    LoaderOptions { batch, workers, seed: 3, augment, rect: None }
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
