//! The labelled pictures of a validation.

use anyhow::Result;
use candle_yolov8::data::{CocoInstances, DataYaml, LabelReport, LabelledPicture, Split};

use crate::cli::ValArgs;
use crate::error::usage;

/// Pictures, and what their classes are called.
pub(crate) struct Dataset {
    pub(crate) pictures: Vec<LabelledPicture>,
    pub(crate) names: Vec<String>,
    pub(crate) report: LabelReport,
    /// COCO's id of each class, where a file gives one.
    categories: Option<Vec<i64>>,
}

impl Dataset {
    /// Reads the labels that the arguments name.
    pub(crate) fn open(args: &ValArgs) -> Result<Self> {
        let is_json = args.data.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("json"));
        if is_json {
            let instances = CocoInstances::read(&args.data)?;
            return Ok(Self {
                pictures: instances.pictures(args.images.as_deref())?,
                names: instances.categories().iter().map(|category| category.name.clone()).collect(),
                report: instances.report().clone(),
                categories: Some(instances.categories().iter().map(|category| category.id).collect()),
            });
        }
        if args.images.is_some() {
            return Err(usage("--images goes with an instances file; a data.yaml says where its pictures are"));
        }
        let data = DataYaml::read(&args.data)?;
        let (pictures, report) = Split::open(&data, &args.split)?.labels()?;
        Ok(Self { pictures, names: data.names().to_vec(), report, categories: None })
    }

    /// COCO's id of a class.
    pub(crate) fn category(&self, class: usize) -> i64 {
        match &self.categories {
            Some(categories) => categories[class],
            None => class as i64 + 1,
        }
    }

    /// Refuses a model of other classes. Where both name the same classes in another order, labels are renumbered.
    pub(crate) fn agree(&mut self, model: &str, classes: usize, model_names: &[String]) -> Result<()> {
        if classes != self.names.len() {
            return Err(usage(format!(
                "{model} has {classes} classes and the data {} ({}): they do not go together",
                self.names.len(),
                shown(&self.names),
            )));
        }
        if model_names.len() != classes || same(&self.names, model_names) {
            return Ok(());
        }
        let place = |name: &String| model_names.iter().position(|other| alike(name, other));
        let Some(places) = self.names.iter().map(place).collect::<Option<Vec<usize>>>() else {
            self.report.messages.push(format!(
                "{model} calls its classes otherwise than the data does ({} and {}); they are taken by number",
                shown(model_names),
                shown(&self.names),
            ));
            return Ok(());
        };
        let mut distinct = places.clone();
        distinct.sort_unstable();
        distinct.dedup();
        if distinct.len() != classes {
            return Ok(());
        }
        for label in self.pictures.iter_mut().flat_map(|picture| &mut picture.labels) {
            label.class = places[label.class];
        }
        let moved = |old: &[i64]| {
            let mut moved = vec![0; classes];
            places.iter().zip(old).for_each(|(place, id)| moved[*place] = *id);
            moved
        };
        // Ultralytics' numbering of a data.yaml's categories follows the data too.
        let numbered: Vec<i64> = (1..=classes as i64).collect();
        self.categories = Some(moved(self.categories.as_deref().unwrap_or(&numbered)));
        self.names = model_names.to_vec();
        self.report.messages.push(format!("{model} has the data's classes in another order; labels follow the model"));
        Ok(())
    }
}

fn alike(a: &str, b: &str) -> bool {
    a.trim().eq_ignore_ascii_case(b.trim())
}

fn same(a: &[String], b: &[String]) -> bool {
    a.iter().zip(b).all(|(a, b)| alike(a, b))
}

fn shown(names: &[String]) -> String {
    let first: Vec<&str> = names.iter().take(3).map(String::as_str).collect();
    format!("{}{}", first.join(", "), if names.len() > 3 { ", …" } else { "" })
}
