//! Under which licence weights are given away.

use std::path::Path;

use anyhow::{Context, Result};

use crate::error::usage;

/// The identifiers that the Hub's cards take, by its documentation of `repositories-licenses`, but for `unknown` and `other`.
const IDENTIFIERS: [&str; 60] = [
    "afl-3.0",
    "agpl-3.0",
    "apache-2.0",
    "artistic-2.0",
    "bigcode-openrail-m",
    "bigscience-bloom-rail-1.0",
    "bigscience-openrail-m",
    "bsd",
    "bsd-2-clause",
    "bsd-3-clause",
    "bsd-3-clause-clear",
    "bsl-1.0",
    "c-uda",
    "cc",
    "cc-by-2.0",
    "cc-by-2.5",
    "cc-by-3.0",
    "cc-by-4.0",
    "cc-by-nc-2.0",
    "cc-by-nc-3.0",
    "cc-by-nc-4.0",
    "cc-by-nc-nd-3.0",
    "cc-by-nc-nd-4.0",
    "cc-by-nc-sa-2.0",
    "cc-by-nc-sa-3.0",
    "cc-by-nc-sa-4.0",
    "cc-by-nd-4.0",
    "cc-by-sa-3.0",
    "cc-by-sa-4.0",
    "cc0-1.0",
    "cdla-permissive-1.0",
    "cdla-permissive-2.0",
    "cdla-sharing-1.0",
    "creativeml-openrail-m",
    "ecl-2.0",
    "epl-1.0",
    "epl-2.0",
    "etalab-2.0",
    "eupl-1.1",
    "gfdl",
    "gpl",
    "gpl-2.0",
    "gpl-3.0",
    "isc",
    "lgpl",
    "lgpl-2.1",
    "lgpl-3.0",
    "lgpl-lr",
    "lppl-1.3c",
    "mit",
    "mpl-2.0",
    "ms-pl",
    "ncsa",
    "odbl",
    "odc-by",
    "ofl-1.1",
    "openrail",
    "osl-3.0",
    "unlicense",
    "zlib",
];

/// Most bytes of a licence's text.
const MAX_TEXT: u64 = 1 << 20;

/// The licence of a folder.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Licence {
    /// As it is written: the Hub's identifier, or a name of its own.
    pub(super) id: String,
    /// Whether the Hub has an identifier for it.
    pub(super) is_known: bool,
    /// Its text, where it was given.
    pub(super) text: Option<String>,
}

impl Licence {
    /// The licence of the weights: the one that was asked for, which must be one of those that the checkpoint names, else the
    /// checkpoint's. `file` holds its text.
    ///
    /// # Errors
    /// Where there is none, or several to choose from; where it is another than the checkpoint's; where the Hub does not know it
    /// and no text is given.
    pub(super) fn of(asked: Option<&str>, checkpoint: Option<&str>, file: Option<&Path>) -> Result<Self> {
        let theirs: Vec<String> = checkpoint.map(choices).unwrap_or_default();
        let id = match (asked.map(identifier), theirs.as_slice()) {
            (Some(asked), []) => asked,
            (Some(asked), theirs) if theirs.contains(&asked) => asked,
            (Some(asked), _) => {
                let theirs = checkpoint.unwrap_or_default();
                return Err(usage(format!(
                    "--license {asked}: the checkpoint says that its weights are under {theirs}; name that one"
                )));
            }
            (None, [only]) => only.clone(),
            (None, []) => {
                return Err(usage(
                    "a card needs the licence of the weights, and the checkpoint names none: give --license, such as mit, \
                     apache-2.0 or cc-by-4.0",
                ));
            }
            (None, several) => {
                return Err(usage(format!(
                    "the weights are under one of several licences: give --license {}",
                    several.join(" or ")
                )));
            }
        };
        let is_known = IDENTIFIERS.contains(&id.as_str());
        if !is_known && (id.is_empty() || matches!(id.as_str(), "other" | "unknown") || file.is_none()) {
            return Err(usage(format!(
                "--license {id}: the Hub has no such identifier; take one of its list (mit, apache-2.0, cc-by-4.0, agpl-3.0, …), or \
                 a name of your own with --license-file"
            )));
        }
        Ok(Self { id, is_known, text: file.map(read).transpose()? })
    }

    /// The folder's LICENSE.
    pub(super) fn file(&self, name: &str, attribution: Option<&str>) -> String {
        let head = attribution.map(|text| format!("{text}\n\n")).unwrap_or_default();
        match &self.text {
            Some(text) => format!("{head}{}\n", text.trim_end()),
            None => format!(
                "{head}The weights of {name} are under the licence {}, as \
                 https://huggingface.co/docs/hub/repositories-licenses names it.\n",
                self.id
            ),
        }
    }
}

/// A licence as the Hub writes it: `AGPL-3.0-only` and Ultralytics' `AGPL-3.0 (https://…)` are `agpl-3.0`.
fn identifier(name: &str) -> String {
    let name = name.split(" (").next().unwrap_or_default().trim().to_ascii_lowercase();
    let short = name.strip_suffix("-only").or_else(|| name.strip_suffix("-or-later"));
    match short.filter(|short| IDENTIFIERS.contains(short)) {
        Some(short) => short.to_owned(),
        None => name,
    }
}

/// The licences that an SPDX expression leaves the choice of.
fn choices(expression: &str) -> Vec<String> {
    expression.split(" OR ").map(identifier).collect()
}

fn read(path: &Path) -> Result<String> {
    use std::io::Read as _;

    let mut text = String::new();
    let file = std::fs::File::open(path).with_context(|| format!("cannot open --license-file {}", path.display()))?;
    let read = file.take(MAX_TEXT + 1).read_to_string(&mut text);
    read.with_context(|| format!("cannot read --license-file {} as text", path.display()))?;
    if text.len() as u64 > MAX_TEXT || text.trim().is_empty() {
        return Err(usage(format!("--license-file {}: no text of a licence has its length", path.display())));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(asked: Option<&str>, checkpoint: Option<&str>) -> Result<String> {
        Licence::of(asked, checkpoint, None).map(|licence| licence.id)
    }

    #[test]
    fn the_identifiers_are_sorted_and_lie_in_lower_case() {
        assert!(IDENTIFIERS.is_sorted() && IDENTIFIERS.iter().all(|id| *id == id.to_ascii_lowercase()));
    }

    #[test]
    fn a_licence_is_the_checkpoints_or_one_of_its_choices() -> Result<()> {
        let dual = Some("MIT OR Apache-2.0");
        assert_eq!(id(Some("Apache-2.0"), dual)?, "apache-2.0");
        assert_eq!(id(None, Some("AGPL-3.0"))?, "agpl-3.0");
        assert_eq!(id(Some("agpl-3.0"), Some("AGPL-3.0-only"))?, "agpl-3.0");
        assert_eq!(id(None, Some("AGPL-3.0 (https://ultralytics.com/license)"))?, "agpl-3.0");
        assert_eq!(id(Some("cc-by-4.0"), None)?, "cc-by-4.0");
        for (asked, checkpoint, part) in [
            (None, None, "give --license, such as mit"),
            (None, dual, "give --license mit or apache-2.0"),
            (Some("mit"), Some("AGPL-3.0"), "under AGPL-3.0"),
            (Some("mine"), None, "with --license-file"),
            (Some("other"), None, "with --license-file"),
            (Some(""), None, "with --license-file"),
        ] {
            let error = id(asked, checkpoint).expect_err(part).to_string();
            assert!(error.contains(part), "{error}");
        }
        Ok(())
    }

    #[test]
    fn a_licence_of_ones_own_needs_its_text() -> Result<()> {
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("L");
        assert!(Licence::of(Some("mine-1.0"), None, Some(&path)).is_err(), "no such file");
        std::fs::write(&path, "Do what is right.\n\n")?;
        let licence = Licence::of(Some("mine-1.0"), None, Some(&path))?;
        assert!(!licence.is_known);
        assert_eq!(licence.file("x", Some("By me")), "By me\n\nDo what is right.\n");
        std::fs::write(&path, " \n")?;
        assert!(Licence::of(Some("mine-1.0"), None, Some(&path)).is_err(), "no text");
        Ok(())
    }
}
