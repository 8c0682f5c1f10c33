//! The models that can be named: where their files are, under which licence, and how they were measured.

use serde::Deserialize;

use crate::checkpoint::Preprocessing;
use crate::shipped::Bundled;

/// One model with weights.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct ModelEntry {
    /// What a user types.
    pub name: String,
    /// Other names for the same entry.
    #[serde(default)]
    pub aliases: Vec<String>,
    /// Architecture, as the model crates name it.
    pub architecture: String,
    /// What the model does.
    pub task: Task,
    /// Where the file is.
    #[serde(flatten)]
    pub place: Location,
    /// Hash of the file, where it is known.
    pub sha256: Option<String>,
    /// Length of the file in bytes, where it is known.
    pub size_bytes: Option<u64>,
    /// SPDX name of the licence of the weights.
    pub licence: String,
    /// Whom the licences of the weights and of what they were trained on ask to name, where they do.
    pub attribution: Option<String>,
    /// Number of classes.
    pub num_classes: usize,
    /// Trainable parameters.
    pub parameters: u64,
    /// How a classifier's images are prepared.
    pub preprocessing: Option<Preprocessing>,
    /// Accuracy as its authors published it, in per cent.
    pub published: PublishedMetrics,
}

/// Where a model's file is. Fields that are neither these nor [`ModelEntry`]'s are refused.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(untagged, deny_unknown_fields)]
pub enum Location {
    /// On the Hub.
    Hub {
        /// Repository, `organisation/name`.
        repo: String,
        /// Branch, tag or commit.
        revision: String,
        /// File in the repository.
        file: String,
    },
    /// In `weights/shipped`, built into the program.
    Bundled {
        /// The file's name.
        #[serde(rename = "shipped")]
        file: String,
    },
}

/// What a model does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Task {
    /// Boxes with classes.
    Detect,
    /// One class per image.
    Classify,
}

/// Published accuracy in per cent.
#[derive(Debug, Clone, Copy, PartialEq, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PublishedMetrics {
    /// ImageNet-1k top-1.
    pub top1: Option<f64>,
    /// ImageNet-1k top-5.
    pub top5: Option<f64>,
    /// COCO val2017 mAP at IoU 0.50:0.95.
    pub map50_95: Option<f64>,
}

/// All entries.
#[derive(Debug, Clone)]
pub struct Registry {
    entries: Vec<ModelEntry>,
}

impl ModelEntry {
    /// The checkpoint, where it is built into this program.
    pub fn shipped(&self) -> Option<Bundled> {
        match &self.place {
            Location::Bundled { file } => Bundled::find(file),
            Location::Hub { .. } => None,
        }
    }
}

impl Registry {
    /// The registry built into the program (`weights/registry.json`).
    pub fn builtin() -> Self {
        let entries = serde_json::from_str(include_str!("../registry.json"));
        Self { entries: entries.expect("registry.json is checked by a test") }
    }

    /// Every entry, in the order of the file.
    pub fn entries(&self) -> &[ModelEntry] {
        &self.entries
    }

    /// The entry of this name or alias; letter case does not count.
    pub fn find(&self, name: &str) -> Option<&ModelEntry> {
        let is_named = |candidate: &str| candidate.eq_ignore_ascii_case(name);
        self.entries.iter().find(|entry| is_named(&entry.name) || entry.aliases.iter().any(|alias| is_named(alias)))
    }

    /// The entries of this task whose files are in `weights/shipped`, in the order of the registry.
    pub fn shipped(&self, task: Task) -> impl Iterator<Item = &ModelEntry> {
        self.entries.iter().filter(move |entry| entry.task == task && matches!(entry.place, Location::Bundled { .. }))
    }

    /// The names most like `name`, best first, at most three.
    pub fn nearest(&self, name: &str) -> Vec<&str> {
        nearest(name, self.entries.iter().map(|entry| entry.name.as_str()))
    }
}

/// The candidates most like `name` (Jaro-Winkler similarity above 0.7), best first, at most three.
pub fn nearest<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Vec<&'a str> {
    const SIMILAR: f64 = 0.7;
    let name = name.to_ascii_lowercase();
    let scored = candidates.into_iter().map(|candidate| (strsim::jaro_winkler(&name, candidate), candidate));
    let mut scored: Vec<_> = scored.filter(|(score, _)| *score > SIMILAR).collect();
    scored.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(b.1)));
    scored.into_iter().map(|(_, candidate)| candidate).take(3).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn the_registry_is_sound() {
        let registry = Registry::builtin();
        let mut names = HashSet::new();
        for entry in registry.entries() {
            for name in std::iter::once(&entry.name).chain(&entry.aliases) {
                assert!(names.insert(name.to_ascii_lowercase()), "{name} is there twice");
                assert_eq!(registry.find(name), Some(entry), "{name}");
            }
            match &entry.place {
                Location::Hub { repo, .. } => assert_eq!(repo.split('/').count(), 2, "{}", entry.name),
                Location::Bundled { file } => assert_eq!(*file, format!("{}.safetensors", entry.name)),
            }
            assert!(!entry.licence.is_empty() && entry.num_classes > 0 && entry.parameters > 0, "{}", entry.name);
            if let Some(hash) = &entry.sha256 {
                assert!(hash.len() == 64 && hash.bytes().all(|b| b.is_ascii_hexdigit()), "{}", entry.name);
            }
            let is_told = entry.task == Task::Classify && matches!(entry.place, Location::Hub { .. });
            assert_eq!(entry.preprocessing.is_some(), is_told, "{}: a shipped file says it itself", entry.name);
        }
        let on_the_hub = registry.entries().iter().filter(|entry| matches!(entry.place, Location::Hub { .. }));
        assert_eq!(on_the_hub.count(), 23);
    }

    #[test]
    fn a_row_says_where_its_file_is_and_nothing_unknown() {
        let row = |more: &str| {
            let row = format!(
                r#"{{"name": "n", "architecture": "a", "task": "detect", "licence": "MIT", "num_classes": 1,
                "parameters": 1, "published": {{}}, {more}}}"#
            );
            serde_json::from_str::<ModelEntry>(&row).map(|entry| entry.place)
        };
        let shipped = row(r#""shipped": "n.safetensors""#).expect("a place");
        assert_eq!(shipped, Location::Bundled { file: "n.safetensors".to_owned() });
        let hub = row(r#""repo": "me/n", "revision": "main", "file": "n.pt""#).expect("a place");
        assert!(matches!(hub, Location::Hub { file, .. } if file == "n.pt"));
        for wrong in [r#""sha256": null"#, r#""shipped": "n", "aliass": []"#, r#""shipped": "n", "repo": "me/n""#] {
            assert!(row(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_misspelt_name_finds_its_neighbours() {
        let registry = Registry::builtin();
        assert_eq!(registry.nearest("yolo8n").first(), Some(&"yolov8n"));
        assert!(registry.nearest("ghostnet-100").contains(&"ghostnet_100.in1k"));
        assert!(registry.nearest("zzzz").is_empty());
    }
}
