//! An image set: names, classes, and where the bytes are.

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use super::classes::Resolved;
use super::error::{count, examples};
use super::layout::{Found, locate};
use super::listing::{Labels, Listing, Names, Origin};
#[cfg(feature = "parquet")]
use super::parquet;
use super::record::Store;
#[cfg(feature = "tar")]
use super::tar;
use super::{DataError, Records, classes, folder, imagenet, labels};

/// How the numbers in labels or in the names of class folders count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClassIndexing {
    /// The model's class indices, from 0.
    Index,
    /// The model's class indices, from 1.
    OneBased,
    /// `ILSVRC2012_ID` of ImageNet's devkit, from 1. Not in class order: 1 is the kit fox.
    Devkit,
}

/// What the caller knows of an image set and of the model it is for.
#[derive(Debug, Clone, Copy, Default)]
#[non_exhaustive]
pub struct DatasetOptions<'a> {
    /// Number of classes of the model.
    pub num_classes: usize,
    /// The model's class names by index; may be empty.
    pub class_names: &'a [String],
    /// Which split to take. By default a folder, or shards, called `val` or `validation`, else `test`, where there are.
    pub split: Option<&'a str>,
    /// Labels file: csv with a header, `name label` lines, or labels alone in the order of the sorted names. With one,
    /// class folders mean nothing.
    pub labels: Option<&'a Path>,
    /// Class folders, one a line in class order, or `folder index` lines; the devkit's numbers as `wnid number` lines.
    pub class_map: Option<&'a Path>,
    /// How numbers count. By default from 0, if 0 is among them; else opening fails.
    pub order: Option<ClassIndexing>,
}

impl<'a> DatasetOptions<'a> {
    /// For a model of so many classes.
    #[must_use]
    pub fn new(num_classes: usize) -> Self {
        Self { num_classes, ..Self::default() }
    }

    /// The model's class names by index; may be empty.
    #[must_use]
    pub fn class_names(self, class_names: &'a [String]) -> Self {
        Self { class_names, ..self }
    }

    /// Which split to take.
    #[must_use]
    pub fn split(self, split: impl Into<Option<&'a str>>) -> Self {
        Self { split: split.into(), ..self }
    }

    /// A file of labels: see the [field](field@DatasetOptions::labels).
    #[must_use]
    pub fn labels(self, labels: impl Into<Option<&'a Path>>) -> Self {
        Self { labels: labels.into(), ..self }
    }

    /// Class folders, in class order or with their numbers.
    #[must_use]
    pub fn class_map(self, class_map: impl Into<Option<&'a Path>>) -> Self {
        Self { class_map: class_map.into(), ..self }
    }

    /// How numbers count.
    #[must_use]
    pub fn order(self, order: impl Into<Option<ClassIndexing>>) -> Self {
        Self { order: order.into(), ..self }
    }
}

/// An index of labelled images, of about 100 bytes each. It holds no image.
#[derive(Debug)]
pub struct ImageIndex {
    names: Names,
    classes: Vec<u32>,
    distinct: Vec<usize>,
    store: Arc<Store>,
    /// For each image its place in the store, in a part of a set.
    places: Option<Vec<u32>>,
    order: String,
    notes: Vec<String>,
}

impl ImageIndex {
    /// Lists a folder, a tar file, a Parquet file, a folder of either, or a glob of either.
    ///
    /// # Errors
    /// Every category of [`DataError`].
    pub fn open(path: &Path, options: &DatasetOptions<'_>) -> Result<Self, DataError> {
        Listed::read(path, options.split, options.labels)?.resolve(path, options)
    }

    /// Lists a split, or all where none is told apart, whose own labels are the classes: those of folders and text in sorted
    /// order, as torchvision's `ImageFolder`, numbers by value, and a table's class names in its order. Gives their names by
    /// index, too.
    pub(super) fn open_own(path: &Path, split: Option<&str>) -> Result<(Self, Vec<String>), DataError> {
        let listed = Listed::read(path, split, None)?;
        let names = listed.own_classes();
        let options = DatasetOptions { num_classes: names.len(), class_names: &names, ..DatasetOptions::default() };
        let set = listed.resolve(path, &options)?;
        Ok((set, names))
    }

    /// Number of images.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "an open set has images")]
    pub fn len(&self) -> usize {
        self.names.len()
    }

    /// Name of an image: its path below the folder, its member of the archive, or the table's own name for it.
    ///
    /// # Panics
    /// If `index` is not below [`len`](Self::len).
    #[must_use]
    pub fn name(&self, index: usize) -> &str {
        self.names.get(index)
    }

    /// The model's class index of an image.
    ///
    /// # Panics
    /// If `index` is not below [`len`](Self::len).
    #[must_use]
    pub fn class_of(&self, index: usize) -> usize {
        self.classes[index] as usize
    }

    /// The images of a range, cut to the set's length.
    #[must_use]
    pub fn images(&self, range: Range<usize>) -> Records<'_> {
        Records::new(self, range)
    }

    /// One sentence: how labels became class indices.
    #[must_use]
    pub fn order(&self) -> &str {
        &self.order
    }

    /// One line for each thing that was skipped or assumed, with counts.
    #[must_use]
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// The classes that have images, sorted.
    #[must_use]
    pub fn classes(&self) -> &[usize] {
        &self.distinct
    }

    /// FNV-1a (64 bits, 16 hexadecimal digits) of names and classes in order: the same on every machine.
    ///
    /// Each image counts as its name, a zero byte, and its class as four bytes, the lowest first.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        let mut hash = 0xCBF2_9CE4_8422_2325_u64;
        let mut add = |bytes: &[u8]| {
            for &byte in bytes {
                hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01B3);
            }
        };
        for (name, class) in self.names.iter().zip(&self.classes) {
            add(name.as_bytes());
            add(&[0]);
            add(&class.to_le_bytes());
        }
        format!("{hash:016x}")
    }

    /// The images for which `is_in` says so, by their place here, as a set of their own, without notes.
    pub(super) fn part(&self, is_in: impl Fn(usize) -> bool) -> Self {
        let mut names = Names::default();
        let (mut classes, mut places) = (Vec::new(), Vec::new());
        for index in (0..self.len()).filter(|&index| is_in(index)) {
            names.push(self.name(index));
            classes.push(self.classes[index]);
            // As a class, it was counted by a u32.
            places.push(self.place(index) as u32);
        }
        let distinct = distinct(&classes);
        let (store, order) = (Arc::clone(&self.store), self.order.clone());
        Self { names, classes, distinct, store, places: Some(places), order, notes: Vec::new() }
    }

    pub(super) fn store(&self) -> &Store {
        &self.store
    }

    /// Where an image is in the store; in the order of the images.
    pub(super) fn place(&self, index: usize) -> usize {
        self.places.as_ref().map_or(index, |places| places[index] as usize)
    }
}

/// A layout that was listed, before its labels are classes.
struct Listed {
    found: Found,
    listing: Listing,
    notes: Vec<String>,
}

impl Listed {
    fn read(path: &Path, split: Option<&str>, file: Option<&Path>) -> Result<Self, DataError> {
        let (found, notes) = locate(path, split)?;
        let flat = file.is_some();
        let mut listing = match &found {
            Found::Folder(root) => folder::list(root, flat)?,
            #[cfg(feature = "tar")]
            Found::Tars(files) => tar::list(path, files, flat)?,
            #[cfg(not(feature = "tar"))]
            Found::Tars(_) => return Err(DataError::not_built_in(path, "tar")),
            #[cfg(feature = "parquet")]
            Found::Tables(files) => parquet::list(path, files, flat)?,
            #[cfg(not(feature = "parquet"))]
            Found::Tables(_) => return Err(DataError::not_built_in(path, "parquet")),
        };
        if listing.names.len() == 0 {
            return Err(DataError::layout(path, no_images(&listing.notes)));
        }
        if let Some(file) = file {
            listing.labels = Some(labels::read(file, &listing.names, &mut listing.notes)?);
        }
        Ok(Self { found, listing, notes })
    }

    fn own_classes(&self) -> Vec<String> {
        let Some((labels, origin)) = &self.listing.labels else { return Vec::new() };
        let mut names = labels.texts().to_vec();
        match origin {
            Origin::ListedColumn => {}
            Origin::Folders => names.sort(),
            _ => names.sort_by_cached_key(|name| (name.parse::<u64>().unwrap_or(u64::MAX), name.clone())),
        }
        names
    }

    fn resolve(self, path: &Path, options: &DatasetOptions<'_>) -> Result<ImageIndex, DataError> {
        let Self { found, listing, mut notes } = self;
        let Listing { mut names, labels, store, notes: listed } = listing;
        let Some((labels, origin)) = labels else {
            let reason = format!(
                "{} and no class folders; give a labels file (csv, `name label` lines, or labels alone in the order of \
                 the names)",
                count(names.len(), "image", "images")
            );
            return Err(DataError::labels(path, reason));
        };
        notes.extend(listed);
        let place = match (&found, options.labels) {
            (_, Some(file)) => file,
            (Found::Folder(root), None) => root,
            _ => path,
        };
        let resolved = resolve(&labels, origin, place, options)?;
        notes.extend(resolved.notes);
        let class_of = |&label: &u32| u32::try_from(resolved.classes[label as usize]);
        let classes: Vec<u32> = labels.of().iter().map(class_of).collect::<Result<_, _>>().map_err(|_| {
            DataError::classes(path, format!("the model has {} classes, which is too many", options.num_classes))
        })?;
        let distinct = distinct(&classes);
        notes.extend(missing(&distinct, options));
        names.shrink();
        let store = Arc::new(store);
        Ok(ImageIndex { names, classes, distinct, store, places: None, order: resolved.order, notes })
    }
}

/// Each class once, sorted.
fn distinct(classes: &[u32]) -> Vec<usize> {
    let mut distinct: Vec<usize> = classes.iter().map(|&class| class as usize).collect();
    distinct.sort_unstable();
    distinct.dedup();
    distinct.shrink_to_fit();
    distinct
}

/// Resolves the labels that images have; where that fails, class folders without images count too.
fn resolve(labels: &Labels, origin: Origin, place: &Path, options: &DatasetOptions<'_>) -> Result<Resolved, DataError> {
    let texts = labels.texts();
    let used = if origin == Origin::Folders { labels.used() } else { texts.len() };
    classes::resolve(&texts[..used], origin, place, options).or_else(|error| match used < texts.len() {
        true => classes::resolve(texts, origin, place, options).map_err(|_| error),
        false => Err(error),
    })
}

fn no_images(notes: &[String]) -> String {
    const WANTED: &str = "there is no JPEG, PNG, WebP or BMP image";
    if notes.is_empty() { WANTED.to_owned() } else { format!("{WANTED} ({})", notes.join("; ")) }
}

/// Says which classes have no images.
fn missing(present: &[usize], options: &DatasetOptions<'_>) -> Option<String> {
    let absent = options.num_classes - present.len();
    if absent == 0 {
        return None;
    }
    let names: Vec<String> = (0..options.num_classes)
        .filter(|class| present.binary_search(class).is_err())
        .map(|class| match (options.num_classes, options.class_names.get(class)) {
            (imagenet::CLASSES, _) => imagenet::wnid(class).unwrap_or_default().to_owned(),
            (_, Some(name)) => name.clone(),
            (_, None) => class.to_string(),
        })
        .collect();
    let verb = if absent == 1 { "has" } else { "have" };
    let names = examples(names.iter().map(String::as_str));
    Some(format!("{} of {} classes have images: {names} {verb} none", present.len(), options.num_classes))
}

#[cfg(test)]
#[path = "index_tests.rs"]
mod tests;
