use candle_vision::image::{RgbImage, class_color, save};
use candle_yolov8::train::{Batch, Target};

use super::*;

const BLUE: [u8; 3] = [0, 0, 255];

fn names(count: usize) -> Vec<String> {
    (0..count).map(|class| format!("class {class}")).collect()
}

fn x(points: usize) -> Vec<f64> {
    (0..points).map(|point| point as f64 / (points - 1) as f64).collect()
}

/// Whether a pixel within `reach` of the place is of the colour.
fn is_near(image: &RgbImage, [x, y]: [f64; 2], reach: i64, color: [u8; 3]) -> bool {
    let (x, y) = (x.round() as i64, y.round() as i64);
    let at = |x: i64, y: i64| image.get_pixel_checked(x as u32, y as u32).is_some_and(|pixel| pixel.0 == color);
    (x - reach..=x + reach).any(|x| (y - reach..=y + reach).any(|y| at(x, y)))
}

/// The frame `[left, top, right, bottom]` of the image: its first and last long dark lines.
fn frame(image: &RgbImage) -> [f64; 4] {
    let is_dark = |x: u32, y: u32| image.get_pixel(x, y).0.iter().all(|&level| level < 100);
    let (width, height) = image.dimensions();
    let columns: Vec<u32> =
        (0..width).filter(|&x| (0..height).filter(|&y| is_dark(x, y)).count() > height as usize / 2).collect();
    let (Some(&left), Some(&right)) = (columns.first(), columns.last()) else { panic!("no frame") };
    let rows: Vec<u32> = (0..height)
        .filter(|&y| (left..=right).filter(|&x| is_dark(x, y)).count() > (right - left) as usize * 9 / 10)
        .collect();
    let (Some(&top), Some(&bottom)) = (rows.first(), rows.last()) else { panic!("no frame") };
    [left, top, right, bottom].map(f64::from)
}

fn place([left, top, right, bottom]: [f64; 4], x: f64, y: f64) -> [f64; 2] {
    [left + x * (right - left), bottom - y * (bottom - top)]
}

#[test]
fn lines_run_where_the_data_says() {
    let x = x(1000);
    let curves = [x.iter().map(|x| 0.9 - 0.8 * x).collect::<Vec<_>>(), x.iter().map(|_| 0.1).collect()];
    let image = precision_recall(&x, &curves, &[0.5, 0.1], &names(2)).expect("an image");
    assert_eq!(image.dimensions(), (2250, 1500));
    let frame = frame(&image);
    for at in [0.1, 0.35, 0.6, 0.85] {
        for (y, color, what) in [
            (0.9 - 0.8 * at, class_color(0), "class 0"),
            (0.1, class_color(1), "class 1"),
            ((0.9 - 0.8 * at + 0.1) / 2., BLUE, "all classes"),
        ] {
            assert!(is_near(&image, place(frame, at, y), 3, color), "{what} at {at}");
            assert!(!is_near(&image, place(frame, at, y + 0.05), 3, color), "{what} above {at}");
        }
    }
    // The legend stands right of the frame.
    let beside = |color| is_near(&image, [frame[2] + 70., frame[1] + 90.], 90, color);
    assert!(beside(class_color(0)) && beside(class_color(1)) && beside(BLUE));
}

#[test]
fn the_mean_over_confidence_is_smoothed_and_its_peak_told() {
    let x = x(1000);
    let step: Vec<f64> = x.iter().map(|&x| if x < 0.5 { 0.1 } else { 0.9 }).collect();
    let image = against_confidence(Metric::Recall, &x, &[step], &names(1)).expect("an image");
    let frame = frame(&image);
    for (at, expected) in [(0.2, 0.1), (0.475, 0.3), (0.5, 0.5), (0.525, 0.7), (0.9, 0.9)] {
        assert!(is_near(&image, place(frame, at, expected), 4, BLUE), "{at}");
    }
}

#[test]
fn classes_beyond_the_legend_are_grey() {
    let x = x(1000);
    for (count, is_colored) in [(20, true), (21, false), (80, false)] {
        let curves: Vec<Vec<f64>> =
            (0..count).map(|class| vec![(class + 1) as f64 / (count + 1) as f64; 1000]).collect();
        let image = against_confidence(Metric::F1, &x, &curves, &names(count)).expect("an image");
        let at = place(frame(&image), 0.3, 4. / (count + 1) as f64);
        assert_eq!(is_near(&image, at, 3, class_color(3)), is_colored, "{count} classes");
        assert_eq!(is_near(&image, at, 3, [170; 3]), !is_colored, "{count} classes");
    }
}

#[test]
fn empty_and_broken_curves_leave_gaps() {
    let x = x(1000);
    let mut gap = vec![0.5; 1000];
    gap[400..600].fill(f64::NAN);
    let image =
        precision_recall(&x, &[gap.clone(), vec![f64::NAN; 1000]], &[0.5, f64::NAN], &names(2)).expect("an image");
    let frame = frame(&image);
    for (at, is_drawn) in [(0.3, true), (0.5, false), (0.7, true)] {
        assert_eq!(is_near(&image, place(frame, at, 0.5), 3, BLUE), is_drawn, "{at}");
    }
    for curve in [vec![f64::NAN; 1000], vec![0.; 1000], vec![f64::INFINITY; 1000], vec![1e300; 1000], vec![-1e9; 1000]]
    {
        for metric in [Metric::Precision, Metric::Recall, Metric::F1] {
            against_confidence(metric, &x, std::slice::from_ref(&curve), &names(1)).expect("an image");
        }
        precision_recall(&x, &[curve], &[0.], &names(1)).expect("an image");
    }
    precision_recall(&x, &[], &[], &[]).expect("no class");
    against_confidence(Metric::F1, &[], &[vec![]], &names(1)).expect("no point");
    against_confidence(Metric::F1, &[0.5], &[vec![0.5]], &names(1)).expect("one point");
    let long = ["x".repeat(100_000), "日本語\n\t".into(), String::new()];
    against_confidence(Metric::F1, &[0.5], &[vec![0.5], vec![0.5], vec![0.5]], &long).expect("odd names");
    let error = precision_recall(&x, &[vec![0.; 3]], &[0.], &names(1)).expect_err("a short curve").to_string();
    assert_eq!(error, "the curve of class 0 has 3 points where there are 1000");
}

#[test]
fn cells_of_the_matrix_are_as_dark_as_their_share() {
    let names = names(2);
    let counts = [[30, 0, 10], [10, 0, 0], [0, 0, 0]];
    let count = |predicted: usize, truth: usize| counts[predicted][truth];
    for (cells, expected) in [
        (Cells::Counts, [[1., 0., 1. / 3.], [1. / 3., 0., 0.], [0., 0., 0.]]),
        (Cells::Normalised, [[0.75, 0., 1.], [0.25, 0., 0.], [0., 0., 0.]]),
    ] {
        let image = confusion_matrix(&names, count, cells, Some(0.25)).expect("an image");
        assert_eq!(image.dimensions(), (3000, 2250));
        let [left, top, _, bottom] = frame(&image);
        let cell = (bottom - top) / 3.;
        for (predicted, row) in expected.iter().enumerate() {
            for (truth, &share) in row.iter().enumerate() {
                // A quarter into the cell: its number stands in the middle.
                let [x, y] = [left + (truth as f64 + 0.25) * cell, top + (predicted as f64 + 0.25) * cell];
                let color = image.get_pixel(x as u32, y as u32).0;
                let stops = [(0., 255), (0.25, 198), (1. / 3., 168), (0.75, 33), (1., 8)];
                let red = stops.iter().find(|(stop, _)| *stop == share).map(|(_, red)| *red);
                assert_eq!(Some(color[0]), red, "{cells:?} [{predicted}][{truth}]");
            }
        }
    }
}

#[test]
fn any_number_of_classes_has_a_matrix() {
    for count in [1, 30, 31, 100, 1500] {
        for cells in [Cells::Counts, Cells::Normalised] {
            let diagonal = |predicted, truth| if predicted == truth { u64::MAX / 2000 } else { 0 };
            let image = confusion_matrix(&names(count), diagonal, cells, Some(0.25)).expect("an image");
            let [left, top, ..] = frame(&image);
            assert!(is_near(&image, [left + 4., top + 4.], 3, [8, 48, 107]), "{count} {cells:?}");
        }
    }
    confusion_matrix(&names(1), |_, _| 0, Cells::Counts, Some(0.25)).expect("nothing counted");
    confusion_matrix(&names(1), |_, _| 0, Cells::Normalised, Some(0.25)).expect("empty columns");
    assert!(confusion_matrix(&[], |_, _| 0, Cells::Counts, Some(0.25)).is_err());
}

#[test]
fn training_curves_are_panels_in_two_rows() {
    let epochs = [1., 2., 3.];
    let (loss, map) = ([3., 2., 1.], [0.1, f64::NAN, 0.3]);
    let columns: [(&str, &[f64]); 8] = [
        ("time", &epochs),
        ("train/box_loss", &loss),
        ("train/cls_loss", &loss),
        ("metrics/precision(B)", &map),
        ("metrics/recall(B)", &map),
        ("val/box_loss", &loss),
        ("val/cls_loss", &loss),
        ("lr/pg0", &epochs),
    ];
    let image = training_curves(&epochs, &columns).expect("an image");
    assert_eq!(image.dimensions(), (3 * 480, 2 * 600 + 70));
    let blue = |x: std::ops::Range<u32>, y: std::ops::Range<u32>| {
        x.flat_map(|x| y.clone().map(move |y| (x, y)))
            .filter(|&(x, y)| image.get_pixel(x, y).0 == [31, 119, 180])
            .count()
    };
    for panel in 0..6 {
        let (left, top) = (panel % 3 * 480, 70 + panel / 3 * 600);
        assert!(blue(left..left + 480, top..top + 600) > 100, "panel {panel}");
    }
    // A falling loss begins above and ends below.
    assert!(blue(105..200, 120..300) > 100 && blue(350..460, 500..620) > 100);
    assert_eq!(blue(105..200, 400..620) + blue(350..460, 120..300), 0);
    for values in [&[][..], &[1.], &[f64::NAN; 3], &[5.; 300], &[1e300, -1e300], &[1e14, -1e14], &[0., 1e-30]] {
        let epochs: Vec<f64> = (1..=values.len()).map(|epoch| epoch as f64).collect();
        training_curves(&epochs, &[("val/box_loss", values)]).unwrap_or_else(|error| panic!("{values:?}: {error}"));
    }
    let error = training_curves(&epochs, &[("val/box_loss", &[1.])]).expect_err("a short column").to_string();
    assert_eq!(error, "column val/box_loss has 1 values for 3 epochs");
    assert!(training_curves(&epochs, &[("time", &epochs)]).is_err());
}

#[test]
fn labels_are_counted_outlined_and_placed() {
    let objects: Vec<(usize, [f32; 4])> =
        (0..30).map(|number| (usize::from(number >= 20), [0.25, 0.75, 0.5, 0.1])).collect();
    let image = label_overview(&names(2), &objects).expect("an image");
    assert_eq!(image.dimensions(), (1600, 1600));
    // 20 objects reach up 1 / 1.08 of the first panel, 10 half of that.
    let (bottom, top, third) = (620., 40., (760. - 130.) / 4.);
    for (class, count) in [(0, 20.), (1, 10.)] {
        let x = 130. + third * (1. + 2. * f64::from(class));
        let height = (bottom - top) * count / (20. * 1.08);
        let color = class_color(class as usize);
        assert!(is_near(&image, [x, bottom - height + 6.], 3, color), "class {class} below its count");
        assert!(!is_near(&image, [x, bottom - height - 60.], 3, color), "class {class} above its count");
    }
    // A box of half the width, a tenth of the height, around the middle of the second panel.
    let (middle, side) = ([930. + 630. / 2., 40. + 650. / 2.], 630.);
    for (x, y) in [(0.25, 0.), (-0.25, 0.), (0., 0.05), (0., -0.05)] {
        let place = [middle[0] + x * side, middle[1] + y * side];
        assert!(is_near(&image, place, 3, class_color(1)), "{x} {y}");
        assert!(!is_near(&image, [middle[0] + x * side * 0.5, middle[1] + y * side * 0.5], 3, class_color(1)));
    }
    // All centres in one cell, all sizes in another.
    for (frame, x, y) in [([130., 840., 760., 1490.], 0.26, 0.76), ([930., 840., 1560., 1490.], 0.51, 0.11)] {
        assert!(is_near(&image, place(frame, x, y), 2, BLUE), "{frame:?}");
        assert!(!is_near(&image, place(frame, x + 0.05, y), 2, BLUE), "{frame:?}");
    }
    label_overview(&names(80), &objects).expect("many classes");
    label_overview(&names(1), &[]).expect("no object");
    label_overview(&names(1), &[(0, [f32::NAN, -1., 2., 7.])]).expect("odd numbers");
    let error = label_overview(&names(1), &objects).expect_err("a class too many").to_string();
    assert_eq!(error, "an object is of class 1, where there are 1 classes");
    assert!(label_overview(&[], &[]).is_err());
}

#[test]
fn letters_that_the_bundled_font_lacks_are_drawn_in_another() {
    let golden = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden/draw");
    let names = ["猫".to_owned(), "cat".to_owned()];
    assert!(super::fonts::use_fonts_of(&golden, &names).is_some(), "the font of two letters");
    let image = confusion_matrix(&names, |_, _| 0, Cells::Counts, None).expect("an image");
    let [left, top, _, bottom] = frame(&image);
    // The name is a rectangle of .3 x .8 em beside the middle of its row, where an outlined box would be hollow.
    let middle = (top + (bottom - top) / 4.) as u32;
    let is_ink = |x: u32, y: u32| image.get_pixel(x, y).0 == [38; 3];
    let rows: Vec<usize> = (middle - 30..middle + 30)
        .map(|y| (left as u32 - 60..left as u32 - 18).filter(|&x| is_ink(x, y)).count())
        .filter(|&count| count > 0)
        .collect();
    let widest = rows.iter().copied().max().unwrap_or(0);
    assert!((7..=12).contains(&widest) && (22..=32).contains(&rows.len()), "{rows:?}");
    assert!(rows[2..rows.len() - 2].iter().all(|&count| count + 1 >= widest), "filled: {rows:?}");
}

#[test]
fn a_batch_is_a_square_of_its_images() {
    let imgsz = 64;
    let batch = |images: usize, imgsz: usize| Batch {
        images: (0..images)
            .flat_map(|number| [10 * number as u8, 0, 100].map(|level| vec![level; imgsz * imgsz]))
            .flatten()
            .collect(),
        size: [imgsz; 2],
        targets: (0..images).map(|image| Target { image, class: image % 2, xywhn: [0.5, 0.75, 0.5, 0.25] }).collect(),
        paths: vec!["a.jpg".into(); images],
    };
    let image = batch_mosaic(&batch(3, imgsz), &names(2));
    assert_eq!(image.dimensions(), (128, 128));
    for (number, [x, y]) in [[0, 0], [0, 64], [64, 0]].into_iter().enumerate() {
        assert_eq!(image.get_pixel(x, y).0, [255; 3], "a white line");
        assert_eq!(image.get_pixel(x + 4, y + 4).0, [10 * number as u8, 0, 100], "{number}");
        let left_edge = [f64::from(x) + 16., f64::from(y) + 50.];
        assert!(is_near(&image, left_edge, 2, class_color(number % 2)), "{number}");
    }
    assert_eq!(image.get_pixel(100, 100).0, [255; 3], "no fourth image");
    // The title's grey, at the top left of each.
    let has_title =
        |[x, y]: [u32; 2]| (5..20).any(|dx| (5..24).any(|dy| image.get_pixel(x + dx, y + dy).0 == [220; 3]));
    assert!([[0, 0], [0, 64], [64, 0]].into_iter().all(has_title) && !has_title([64, 64]));
    assert_eq!(batch_mosaic(&batch(20, 16), &[]).dimensions(), (64, 64));
    assert_eq!(batch_mosaic(&batch(9, 1000), &[]).dimensions(), (1920, 1920));
    assert_eq!(batch_mosaic(&batch(1, 2000), &[]).dimensions(), (1920, 1920));
    assert_eq!(batch_mosaic(&batch(0, 16), &[]).dimensions(), (16, 16));
}

#[test]
fn a_plot_is_a_file() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("BoxPR_curve.png");
    let image = precision_recall(&[0., 1.], &[vec![1., 0.]], &[0.5], &names(1)).expect("an image");
    save(&image, &path).expect("a file");
    let names: Vec<_> =
        std::fs::read_dir(folder.path()).expect("a folder").map(|entry| entry.expect("an entry").file_name()).collect();
    assert_eq!(names, ["BoxPR_curve.png"]);
}
