//! Which classes are used.

use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::AnnotatedImage;
use super::fraction::entries;
use crate::OptionError;

/// The numbers of the classes whose objects count. The others keep their numbers and names, without an object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Classes(Vec<usize>);

impl Classes {
    /// The first of them that a data set of so many classes does not have.
    #[must_use]
    pub fn beyond(&self, classes: usize) -> Option<usize> {
        self.0.iter().copied().find(|class| *class >= classes)
    }

    /// Drops the objects of all other classes; images without any stay, as background.
    pub fn filter(&self, images: &mut [AnnotatedImage]) {
        images.iter_mut().for_each(|image| image.labels.retain(|label| self.0.contains(&label.class)));
    }
}

impl FromStr for Classes {
    type Err = OptionError;

    fn from_str(text: &str) -> Result<Self, OptionError> {
        let classes: Result<Vec<usize>, _> = entries(text).into_iter().map(str::parse).collect();
        classes.map(Self).map_err(|_| OptionError::Classes)
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::data::{Annotation, BBox, ImageId};
    use crate::train::golden::options;

    #[derive(Deserialize)]
    struct Case {
        classes: serde_json::Value,
        single_cls: bool,
        left: [Vec<usize>; 2],
    }

    fn image(classes: &[usize]) -> AnnotatedImage {
        let label = |&class: &usize| Annotation {
            class,
            place: BBox::Normalised([0.5, 0.5, 0.2, 0.2]),
            outline_area: None,
            crowd: false,
        };
        let path = PathBuf::from("a.png");
        let image_id = ImageId::of_path(&path);
        AnnotatedImage { path, image_id, size: None, labels: classes.iter().map(label).collect() }
    }

    #[test]
    fn the_objects_that_are_left_are_those_of_ultralytics_and_all_images_stay() {
        let cases: Vec<Case> = options("classes");
        assert_eq!(cases.len(), 12);
        for Case { classes, left, .. } in cases.into_iter().filter(|case| !case.single_cls) {
            let mut images = [image(&[0, 1]), image(&[2, 2, 0])];
            if !classes.is_null() {
                classes.to_string().parse::<Classes>().unwrap().filter(&mut images);
            }
            let found = images.map(|image| image.labels.iter().map(|label| label.class).collect::<Vec<_>>());
            assert_eq!(found, left, "{classes}");
        }
    }

    #[test]
    fn numbers_of_classes_are_read_and_checked() {
        for text in ["0,3,7", "[0, 3, 7]", "(0,3,7)"] {
            let classes: Classes = text.parse().unwrap();
            assert_eq!((classes.beyond(3), classes.beyond(7), classes.beyond(8)), (Some(3), Some(7), None));
            assert_eq!(serde_json::to_string(&classes).unwrap(), "[0,3,7]");
        }
        for text in ["", "cat", "-1", "1.5", "0,,2", "[]"] {
            assert!(text.parse::<Classes>().is_err(), "{text}");
        }
    }
}
