use std::fs;

use super::*;
use crate::data::BBox;
use crate::train::fixtures::images;

fn options(imgsz: usize, cache: CacheMode) -> DetectionDatasetOptions {
    DetectionDatasetOptions { imgsz, cache, ..Default::default() }
}

#[test]
fn the_cache_changes_no_pixel() {
    let folder = tempfile::tempdir().unwrap();
    let images = images(folder.path(), 9);
    for imgsz in [64, 32] {
        let held = DetectionDataset::new(images.clone(), &options(imgsz, CacheMode::Ram)).unwrap();
        let decoded = DetectionDataset::new(images.clone(), &options(imgsz, CacheMode::Off)).unwrap();
        assert_eq!((held.is_cached(), decoded.is_cached(), held.len()), (true, false, 9));
        let mut bytes = 0;
        for index in 0..9 {
            let (a, b) = (held.scene(index), decoded.scene(index));
            assert_eq!((&a.image, &a.objects), (&b.image, &b.objects));
            assert_eq!(a.image.width().max(a.image.height()) as usize, imgsz);
            assert_eq!(a.objects, held.objects(index));
            bytes += a.image.len() as u64;
        }
        assert_eq!((held.bytes(), decoded.bytes()), (bytes, bytes));
        assert!(held.take_messages().is_empty() && decoded.take_messages().is_empty());
    }
}

#[test]
fn files_beside_the_images_change_no_pixel_and_are_written_once() {
    let folder = tempfile::tempdir().unwrap();
    let images = images(folder.path(), 4);
    let plain = DetectionDataset::new(images.clone(), &options(32, CacheMode::Off)).unwrap();
    let times = || -> Vec<_> {
        (0..4).map(|n| fs::metadata(folder.path().join(format!("{n}.npy"))).unwrap().created().unwrap()).collect()
    };
    let set = DetectionDataset::new(images.clone(), &options(32, CacheMode::Disk)).unwrap();
    let first = times();
    let again = DetectionDataset::new(images.clone(), &options(32, CacheMode::Disk)).unwrap();
    assert_eq!((set.on_disk(), again.on_disk(), plain.on_disk(), set.is_cached()), (4, 4, 0, false));
    assert_eq!(times(), first, "what is there is not written again");
    for index in 0..4 {
        assert_eq!(plain.scene(index).image, again.scene(index).image);
    }
    // Another image under the old name, of the same size, while the set is in use.
    let other = image::open(&images[1].path).map(|mut image| {
        image.iter_mut().for_each(|level| *level = 255 - *level);
        image
    });
    image::save(&other.unwrap(), &images[1].path).unwrap();
    assert_eq!(again.scene(1).image, plain.scene(1).image, "the new pixels, without and with files");
    let new = DetectionDataset::new(images, &options(32, CacheMode::Disk)).unwrap();
    assert_eq!(new.scene(1).image, plain.scene(1).image);
    assert!([set, again, new].iter().all(|set| set.take_messages().is_empty()));
}

#[test]
fn images_that_would_share_a_file_are_decoded() {
    let folder = tempfile::tempdir().unwrap();
    let mut images = images(folder.path(), 3);
    let twin = folder.path().join("0.bmp");
    image::save(&image::open(&images[2].path).unwrap(), &twin).unwrap();
    images[2].path = twin;
    let plain = DetectionDataset::new(images.clone(), &options(32, CacheMode::Off)).unwrap();
    let set = DetectionDataset::new(images, &options(32, CacheMode::Disk)).unwrap();
    assert_eq!(set.on_disk(), 1);
    let told = set.take_messages();
    assert!(told.len() == 1 && told[0].starts_with("2 images share a name but for its ending"), "{told:?}");
    assert!((0..3).all(|index| plain.scene(index).image == set.scene(index).image));
}

#[test]
fn somebody_elses_files_stay() {
    let folder = tempfile::tempdir().unwrap();
    let images = images(folder.path(), 4);
    fs::write(folder.path().join("1.npy"), "mine").unwrap();
    fs::create_dir(folder.path().join("2.npy")).unwrap();
    let set = DetectionDataset::new(images, &options(32, CacheMode::Disk)).unwrap();
    assert_eq!((set.on_disk(), fs::read_to_string(folder.path().join("1.npy")).unwrap().as_str()), (2, "mine"));
    let told = set.take_messages();
    assert!(told.len() == 1 && told[0].contains(".npy is no array of an image and stays as it is"), "{told:?}");
    assert!((0..4).all(|index| set.scene(index).image.width() > 0));
}

#[cfg(target_os = "linux")]
#[test]
fn a_folder_that_takes_no_file_is_told_once() {
    use std::os::fd::AsRawFd;
    let folder = tempfile::tempdir().unwrap();
    let mut images = images(folder.path(), 2);
    let held = images.iter().map(|image| fs::File::open(&image.path).unwrap()).collect::<Vec<_>>();
    for (image, file) in images.iter_mut().zip(&held) {
        // Nobody can write into this folder, root included.
        image.path = format!("/proc/self/fd/{}", file.as_raw_fd()).into();
    }
    let set = DetectionDataset::new(images, &options(32, CacheMode::Disk)).unwrap();
    assert_eq!(set.on_disk(), 0);
    let told = set.take_messages();
    assert!(told.len() == 1 && told[0].starts_with("cannot write /proc/self/fd/"), "{told:?}");
    assert!((0..2).all(|index| set.scene(index).image.width() > 0));
}

#[test]
fn sizes_are_those_of_ultralytics() {
    // BaseDataset.load_image of 8.4.190: [height, width] at an imgsz of 320.
    for (size, expected) in
        [([480, 640], [240, 320]), ([333, 500], [214, 320]), ([1000, 3], [320, 1]), ([7, 5], [320, 229])]
    {
        assert_eq!(scaled(size, 320), expected, "{size:?}");
    }
}

#[test]
fn damaged_images_are_left_out_or_grey_and_named() {
    let folder = tempfile::tempdir().unwrap();
    let images = images(folder.path(), 6);
    fs::write(&images[1].path, b"no image").unwrap();
    fs::remove_file(&images[2].path).unwrap();
    let mut damaged = fs::read(&images[3].path).unwrap();
    let middle = damaged.len() / 2;
    damaged[middle] ^= 1;
    fs::write(&images[3].path, damaged).unwrap();
    // Ultralytics 8.4.190 leaves it out too, as every image that its check cannot read to the end.
    let whole = fs::read(&images[5].path).unwrap();
    fs::write(&images[5].path, &whole[..whole.len() - 40]).unwrap();
    for cache in [CacheMode::Ram, CacheMode::Off] {
        let set = DetectionDataset::new(images.clone(), &options(64, cache)).unwrap();
        assert_eq!(set.len(), 3, "two are no images, one is cut");
        let scenes: Vec<RawSample> = (0..3).chain(0..3).map(|index| set.scene(index)).collect();
        assert!(scenes[1].objects.is_empty() && scenes[1].image.iter().all(|&level| level == GREY));
        assert_eq!(scenes[1].image.dimensions(), (64, 20), "the third left is the damaged one");
        assert!(scenes[0].objects.len() == 1 && scenes[2].objects.len() == 2);
        let messages = set.take_messages();
        assert_eq!(messages.len(), 4, "each once: {messages:?}");
        let has = |name: &str, what: &str| messages.iter().any(|line| line.contains(name) && line.contains(what));
        assert!(has("1.png: not an image", "left out") && has("2.png", "left out"), "{messages:?}");
        assert!(has("5.png: the PNG image is truncated", "left out"), "{messages:?}");
        assert!(has("3.png: ", "counts as a grey image without objects"), "{messages:?}");
        assert!(set.scene(1).objects.is_empty());
        assert!(set.take_messages().is_empty(), "nothing is told twice");
    }
}

#[test]
fn images_most_of_which_cannot_be_decoded_are_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let images = images(folder.path(), 4);
    let set = DetectionDataset::new(images.clone(), &options(64, CacheMode::Off)).unwrap();
    for (damaged, image) in images.iter().enumerate().take(3) {
        assert!(set.check_decoded().is_ok(), "{damaged} of 4");
        let mut bytes = fs::read(&image.path).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        fs::write(&image.path, bytes).unwrap();
        assert!(set.scene(damaged).objects.is_empty());
    }
    for error in
        [set.check_decoded().unwrap_err(), DetectionDataset::new(images, &options(64, CacheMode::Ram)).unwrap_err()]
    {
        let message = error.to_string();
        assert!(message.starts_with("3 of 4 images cannot be decoded, more than half"), "{message}");
        assert!(message.contains("; the first: ") && message.contains(".png"), "{message}");
    }
}

#[test]
fn nothing_to_learn_from_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let mut images = images(folder.path(), 3);
    let error = |images: Vec<AnnotatedImage>| DetectionDataset::new(images, &options(64, CacheMode::Off)).unwrap_err();
    assert!(matches!(error(Vec::new()), DataError::AllUnreadable { images: 0, first: None }));
    images.iter_mut().for_each(|image| image.labels.clear());
    assert!(matches!(error(images.clone()), DataError::NoObjects { images: 3 }));
    images.iter().for_each(|image| fs::write(&image.path, b"").unwrap());
    let text = error(images).to_string();
    assert!(text.starts_with("none of the 3 images can be read; the first: ") && text.contains("0.png"), "{text}");
}

#[test]
fn one_class_and_crowds() {
    let folder = tempfile::tempdir().unwrap();
    let mut images = images(folder.path(), 5);
    images[1].labels[0].crowd = true;
    let read = |single_cls: bool| {
        DetectionDataset::new(images.clone(), &DetectionDatasetOptions { single_cls, ..options(64, CacheMode::Off) })
            .unwrap()
    };
    let classes =
        |set: &DetectionDataset| (0..5).map(|index| set.objects(index).iter().map(|o| o.class).collect()).collect();
    let found: Vec<Vec<usize>> = classes(&read(false));
    assert_eq!(found, [vec![0], vec![2], vec![2, 3, 4], vec![3], vec![4, 0]]);
    let found: Vec<Vec<usize>> = classes(&read(true));
    assert_eq!(found, [vec![0], vec![0], vec![0; 3], vec![0], vec![0; 2]]);
}

#[test]
fn boxes_in_pixels_are_of_the_size_that_the_labels_say() {
    let folder = tempfile::tempdir().unwrap();
    let mut images = images(folder.path(), 1);
    images[0].labels[0].place = BBox::Pixels([10., 10., 20., 20.]);
    for (size, expected) in [(None, [0.5, 2. / 3., 0.5, 2. / 3.]), (Some([60, 80]), [0.25, 1. / 3., 0.25, 1. / 3.])] {
        images[0].size = size;
        let set = DetectionDataset::new(images.clone(), &options(64, CacheMode::Off)).unwrap();
        let found = set.objects(0)[0].xywhn;
        assert!(found.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-6), "{size:?}: {found:?}");
    }
}
