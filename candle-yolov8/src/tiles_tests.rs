use candle_core::{DType, Device};
use candle_vision::image::Rgb;

use super::*;
use crate::{Yolo, model_config, seeded};

fn detector() -> candle_core::Result<Detector> {
    let def = model_config("yolov8n-ghostnet", Some(4)).expect("shipped");
    let model = Yolo::new(&def.for_inference(), seeded::var_builder(DType::F32, &Device::Cpu))?;
    Ok(Detector::new(model, Device::Cpu, DType::F32, Some([64; 2])))
}

fn image(width: u32, height: u32) -> RgbImage {
    RgbImage::from_fn(width, height, |x, y| {
        let v = (x * 7 + y * 13) ^ (x * y);
        Rgb([v as u8, (v >> 2) as u8, (v >> 4) as u8])
    })
}

fn options(conf: f32) -> PredictOptions {
    PredictOptions::new().nms(NmsOptions::new().conf(conf))
}

fn tiles() -> TileOptions {
    TileOptions::new().size([48, 64]).overlap(0.25)
}

#[test]
fn what_is_found_is_the_merge_of_what_each_tile_and_the_whole_show() -> Result<(), TileError> {
    let (detector, image) = (detector()?, image(150, 100));
    for (conf, whole) in [(0.3, true), (0.3, false), (0.05, true)] {
        let (options, tiles) = (options(conf), tiles().whole(whole));
        let mut parts = vec![];
        for tile in tiles.grid([100, 150])? {
            let prediction = detector.predict(&[crop(&image, &tile)], &options)?.remove(0);
            parts.extend(prediction.detections.into_iter().map(|found| {
                let [x1, y1, x2, y2] = found.xyxy;
                let (x, y) = (tile.x as f32, tile.y as f32);
                Detection { xyxy: [x1 + x, y1 + y, x2 + x, y2 + y], ..found }
            }));
        }
        if whole {
            parts.extend(detector.predict(std::slice::from_ref(&image), &options)?.remove(0).detections);
        }
        let candidate = |Detection { class_id, confidence, xyxy }: Detection| Candidate { class_id, confidence, xyxy };
        let has_area = |c: &Candidate| c.xyxy[0] < c.xyxy[2] && c.xyxy[1] < c.xyxy[3];
        let parts: Vec<_> = parts.into_iter().map(candidate).filter(has_area).collect();
        let count = parts.len();
        let expected = merge(parts, &tiles.merge_options(&options.nms)).candidates;
        assert!(expected.len() > 3 && expected.len() < count, "{} of {count}", expected.len());
        let found = detector.predict_tiled(&image, &options, &tiles)?;
        assert_eq!(found.detections.into_iter().map(candidate).collect::<Vec<_>>(), expected);
        assert_eq!((found.input, found.dropped), ([64, 64], 0));
    }
    Ok(())
}

#[test]
fn no_result_depends_on_the_number_of_tiles_that_share_a_pass() -> Result<(), TileError> {
    let (detector, image) = (detector()?, image(150, 100));
    let found = |batch| detector.predict_tiled(&image, &options(0.3), &tiles().batch(batch));
    let expected = found(1)?.detections;
    for batch in [0, 4, 100] {
        assert_eq!(found(batch)?.detections, expected, "{batch}");
    }
    Ok(())
}

#[test]
fn an_image_of_one_tile_is_looked_at_once() -> Result<(), TileError> {
    let (detector, image) = (detector()?, image(60, 40));
    let (options, tiles) = (options(0.3), tiles().size([40, 64]));
    let alone = detector.predict(std::slice::from_ref(&image), &options)?.remove(0);
    let candidate =
        |found: &Detection| Candidate { class_id: found.class_id, confidence: found.confidence, xyxy: found.xyxy };
    let once = merge(alone.detections.iter().map(candidate).collect(), &tiles.merge_options(&options.nms));
    let found = detector.predict_tiled(&image, &options, &tiles)?;
    assert_eq!(found.detections.iter().map(candidate).collect::<Vec<_>>(), once.candidates);
    assert!(!found.detections.is_empty() && found.input == alone.input);
    Ok(())
}

/// SAHI 0.12.8's `LOW_MODEL_CONFIDENCE`.
#[test]
fn boxes_of_hardly_any_confidence_do_not_grow_unless_told_so() {
    let nms = |conf| NmsOptions::new().conf(conf);
    let how = |tiles: TileOptions, conf| {
        let options = tiles.merge_options(&nms(conf));
        (options.merge, options.metric)
    };
    let growing = (Merge::GreedyNmm, MatchMetric::Ios);
    assert_eq!(how(tiles(), 0.1), growing);
    assert_eq!(how(tiles(), 0.099), (Merge::Nms, MatchMetric::Iou));
    assert_eq!(how(tiles().merge(Merge::GreedyNmm), 0.01), growing);
    assert_eq!(how(tiles().merge(Merge::Nms), 0.01), (Merge::Nms, MatchMetric::Ios));
    assert_eq!(how(tiles().metric(MatchMetric::Iou), 0.5), (Merge::GreedyNmm, MatchMetric::Iou));
    assert!(tiles().merge_options(&nms(0.5).agnostic(true)).agnostic);
}

#[test]
fn an_image_of_too_many_tiles_is_refused_before_the_network_runs() -> Result<(), TileError> {
    let error = detector()?.predict_tiled(&image(400, 300), &options(0.3), &tiles().size([1; 2])).expect_err("refused");
    assert!(error.to_string().contains("400x300 pixels has 120000 such tiles"), "{error}");
    Ok(())
}
