//! COCO's `instances_*.json`: images with boxes in pixels (<https://cocodataset.org/#format-data>).

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

use super::coco_json::{Category, CocoAnnotation, Dataset, Field, parse};
use super::{AnnotatedImage, Annotation, BBox, DataError, ImageId, LabelReport, files};

/// Most bytes of a COCO file: above those of the largest public ones.
const MAX_BYTES: u64 = 8 << 30;
/// Beyond any coordinate of an image.
const MOST_PIXELS: f64 = 1e9;

/// A category; its place in the order of ids is the class number.
#[derive(Debug, Clone, PartialEq, Eq)]
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
    images: Vec<AnnotatedImage>,
    left_out_objects: usize,
    messages: Vec<String>,
}

impl CocoInstances {
    /// Reads an instances file, as pycocotools does: whole numbers may be written as 1.0, an image may be listed twice,
    /// and fields that are not needed may hold anything. The class of a category is its place in the order of ids; the
    /// root that Roboflow puts above the categories, which has no objects, is none. `area` and `iscrowd` may be absent: the
    /// area is then the box's. An annotation of an unknown image or category, or without a proper box, is left out and
    /// counted.
    ///
    /// # Errors
    /// `Io`; `Invalid` with the place in the file.
    pub fn read(path: &Path) -> Result<Self, DataError> {
        let bytes = files::read(path, MAX_BYTES)?;
        parse(&bytes).and_then(|dataset| Self::new(path, dataset)).map_err(|problem| DataError::invalid(path, problem))
    }

    fn new(file: &Path, dataset: Dataset) -> Result<Self, String> {
        let categories = categories(&dataset)?;
        let classes: HashMap<i64, usize> =
            categories.iter().enumerate().map(|(class, category)| (category.id, class)).collect();
        if dataset.images.is_empty() {
            return Err("`images` is empty".into());
        }
        let mut by_id: HashMap<ImageId, usize> = HashMap::with_capacity(dataset.images.len());
        let mut images: Vec<AnnotatedImage> = Vec::with_capacity(dataset.images.len());
        let mut messages = Vec::new();
        for (index, image) in dataset.images.into_iter().enumerate() {
            let id = image.id.id().ok_or_else(|| format!("image number {} has no id", index + 1))?;
            let name = image.file_name.text().ok_or_else(|| format!("image {id} has no file_name"))?;
            if let Some(&first) = by_id.get(&id) {
                let first = images[first].path.display();
                if first.to_string() != name {
                    return Err(format!("two images have the id {id}: {first} and {name}"));
                }
                messages.push(format!("{}: image {id}, {name}, is listed twice; it counts once", file.display()));
                continue;
            }
            by_id.insert(id.clone(), images.len());
            let size = image.height.side().zip(image.width.side()).map(|(height, width)| [height, width]);
            images.push(AnnotatedImage { path: PathBuf::from(name), image_id: id, size, labels: Vec::new() });
        }
        let (mut objects, mut left_out_objects, mut first_wrong) = (0, 0, None);
        for (index, annotation) in dataset.annotations.into_iter().enumerate() {
            match label(&annotation, &by_id, &classes) {
                Ok((image, label)) => {
                    objects += 1;
                    images[image].labels.push(label);
                }
                Err(problem) => {
                    left_out_objects += 1;
                    let id = annotation.id.id().map_or_else(|| format!("number {}", index + 1), |id| id.to_string());
                    let problem = format!("annotation {id}: {problem}");
                    messages.push(format!("{}: {problem}; it is left out", file.display()));
                    first_wrong.get_or_insert(problem);
                }
            }
        }
        if let (0, Some(first)) = (objects, first_wrong) {
            return Err(format!("not one of its {left_out_objects} annotations can be used; the first: {first}"));
        }
        Ok(Self { file: file.to_path_buf(), categories, images, left_out_objects, messages })
    }

    /// The file itself.
    #[must_use]
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// The categories by class number.
    #[must_use]
    pub fn categories(&self) -> &[CocoCategory] {
        &self.categories
    }

    /// The images in the order of the file, found on disk: in `folder` if given, else in the first of these that has the
    /// first image, or any: beside the file, in `images/`, in `../images/`, or in a folder of the split's name beside one of
    /// those. The split's name is the file's, without `instances_` and `.json`. An image that is not there is left out; the
    /// report names it, and each annotation that is left out.
    ///
    /// # Errors
    /// `NotFound` with every path tried, where no image is there.
    pub fn images(&self, folder: Option<&Path>) -> Result<(Vec<AnnotatedImage>, LabelReport), DataError> {
        let candidates = folder.map_or_else(|| self.folders(), |folder| vec![folder.to_path_buf()]);
        let mut report = LabelReport {
            images: self.images.len(),
            left_out_objects: self.left_out_objects,
            messages: self.messages.clone(),
            ..Default::default()
        };
        let folder = self.folder_among(&candidates)?;
        let mut there = Vec::with_capacity(self.images.len());
        for image in &self.images {
            let path = files::absolute(&folder.join(&image.path))?;
            if path.exists() {
                report.objects += image.labels.len();
                report.backgrounds += usize::from(image.labels.is_empty());
                there.push(AnnotatedImage { path, ..image.clone() });
            } else {
                report.left_out += 1;
                let (file, id) = (self.file.display(), &image.image_id);
                report.messages.push(format!("{file}: image {id} is not there: {}; it is left out", path.display()));
            }
        }
        Ok((there, report))
    }

    /// The first folder that holds the first image, else the first that holds any.
    fn folder_among<'a>(&self, candidates: &'a [PathBuf]) -> Result<&'a Path, DataError> {
        let has = |folder: &Path, image: &AnnotatedImage| folder.join(&image.path).exists();
        let first = self.images.first();
        let found = candidates.iter().find(|folder| first.is_some_and(|first| has(folder, first)));
        let found = found.or_else(|| candidates.iter().find(|folder| self.images.iter().any(|p| has(folder, p))));
        if let Some(found) = found {
            return Ok(found);
        }
        let name = first.map(|first| first.path.clone()).unwrap_or_default();
        let mut tried = Vec::new();
        for folder in candidates {
            let path = files::absolute(&folder.join(&name))?;
            if !tried.contains(&path) {
                tried.push(path);
            }
        }
        let what = match self.images.len() {
            1 => format!("the image `{}`", name.display()),
            count => format!("{count} images, the first `{}`", name.display()),
        };
        let remedy = "the names, or name the images' folder";
        Err(DataError::NotFound { path: self.file.clone(), what, tried, remedy })
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
}

/// The categories in the order of their ids, without Roboflow's root.
fn categories(dataset: &Dataset) -> Result<Vec<CocoCategory>, String> {
    let mut sorted: Vec<(i64, &Category)> = Vec::with_capacity(dataset.categories.len());
    for category in &dataset.categories {
        match category.id.id() {
            Some(ImageId::Number(id)) => sorted.push((id, category)),
            other => {
                let name = category.name.text().unwrap_or("without a name");
                let given = other.map_or_else(|| "none".into(), |id| format!("`{id}`"));
                return Err(format!("category {name}: its id is {given}, where a whole number is needed"));
            }
        }
    }
    sorted.sort_by_key(|(id, _)| *id);
    if sorted.is_empty() {
        return Err("`categories` is empty".into());
    }
    if let Some(pair) = sorted.windows(2).find(|pair| pair[0].0 == pair[1].0) {
        return Err(format!("two categories have the id {}", pair[0].0));
    }
    if is_root(&sorted, &dataset.annotations) {
        sorted.remove(0);
    }
    let name = |id: i64, name: &Field| match name.id() {
        Some(ImageId::Name(name)) if name.is_empty() => id.to_string(),
        Some(name) => name.to_string(),
        None => name.number().map_or_else(|| id.to_string(), |number| number.to_string()),
    };
    Ok(sorted.into_iter().map(|(id, category)| CocoCategory { id, name: name(id, &category.name) }).collect())
}

/// Whether the first category is the root of the others, as Roboflow writes it: no object is of it, and the others name it
/// as the category above them, or it alone has none above.
fn is_root(sorted: &[(i64, &Category)], annotations: &[CocoAnnotation]) -> bool {
    let [(id, first), others @ ..] = sorted else { return false };
    let above = |category: &Category| category.supercategory.text().map(str::to_owned);
    let is_top = |category: &Category| above(category).as_deref() == Some("none");
    let parents: HashSet<_> = others.iter().filter_map(|(_, category)| above(category)).collect();
    let is_parent = first.name.text().is_some_and(|name| parents.contains(name));
    let is_root_of_names = is_parent && above(first).as_deref() != first.name.text();
    let is_only_top = !others.is_empty() && is_top(first) && !others.iter().any(|(_, category)| is_top(category));
    (is_root_of_names || is_only_top)
        && !annotations.iter().any(|annotation| annotation.category_id.id() == Some(ImageId::Number(*id)))
}

/// The image of an annotation and its label.
fn label(
    annotation: &CocoAnnotation,
    by_id: &HashMap<ImageId, usize>,
    classes: &HashMap<i64, usize>,
) -> Result<(usize, Annotation), String> {
    let unknown = |what: &str, id: Option<ImageId>| match id {
        Some(id) => format!("there is no {what} with the id {id}"),
        None => format!("it names no {what}"),
    };
    let image = annotation.image_id.id();
    let image = image.as_ref().and_then(|id| by_id.get(id).copied()).ok_or_else(|| unknown("image", image.clone()))?;
    let category = annotation.category_id.id();
    let class = match &category {
        Some(ImageId::Number(id)) => classes.get(id).copied(),
        _ => None,
    };
    let class = class.ok_or_else(|| unknown("category", category.clone()))?;
    let bbox = match &annotation.bbox {
        Field::List(bbox) => bbox,
        Field::Nothing => return Err("it has no bbox".into()),
        _ => return Err("bbox is no list of x, y, width and height".into()),
    };
    let &[x, y, w, h] = bbox.as_slice() else {
        return Err(format!("bbox has {} numbers, where x, y, width and height are needed", bbox.len()));
    };
    let is_sane = bbox.iter().all(|value| value.abs() <= MOST_PIXELS) && w >= 0. && h >= 0.;
    if !is_sane {
        return Err(format!("bbox {bbox:?} is no box in pixels"));
    }
    // A negative area, of an outline whose points turn the other way, lies in none of COCO's ranges.
    let outline_area = annotation.area.number();
    Ok((
        image,
        Annotation { class, place: BBox::Pixels([x, y, w, h]), outline_area, crowd: annotation.iscrowd.is_true() },
    ))
}
