//! A COCO instances file as a split of a data.yaml.

use std::path::PathBuf;

use super::{AnnotatedImage, ClassMatch, CocoCategory, CocoInstances, DataError, DataYaml, LabelReport};

/// An instances file, and what the yaml around it says.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Instances {
    coco: CocoInstances,
    yaml: PathBuf,
    root: PathBuf,
    /// Number of the yaml's classes.
    classes: usize,
    /// For each category, the yaml's class of its name.
    places: Vec<Option<usize>>,
}

impl Instances {
    pub(super) fn new(coco: CocoInstances, data: &DataYaml) -> Self {
        let names: Vec<String> = coco.categories().iter().map(|category| category.name.clone()).collect();
        // A name at a time: a category without objects may be missing from the yaml.
        let place = |name: &String| ClassMatch::new(std::slice::from_ref(name), data.names(), 0).places[0];
        let places = names.iter().map(place).collect();
        Self { coco, yaml: data.file().to_path_buf(), root: data.root(), classes: data.names().len(), places }
    }

    /// The category of each class.
    pub(super) fn categories(&self) -> Vec<Option<&CocoCategory>> {
        let mut categories = vec![None; self.classes];
        for (category, place) in self.coco.categories().iter().zip(&self.places) {
            if let Some(place) = place {
                categories[*place] = Some(category);
            }
        }
        categories
    }

    /// Adds the images, with the yaml's classes, and what was found.
    pub(super) fn add_to(
        &self,
        labelled: &mut Vec<AnnotatedImage>,
        report: &mut LabelReport,
        single_cls: bool,
    ) -> Result<(), DataError> {
        let found = match self.coco.images(None) {
            Err(DataError::NotFound { .. }) if self.coco.images(Some(&self.root)).is_ok() => {
                self.coco.images(Some(&self.root))
            }
            found => found,
        };
        let (images, of_file) = found?;
        for mut image in images {
            for label in &mut image.labels {
                label.class = match (self.places[label.class], single_cls) {
                    (_, true) => 0,
                    (Some(place), false) => place,
                    (None, false) => {
                        let name = &self.coco.categories()[label.class].name;
                        return Err(DataError::invalid(
                            &self.yaml,
                            format!(
                                "key `names`: it lacks `{name}`, a category of {} with objects; add it, or remove the key, \
                                 then the classes are that file's categories",
                                self.coco.file().display()
                            ),
                        ));
                    }
                };
            }
            labelled.push(image);
        }
        report.add(of_file);
        Ok(())
    }
}
