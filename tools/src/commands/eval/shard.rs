//! The counts of a part of the data, as a file: for runs that go on, and for parts that are added up.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use candle_vision::metrics::ClassificationMetrics;
use serde::{Deserialize, Serialize};

use crate::error::usage;
use crate::files;

/// Says what the file is, and in which version.
const FORMAT: &str = "ghostzoo eval part 1";
/// Largest file that is read.
const MAX_BYTES: u64 = 1 << 30;

/// What a run has counted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct EvalShard {
    format: String,
    /// What the counts are of: two parts belong together where this is equal.
    pub(super) subject: EvalManifest,
    /// Positions of this part: from, up to, and the next to look at.
    pub(super) start: usize,
    pub(super) end: usize,
    pub(super) next: usize,
    /// Names of images that could not be read, and do not count.
    pub(super) unreadable: Vec<String>,
    /// Images without a reassessed label, which do not count.
    pub(super) unlabelled: usize,
    /// Time spent, in seconds.
    pub(super) seconds: f64,
    /// By model.
    pub(super) tallies: Vec<ClassificationMetrics>,
}

/// The data and the models of an evaluation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct EvalManifest {
    /// Hash of the set's names and labels.
    pub(super) data: String,
    /// How labels became classes.
    pub(super) order: String,
    /// Images of all parts.
    pub(super) total: usize,
    /// Classes.
    pub(super) num_classes: usize,
    /// Classes that were allowed, where not all were.
    pub(super) valid_labels: Option<Vec<usize>>,
    /// CRC-32 of the reassessed labels' file, where they were used.
    pub(super) real_labels: Option<u32>,
    /// The models, in the order of the tallies.
    pub(super) models: Vec<ModelRow>,
}

/// A model and how it sees images.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ModelRow {
    /// What the user called it.
    pub(super) name: String,
    /// CRC-32 of its file.
    pub(super) weights: u32,
    /// Trainable parameters of the checkpoint.
    pub(super) param_count: usize,
    /// [height, width].
    pub(super) img_size: [usize; 2],
    /// Share that the crop keeps.
    pub(super) crop_pct: f64,
    /// Filter of the resize.
    pub(super) interpolation: String,
    /// Type that it computed in.
    pub(super) dtype: String,
}

impl EvalShard {
    /// A part of which nothing has been looked at.
    pub(super) fn new(subject: EvalManifest, positions: std::ops::Range<usize>) -> Self {
        let tallies = vec![ClassificationMetrics::default(); subject.models.len()];
        Self {
            format: FORMAT.to_owned(),
            subject,
            start: positions.start,
            end: positions.end,
            next: positions.start,
            unreadable: Vec::new(),
            unlabelled: 0,
            seconds: 0.,
            tallies,
        }
    }

    /// Reads a part's file.
    pub(super) fn read(path: &Path) -> Result<Self> {
        let what = || format!("cannot read {}", path.display());
        let mut bytes = Vec::new();
        File::open(path).and_then(|file| file.take(MAX_BYTES + 1).read_to_end(&mut bytes)).with_context(what)?;
        if bytes.len() as u64 > MAX_BYTES {
            bail!("{} has more bytes than a part can have", path.display());
        }
        let part: Self = serde_json::from_slice(&bytes)
            .with_context(|| format!("{} is no part that `ghostzoo eval --part` wrote", path.display()))?;
        let sound = part.format == FORMAT
            && part.start <= part.next
            && part.next <= part.end
            && part.end <= part.subject.total
            && part.tallies.len() == part.subject.models.len()
            && part
                .tallies
                .iter()
                .all(|tally| tally.is_sound((part.next - part.start) as u64, part.subject.num_classes));
        if !sound {
            bail!("{} is no part of this version ({FORMAT})", path.display());
        }
        Ok(part)
    }

    /// Writes the file, whole or not at all.
    pub(super) fn write(&self, path: &Path) -> Result<()> {
        files::write(path, &serde_json::to_vec(self)?)
    }

    /// Adds up parts that together are the whole.
    pub(super) fn merge(paths: &[PathBuf]) -> Result<Self> {
        let mut parts = paths.iter().map(|path| Ok((path, Self::read(path)?))).collect::<Result<Vec<_>>>()?;
        parts.sort_by_key(|(_, part)| (part.start, part.end));
        let Some((first, one)) = parts.first().cloned() else { bail!("there is no part") };
        let total = one.subject.total;
        let mut merged = Self::new(one.subject, 0..total);
        for (path, part) in parts {
            if let Some(difference) = merged.subject.difference(&part.subject) {
                return Err(usage(format!(
                    "{} and {} are no parts of one evaluation: {difference}",
                    first.display(),
                    path.display()
                )));
            }
            if part.next < part.end {
                bail!(
                    "{} has {} of its images still to do; run it with --resume",
                    path.display(),
                    part.end - part.next
                );
            }
            if part.start < merged.next {
                return Err(usage(format!(
                    "{} holds images that another part holds too: {} to {}",
                    path.display(),
                    part.start,
                    merged.next.min(part.end)
                )));
            }
            if part.start > merged.next {
                bail!("the part with images {} to {} of {} is missing", merged.next, part.start, merged.end);
            }
            merged.next = part.end;
            merged.unreadable.extend(part.unreadable);
            merged.unlabelled += part.unlabelled;
            merged.seconds += part.seconds;
            merged.tallies.iter_mut().zip(&part.tallies).for_each(|(sum, tally)| sum.merge(tally));
        }
        if merged.next < merged.end {
            bail!("the part with images {} to {} is missing", merged.next, merged.end);
        }
        Ok(merged)
    }
}

impl EvalManifest {
    /// In what two evaluations differ, if they do.
    pub(super) fn difference(&self, other: &Self) -> Option<String> {
        let names = |subject: &Self| subject.models.iter().map(|model| model.name.clone()).collect::<Vec<_>>();
        // A file is the same by whatever path it was named.
        let unnamed = |subject: &Self| {
            let mut subject = subject.clone();
            subject.models.iter_mut().for_each(|model| model.name.clear());
            subject
        };
        let [own, others] = [unnamed(self), unnamed(other)];
        if own == others {
            return None;
        }
        Some(match () {
            () if self.data != other.data || self.total != other.total => {
                format!("they are of other images or labels ({} and {})", self.total, other.total)
            }
            () if own.models != others.models => format!(
                "their models ({} and {}) have other weights, or see images otherwise (--imgsz, --crop-pct, \
                 --interpolation, --dtype)",
                names(self).join(", "),
                names(other).join(", ")
            ),
            () if self.order != other.order => format!("{}, and {}", self.order, other.order),
            () => "they were given other --valid-labels or --real-labels".to_owned(),
        })
    }
}

#[cfg(test)]
#[path = "shard_tests.rs"]
mod tests;
