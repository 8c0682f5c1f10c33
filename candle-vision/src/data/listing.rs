//! What a layout lists, before its labels are the model's classes.

use std::collections::HashMap;

use super::record::Store;

/// Names in one string: 8 bytes beside their text.
#[derive(Debug, Default)]
pub(super) struct Names {
    text: String,
    ends: Vec<usize>,
}

impl Names {
    pub(super) fn push(&mut self, name: &str) {
        self.text.push_str(name);
        self.ends.push(self.text.len());
    }

    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    /// # Panics
    /// Beyond the last name.
    pub(super) fn get(&self, index: usize) -> &str {
        let start = if index == 0 { 0 } else { self.ends[index - 1] };
        &self.text[start..self.ends[index]]
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &str> {
        (0..self.len()).map(|index| self.get(index))
    }

    #[cfg(test)]
    pub(super) fn bytes(&self) -> usize {
        self.text.capacity() + self.ends.capacity() * size_of::<usize>()
    }

    pub(super) fn shrink(&mut self) {
        self.text.shrink_to_fit();
        self.ends.shrink_to_fit();
    }
}

/// The label of each image, as text, each distinct text once.
#[derive(Debug, Default)]
pub(super) struct Labels {
    ids: HashMap<String, u32>,
    texts: Vec<String>,
    of: Vec<u32>,
}

impl Labels {
    pub(super) fn push(&mut self, text: &str) {
        let id = self.id(text);
        self.of.push(id);
    }

    /// Labels by position in a list, in which a text may occur twice.
    pub(super) fn listed(texts: Vec<String>, of: Vec<u32>) -> Self {
        Self { ids: HashMap::new(), texts, of }
    }

    /// Makes a label known that no image has.
    pub(super) fn add(&mut self, text: &str) {
        self.id(text);
    }

    fn id(&mut self, text: &str) -> u32 {
        if let Some(&id) = self.ids.get(text) {
            return id;
        }
        let id = u32::try_from(self.texts.len()).expect("fewer labels than the images, which a u32 counts");
        self.ids.insert(text.to_owned(), id);
        self.texts.push(text.to_owned());
        id
    }

    /// The labels that images refer to: listed, or each once in the order of first appearance.
    pub(super) fn texts(&self) -> &[String] {
        &self.texts
    }

    /// How many of the first [`texts`](Self::texts) hold all that images have.
    pub(super) fn used(&self) -> usize {
        self.of.iter().max().map_or(0, |&last| last as usize + 1)
    }

    /// For each image, which of [`texts`](Self::texts).
    pub(super) fn of(&self) -> &[u32] {
        &self.of
    }
}

/// Where labels come from, which decides how much may be assumed about them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Origin {
    /// Folder names: all classes that the set has.
    Folders,
    /// A labels file; `devkit` if its name says that numbers are ILSVRC2012_ID.
    File {
        /// Whether numbers are ILSVRC2012_ID.
        devkit: bool,
    },
    /// `.cls` members of WebDataset shards.
    Members,
    /// A column of numbers or names.
    Column,
    /// A column of numbers whose class names are listed in order, all of them.
    ListedColumn,
}

impl Origin {
    /// The labels, as the subject of a sentence.
    pub(super) fn subject(self) -> &'static str {
        match self {
            Self::Folders => "the class folders",
            Self::File { .. } => "the labels",
            Self::Members => "the .cls labels",
            Self::Column => "the labels of the table",
            Self::ListedColumn => "the table's class names",
        }
    }
}

/// The images of one layout.
#[derive(Debug)]
pub(super) struct Listing {
    /// Name of each image.
    pub(super) names: Names,
    /// Label of each image; absent if the layout holds none.
    pub(super) labels: Option<(Labels, Origin)>,
    /// Where the bytes are.
    pub(super) store: Store,
    /// What was skipped or assumed.
    pub(super) notes: Vec<String>,
}
