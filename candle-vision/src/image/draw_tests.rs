use super::*;
use crate::image::{ImageError, decode, open, save};

fn label(xyxy: [f32; 4], class_id: usize, text: &str) -> BoxLabel {
    BoxLabel { xyxy, class_id, text: text.into() }
}

fn grey(width: u32, height: u32) -> RgbImage {
    RgbImage::from_pixel(width, height, image::Rgb([128; 3]))
}

#[test]
fn a_box_is_framed_in_its_colour_and_not_filled() {
    let mut picture = grey(200, 100);
    draw_boxes(&mut picture, &[label([50.0, 30.0, 150.0, 80.0], 3, "")]);
    for (x, y) in [(50, 55), (149, 55), (100, 30), (100, 79)] {
        assert_eq!(picture.get_pixel(x, y).0, class_color(3), "({x}, {y})");
    }
    assert_eq!(picture.get_pixel(100, 55).0, [128; 3]);
    assert_eq!(picture.get_pixel(10, 10).0, [128; 3]);
}

#[test]
fn plates_stay_inside_and_show_text() {
    for xyxy in
        [[190.0, -5.0, 230.0, 50.0], [-20.0, 0.0, 30.0, 20.0], [180.0, 98.0, 199.0, 140.0], [60.0, 40.0, 90.0, 80.0]]
    {
        let mut picture = grey(200, 100);
        draw_boxes(&mut picture, &[label(xyxy, 4, "chat é Ω Ж 0.87")]);
        let plate = picture.pixels().filter(|pixel| pixel.0 == class_color(4)).count();
        let text = picture.pixels().filter(|pixel| pixel.0 == text_color(class_color(4))).count();
        assert!(plate > 400 && text > 60, "{xyxy:?}: {plate} pixels of plate, {text} of text");
    }
}

#[test]
fn odd_boxes_and_pictures_do_not_panic() {
    let wide = "w".repeat(500);
    let boxes = [
        label([f32::NAN, 0.0, 1.0, 1.0], 0, "nan"),
        label([f32::INFINITY; 4], 1, "inf"),
        label([9.0, 9.0, 1.0, 1.0], usize::MAX, &wide),
        label([-1e30, -1e30, 1e30, 1e30], 2, "\u{1F600}\n\0"),
    ];
    for (width, height) in [(0, 0), (1, 1), (3, 2000), (2000, 3), (64, 64)] {
        draw_boxes(&mut grey(width, height), &boxes);
    }
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
fn saved_pictures_read_back() {
    let dir = std::env::temp_dir().join(format!("candle-vision-save-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    let mut picture = grey(60, 40);
    draw_boxes(&mut picture, &[label([10.0, 15.0, 50.0, 35.0], 1, "a")]);
    for name in ["a.png", "a.bmp", "a.webp", "a.jpg", "A.JPEG"] {
        let path = dir.join(name);
        std::fs::write(&path, b"older").unwrap();
        save(&picture, &path).unwrap();
        let back = open(&path).unwrap();
        if name.to_lowercase().contains("jp") {
            assert_eq!(back.dimensions(), picture.dimensions());
        } else {
            assert_eq!(back, picture, "{name}");
        }
        assert!(decode(&std::fs::read(&path).unwrap()).is_ok());
    }
    assert!(matches!(save(&picture, &dir.join("a.tiff")), Err(ImageError::Unsupported { .. })));
    assert!(matches!(save(&picture, &dir.join("none/a.png")), Err(ImageError::Io { action: "write", .. })));
    std::fs::create_dir(dir.join("taken.png")).unwrap();
    assert!(matches!(save(&picture, &dir.join("taken.png")), Err(ImageError::Io { .. })));
    let left: Vec<_> = std::fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(!left.iter().any(|name| name.to_string_lossy().ends_with(".tmp")), "{left:?}");
    std::fs::remove_dir_all(&dir).unwrap();
}
