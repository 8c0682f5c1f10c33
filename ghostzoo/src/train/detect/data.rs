//! The labelled images of a training and of its validation.

use std::path::{Path, PathBuf};

use candle_vision::data::held_out;
use candle_yolov8::data::{AnnotatedImage, Classes, DataYaml, DatasetSplit, Fractions, LabelReport, part_files};

use crate::error::{Result, request};
use crate::train::Messages;

/// What of a data.yaml is trained and validated with.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct DetectionDataOptions {
    /// Share of the images to hold back for validation, where the data have none for that; as the seed and the images'
    /// names decide.
    pub val_split: Option<f64>,
    /// Images to use, from the first.
    pub fraction: Fractions,
    /// Whether all classes are one, `item`.
    pub single_cls: bool,
    /// Classes whose objects alone count; the others keep their numbers.
    pub classes: Option<Classes>,
    /// Decides what is held back.
    pub seed: u64,
}

impl DetectionDataOptions {
    /// All images and classes, as the file has them.
    pub fn new() -> Self {
        Self::default()
    }

    /// Share of the images to hold back for validation, where the data have none for that.
    #[must_use]
    pub fn val_split(self, val_split: impl Into<Option<f64>>) -> Self {
        Self { val_split: val_split.into(), ..self }
    }

    /// Images to use, from the first.
    #[must_use]
    pub fn fraction(self, fraction: Fractions) -> Self {
        Self { fraction, ..self }
    }

    /// Whether all classes are one, `item`.
    #[must_use]
    pub fn single_cls(self, single_cls: bool) -> Self {
        Self { single_cls, ..self }
    }

    /// Classes whose objects alone count; the others keep their numbers.
    #[must_use]
    pub fn classes(self, classes: impl Into<Option<Classes>>) -> Self {
        Self { classes: classes.into(), ..self }
    }

    /// Decides what is held back.
    #[must_use]
    pub fn seed(self, seed: u64) -> Self {
        Self { seed, ..self }
    }
}

/// The images of a data.yaml.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct DetectionData {
    /// To train with.
    pub train: Vec<AnnotatedImage>,
    /// To validate with.
    pub val: Vec<AnnotatedImage>,
    /// Names of the classes, by number.
    pub class_names: Vec<String>,
    /// Names and texts of files that tell which image is in which part, where no data.yaml does.
    pub files: Vec<(String, String)>,
}

impl DetectionData {
    /// Reads a data.yaml of Ultralytics' form and the labels that it names. What is wrong with single labels is told by
    /// `messages`, and they are left out.
    ///
    /// # Errors
    /// A file that cannot be read; a split or a class that the data have not.
    pub fn open(path: impl AsRef<Path>, options: &DetectionDataOptions, messages: &Messages) -> Result<Self> {
        Self::read(&DataYaml::read(path.as_ref())?, options, messages)
    }

    /// The names of the classes that [`DetectionData::read`] gives.
    pub fn class_names(data: &DataYaml, options: &DetectionDataOptions) -> Vec<String> {
        if options.single_cls { vec!["item".to_owned()] } else { data.names().to_vec() }
    }

    /// [`DetectionData::open`] for a file that is read.
    ///
    /// # Errors
    /// As [`DetectionData::open`].
    pub fn read(data: &DataYaml, options: &DetectionDataOptions, messages: &Messages) -> Result<Self> {
        // A filter looks at the classes' own numbers, so it goes before they become one.
        let single_cls = options.single_cls && options.classes.is_none();
        let mut read = Self::parts(data, options, single_cls, messages)?;
        if let Some(classes) = &options.classes {
            if let Some(class) = classes.beyond(data.names().len()) {
                let most = data.names().len() - 1;
                return Err(request(format!(
                    "`options.classes` {class}: the classes of {} are 0 to {most}",
                    data.file().display()
                )));
            }
            classes.filter(&mut read.train);
            classes.filter(&mut read.val);
        }
        if options.single_cls {
            let images = read.train.iter_mut().chain(&mut read.val);
            images.flat_map(|image| &mut image.labels).for_each(|label| label.class = 0);
        }
        Ok(read)
    }

    /// Both splits of a data.yaml, or the two parts of its one with `val_split`. With `single_cls` all labels are of class 0.
    fn parts(data: &DataYaml, options: &DetectionDataOptions, single_cls: bool, messages: &Messages) -> Result<Self> {
        let open = |split: &str| Ok::<_, crate::Error>(DatasetSplit::open(data, split)?.single_cls(single_cls));
        let splits: Vec<&str> = data.splits().collect();
        let (file, has) = (data.file().display(), |split: &str| splits.contains(&split));
        if let Some(share) = options.val_split {
            if has("val") && splits.len() > 1 {
                return Err(request(format!(
                    "`options.val_split`: {file} has images to validate with already: leave the option out, or take the key `val:` \
                     out of the file"
                )));
            }
            // `train` is the first of those that are known.
            let split = open(splits.first().copied().unwrap_or("train"))?;
            return Self::of_one(data, &split, share, options, messages);
        }
        if let Some(lacking) = ["train", "val"].into_iter().find(|split| !has(split)) {
            return Err(request(format!(
                "{file} has no split `{lacking}`, only {}: add the key `{lacking}:`, or hold back a part of its images to \
                 validate with, `options.val_split` 0.2",
                splits.join(", ")
            )));
        }
        let (train, report) = open("train")?.part(options.fraction.train()).labels()?;
        tell("train", &report, messages);
        let (val, report) = open("val")?.part(options.fraction.val()).labels()?;
        tell("val", &report, messages);
        Ok(Self { train, val, class_names: Self::class_names(data, options), files: Vec::new() })
    }

    fn of_one(
        data: &DataYaml,
        split: &DatasetSplit,
        share: f64,
        options: &DetectionDataOptions,
        messages: &Messages,
    ) -> Result<Self> {
        let (images, report) = split.labels()?;
        tell("data", &report, messages);
        let count = images.len();
        if count < 2 {
            return Err(request(format!(
                "`options.val_split`: {} has one image: there is none to hold back",
                data.file().display()
            )));
        }
        let names = names(&images.iter().map(|image| image.path.as_path()).collect::<Vec<_>>());
        let mut held = held_out(&names, &vec![0; count], share, options.seed).into_iter();
        let (mut val, mut train): (Vec<_>, Vec<_>) = images.into_iter().partition(|_| held.next() == Some(true));
        let files = part_files(data, split, [&train, &val]);
        let again = match &files {
            Some(_) => "`DetectionData::files` list them",
            None => "no list of them can be written",
        };
        messages.note(format!("{} of {count} images are held back to validate with; {again}", val.len()));
        train.truncate(options.fraction.train().of(train.len()));
        val.truncate(options.fraction.val().of(val.len()));
        let class_names = Self::class_names(data, options);
        Ok(Self { train, val, class_names, files: files.unwrap_or_default() })
    }
}

/// The paths from the lowest folder that holds them all, so that images keep their names where that folder is moved.
fn names(paths: &[&Path]) -> Vec<String> {
    let mut common: PathBuf = paths.first().and_then(|path| path.parent()).unwrap_or(Path::new("")).to_path_buf();
    for path in paths {
        while !path.starts_with(&common) && common.pop() {}
    }
    let name = |path: &&Path| {
        let below = path.strip_prefix(&common).unwrap_or(path).components();
        below.map(|part| part.as_os_str().to_string_lossy()).collect::<Vec<_>>().join("/")
    };
    paths.iter().map(name).collect()
}

/// Says what is wrong with labels, the first few one by one.
fn tell(split: &str, report: &LabelReport, messages: &Messages) {
    messages.warn_each(&report.messages);
    if report.missing + report.left_out > 0 {
        messages.note(format!(
            "{split}: {} images, {} without a label file count as background, {} are left out",
            report.images, report.missing, report.left_out
        ));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_do_not_tell_where_the_data_lie() {
        let of = |root: &str, below: &[&str]| {
            let paths: Vec<PathBuf> = below.iter().map(|name| Path::new(root).join(name)).collect();
            names(&paths.iter().map(PathBuf::as_path).collect::<Vec<_>>())
        };
        let below = ["train/a.jpg", "train/deep/b.jpg", "val/a.jpg"];
        assert_eq!(of("/data/set", &below), below);
        assert_eq!(of("/elsewhere", &below), below);
        assert_eq!(of("/x", &["images/a.jpg", "images/b.jpg"]), ["a.jpg", "b.jpg"]);
        assert_eq!(of("/x", &["a.jpg"]), ["a.jpg"]);
        assert!(names(&[]).is_empty());
    }
}
