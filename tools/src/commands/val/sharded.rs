//! A validation in parts, and what they say together.

use std::path::Path;

use anyhow::Result;
use candle_core::DType;
use candle_yolov8::Detector;
use candle_yolov8::val::{ValOptions, ValPlan, validate_batches};
use ghostzoo::ValData;
use serde_json::{Map, Value, json};

use super::part::{self, Assembled, FORMAT, PartOutput};
use super::{Wanted, finish, folder, report, warn};
use crate::cli::{GlobalArgs, MergeArgs, Metric, ValArgs, bytes};
use crate::output::Stdout;
use crate::part::{PartFile, PartHeader, PartWriter, decimal, merged};
use crate::progress::Count;
use crate::shard;

/// The model of a part.
pub(super) struct ModelFile<'a> {
    pub(super) name: &'a str,
    /// CRC-32 of its file.
    pub(super) weights: u32,
    pub(super) dtype: DType,
}

/// A part of a validation.
pub(super) struct Sharded<'a> {
    pub(super) path: &'a Path,
    /// The part, from 0, and the number of parts.
    pub(super) shard: [usize; 2],
    pub(super) model: ModelFile<'a>,
    pub(super) detector: &'a Detector,
    pub(super) dataset: &'a ValData,
    pub(super) options: &'a ValOptions,
}

impl Sharded<'_> {
    /// Looks at what is left of the part, then says what all of it shows.
    pub(super) fn run(&self, args: &ValArgs, global: &GlobalArgs) -> Result<()> {
        let plan = ValPlan::new(self.detector, &self.dataset.images, self.options);
        let items = shard::bounds(part::items(&plan), self.shard);
        let header = PartHeader {
            format: FORMAT.to_owned(),
            data: part::fingerprint(self.dataset, &plan),
            total: part::items(&plan),
            start: items.start,
            end: items.end,
            model: self.model.name.to_owned(),
            weights: self.model.weights,
            options: self.kept(global),
            details: part::details(self.dataset, &plan)?,
        };
        let writer = PartWriter::open(self.path, &header, args.parts.resume)?;
        let is_whole = self.shard[1] == 1;
        let is_wanted = is_whole && (args.plots || args.save_json);
        let folder = folder(is_wanted, args.save_dir.as_deref(), args.exist_ok)?;
        let all = plan.batches().len();
        let batches = writer.next().min(all)..items.end.min(all);
        let mut output = PartOutput::new(self.dataset, writer);
        let mut bar = Count::new("val", global.quiet || args.json);
        validate_batches(self.detector, &self.dataset.images, self.options, &plan, batches, &mut |batch| {
            for (image, why) in batch.damaged.iter().filter(|_| !global.quiet) {
                status!("note: {}: {why}", self.dataset.images[*image].path.display());
            }
            bar.show(batch.done, batch.total, "");
            output.add(&batch).map_err(|error| candle_core::Error::Msg(format!("{error:#}")))
        })?;
        bar.finish();
        output.finish(&plan, items.end)?;
        let file = PartFile::finished(self.path)?;
        let results = part::assemble(std::slice::from_ref(&file), is_whole)?;
        let wanted = Wanted { json: args.save_json, plots: args.plots.then_some(args.confusion_conf) };
        tell(&file, results, wanted, folder, args.metric, args.json, global)
    }

    /// What decides on the numbers besides the data and the model.
    fn kept(&self, global: &GlobalArgs) -> Map<String, Value> {
        let mut options = report::options(self.options);
        let more = [
            ("agnostic_nms", json!(self.options.nms.agnostic)),
            ("single_cls", json!(self.options.single_cls)),
            ("confusion_conf", decimal(self.options.confusion_conf)),
            ("max_pixels", json!(self.options.max_pixels)),
            ("dtype", json!(self.model.dtype.as_str())),
            ("arch", json!(global.arch.as_deref().map(bytes::shown))),
        ];
        options.extend(more.into_iter().map(|(name, value)| (name.to_owned(), value)));
        options
    }
}

/// Puts the parts of a validation together.
pub(crate) fn merge(args: &MergeArgs, global: &GlobalArgs) -> Result<()> {
    let parts = merged(&args.parts, FORMAT)?;
    let results = part::assemble(&parts, true)?;
    let folder = folder(args.plots || args.save_json, args.save_dir.as_deref(), args.exist_ok)?;
    let wanted = Wanted { json: args.save_json, plots: args.plots.then_some(part::confusion_conf(&parts[0])) };
    tell(&parts[0], results, wanted, folder, args.metric.unwrap_or(Metric::Both), args.json, global)
}

/// Prints and writes what parts hold; `part` is one of them.
fn tell(
    part: &PartFile,
    Assembled { dataset, report: validated }: Assembled,
    wanted: Wanted,
    folder: Option<crate::run_dir::RunDir>,
    metric: Metric,
    json: bool,
    global: &GlobalArgs,
) -> Result<()> {
    let failed = warn(&dataset.images, &validated, global)?;
    let mut out = Stdout::new();
    let printed = match json {
        true => out.json(&report::json(&part.header.model, &dataset, &part.header.options, &validated, failed)),
        false => report::print(&mut out, metric, &dataset, &validated),
    };
    drop(out);
    finish(folder, wanted, [json, global.quiet], &dataset, &validated, printed)
}
