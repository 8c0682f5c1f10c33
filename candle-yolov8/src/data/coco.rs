//! COCO's `instances_*.json`: pictures with boxes in pixels (<https://cocodataset.org/#format-data>).

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::{DataError, ImageId, Label, LabelBox, LabelReport, LabelledPicture, files};

/// Most bytes of a COCO file: above those of the largest public ones.
const MAX_BYTES: u64 = 8 << 30;
/// Beyond any coordinate of a picture.
const MOST_PIXELS: f64 = 1e9;

#[derive(Deserialize)]
struct Dataset {
    images: Vec<Image>,
    #[serde(default)]
    annotations: Vec<Annotation>,
    categories: Vec<CocoCategory>,
}

#[derive(Deserialize)]
struct Image {
    id: ImageId,
    file_name: String,
    height: Option<usize>,
    width: Option<usize>,
}

#[derive(Deserialize)]
struct Annotation {
    id: Option<ImageId>,
    image_id: ImageId,
    category_id: i64,
    bbox: Option<Vec<f64>>,
    area: Option<f64>,
    iscrowd: Option<Flag>,
}

#[derive(Deserialize, Clone, Copy)]
#[serde(untagged)]
enum Flag {
    Bool(bool),
    Number(i64),
}

/// A category; its place in the order of ids is the class number.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct CocoCategory {
    /// Its id in COCO's files.
    pub id: i64,
    /// Its name.
    pub name: String,
}

/// The content of an instances file.
#[derive(Debug, Clone, PartialEq)]
pub struct CocoInstances {
    file: PathBuf,
    categories: Vec<CocoCategory>,
    pictures: Vec<LabelledPicture>,
    report: LabelReport,
}

impl CocoInstances {
    /// Reads an instances file. The class of a category is its place in the order of ids. `area` and `iscrowd` may be
    /// absent: the area is then the box's. An annotation of an unknown picture or category, or without a proper box, is
    /// left out and counted.
    ///
    /// # Errors
    /// `Io`; `Invalid` with the place in the file.
    pub fn read(path: &Path) -> Result<Self, DataError> {
        let bytes = files::read(path, MAX_BYTES)?;
        let dataset: Dataset = serde_json::from_slice(&bytes)
            .map_err(|error| DataError::invalid(path, format!("no COCO instances file: {error}")))?;
        Self::new(path, dataset).map_err(|problem| DataError::invalid(path, problem))
    }

    fn new(file: &Path, dataset: Dataset) -> Result<Self, String> {
        let mut categories = dataset.categories;
        categories.sort_by_key(|category| category.id);
        if categories.is_empty() {
            return Err("`categories` is empty".into());
        }
        if let Some(pair) = categories.windows(2).find(|pair| pair[0].id == pair[1].id) {
            return Err(format!("two categories have the id {}", pair[0].id));
        }
        let classes: HashMap<i64, usize> =
            categories.iter().enumerate().map(|(class, category)| (category.id, class)).collect();
        if dataset.images.is_empty() {
            return Err("`images` is empty".into());
        }
        let mut by_id = HashMap::with_capacity(dataset.images.len());
        let mut pictures = Vec::with_capacity(dataset.images.len());
        for (index, image) in dataset.images.into_iter().enumerate() {
            if by_id.insert(image.id.clone(), index).is_some() {
                return Err(format!("two pictures have the id {}", image.id));
            }
            if image.file_name.is_empty() {
                return Err(format!("picture {} has an empty file_name", image.id));
            }
            let size = image.height.zip(image.width).map(|(height, width)| [height, width]);
            let path = PathBuf::from(image.file_name);
            pictures.push(LabelledPicture { path, image_id: image.id, size, labels: Vec::new() });
        }
        let mut report = LabelReport { pictures: pictures.len(), ..Default::default() };
        for (index, annotation) in dataset.annotations.into_iter().enumerate() {
            match label(&annotation, &by_id, &classes) {
                Ok((picture, label)) => {
                    report.objects += 1;
                    pictures[picture].labels.push(label);
                }
                Err(problem) => {
                    report.left_out_objects += 1;
                    let id = annotation.id.map_or_else(|| format!("number {}", index + 1), |id| id.to_string());
                    report.messages.push(format!("{}: annotation {id}: {problem}; it is left out", file.display()));
                }
            }
        }
        if let (0, Some(first)) = (report.objects, report.messages.first()) {
            return Err(format!(
                "not one of its {} annotations can be used; the first: {first}",
                report.left_out_objects
            ));
        }
        report.backgrounds = pictures.iter().filter(|picture| picture.labels.is_empty()).count();
        Ok(Self { file: file.to_path_buf(), categories, pictures, report })
    }

    /// The categories by class number.
    #[must_use]
    pub fn categories(&self) -> &[CocoCategory] {
        &self.categories
    }

    /// What was read and what was left out.
    #[must_use]
    pub fn report(&self) -> &LabelReport {
        &self.report
    }

    /// The pictures in the order of the file, found on disk: in `folder` if given, else where the first picture lies:
    /// beside the file, in `images/`, in `../images/`, or in a folder of the split's name beside one of those. The split's
    /// name is the file's, without `instances_` and `.json`.
    ///
    /// # Errors
    /// `NotFound` with every path tried.
    pub fn pictures(&self, folder: Option<&Path>) -> Result<Vec<LabelledPicture>, DataError> {
        let candidates = folder.map_or_else(|| self.folders(), |folder| vec![folder.to_path_buf()]);
        let Some(first) = self.pictures.first() else { return Ok(Vec::new()) };
        let mut tried = Vec::new();
        for folder in candidates {
            let path = files::absolute(&folder.join(&first.path))?;
            if path.exists() {
                return self.below(&folder);
            }
            if !tried.contains(&path) {
                tried.push(path);
            }
        }
        Err(self.not_found(format!("the picture `{}`", first.path.display()), tried))
    }

    fn below(&self, folder: &Path) -> Result<Vec<LabelledPicture>, DataError> {
        let mut pictures = self.pictures.clone();
        let mut missing = Vec::new();
        for picture in &mut pictures {
            picture.path = files::absolute(&folder.join(&picture.path))?;
            if !picture.path.exists() {
                missing.push(picture.path.clone());
            }
        }
        match missing.len() {
            0 => Ok(pictures),
            count => {
                missing.truncate(1);
                Err(self.not_found(format!("{count} of {} pictures, the first of", pictures.len()), missing))
            }
        }
    }

    fn folders(&self) -> Vec<PathBuf> {
        let beside = self.file.parent().unwrap_or(Path::new(""));
        let stem = self.file.file_stem().unwrap_or_default().to_string_lossy();
        let split = stem.strip_prefix("instances_").unwrap_or(&stem);
        let above = beside.join("..");
        let plain = [beside.to_path_buf(), beside.join("images"), above.join("images")];
        let of_split = [beside, &beside.join("images"), &above.join("images"), &above].map(|base| base.join(split));
        plain.into_iter().chain(of_split).collect()
    }

    fn not_found(&self, what: String, tried: Vec<PathBuf>) -> DataError {
        let remedy = "the names, or name the pictures' folder";
        DataError::NotFound { path: self.file.clone(), what, tried, remedy }
    }
}

/// The picture of an annotation and its label.
fn label(
    annotation: &Annotation,
    by_id: &HashMap<ImageId, usize>,
    classes: &HashMap<i64, usize>,
) -> Result<(usize, Label), String> {
    let unknown = |what: &str, id: &dyn std::fmt::Display| format!("there is no {what} with the id {id}");
    let picture = *by_id.get(&annotation.image_id).ok_or_else(|| unknown("picture", &annotation.image_id))?;
    let class = *classes.get(&annotation.category_id).ok_or_else(|| unknown("category", &annotation.category_id))?;
    let Some(bbox) = &annotation.bbox else { return Err("it has no bbox".into()) };
    let &[x, y, w, h] = bbox.as_slice() else {
        return Err(format!("bbox has {} numbers, where x, y, width and height are needed", bbox.len()));
    };
    let is_sane = bbox.iter().all(|value| value.abs() <= MOST_PIXELS) && w >= 0. && h >= 0.;
    if !is_sane {
        return Err(format!("bbox {bbox:?} is no box in pixels"));
    }
    if let Some(area) = annotation.area.filter(|area| !(0. ..=MOST_PIXELS * MOST_PIXELS).contains(area)) {
        return Err(format!("area {area} is none in square pixels"));
    }
    let crowd = match annotation.iscrowd {
        None => false,
        Some(Flag::Bool(flag)) => flag,
        Some(Flag::Number(number)) => number != 0,
    };
    Ok((picture, Label { class, place: LabelBox::Pixels([x, y, w, h]), outline_area: annotation.area, crowd }))
}
