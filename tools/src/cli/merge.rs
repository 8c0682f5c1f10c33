use std::path::PathBuf;

use clap::Args;
use clap::builder::{PathBufValueParser, TypedValueParser};

use super::Metric;
use super::eval::results_file;

/// Arguments of `ghostzoo merge`.
#[derive(Debug, Args)]
pub(crate) struct MergeArgs {
    /// The --part files of all shards of one `eval`, `detect` or `val`
    #[arg(required = true, value_name = "PART")]
    pub(crate) parts: Vec<PathBuf>,
    /// Write the results with timm's columns
    #[arg(long, value_name = "FILE.csv|FILE.json", value_parser = PathBufValueParser::new().try_map(results_file),
        help_heading = EVAL)]
    pub(crate) results_file: Option<PathBuf>,
    /// Write how often each class was taken for which
    #[arg(long, value_name = "FILE.csv", help_heading = EVAL)]
    pub(crate) confusion: Option<PathBuf>,
    /// Write a row per box, as `detect --parquet` does
    #[arg(long, value_name = "FILE.parquet", help_heading = "Parts of `detect`")]
    pub(crate) parquet: Option<PathBuf>,
    /// Whose definition of the metrics to print [default: both]
    #[arg(long, help_heading = VAL)]
    pub(crate) metric: Option<Metric>,
    /// Write predictions.json, as `val --save-json` does
    #[arg(long, help_heading = VAL)]
    pub(crate) save_json: bool,
    /// Draw what `val` draws
    #[arg(long, help_heading = VAL)]
    pub(crate) plots: bool,
    /// Where files go; a number is added where it exists [default: runs/detect/val]
    #[arg(long, value_name = "FOLDER", help_heading = VAL)]
    pub(crate) save_dir: Option<PathBuf>,
    /// Write into the folder even where it exists
    #[arg(long, help_heading = VAL)]
    pub(crate) exist_ok: bool,
    /// Print JSON to stdout, nothing else: one object per model of `eval`, per image of `detect`, one of `val`
    #[arg(long)]
    pub(crate) json: bool,
}

const EVAL: &str = "Parts of `eval`";
const VAL: &str = "Parts of `val`";
