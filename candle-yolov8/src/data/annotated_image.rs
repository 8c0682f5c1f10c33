//! An image with its labels, whichever form it came in.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// Identifies an image in COCO's files.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(untagged)]
pub enum ImageId {
    /// COCO's own form.
    Number(i64),
    /// A name, as some exports have.
    Name(String),
}

impl ImageId {
    /// The id of an image without one: its file name without extension, as a number where it is only digits.
    /// Ultralytics' `predictions.json` holds the same.
    #[must_use]
    pub fn of_path(path: &Path) -> Self {
        Self::of_stem(&path.file_stem().unwrap_or_default().to_string_lossy())
    }

    fn of_stem(stem: &str) -> Self {
        match stem.parse() {
            Ok(number) if stem.bytes().all(|byte| byte.is_ascii_digit()) => Self::Number(number),
            _ => Self::Name(stem.to_owned()),
        }
    }
}

/// One id for each image of these names without extension, in their order: [`ImageId::of_path`]'s number where no other
/// image has it, else the name; a name that was there before gets `-2`, `-3` and so on.
#[must_use]
pub fn image_ids(stems: &[String]) -> Vec<ImageId> {
    let ids: Vec<ImageId> = stems.iter().map(|stem| ImageId::of_stem(stem)).collect();
    let mut counts = HashMap::new();
    ids.iter().for_each(|id| *counts.entry(id).or_insert(0) += 1);
    let mut names = HashSet::new();
    let name = |stem: &String| {
        let numbered = (2..).map(|number| format!("{stem}-{number}"));
        let free = std::iter::once(stem.clone()).chain(numbered).find(|name| names.insert(name.clone()));
        free.unwrap_or_default()
    };
    let names: Vec<String> = stems.iter().map(name).collect();
    let id = |(id, name): (&ImageId, String)| match id {
        ImageId::Number(_) if counts[id] == 1 => id.clone(),
        _ => ImageId::Name(name),
    };
    ids.iter().zip(names).map(id).collect()
}

impl fmt::Display for ImageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => number.fmt(f),
            Self::Name(name) => name.fmt(f),
        }
    }
}

/// One image and its objects.
#[derive(Debug, Clone, PartialEq)]
pub struct AnnotatedImage {
    /// The file.
    pub path: PathBuf,
    /// Its id in COCO's files.
    pub image_id: ImageId,
    /// `[height, width]` in pixels, where the labels tell it.
    pub size: Option<[usize; 2]>,
    /// The objects; none for a background image.
    pub labels: Vec<Annotation>,
}

/// One object.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Annotation {
    /// Class number, from 0.
    pub class: usize,
    /// Where it lies.
    pub place: BBox,
    /// Area of the object's outline in square pixels, where it is known.
    pub outline_area: Option<f64>,
    /// Whether it stands for a crowd, which detections may match any number of times and need not find.
    pub crowd: bool,
}

/// A box with the numbers of its file. Its sides may be 0: such a box counts in a measure and teaches nothing.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum BBox {
    /// Centre x, centre y, width and height as fractions of the image's width and height.
    Normalised([f64; 4]),
    /// Left, top, width and height in pixels.
    Pixels([f64; 4]),
}

impl Annotation {
    /// An object by its centre x, centre y, width and height as fractions of the image's width and height.
    #[must_use]
    pub fn normalised(class: usize, xywhn: [f64; 4]) -> Self {
        Self { class, place: BBox::Normalised(xywhn), outline_area: None, crowd: false }
    }

    /// An object by its left, top, width and height in pixels.
    #[must_use]
    pub fn pixels(class: usize, xywh: [f64; 4]) -> Self {
        Self { class, place: BBox::Pixels(xywh), outline_area: None, crowd: false }
    }

    /// Left, top, right and bottom in pixels of an image of `[height, width]`.
    #[must_use]
    pub fn xyxy(&self, size: [usize; 2]) -> [f64; 4] {
        match self.place {
            BBox::Normalised([cx, cy, w, h]) => {
                let [height, width] = size.map(|side| side as f64);
                [(cx - w / 2.) * width, (cy - h / 2.) * height, (cx + w / 2.) * width, (cy + h / 2.) * height]
            }
            BBox::Pixels([x, y, w, h]) => [x, y, x + w, y + h],
        }
    }

    /// Centre x, centre y, width and height as fractions of an image of `[height, width]`, which must not be empty.
    #[must_use]
    pub fn xywhn(&self, size: [usize; 2]) -> [f32; 4] {
        match self.place {
            BBox::Normalised(xywhn) => xywhn,
            BBox::Pixels([x, y, w, h]) => {
                let [height, width] = size.map(|side| side as f64);
                [(x + w / 2.) / width, (y + h / 2.) / height, w / width, h / height]
            }
        }
        .map(|value| value as f32)
    }

    /// Square pixels in an image of `[height, width]`: of the outline where its area is known, else of the box.
    #[must_use]
    pub fn area(&self, size: [usize; 2]) -> f64 {
        self.outline_area.unwrap_or_else(|| match self.place {
            BBox::Normalised([_, _, w, h]) => w * size[1] as f64 * (h * size[0] as f64),
            BBox::Pixels([_, _, w, h]) => w * h,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_give_the_same_box() {
        let label = |place| Annotation { class: 0, place, outline_area: None, crowd: false };
        let size = [100, 200];
        for place in [BBox::Normalised([0.25, 0.5, 0.125, 0.5]), BBox::Pixels([37.5, 25., 25., 50.])] {
            let label = label(place);
            assert_eq!(label.xyxy(size), [37.5, 25., 62.5, 75.], "{place:?}");
            assert_eq!(label.xywhn(size), [0.25, 0.5, 0.125, 0.5], "{place:?}");
            assert_eq!(label.area(size), 25. * 50., "{place:?}");
            assert_eq!(Annotation { outline_area: Some(3.), ..label }.area(size), 3., "{place:?}");
        }
    }

    #[test]
    fn each_image_has_an_id_of_its_own() {
        let number = ImageId::Number;
        let name = |name: &str| ImageId::Name(name.into());
        for (stems, expected, what) in [
            ("000000000139 7 a", vec![number(139), number(7), name("a")], "numbers and names"),
            ("+1 001 1", vec![name("+1"), name("001"), name("1")], "one number in two forms"),
            ("1 1 2", vec![name("1"), name("1-2"), number(2)], "the same name in two folders, or with two extensions"),
            ("a a-2 a a", vec![name("a"), name("a-2"), name("a-3"), name("a-4")], "a name that is taken already"),
            ("0 00 000", vec![name("0"), name("00"), name("000")], "zeros"),
            ("99999999999999999999", vec![name("99999999999999999999")], "more than 64 bits"),
        ] {
            let stems: Vec<String> = stems.split(' ').map(str::to_owned).collect();
            let ids = image_ids(&stems);
            assert_eq!(ids, expected, "{what}");
            assert_eq!(ids.iter().collect::<HashSet<_>>().len(), stems.len(), "{what}");
        }
    }

    #[test]
    fn only_digits_make_a_number() {
        for (path, expected) in [
            ("images/000000000139.jpg", ImageId::Number(139)),
            ("0.png", ImageId::Number(0)),
            ("-1.png", ImageId::Name("-1".into())),
            ("+1.png", ImageId::Name("+1".into())),
            ("a.b.jpg", ImageId::Name("a.b".into())),
            ("99999999999999999999.jpg", ImageId::Name("99999999999999999999".into())),
        ] {
            assert_eq!(ImageId::of_path(Path::new(path)), expected, "{path}");
        }
    }
}
