//! The labelled images of a validation, with their classes as the model numbers them.

use std::path::Path;

use candle_yolov8::data::{
    AnnotatedImage, ClassMatch, CocoInstances, DataYaml, DatasetSplit, LabelReport, coco_category_ids,
};

use crate::error::{Context as _, Result, request};

/// What the class of a model of many is called where all count as one: Ultralytics' name.
const SINGLE: &str = "item";

/// A split of a data.yaml, or an instances file of COCO, whose labels are still to be read.
#[derive(Debug)]
pub struct ValLabels(Found);

#[derive(Debug)]
enum Found {
    Yaml { split: DatasetSplit, names: Vec<String>, coco_ids: Option<Vec<i64>> },
    Coco { instances: CocoInstances, images: Vec<AnnotatedImage>, report: LabelReport },
}

/// Labelled images to measure a detector on.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ValData {
    /// The images.
    pub images: Vec<AnnotatedImage>,
    /// What their classes are called.
    pub names: Vec<String>,
    /// What was left out.
    pub report: LabelReport,
    /// COCO's id of each class; none where an instances file lacks the class.
    categories: Vec<Option<i64>>,
}

impl ValLabels {
    /// Finds the labels of `split` of a data.yaml, or of an instances file, whose images lie in `images`.
    ///
    /// # Errors
    /// A file that cannot be read; images that are not where it says; `images` beside a data.yaml.
    pub fn find(data: &Path, images: Option<&Path>, split: &str) -> Result<Self> {
        let is_json = data.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("json"));
        if is_json {
            let instances = CocoInstances::read(data)?;
            let found = instances.images(images);
            let advised = || "`options.images` says where the images are";
            let (images, report) = if images.is_some() { found? } else { found.with_context(advised)? };
            return Ok(Self(Found::Coco { instances, images, report }));
        }
        if images.is_some() {
            return Err(request("`options.images` goes with an instances file; a data.yaml says where its images are"));
        }
        let data = DataYaml::read(data)?;
        let coco_ids = coco_category_ids(&data.entries(split)?, data.names().len());
        let split = DatasetSplit::open(&data, split)?;
        Ok(Self(Found::Yaml { split, names: data.names().to_vec(), coco_ids }))
    }

    /// Reads the labels; all of class 0 with `single_cls`.
    ///
    /// # Errors
    /// Labels that cannot be read.
    pub fn read(self, single_cls: bool) -> Result<ValData> {
        match self.0 {
            Found::Yaml { split, names, coco_ids } => {
                let split = split.single_cls(single_cls);
                let (images, report) = split.labels()?;
                let numbered = |class: usize| Some(class as i64 + 1);
                let categories = match (split.categories(), coco_ids) {
                    (Some(categories), _) => categories.into_iter().map(|c| c.map(|category| category.id)).collect(),
                    (None, Some(ids)) => ids.into_iter().map(Some).collect(),
                    (None, None) => (0..names.len()).map(numbered).collect(),
                };
                Ok(ValData { images, names, report, categories })
            }
            Found::Coco { instances, mut images, report } => {
                if single_cls {
                    images.iter_mut().flat_map(|image| &mut image.labels).for_each(|label| label.class = 0);
                }
                let categories = instances.categories();
                let names = categories.iter().map(|category| category.name.clone()).collect();
                let categories = categories.iter().map(|category| Some(category.id)).collect();
                Ok(ValData { images, names, report, categories })
            }
        }
    }
}

impl ValData {
    /// Of images whose labels are read, with COCO's id of each class.
    #[must_use]
    pub fn new(
        images: Vec<AnnotatedImage>,
        names: Vec<String>,
        report: LabelReport,
        categories: Vec<Option<i64>>,
    ) -> Self {
        Self { images, names, report, categories }
    }

    /// COCO's id of each class; none where an instances file lacks the class.
    #[must_use]
    pub fn categories(&self) -> &[Option<i64>] {
        &self.categories
    }

    /// COCO's id of a class; none where an instances file lacks it.
    pub fn category(&self, class: usize) -> Option<i64> {
        self.categories.get(class).copied().flatten()
    }

    /// Most objects of an image.
    pub fn most(&self) -> usize {
        self.images.iter().map(|image| image.labels.len()).max().unwrap_or(0)
    }

    /// Takes the classes for one, as a model of `classes` calls it.
    pub fn unite(&mut self, classes: usize, model_names: &[String]) {
        let name = model_names.first().filter(|_| classes == 1).cloned();
        self.names = vec![name.unwrap_or_else(|| SINGLE.to_owned())];
        self.categories.truncate(1);
    }

    /// Numbers the labels as a model of `classes` does: by name where its names and the data's are the same or one list holds
    /// the other, else by number. Objects of classes that it does not know are left out.
    pub fn agree(&mut self, model: &str, classes: usize, model_names: &[String]) {
        let found = ClassMatch::new(&self.names, model_names, classes);
        if found.is_identity() && self.names.len() == classes {
            if !found.by_name && !model_names.is_empty() {
                self.say_by_number(model, model_names);
            }
            return;
        }
        if !found.by_name {
            self.say_by_number(model, model_names);
        } else if !found.is_identity() {
            let kind = if self.names.len() == classes { "in another order" } else { "among others" };
            self.report
                .messages
                .push(format!("{model} has the data's classes {kind}; labels follow the model, by name"));
        }
        let unknown: Vec<String> =
            self.names.iter().zip(&found.places).filter(|(_, place)| place.is_none()).map(|(n, _)| n.clone()).collect();
        let mut left_out = 0;
        for image in &mut self.images {
            let before = image.labels.len();
            image.labels.retain_mut(|label| match found.places[label.class] {
                Some(place) => {
                    label.class = place;
                    true
                }
                None => false,
            });
            left_out += before - image.labels.len();
            self.report.backgrounds += usize::from(before > 0 && image.labels.is_empty());
        }
        self.report.objects -= left_out;
        self.report.left_out_objects += left_out;
        if left_out > 0 {
            let counts = format!("{classes} classes and the data {}", self.names.len());
            self.report.messages.push(format!(
                "{model} has {counts}: {left_out} objects of classes that it does not know ({}) are left out",
                shown(&unknown)
            ));
        }
        self.number(&found.places, classes);
        let unnamed = |class: usize| class.to_string();
        let data_names = std::mem::take(&mut self.names);
        self.names = match model_names.len() == classes {
            true => model_names.to_vec(),
            false => {
                (0..classes).map(|class| data_names.get(class).cloned().unwrap_or_else(|| unnamed(class))).collect()
            }
        };
    }

    /// Carries the categories of the data's classes to the model's. Without an instances file, classes that the data do not
    /// know come behind the data's.
    fn number(&mut self, places: &[Option<usize>], classes: usize) {
        let mut moved = vec![None; classes];
        for (place, id) in places.iter().zip(&self.categories) {
            if let Some(place) = place {
                moved[*place] = *id;
            }
        }
        let is_numbered = (1..).zip(&self.categories).all(|(number, id)| *id == Some(number));
        let mut next = self.names.len() as i64;
        for (class, id) in moved.iter_mut().enumerate() {
            if is_numbered && !places.contains(&Some(class)) {
                next += 1;
                *id = Some(next);
            }
        }
        self.categories = moved;
    }

    fn say_by_number(&mut self, model: &str, model_names: &[String]) {
        self.report.messages.push(match model_names {
            [] => format!("{model} does not name its classes; they are taken by number"),
            names => format!(
                "{model} calls its classes otherwise than the data does ({} and {}); they are taken by number",
                shown(names),
                shown(&self.names),
            ),
        });
    }
}

fn shown(names: &[String]) -> String {
    let first: Vec<&str> = names.iter().take(3).map(String::as_str).collect();
    format!("{}{}", first.join(", "), if names.len() > 3 { ", …" } else { "" })
}
