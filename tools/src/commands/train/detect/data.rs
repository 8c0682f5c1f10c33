//! The labelled images of a training and of its validation.

use std::path::{Path, PathBuf};

use anyhow::Result;
use candle_vision::data::held_out;
use candle_yolov8::data::{AnnotatedImage, DataYaml, DatasetSplit, LabelReport, part_files};

use crate::cli::{DetectTrainArgs, GlobalArgs};
use crate::error::usage;
use crate::output::notes;

/// Both parts.
pub(super) struct Data {
    pub(super) train: Vec<AnnotatedImage>,
    pub(super) val: Vec<AnnotatedImage>,
    /// Files of the run's folder that tell which image is in which part, where no data.yaml does.
    pub(super) files: Vec<(String, String)>,
}

impl Data {
    /// Reads both splits of a data.yaml, or the two parts of its one with `--val-split`. With `single_cls` all labels are of
    /// class 0.
    pub(super) fn read(data: &DataYaml, args: &DetectTrainArgs, single_cls: bool, global: &GlobalArgs) -> Result<Self> {
        let open = |split: &str| Ok::<_, anyhow::Error>(DatasetSplit::open(data, split)?.single_cls(single_cls));
        let splits: Vec<&str> = data.splits().collect();
        let (file, has) = (data.file().display(), |split: &str| splits.contains(&split));
        if let Some(share) = args.run.val_split {
            if has("val") && splits.len() > 1 {
                return Err(usage(format!(
                    "--val-split: {file} has images to validate with already: leave the option out, or take the key `val:` \
                     out of the file"
                )));
            }
            // `train` is the first of those that are known.
            let split = open(splits.first().copied().unwrap_or("train"))?;
            return Self::of_one(data, &split, share, args, global);
        }
        if let Some(lacking) = ["train", "val"].into_iter().find(|split| !has(split)) {
            return Err(usage(format!(
                "{file} has no split `{lacking}`, only {}: add the key `{lacking}:`, or hold back a part of its images to \
                 validate with, --val-split 0.2",
                splits.join(", ")
            )));
        }
        let (train, report) = open("train")?.part(args.fraction.train()).labels()?;
        tell("train", &report, global);
        let (val, report) = open("val")?.part(args.fraction.val()).labels()?;
        tell("val", &report, global);
        Ok(Self { train, val, files: Vec::new() })
    }

    fn of_one(
        data: &DataYaml,
        split: &DatasetSplit,
        share: f64,
        args: &DetectTrainArgs,
        global: &GlobalArgs,
    ) -> Result<Self> {
        let (images, report) = split.labels()?;
        tell("data", &report, global);
        let count = images.len();
        if count < 2 {
            return Err(usage(format!(
                "--val-split: {} has one image: there is none to hold back",
                data.file().display()
            )));
        }
        let names = names(&images.iter().map(|image| image.path.as_path()).collect::<Vec<_>>());
        let mut held = held_out(&names, &vec![0; count], share, args.run.seed).into_iter();
        let (mut val, mut train): (Vec<_>, Vec<_>) = images.into_iter().partition(|_| held.next() == Some(true));
        let files = part_files(data, split, [&train, &val]);
        if !global.quiet {
            let again = match &files {
                Some(_) => "`val --data split.yaml` of the run's folder looks at the same",
                None => "no list of them can be written",
            };
            status!("note: {} of {count} images are held back to validate with; {again}", val.len());
        }
        train.truncate(args.fraction.train().of(train.len()));
        val.truncate(args.fraction.val().of(val.len()));
        Ok(Self { train, val, files: files.unwrap_or_default() })
    }
}

/// The paths from the lowest folder that holds them all, so that images keep their names where that folder is moved.
fn names(paths: &[&Path]) -> Vec<String> {
    let mut common: PathBuf = paths.first().and_then(|path| path.parent()).unwrap_or(Path::new("")).to_path_buf();
    for path in paths {
        while !path.starts_with(&common) && common.pop() {}
    }
    let name = |path: &&Path| {
        let below = path.strip_prefix(&common).unwrap_or(path).components();
        below.map(|part| part.as_os_str().to_string_lossy()).collect::<Vec<_>>().join("/")
    };
    paths.iter().map(name).collect()
}

/// Says what is wrong with labels, the first few one by one.
fn tell(split: &str, report: &LabelReport, global: &GlobalArgs) {
    notes(&report.messages);
    if !global.quiet && report.missing + report.left_out > 0 {
        status!(
            "note: {split}: {} images, {} without a label file count as background, {} are left out",
            report.images,
            report.missing,
            report.left_out
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_do_not_tell_where_the_data_lie() {
        let of = |root: &str, below: &[&str]| {
            let paths: Vec<PathBuf> = below.iter().map(|name| Path::new(root).join(name)).collect();
            names(&paths.iter().map(PathBuf::as_path).collect::<Vec<_>>())
        };
        let below = ["train/a.jpg", "train/deep/b.jpg", "val/a.jpg"];
        assert_eq!(of("/data/set", &below), below);
        assert_eq!(of("/elsewhere", &below), below);
        assert_eq!(of("/x", &["images/a.jpg", "images/b.jpg"]), ["a.jpg", "b.jpg"]);
        assert_eq!(of("/x", &["a.jpg"]), ["a.jpg"]);
        assert!(names(&[]).is_empty());
    }
}
