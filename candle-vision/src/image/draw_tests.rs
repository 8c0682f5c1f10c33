use super::*;
use crate::image::{ImageError, decode, draw_text, is_in_bundled_font, open, save};

fn label(xyxy: [f32; 4], class_id: usize, text: &str) -> DrawnBox {
    DrawnBox { xyxy, class_id, text: text.into() }
}

fn grey(width: u32, height: u32) -> RgbImage {
    RgbImage::from_pixel(width, height, image::Rgb([128; 3]))
}

#[test]
fn a_box_is_framed_in_its_colour_and_not_filled() {
    let mut image = grey(200, 100);
    draw_boxes(&mut image, &[label([50.0, 30.0, 150.0, 80.0], 3, "")], &Pen::default());
    for (x, y) in [(50, 55), (149, 55), (100, 30), (100, 79)] {
        assert_eq!(image.get_pixel(x, y).0, class_color(3), "({x}, {y})");
    }
    assert_eq!(image.get_pixel(100, 55).0, [128; 3]);
    assert_eq!(image.get_pixel(10, 10).0, [128; 3]);
}

#[test]
fn plates_stay_inside_and_show_text() {
    for xyxy in
        [[190.0, -5.0, 230.0, 50.0], [-20.0, 0.0, 30.0, 20.0], [180.0, 98.0, 199.0, 140.0], [60.0, 40.0, 90.0, 80.0]]
    {
        let mut image = grey(200, 100);
        draw_boxes(&mut image, &[label(xyxy, 4, "chat é Ω Ж 0.87")], &Pen::default());
        let plate = image.pixels().filter(|pixel| pixel.0 == class_color(4)).count();
        let text = image.pixels().filter(|pixel| pixel.0 == text_color(class_color(4))).count();
        assert!(plate > 400 && text > 60, "{xyxy:?}: {plate} pixels of plate, {text} of text");
    }
}

#[test]
fn odd_boxes_and_images_do_not_panic() {
    let wide = "w".repeat(500);
    let boxes = [
        label([f32::NAN, 0.0, 1.0, 1.0], 0, "nan"),
        label([f32::INFINITY; 4], 1, "inf"),
        label([9.0, 9.0, 1.0, 1.0], usize::MAX, &wide),
        label([-1e30, -1e30, 1e30, 1e30], 2, "\u{1F600}\n\0"),
    ];
    for (width, height) in [(0, 0), (1, 1), (3, 2000), (2000, 3), (64, 64)] {
        for line_width in [None, Some(1), Some(200)] {
            draw_boxes(&mut grey(width, height), &boxes, &Pen { line_width, font: None });
        }
    }
}

/// Rows of the plate's capitals that are at least half covered.
fn capital(image: &RgbImage, class_id: usize) -> u32 {
    let (plate, ink) = (class_color(class_id)[0], text_color(class_color(class_id))[0]);
    let is_ink = |level: u8| (i32::from(level) - i32::from(ink)).abs() < (i32::from(level) - i32::from(plate)).abs();
    let (width, height) = image.dimensions();
    let in_plate = |x: u32, y: u32| image.get_pixel(x, y).0 != [128; 3] && is_ink(image.get_pixel(x, y).0[0]);
    let rows: Vec<u32> = (0..height).filter(|&y| (0..width).any(|x| in_plate(x, y))).collect();
    rows.last().zip(rows.first()).map_or(0, |(last, first)| last - first + 1)
}

/// Of `tests/oracle/annotate.py`: lines as wide, and capitals as high to a pixel, as Ultralytics 8.4.190 draws them.
#[test]
fn lines_and_letters_are_of_ultralytics_size() {
    let golden = include_str!("../../../tests/golden/draw/annotate.json");
    let cases: Vec<serde_json::Value> = serde_json::from_str(golden).unwrap();
    for case in cases {
        let number = |value: &serde_json::Value| value.as_u64().unwrap() as u32;
        let [width, height] = [&case["size"][0], &case["size"][1]].map(number);
        let chosen = case["line_width"].as_u64().map(|width| width as u32);
        let line = number(&case["line"]);
        assert_eq!(chosen.unwrap_or_else(|| line_width([height, width])), line, "{case}");
        let mut image = grey(width, height);
        let [left, top] = [width / 4, height / 2].map(|side| side as f32);
        let xyxy = [left, top, 2. * left, top + top / 2.];
        // Blue carries white text, of which the red level tells it.
        draw_boxes(&mut image, &[label(xyxy, 9, "H")], &Pen { line_width: chosen, font: None });
        let (found, expected) = (capital(&image, 9), number(&case["capital"]));
        assert!(found.abs_diff(expected) <= 1, "{case}: {found}");
        let middle = (top + top / 4.) as u32;
        let drawn = (0..left as u32 + width / 8).filter(|&x| image.get_pixel(x, middle).0 == class_color(9)).count();
        assert_eq!(drawn as u32, line, "{case}");
    }
}

#[test]
fn letters_that_the_bundled_font_lacks_come_from_another() {
    let file = include_bytes!("../../../tests/golden/draw/two_letters.ttf");
    let font = Typeface::new(file).unwrap();
    assert!(font.has('猫') && font.has('犬') && !font.has('狗') && !font.has('a'));
    assert!(!is_in_bundled_font('猫') && is_in_bundled_font('a') && is_in_bundled_font('Ж'));
    let draw = |text: &str, font: Option<&Typeface<'_>>| {
        let mut image = RgbImage::from_pixel(400, 160, image::Rgb([255; 3]));
        draw_text(&mut image, text, [0.; 2], 116.4, [0; 3], font);
        image
    };
    let dark = |image: &RgbImage| image.pixels().filter(|pixel| pixel.0 == [0; 3]).count() as f32;
    // An em is 100 pixels: rectangles of .3 x .8 and .8 x .3 em, less their blurred edges.
    for text in ["猫", "犬"] {
        let found = dark(&draw(text, Some(&font)));
        assert!((found - 2400.).abs() < 120., "{text}: {found}");
    }
    let other = draw("犬", Some(&font));
    assert_ne!(other, draw("猫", Some(&font)));
    assert_eq!(draw("犬", None), draw("狗", Some(&font)), "a box for what no font has");
    assert_eq!(draw("Ж a", None), draw("Ж a", Some(&font)), "what the bundled font has stays in it");
    assert!(Typeface::new(b"no font").is_none());
}

#[test]
fn plates_contrast_with_their_text() {
    let luminance = |color: [u8; 3]| {
        let [r, g, b] = color.map(|level| (f32::from(level) / 255.0).powf(2.2));
        0.2126 * r + 0.7152 * g + 0.0722 * b
    };
    for color in PALETTE {
        let (a, b) = (luminance(color), luminance(text_color(color)));
        let contrast = (a.max(b) + 0.05) / (a.min(b) + 0.05);
        assert!(contrast > 4.5, "{color:?}: {contrast}");
    }
}

#[test]
fn saved_images_read_back() {
    let dir = std::env::temp_dir().join(format!("candle-vision-save-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    let mut image = grey(60, 40);
    draw_boxes(&mut image, &[label([10.0, 15.0, 50.0, 35.0], 1, "a")], &Pen::default());
    for name in ["a.png", "a.bmp", "a.webp", "a.jpg", "A.JPEG"] {
        let path = dir.join(name);
        std::fs::write(&path, b"older").unwrap();
        save(&image, &path).unwrap();
        let back = open(&path).unwrap();
        if name.to_lowercase().contains("jp") {
            assert_eq!(back.dimensions(), image.dimensions());
        } else {
            assert_eq!(back, image, "{name}");
        }
        assert!(decode(&std::fs::read(&path).unwrap()).is_ok());
    }
    assert!(matches!(save(&image, &dir.join("a.tiff")), Err(ImageError::Unsupported { .. })));
    assert!(matches!(save(&image, &dir.join("none/a.png")), Err(ImageError::Io { action: "write", .. })));
    std::fs::create_dir(dir.join("taken.png")).unwrap();
    assert!(matches!(save(&image, &dir.join("taken.png")), Err(ImageError::Io { .. })));
    let left: Vec<_> = std::fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(!left.iter().any(|name| name.to_string_lossy().ends_with(".tmp")), "{left:?}");
    std::fs::remove_dir_all(&dir).unwrap();
}
