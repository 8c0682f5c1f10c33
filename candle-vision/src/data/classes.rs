//! Labels to the model's class indices.
//!
//! The first of these that applies decides: the class map; the model's own names, where numbers or ids are its names;
//! numbers, by their order; WordNet ids, in ImageNet-1k's order; the model's names, by name; and, for class folders and
//! listed names of just the model's number, their own order.

use std::collections::HashMap;
use std::path::Path;

use super::class_map::ClassMap;
use super::error::{count, examples};
use super::listing::Origin;
use super::{ClassIndexing, DataError, DatasetOptions, devkit, imagenet};

/// What labels mean.
#[derive(Debug)]
pub(super) struct Resolved {
    /// The class index of each label; each below the number of classes.
    pub(super) classes: Vec<usize>,
    /// How they were found, as a sentence.
    pub(super) order: String,
    /// What is to be said about it.
    pub(super) notes: Vec<String>,
}

/// Finds the class index of each label. `place` is named in errors.
pub(super) fn resolve(
    labels: &[String],
    origin: Origin,
    place: &Path,
    options: &DatasetOptions<'_>,
) -> Result<Resolved, DataError> {
    Naming { labels, origin, place, options }.resolve()
}

struct Naming<'a> {
    labels: &'a [String],
    origin: Origin,
    place: &'a Path,
    options: &'a DatasetOptions<'a>,
}

impl Naming<'_> {
    fn resolve(&self) -> Result<Resolved, DataError> {
        let options = self.options;
        let map = match options.class_map {
            Some(path) => Some((path, ClassMap::read(path, options.num_classes, options.order)?)),
            None => None,
        };
        if let Some((path, ClassMap::Classes(classes))) = &map
            && options.order != Some(ClassIndexing::Devkit)
        {
            return self.by_map(path, classes);
        }
        let map = map.as_ref().map(|(path, map)| (*path, map));
        let numbers: Option<Vec<usize>> = self.labels.iter().map(|label| label.parse().ok()).collect();
        if let Some(numbers) = numbers.filter(|_| self.origin != Origin::ListedColumn) {
            return self.by_number(&numbers, map);
        }
        let mut resolved = self.by_meaning()?;
        if let (Some((path, ClassMap::Devkit(_))), None) = (map, options.order) {
            let reason = "gives each WordNet id a number and none is 0, so it is taken for the devkit's, which these labels do \
                          not need; leave it out, or say how its numbers count (index, one-based or devkit)";
            return Err(DataError::order(path, reason));
        }
        if let Some(order) = options.order {
            resolved
                .notes
                .push(format!("the label order {order:?} was not needed: {} are no numbers", self.origin.subject()));
        }
        Ok(resolved)
    }

    fn resolved(&self, classes: Vec<usize>, order: &str) -> Resolved {
        Resolved { classes, order: format!("{} {order}", self.origin.subject()), notes: Vec::new() }
    }

    fn error(&self, reason: String) -> DataError {
        DataError::classes(self.place, reason)
    }

    fn by_map(&self, path: &Path, classes: &HashMap<String, usize>) -> Result<Resolved, DataError> {
        let (found, unknown) = self.look_up(|label| classes.get(label).copied());
        if !unknown.is_empty() {
            let missing = format!("{} of {} are not in the class map {}", unknown.len(), self.count(), path.display());
            return Err(self.error(format!("{missing}: {}; add them, or take them out of the set", examples(unknown))));
        }
        Ok(self.resolved(found, &format!("are taken by the class map {}", path.display())))
    }

    fn by_number(&self, numbers: &[usize], map: Option<(&Path, &ClassMap)>) -> Result<Resolved, DataError> {
        let num_classes = self.options.num_classes;
        let is_devkit = self.origin == (Origin::File { devkit: true });
        let from_zero = numbers.contains(&0);
        let order = match self.options.order {
            Some(order) => order,
            None if is_devkit => ClassIndexing::Devkit,
            None => {
                if let Some(resolved) = self.by_name_exactly() {
                    return Ok(resolved);
                }
                let counts_from_zero = matches!(self.origin, Origin::Members | Origin::Column);
                if !from_zero && !counts_from_zero {
                    return Err(self.ambiguous(numbers));
                }
                ClassIndexing::Index
            }
        };
        let (base, order) = match order {
            ClassIndexing::Index => (0, "are numbers, taken as the model's class indices from 0"),
            ClassIndexing::OneBased => (1, "are numbers, taken as the model's class indices from 1"),
            ClassIndexing::Devkit => {
                let classes = devkit::classes(numbers, self.place, map, num_classes)?;
                return Ok(self.resolved(classes, "are ILSVRC2012_ID numbers, taken by their WordNet ids"));
            }
        };
        let class_of = |&number: &usize| number.checked_sub(base).filter(|&class| class < num_classes);
        let beyond: Vec<String> =
            numbers.iter().filter(|number| class_of(number).is_none()).map(usize::to_string).collect();
        if !beyond.is_empty() {
            let found = format!("{} of {} are not in {base}..={}", beyond.len(), self.count(), num_classes - 1 + base);
            let reason = format!("{found}, the model's classes: {}", examples(beyond.iter().map(String::as_str)));
            return Err(self.error(format!("{reason}; check the label order, or give a class map")));
        }
        let mut resolved = self.resolved(numbers.iter().filter_map(class_of).collect(), order);
        if self.options.order.is_none() && !from_zero {
            resolved.notes.push("no label is 0; they are taken from 0 all the same, as such files count".to_owned());
        }
        Ok(resolved)
    }

    fn ambiguous(&self, numbers: &[usize]) -> DataError {
        let (least, most) = (numbers.iter().min().unwrap_or(&0), numbers.iter().max().unwrap_or(&0));
        let found = format!("{} are numbers from {least} to {most} without 0", self.origin.subject());
        let choices = "index (class indices from 0), one-based (class indices from 1) or devkit (ILSVRC2012_ID of \
                       ImageNet's devkit, not in class order)";
        DataError::order(self.place, format!("{found}; say how they count: {choices}"))
    }

    /// By what the labels say: ids or names.
    fn by_meaning(&self) -> Result<Resolved, DataError> {
        let num_classes = self.options.num_classes;
        if let Some(resolved) = self.by_name_exactly() {
            return Ok(resolved);
        }
        let ids = self.labels.iter().filter(|label| imagenet::is_wnid(label)).count();
        if num_classes == imagenet::CLASSES && ids > 0 {
            let (classes, unknown) = self.look_up(imagenet::class_of);
            if unknown.is_empty() {
                return Ok(self.resolved(classes, "are WordNet ids, taken in ImageNet-1k's order"));
            }
            let found = format!("{} of {} are no class of ImageNet-1k", unknown.len(), self.count());
            return Err(self.error(format!("{found}: {}; take them out, or give a class map", examples(unknown))));
        }
        let (classes, unknown) = self.by_name();
        if unknown.is_empty() {
            return match first_repeated(&classes) {
                None => Ok(self.resolved(classes, "are the model's class names")),
                Some(class) => {
                    Err(self.error(format!("two labels mean the class {class} of the model; give a class map")))
                }
            };
        }
        self.by_own_order(&unknown)
    }

    /// Labels whose number is the model's, in their own order.
    fn by_own_order(&self, unknown: &[&str]) -> Result<Resolved, DataError> {
        let num_classes = self.options.num_classes;
        let total = self.labels.len();
        let found = self.count();
        if unknown.len() < total
            && !(self.origin == Origin::ListedColumn && total == num_classes && self.keeps_places())
        {
            let reason = format!("{} of {found} are not among the model's class names", unknown.len());
            let unknown = examples(unknown.iter().copied());
            return Err(self.error(format!("{reason}: {unknown}; rename them, or give a class map")));
        }
        match self.origin {
            Origin::ListedColumn if total == num_classes => {
                Ok(self.resolved((0..total).collect(), "are as many as the model's classes, taken in their own order"))
            }
            Origin::Folders if total == num_classes => {
                let mut order: Vec<usize> = (0..total).collect();
                order.sort_by_key(|&at| &self.labels[at]);
                let mut classes = vec![0; total];
                order.iter().enumerate().for_each(|(class, &at)| classes[at] = class);
                let mut resolved = self.resolved(classes, "are taken in sorted order, as by torchvision's ImageFolder");
                let sorted: Vec<&str> = order.iter().map(|&at| self.labels[at].as_str()).collect();
                if !sorted.is_sorted_by_key(|name| natural_key(name)) {
                    let note = "timm sorts these folders otherwise (numbers by value, without case); if the model was \
                                trained so, give a class map";
                    resolved.notes.push(note.to_owned());
                }
                Ok(resolved)
            }
            Origin::Folders | Origin::ListedColumn => Err(self.error(format!(
                "{found} for a model of {num_classes} classes, and their names are not the model's; give a class map, or \
                 the folder above or below"
            ))),
            _ => Err(self.error(format!(
                "{found} are neither WordNet ids, numbers nor the model's class names: {}; give a class map",
                examples(unknown.iter().copied())
            ))),
        }
    }

    /// "1000 class folders", "10 labels".
    fn count(&self) -> String {
        match self.origin {
            Origin::Folders => count(self.labels.len(), "class folder", "class folders"),
            Origin::ListedColumn => count(self.labels.len(), "class name", "class names"),
            _ => count(self.labels.len(), "distinct label", "distinct labels"),
        }
    }

    fn look_up(&self, class_of: impl Fn(&str) -> Option<usize>) -> (Vec<usize>, Vec<&str>) {
        let mut classes = Vec::with_capacity(self.labels.len());
        let mut unknown = Vec::new();
        for label in self.labels {
            match class_of(label) {
                Some(class) => classes.push(class),
                None => unknown.push(label.as_str()),
            }
        }
        (classes, unknown)
    }

    /// The model's classes by the names it has, letter for letter; all labels or none.
    fn by_name_exactly(&self) -> Option<Resolved> {
        let names = index(self.options, str::to_owned);
        let (classes, unknown) = self.look_up(|label| names.get(label).copied().flatten());
        unknown.is_empty().then(|| self.resolved(classes, "are the model's class names"))
    }

    /// The model's classes by name: case, `_` and `-` set aside, or by the first synonym alone.
    fn by_name(&self) -> (Vec<usize>, Vec<&str>) {
        let whole = index(self.options, folded);
        let first = index(self.options, first_synonym);
        self.look_up(|label| {
            let by_first = || first.get(&first_synonym(label)).copied();
            whole.get(&folded(label)).copied().or_else(by_first).flatten()
        })
    }

    /// Whether each listed name that the model knows stands where the model has it.
    fn keeps_places(&self) -> bool {
        let whole = index(self.options, folded);
        let stands = |(at, label): (usize, &String)| {
            whole.get(&folded(label)).copied().flatten().is_none_or(|class| class == at)
        };
        self.labels.iter().enumerate().all(stands)
    }
}

/// The model's classes by a form of their names; `None` for a form that two classes share.
fn index(options: &DatasetOptions<'_>, form: impl Fn(&str) -> String) -> HashMap<String, Option<usize>> {
    let mut classes = HashMap::new();
    for (class, name) in options.class_names.iter().enumerate().take(options.num_classes) {
        classes.entry(form(name)).and_modify(|class| *class = None).or_insert(Some(class));
    }
    classes
}

fn folded(name: &str) -> String {
    let spaced: String = name.chars().map(|c| if matches!(c, '_' | '-') { ' ' } else { c }).collect();
    spaced.to_lowercase().split_whitespace().collect::<Vec<_>>().join(" ")
}

fn first_synonym(name: &str) -> String {
    folded(name.split(',').next().unwrap_or_default())
}

fn first_repeated(classes: &[usize]) -> Option<usize> {
    let mut sorted = classes.to_vec();
    sorted.sort_unstable();
    sorted.windows(2).find(|pair| pair[0] == pair[1]).map(|pair| pair[0])
}

/// The key that timm sorts names by: runs of digits by value, text in lower case.
fn natural_key(name: &str) -> Vec<(String, Option<u128>)> {
    let mut key = Vec::new();
    let mut rest = name;
    loop {
        let text = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
        let digits = rest[text..].find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len() - text);
        let number = rest[text..text + digits].parse().ok();
        key.push((rest[..text].to_lowercase(), number));
        rest = &rest[text + digits..];
        if rest.is_empty() {
            return key;
        }
    }
}

#[cfg(test)]
#[path = "classes_tests.rs"]
mod tests;
