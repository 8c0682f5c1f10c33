//! The images of a split, and their labels.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use rayon::prelude::*;

use super::label_file::{self, Labels, Rows};
use super::split_instances::Instances;
use super::text::{lines, trimmed};
use super::{
    AnnotatedImage, CocoCategory, CocoInstances, DataError, DataYaml, Fraction, ImageId, LabelReport, files, image_ids,
};

/// Most bytes of a label file.
const MAX_LABEL_BYTES: u64 = 64 << 20;
/// Most bytes of a list of images.
const MAX_LIST_BYTES: u64 = 1 << 30;

/// The images of a split.
#[derive(Debug, Clone, PartialEq)]
pub struct DatasetSplit {
    images: Vec<PathBuf>,
    instances: Vec<Instances>,
    rows: Rows,
    part: Option<Fraction>,
}

/// What the label file of one image says.
#[derive(Debug)]
enum Found {
    Missing,
    Labels(Labels),
    Wrong(String),
}

impl DatasetSplit {
    /// Lists the images of a split (`train`, `val` or `test`) in the order of their paths' bytes, and reads its instances
    /// files. That a listed image exists shows when it is opened.
    ///
    /// # Errors
    /// Those of [`DataYaml::entries`] and [`CocoInstances::read`]; `NoImages`; `Invalid` for a line of a list that names no
    /// image.
    pub fn open(data: &DataYaml, split: &str) -> Result<Self, DataError> {
        let (mut images, mut instances) = (Vec::new(), Vec::new());
        for entry in data.entries(split)? {
            let before = images.len();
            if files::is_instances(&entry) && entry.is_file() {
                instances.push(Instances::new(CocoInstances::read(&entry)?, data));
                continue;
            }
            if entry.is_dir() {
                files::images_below(&entry, &mut images)?;
            } else if files::is_list(&entry) {
                read_list(&entry, &mut images)?;
            } else if files::is_image(&entry) {
                images.push(entry.clone());
            } else {
                return Err(DataError::invalid(
                    &entry,
                    "a split is a folder of images, a .txt list of them, or COCO's instances in a .json",
                ));
            }
            if images.len() == before {
                return Err(DataError::NoImages { path: entry });
            }
        }
        images.sort_by(|a, b| a.as_os_str().cmp(b.as_os_str()));
        let rows = Rows { classes: data.names().len(), single_cls: false, pose: data.pose() };
        Ok(Self { images, instances, rows, part: None })
    }

    /// Whether it has images of label files, and of instances files.
    pub(super) fn kinds(&self) -> [bool; 2] {
        [!self.images.is_empty(), !self.instances.is_empty()]
    }

    /// Takes all objects for class 0, and then allows any class in a label file.
    #[must_use]
    pub fn single_cls(self, single_cls: bool) -> Self {
        Self { rows: Rows { single_cls, ..self.rows }, ..self }
    }

    /// COCO's ids of the classes, where one instances file is the split: of each class, if the file has it.
    #[must_use]
    pub fn categories(&self) -> Option<Vec<Option<&CocoCategory>>> {
        match (self.images.is_empty(), self.instances.as_slice()) {
            (true, [instances]) => Some(instances.categories()),
            _ => None,
        }
    }

    /// Leaves a part of the images, from the first: of those with label files, and of those of each instances file.
    #[must_use]
    pub fn part(mut self, fraction: Fraction) -> Self {
        self.images.truncate(fraction.of(self.images.len()));
        self.part = Some(fraction);
        self
    }

    /// The images with label files, sorted. An image that two entries name is there twice.
    #[must_use]
    pub fn images(&self) -> &[PathBuf] {
        &self.images
    }

    /// Reads the label files of all images. An image whose label file is wrong is left out; one without a label file
    /// shows no object; the report counts both and names each wrong file with the line and the reason. It names images
    /// that have one label file between them, too. Those of instances files follow, as [`CocoInstances::images`] finds
    /// them, or below the yaml's `path`. No two images of label files have one id.
    ///
    /// # Errors
    /// `AllLeftOut`; `NotFound` where no image of an instances file is there; `Invalid` if it has objects of a category
    /// that the yaml does not name.
    pub fn labels(&self) -> Result<(Vec<AnnotatedImage>, LabelReport), DataError> {
        let found: Vec<Found> = self.images.par_iter().map(|image| read_labels(image, self.rows)).collect();
        let mut report = LabelReport { images: self.images.len(), ..Default::default() };
        let mut labelled = Vec::with_capacity(found.len());
        let mut owners: HashMap<PathBuf, &PathBuf> = HashMap::new();
        for (path, found) in self.images.iter().zip(found) {
            let labels = match found {
                Found::Wrong(problem) => {
                    report.left_out += 1;
                    report.messages.push(format!("{problem}; the image is left out"));
                    continue;
                }
                Found::Missing => {
                    report.missing += 1;
                    Vec::new()
                }
                Found::Labels(Labels { labels, duplicates: 0 }) => labels,
                Found::Labels(Labels { labels, duplicates }) => {
                    report.duplicates += duplicates;
                    let file = label_path(path);
                    report.messages.push(format!("{}: {duplicates} duplicate rows removed", file.display()));
                    labels
                }
            };
            if !labels.is_empty()
                && let Some(other) = owners.insert(label_path(path), path).filter(|other| *other != path)
            {
                let [one, two] = [other, path].map(|path| path.file_name().unwrap_or_default().display());
                report.messages.push(format!("{}: the labels of both {one} and {two}", label_path(path).display()));
            }
            report.backgrounds += usize::from(labels.is_empty());
            report.objects += labels.len();
            labelled.push(AnnotatedImage { path: path.clone(), image_id: ImageId::of_path(path), size: None, labels });
        }
        if let (true, Some(first)) = (labelled.is_empty(), report.messages.first()) {
            return Err(DataError::AllLeftOut { images: report.images, first: first.clone() });
        }
        let stem = |image: &AnnotatedImage| image.path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let stems: Vec<String> = labelled.iter().map(stem).collect();
        labelled.iter_mut().zip(image_ids(&stems)).for_each(|(image, id)| image.image_id = id);
        for instances in &self.instances {
            let before = labelled.len();
            instances.add_to(&mut labelled, &mut report, self.rows.single_cls)?;
            if let Some(part) = self.part {
                labelled.truncate(before + part.of(labelled.len() - before));
            }
        }
        if let (true, Some(first)) = (report.missing == report.images, self.images.first()) {
            let expected = label_path(first);
            report
                .messages
                .push(format!("no image has a label file; the first was expected at {}", expected.display()));
        }
        Ok((labelled, report))
    }
}

/// Where the labels of an image lie: its path with the last folder called `images` replaced by `labels`, ending in `.txt`.
#[must_use]
pub fn label_path(image: &Path) -> PathBuf {
    let mut parts: Vec<_> = image.components().map(|part| part.as_os_str()).collect();
    let folders = parts.len().saturating_sub(1);
    if let Some(last) = parts[..folders].iter().rposition(|part| *part == "images") {
        parts[last] = "labels".as_ref();
    }
    parts.iter().collect::<PathBuf>().with_extension("txt")
}

fn read_labels(image: &Path, rows: Rows) -> Found {
    let path = label_path(image);
    let text = match files::read_text(&path, MAX_LABEL_BYTES) {
        Ok(text) => text,
        Err(DataError::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => return Found::Missing,
        Err(error) => return Found::Wrong(error.to_string()),
    };
    match label_file::parse(&text, rows) {
        Ok(labels) => Found::Labels(labels),
        Err(problem) => Found::Wrong(format!("{}:{problem}", path.display())),
    }
}

/// One image per line, relative to the list's folder, else to the working directory.
fn read_list(list: &Path, images: &mut Vec<PathBuf>) -> Result<(), DataError> {
    let text = files::read_text(list, MAX_LIST_BYTES)?;
    let folder = list.parent().unwrap_or(Path::new(""));
    for (index, line) in lines(&text).map(trimmed).enumerate().filter(|(_, line)| !line.is_empty()) {
        if !files::is_image(Path::new(line)) {
            let problem = format!("line {}: `{line}` does not end like an image, in .jpg for one", index + 1);
            return Err(DataError::invalid(list, problem));
        }
        let beside = files::absolute(&folder.join(line))?;
        let here = files::absolute(Path::new(line))?;
        let elsewhere = !line.starts_with("./") && !beside.exists() && here.exists();
        images.push(if elsewhere { here } else { beside });
    }
    Ok(())
}
