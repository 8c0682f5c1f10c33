//! `README.md`: the Hub's metadata, and what a reader wants to know.

use std::fmt::Write as _;

use anyhow::{Context, Result};
use ghostzoo::{Architecture, ModelSpec};
use ghostzoo_weights::Metadata;
use yaml_rust2::{Yaml, YamlEmitter, yaml::Hash};

use super::licence::Licence;
use super::metrics::Metrics;
use crate::output::grouped;

/// Most classes that a card lists.
const MOST_CLASSES: usize = 100;
/// The arguments of a training that a card tells.
const ARGUMENTS: [&str; 7] = ["epochs", "batch", "imgsz", "optimizer", "opt", "lr0", "lr"];

/// What a card says.
pub(super) struct Card<'a> {
    /// `organisation/name`, or a name alone.
    pub(super) name: &'a str,
    pub(super) metadata: &'a Metadata,
    pub(super) spec: &'a ModelSpec,
    /// Names by class number; empty where only numbers are known.
    pub(super) classes: &'a [String],
    pub(super) licence: &'a Licence,
    pub(super) dataset: Option<&'a str>,
    /// Part of the data set that the metrics are of.
    pub(super) split: Option<&'a str>,
    pub(super) attribution: Option<&'a str>,
    pub(super) metrics: Option<&'a Metrics>,
}

impl Card<'_> {
    /// The file.
    pub(super) fn text(&self) -> Result<String> {
        let mut front = String::new();
        YamlEmitter::new(&mut front).dump(&self.front_matter()).context("the card's metadata as yaml")?;
        Ok(format!("{front}\n---\n\n{}", self.body()?))
    }

    fn is_classifier(&self) -> bool {
        matches!(self.spec.architecture, Architecture::Classifier(_))
    }

    /// The metadata, by the specification of the Hub's `modelcard.md`.
    fn front_matter(&self) -> Yaml {
        let task = if self.is_classifier() { "image-classification" } else { "object-detection" };
        let mut tags = vec!["ghostzoo", "candle"];
        tags.push(if self.is_classifier() { "ghostnet" } else { "yolov8" });
        tags.extend(self.metadata.arch.as_deref());
        let mut front = match self.licence.is_known {
            true => vec![("license", text(&self.licence.id))],
            false => vec![
                ("license", text("other")),
                ("license_name", text(&self.licence.id)),
                ("license_link", text("LICENSE")),
            ],
        };
        front.push(("pipeline_tag", text(task)));
        front.push(("tags", Yaml::Array(tags.into_iter().map(text).collect())));
        if let Some(id) = self.dataset.filter(|name| is_id(name)) {
            front.push(("datasets", Yaml::Array(vec![text(id)])));
        }
        if let Some((metrics, dataset)) = self.metrics.zip(self.dataset) {
            let mut data = vec![("type", text(&as_id(dataset))), ("name", text(dataset))];
            data.extend(self.split.map(|split| ("split", text(split))));
            let rows = metrics.rows.iter().map(|metric| {
                pairs([
                    ("type", text(metric.kind)),
                    ("value", Yaml::Real(rounded(metric.value))),
                    ("name", text(metric.name)),
                ])
            });
            let result = pairs([
                ("task", pairs([("type", text(task))])),
                ("dataset", pairs(data)),
                ("metrics", Yaml::Array(rows.collect())),
            ]);
            let model = pairs([("name", text(self.name)), ("results", Yaml::Array(vec![result]))]);
            front.push(("model-index", Yaml::Array(vec![model])));
        }
        pairs(front)
    }

    fn body(&self) -> Result<String> {
        let mut out = format!("# {}\n\n", self.name.rsplit('/').next().unwrap_or(self.name));
        let (verb, does) = match self.is_classifier() {
            true => ("classify", "Says which of its classes an image shows."),
            false => ("detect", "Finds objects of its classes in images: boxes and confidences."),
        };
        writeln!(out, "{does} Written by `ghostzoo publish`.\n")?;
        writeln!(out, "| | |\n|---|---|")?;
        if let Some(arch) = &self.metadata.arch {
            writeln!(out, "| architecture | {} |", code(arch))?;
        }
        writeln!(out, "| parameters | {} |", grouped(self.spec.parameters()))?;
        writeln!(out, "| classes | {} |", self.classes_shown())?;
        if let Some(side) = self.metadata.imgsz {
            writeln!(out, "| trained on images of | {side} pixels |")?;
        }
        if let Some(dataset) = self.dataset {
            writeln!(out, "| trained on | {} |", plain(dataset))?;
        }
        if let Some(quantization) = &self.metadata.quantization {
            writeln!(out, "| weights | of 8 bits, by the ranges of {} images |", quantization.images)?;
        }
        let address =
            if self.name.contains('/') { self.name.to_owned() } else { format!("ORGANISATION/{}", self.name) };
        writeln!(out, "\n```sh\nghostzoo {verb} image.jpg --model hf://{address}/model.safetensors\n```")?;
        if let Some(metrics) = self.metrics {
            self.results(&mut out, metrics)?;
        }
        self.training(&mut out)?;
        writeln!(out, "\n## Licence\n\n{}: see [LICENSE](LICENSE).", plain(&self.licence.id))?;
        if let Some(attribution) = self.attribution {
            writeln!(out, "\n{}", plain(attribution))?;
        }
        Ok(out)
    }

    fn classes_shown(&self) -> String {
        let count = self.spec.num_classes();
        if self.classes.is_empty() || count > MOST_CLASSES {
            return grouped(count);
        }
        self.classes.iter().map(|name| code(name)).collect::<Vec<_>>().join(", ")
    }

    fn results(&self, out: &mut String, metrics: &Metrics) -> Result<()> {
        let images = usize::try_from(metrics.images).map(grouped).unwrap_or_default();
        let side = metrics.imgsz.map(|side| format!(", at {side} pixels")).unwrap_or_default();
        let split = self.split.map(|split| format!(", {}", plain(split))).unwrap_or_default();
        let dataset = plain(self.dataset.unwrap_or_default());
        writeln!(
            out,
            "\n## Measured\n\nOn {images} images of {dataset}{split}{side}.\n\n| metric | value |\n|---|---|"
        )?;
        for metric in &metrics.rows {
            writeln!(out, "| {} | {:.4} |", metric.name, metric.value)?;
        }
        Ok(())
    }

    fn training(&self, out: &mut String) -> Result<()> {
        let Some(args) = &self.metadata.train_args else { return Ok(()) };
        let told: Vec<String> = ARGUMENTS
            .iter()
            .filter_map(|name| Some((name, args.get(*name).filter(|value| !value.is_null())?)))
            .map(|(name, value)| format!("{name} {}", plain(value.as_str().unwrap_or(&value.to_string()))))
            .collect();
        if !told.is_empty() {
            let all = "all arguments are in the file's header, as `train_args`.";
            writeln!(out, "\n## Training\n\nWith {}; {all}", told.join(", "))?;
        }
        Ok(())
    }
}

fn text(text: &str) -> Yaml {
    Yaml::String(text.to_owned())
}

fn pairs(entries: impl IntoIterator<Item = (&'static str, Yaml)>) -> Yaml {
    let mut hash = Hash::new();
    hash.extend(entries.into_iter().map(|(key, value)| (text(key), value)));
    Yaml::Hash(hash)
}

/// A share with five digits, as a number that YAML's readers take for one.
fn rounded(value: f64) -> String {
    format!("{:?}", (value * 1e5).round() / 1e5)
}

/// Whether the Hub can have a data set of this name.
fn is_id(name: &str) -> bool {
    let is_plain = |part: &str| {
        !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'))
    };
    name.split('/').count() <= 2 && name.split('/').all(is_plain)
}

/// A name as an identifier.
fn as_id(name: &str) -> String {
    if is_id(name) {
        return name.to_owned();
    }
    let words = name.split(|given: char| !given.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    let id = words.map(str::to_ascii_lowercase).collect::<Vec<_>>().join("-");
    if id.is_empty() { "unnamed".to_owned() } else { id }
}

/// Text that Markdown leaves as it is, in one line.
fn plain(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for given in text.chars() {
        match given {
            given if given.is_control() => out.push(' '),
            '\\' | '`' | '*' | '_' | '[' | ']' | '<' | '>' | '|' | '#' => out.extend(['\\', given]),
            given => out.push(given),
        }
    }
    out
}

/// Text as code, in one line.
fn code(text: &str) -> String {
    let text: String = text.chars().map(|given| if given.is_control() { ' ' } else { given }).collect();
    format!("`{}`", text.replace('`', "'").replace('|', "\\|"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_identifiers() {
        for (name, id) in
            [("bccd", "bccd"), ("me/cells", "me/cells"), ("Blood cells (BCCD)", "blood-cells-bccd"), ("血", "unnamed")]
        {
            assert_eq!(as_id(name), id);
        }
    }

    #[test]
    fn names_of_others_are_no_markup() {
        assert_eq!(plain("a_b\n# [x](y)"), r"a\_b \# \[x\](y)");
        assert_eq!(code("a`b|c\n"), r"`a'b\|c `");
    }

    #[test]
    fn numbers_stay_numbers() {
        assert_eq!([0.5, 1., 0., 0.123456, 0.000001].map(rounded), ["0.5", "1.0", "0.0", "0.12346", "0.0"]);
    }
}
