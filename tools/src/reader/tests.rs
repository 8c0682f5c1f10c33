use std::time::Duration;

use candle_vision::image::{Rgb, save};

use super::*;

/// Five images, of which the fourth is none.
fn entries(folder: &std::path::Path) -> Vec<SourceEntry> {
    let entry = |number: u32| {
        let path = folder.join(format!("{number}.png"));
        save(&RgbImage::from_pixel(4 + number, 3, Rgb([9; 3])), &path).unwrap();
        if number == 3 {
            std::fs::write(&path, b"none").unwrap();
        }
        SourceEntry { label: number.to_string(), source: Ok(Source::File(path)) }
    };
    (0..5).map(entry).collect()
}

fn options(on_all_threads: bool) -> ReadOptions {
    ReadOptions { batch: 2, on_all_threads, decode: DecodeOptions::default(), video: VideoOptions::new() }
}

#[test]
fn images_are_decoded_before_and_prepared_when_the_model_is_there() {
    let folder = tempfile::tempdir().unwrap();
    for on_all_threads in [false, true] {
        let reader = read(entries(folder.path()), options(on_all_threads)).unwrap();
        std::thread::sleep(Duration::from_millis(50));
        let found: Vec<Vec<(String, Option<u32>)>> = reader
            .batches(Arc::new(|image| Ok(image.width())))
            .map(|batch| {
                batch.unwrap().items.into_iter().map(|item| (item.label, item.ready.ok().map(|it| it.prepared)))
            })
            .map(Iterator::collect)
            .collect();
        let expected = [Some(4), Some(5), Some(6), None, Some(8)];
        assert_eq!(found.iter().map(Vec::len).collect::<Vec<_>>(), [2, 2, 1]);
        let flat = found.into_iter().flatten().enumerate();
        flat.for_each(|(number, item)| assert_eq!(item, (number.to_string(), expected[number])));
    }
}

#[test]
fn nothing_waits_for_a_model_that_is_not_loaded() {
    let folder = tempfile::tempdir().unwrap();
    let Reader { mut ahead, sender, .. } = read::<u32>(entries(folder.path()), options(false)).unwrap();
    drop(sender);
    assert!(ahead.next().is_none());
}
