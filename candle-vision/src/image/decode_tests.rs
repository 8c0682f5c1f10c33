use std::fs;

use super::*;
use crate::image::fixtures::golden_dir;
use crate::image::upright_size;

fn fixture(name: &str) -> Vec<u8> {
    fs::read(golden_dir().join(name)).unwrap()
}

fn fixtures() -> Vec<String> {
    let names = fs::read_dir(golden_dir()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = names.filter(|name| name != "expected" && !name.ends_with(".json")).collect();
    names.sort();
    assert!(names.len() > 30, "{names:?}");
    names
}

#[test]
fn every_kind_of_image_decodes_as_the_reference() {
    let mut failures = Vec::new();
    for name in fixtures() {
        let expected = open(&golden_dir().join("expected").join(format!("{name}.png"))).unwrap();
        // Where the two differ, the file beside holds OpenCV's grey of 16 bits and Pillow's inks.
        let reference =
            if name.contains("cmyk") || name.contains("ycck") { Reference::Pillow } else { Reference::OpenCv };
        let options = DecodeOptions { reference, ..DecodeOptions::default() };
        let decoded = decode_with(&fixture(&name), &options).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(decoded.warning, None, "{name}");
        let image = decoded.image;
        assert_eq!(image.dimensions(), expected.dimensions(), "{name}");
        let size = upright_size(&golden_dir().join(&name), &options).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(size, [expected.height() as usize, expected.width() as usize], "{name}");
        let gap = image.iter().zip(expected.iter()).map(|(a, b)| a.abs_diff(*b)).max().unwrap();
        if gap > 0 {
            failures.push(format!("{name}: {gap} levels"));
        }
    }
    assert!(failures.is_empty(), "{failures:#?}");
}

#[test]
fn orientation_is_applied_unless_declined() {
    let upright = decode(&fixture("orientation-1.jpg")).unwrap();
    for orientation in 2..=8 {
        let bytes = fixture(&format!("orientation-{orientation}.jpg"));
        let stored = decode_with(&bytes, &DecodeOptions { orient: false, ..DecodeOptions::default() }).unwrap();
        assert_eq!(stored.image, upright, "orientation {orientation} as stored");
        assert_ne!(decode(&bytes).unwrap(), upright, "orientation {orientation} applied");
    }
}

/// Pillow 13.0 and OpenCV 5.0 refuse both too.
#[test]
fn a_webp_whose_frame_is_not_of_its_canvas_size_is_refused() {
    let mut lossy = fixture("rotated.webp");
    assert!(lossy[12..].starts_with(b"VP8X") && decode(&lossy).is_ok());
    lossy[24] += 1;
    let error = decode(&lossy).unwrap_err().to_string();
    assert!(error.contains("its frame is 36x24 and its canvas 37x24"), "{error}");
    let simple = fixture("lossless.webp");
    let [width, height] = <[u32; 2]>::from(decode(&simple).unwrap().dimensions());
    let extended = |width: u32| {
        let sides = [&(width - 1).to_le_bytes()[..3], &(height - 1).to_le_bytes()[..3]].concat();
        let chunk = [b"VP8X\x0A\0\0\0\0\0\0\0", sides.as_slice()].concat();
        let length = (simple.len() - 8 + chunk.len()) as u32;
        [b"RIFF".as_slice(), &length.to_le_bytes(), b"WEBP", &chunk, &simple[12..]].concat()
    };
    assert_eq!(decode(&extended(width)).unwrap(), decode(&simple).unwrap());
    let error = decode(&extended(width + 1)).unwrap_err().to_string();
    assert!(error.contains(&format!("its frame is {width}x{height} and its canvas {}x{height}", width + 1)), "{error}");
}

#[cfg(feature = "gif")]
#[test]
fn a_gifs_frame_takes_no_more_memory_than_its_image() {
    let mut gif = Vec::new();
    DynamicImage::new_rgba8(8, 4).write_to(&mut Cursor::new(&mut gif), ImageFormat::Gif).unwrap();
    gif[6..10].copy_from_slice(&[0, 4, 0, 4]);
    let image = decode(&gif).unwrap();
    assert_eq!(image.dimensions(), (1024, 1024));
    let at = gif.windows(9).position(|bytes| bytes == b"\x2C\0\0\0\0\x08\0\x04\0").expect("its frame");
    gif[at + 5..at + 9].copy_from_slice(&[0, 16, 0, 16]);
    let error = decode(&gif).unwrap_err();
    assert!(matches!(error, ImageError::TooLarge { .. }), "{error}");
}

#[test]
fn bytes_that_are_no_image_are_told_apart() {
    assert!(matches!(decode(b""), Err(ImageError::Empty)));
    assert!(matches!(decode(b"hello, this is text"), Err(ImageError::NotAnImage { length: 19 })));
    let formats: [(&str, &[u8]); 6] = [
        ("HEIC", b"\0\0\0\x18ftypheic\0\0\0\0mif1heic"),
        ("HEIC", b"\0\0\0\x18ftypmif1\0\0\0\0mif1heic"),
        ("JPEG 2000", b"\0\0\0\x0cjP  \r\n\x87\n\0\0\0\x14ftypjp2 "),
        ("JPEG 2000", b"\xFF\x4F\xFF\x51\0\x2f"),
        ("JPEG XL", b"\xFF\x0A\xfa\x7f\x01"),
        ("JPEG XL", b"\0\0\0\x0cJXL \r\n\x87\n"),
    ];
    for (name, bytes) in formats {
        let said = decode(bytes).unwrap_err().to_string();
        assert_eq!(said, format!("the format {name} is not supported; convert the image to JPEG, PNG, WebP or BMP"));
    }
    assert!(matches!(decode(b"\xFF\xD8\xFF"), Err(ImageError::Truncated { .. })));
    let missing = open(Path::new("no/such/image.jpg")).unwrap_err();
    assert!(missing.to_string().contains("no/such/image.jpg"), "{missing}");
}

#[test]
fn a_cut_image_is_refused_or_whole() {
    for name in fixtures() {
        let bytes = fixture(&name);
        let whole = decode(&bytes).unwrap();
        let mut truncated = 0;
        for length in 1..bytes.len() {
            match decode(&bytes[..length]) {
                Ok(image) => assert_eq!(image, whole, "{name} cut to {length} of {} bytes", bytes.len()),
                Err(ImageError::Truncated { .. }) => truncated += 1,
                Err(ImageError::Io { .. } | ImageError::Encode { .. }) => panic!("{name}: wrong category"),
                Err(_) => {}
            }
        }
        assert!(truncated * 4 > bytes.len() * 3, "{name}: only {truncated} of {} cuts say truncated", bytes.len());
    }
}

#[test]
fn damaged_images_do_not_panic() {
    let mut state = 1u32;
    let mut random = move || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as usize
    };
    for name in fixtures() {
        let bytes = fixture(&name);
        for _ in 0..40 {
            let mut damaged = bytes.clone();
            for _ in 0..1 + random() % 4 {
                let at = random() % damaged.len();
                damaged[at] = random() as u8;
            }
            let _ = decode_with(&damaged, &DecodeOptions { max_pixels: 1 << 20, ..DecodeOptions::default() });
        }
    }
}

#[test]
fn size_limits_are_checked_before_pixels() {
    let refused = decode_with(&fixture("rgb.png"), &DecodeOptions { max_pixels: 215, ..DecodeOptions::default() });
    assert!(matches!(&refused, Err(ImageError::TooLarge { found, .. }) if found == "18x12 pixels"), "{refused:?}");
    let mut bomb = fixture("rgb.bmp");
    bomb[18..26].copy_from_slice(&[0xFF, 0xFF, 0, 0, 0xFF, 0xFF, 0, 0]);
    assert!(matches!(decode(&bomb), Err(ImageError::TooLarge { .. })));
}

#[test]
fn long_and_tiny_images_are_fine() {
    for (width, height) in [(20_000, 10), (10, 20_000), (1, 1)] {
        for format in [ImageFormat::Png, ImageFormat::Jpeg, ImageFormat::Bmp] {
            let mut bytes = Cursor::new(Vec::new());
            RgbImage::from_pixel(width, height, image::Rgb([9, 9, 9])).write_to(&mut bytes, format).unwrap();
            assert_eq!(decode(bytes.get_ref()).unwrap().dimensions(), (width, height), "{format:?}");
        }
    }
}
