use std::path::Path;

use crate::seeded;
use candle_core::{DType, Device};
use candle_vision::data::InMemoryDataset;
use candle_vision::image::{Rgb, RgbImage, save};

use super::*;
use crate::data::{BBox, ImageId};
use crate::{NmsOptions, PredictOptions, TileOptions, Yolo, model_config};

const OPTIONS: fn() -> ValOptions = || ValOptions { imgsz: 320, batch: 3, ..Default::default() };

fn detector() -> Result<Detector> {
    let def = model_config("yolov8n-ghostnet", Some(3)).expect("shipped");
    let model = Yolo::new(&def.for_inference(), seeded::var_builder(DType::F32, &Device::Cpu))?;
    Ok(Detector::new(model, Device::Cpu, DType::F32, None))
}

/// Four images of several shapes without labels, as files of a folder.
fn images(folder: &Path) -> Vec<AnnotatedImage> {
    let sizes = [(400u32, 260u32), (260, 400), (320, 320), (200, 240)];
    let image = |(i, (width, height))| {
        let level = |x: u32, y: u32, c: u32| (x * (3 + c) + y * 5 + x * y / 7) as u8;
        let image = RgbImage::from_fn(width, height, |x, y| Rgb([level(x, y, 0), level(x, y, 1), level(x, y, 2)]));
        let path = folder.join(format!("{i}.png"));
        save(&image, &path).expect("saved");
        let size = Some([height as usize, width as usize]);
        AnnotatedImage { path, image_id: ImageId::Number(i as i64), size, labels: Vec::new() }
    };
    sizes.into_iter().enumerate().map(image).collect()
}

#[test]
fn a_detector_finds_again_what_it_labelled() -> Result<()> {
    let folder = tempfile::tempdir().expect("a folder");
    let (detector, options, mut images) = (detector()?, OPTIONS(), images(folder.path()));
    let first = validate(&detector, &images, &options, &mut |_| Ok(()))?;
    for (image, found) in images.iter_mut().zip(&first.images) {
        // Only a copy of what was found is clipped to the image, so a box that leaves it is not found again.
        let [height, width] = image.size.expect("just set").map(|side| side as f32);
        let inside = |xyxy: &[f32; 4]| xyxy[0] > 0. && xyxy[1] > 0. && xyxy[2] < width && xyxy[3] < height;
        let found = found.as_ref().expect("it is there").iter().filter(|detection| inside(&detection.xyxy));
        for detection in found.take(10) {
            let [x1, y1, x2, y2] = detection.xyxy.map(f64::from);
            let place = BBox::Pixels([x1, y1, x2 - x1, y2 - y1]);
            image.labels.push(Annotation { class: detection.class_id, place, outline_area: None, crowd: false });
        }
        assert_eq!(image.labels.len(), 10);
    }
    let second = validate(&detector, &images, &options, &mut |_| Ok(()))?;
    let recalls = |measured: &EvalResult| {
        let classes = &measured.ultralytics.classes;
        classes.iter().map(|class| class.recall_curve[0]).fold(1., f64::min)
    };
    assert_eq!(recalls(&second.measured), 1., "all are found again, by Ultralytics' rule");
    assert_eq!(second.measured.coco.summary.ar[2], Some(1.), "and by COCO's");
    assert_eq!(second.images.iter().filter(|found| found.is_ok()).count(), 4);
    images[1].size = Some([1, 1]);
    assert_eq!(
        (second.size_mismatches, validate(&detector, &images, &options, &mut |_| Ok(()))?.size_mismatches),
        (0, 1)
    );
    Ok(())
}

/// Whatever the shapes of the batches, of damaged files and labels of every kind.
#[test]
fn images_in_memory_are_measured_as_files_are() -> Result<()> {
    let folder = tempfile::tempdir().expect("a folder");
    let (detector, mut images) = (detector()?, images(folder.path()));
    for (number, image) in images.iter_mut().enumerate() {
        let shift = 10. * number as f64;
        image.labels.push(Annotation::pixels(number % 3, [20. + shift, 30., 100., 80. + shift]));
        image.labels.push(Annotation::normalised(2, [0.4, 0.5, 0.3, 0.6]));
        image.labels.push(Annotation { outline_area: Some(500.), ..Annotation::pixels(1, [5., 5., 50., 60.]) });
        image.labels.push(Annotation { crowd: true, ..Annotation::normalised(0, [0.5; 4]) });
    }
    for rect in [true, false] {
        let options = ValOptions { rect, ..OPTIONS() };
        let files = AnnotatedFiles::new(&images[..], options.max_pixels);
        let items = (0..4).map(|number| files.get(number).expect("an image")).collect::<InMemoryDataset<_>>();
        let (mut of_files, mut of_items) = (Vec::new(), Vec::new());
        let labels = |seen: &mut Vec<_>, batch: BatchOutput<'_>| {
            seen.push((batch.done, batch.numbers.to_vec(), batch.labels.to_vec()));
            Ok(())
        };
        let expected = validate(&detector, &images, &options, &mut |batch| labels(&mut of_files, batch))?;
        let found = validate_dataset(&detector, &items, &options, &mut |batch| labels(&mut of_items, batch))?;
        assert_eq!((&found.measured, &of_items), (&expected.measured, &of_files));
        assert!(found.images.iter().zip(&expected.images).all(|(a, b)| a.as_ref().ok() == b.as_ref().ok()));
        assert!(found.images.iter().all(|found| found.as_ref().is_ok_and(|found| !found.is_empty())));
        for (numbers, of_batch) in of_items.iter().map(|(_, numbers, labels)| (numbers, labels)) {
            assert!(numbers.iter().zip(of_batch).all(|(number, labels)| *labels == images[*number].labels));
        }
    }
    Ok(())
}

/// Whatever the number of parts: of equal confidences the order decides, and an image that cannot be read counts nowhere.
#[test]
fn parts_of_a_plan_are_the_whole() -> Result<()> {
    let folder = tempfile::tempdir().expect("a folder");
    let (detector, mut images) = (detector()?, images(folder.path()));
    for (number, image) in images.iter_mut().enumerate() {
        image.labels.push(Annotation::pixels(number % 3, [20., 30., 100., 80. + number as f64]));
        image.labels.push(Annotation { crowd: true, ..Annotation::normalised(0, [0.5; 4]) });
    }
    std::fs::write(folder.path().join("2.png"), "no image").expect("written");
    for (rect, batch) in [(true, 1), (false, 2)] {
        let options = ValOptions { rect, batch, ..OPTIONS() };
        let expected = validate(&detector, &images, &options, &mut |_| Ok(()))?;
        let plan = ValPlan::new(&detector, &images, &options);
        assert_eq!((plan.unreadable()[0].0, plan.batches().len()), (2, if batch == 1 { 3 } else { 2 }));
        let order = ranks(&images);
        for parts in [1, 2, 7] {
            let mut whole = DetectionEvaluator::new(3, options.confusion_conf);
            let mut found = vec![Vec::new(); images.len()];
            let all = plan.batches().len();
            for part in 0..parts {
                let range = all * part / parts..all * (part + 1) / parts;
                validate_batches(&detector, &images, &options, &plan, range, &mut |batch| {
                    for (number, eval) in batch.numbers.iter().zip(batch.evals) {
                        whole.add_eval(order[*number], eval);
                        found[*number].clone_from(&eval.detections);
                    }
                    Ok(())
                })?;
            }
            assert_eq!(whole.finish(), expected.measured, "{parts} parts");
            for (image, found) in expected.images.iter().zip(found) {
                assert_eq!(image.as_ref().map_or(Vec::new(), Clone::clone), found);
            }
        }
    }
    Ok(())
}

#[test]
fn items_without_an_image_do_not_count_and_unknown_classes_are_an_error() -> Result<()> {
    let detector = detector()?;
    let item = |side: u32, class: usize| {
        DetectionItem::new(RgbImage::new(side, side), vec![Annotation::normalised(class, [0.5; 4])])
    };
    let options = ValOptions { imgsz: 64, ..OPTIONS() };
    let items = InMemoryDataset::new(vec![item(64, 0), item(0, 0), item(32, 2)]);
    let mut done = 0;
    let report = validate_dataset(&detector, &items, &options, &mut |batch| {
        done = batch.done;
        Ok(())
    })?;
    assert_eq!((done, report.measured.ultralytics.classes.len()), (3, 2));
    let error = report.images[1].as_ref().expect_err("it has no pixels");
    assert_eq!(error.to_string(), "the image has no pixels");
    let items = InMemoryDataset::new(vec![item(64, 0), item(64, 3)]);
    let error = validate_dataset(&detector, &items, &options, &mut |_| Ok(())).expect_err("a class too many");
    assert!(error.to_string().starts_with("item 1: a label has class 3, but there are 3 classes"), "{error}");
    Ok(())
}

#[test]
fn tiles_are_measured_in_pixels_of_the_image() -> Result<()> {
    let folder = tempfile::tempdir().expect("a folder");
    let (detector, mut images) = (detector()?, images(folder.path()));
    let tiles = TileOptions::new().size([200, 240]).overlap(0.1);
    let nms = NmsOptions::new().conf(0.2);
    let options = ValOptions { nms: nms.clone(), ..OPTIONS() }.tiles(tiles.clone());
    let predict = PredictOptions::new().imgsz([320; 2]).nms(nms);
    let mut expected = Vec::new();
    for image in &mut images {
        let pixels = image::open(&image.path).expect("an image");
        let found = detector.predict_tiled(&pixels, &predict, &tiles).map_err(Error::wrap)?.detections;
        for detection in &found {
            let [x1, y1, x2, y2] = detection.xyxy.map(f64::from);
            image.labels.push(Annotation::pixels(detection.class_id, [x1, y1, x2 - x1, y2 - y1]));
        }
        expected.push(found);
    }
    let mut seen = Vec::new();
    let report = validate(&detector, &images, &options, &mut |batch| {
        assert!(batch.raw.is_empty() && batch.images.len() == 1);
        seen.push((batch.done, batch.found.iter().map(|found| found.candidates.len()).sum::<usize>()));
        Ok(())
    })?;
    let found: Vec<_> = report.images.into_iter().map(|found| found.expect("it is there")).collect();
    assert_eq!(found, expected);
    assert!(report.measured.coco.summary.ap.is_some_and(|ap| ap > 0.999), "what was found is what was labelled");
    assert!(report.measured.ultralytics.means()[3] > 0.99);
    assert_eq!(seen.iter().map(|(done, _)| *done).collect::<Vec<_>>(), [1, 2, 3, 4]);
    assert!(report.times.iter().all(|time| *time > Duration::ZERO));
    let tiny = options.tiles(TileOptions::new().size([1; 2]));
    let error = validate(&detector, &images, &tiny, &mut |_| Ok(())).expect_err("too many tiles").to_string();
    assert!(error.contains(".png: the image of") && error.contains("and 100000 are the most"), "{error}");
    Ok(())
}
