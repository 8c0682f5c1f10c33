use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use ghostzoo::quantize::MAX_IMAGES;

/// Arguments of `ghostzoo quantize`.
#[derive(Debug, Args)]
pub(crate) struct QuantizeArgs {
    /// Checkpoint in floats: a name of `ghostzoo models`, a file (.safetensors, .pt, .pth, .bin), or hf://org/repo@rev/file
    #[arg(long, short, value_name = "NAME|FILE|hf://…")]
    pub(crate) model: Option<OsString>,
    /// Images like those that the model is for: a data.yaml or a folder of images for a detector; class folders, tars or
    /// Parquet for a classifier. Labels are looked at for --max-drop only
    #[arg(long, value_name = "PATH")]
    pub(crate) data: PathBuf,
    /// Part of the data to look at [default: train of a data.yaml; of a classifier's, train where there is one]
    #[arg(long, value_name = "NAME")]
    pub(crate) split: Option<String>,
    /// File to write, .safetensors [default: the model's name with -int8, in this folder]
    #[arg(long, short, value_name = "FILE.safetensors")]
    pub(crate) output: Option<PathBuf>,
    /// Write the file even where it exists
    #[arg(long)]
    pub(crate) force: bool,
    /// Images to look at, spread evenly over the data
    #[arg(long, default_value_t = 128, value_name = "N", value_parser = images)]
    pub(crate) images: usize,
    /// How the ranges of inputs are chosen
    #[arg(long, default_value = "mse")]
    pub(crate) method: Method,
    /// Per cent of the inputs that a range holds, with --method percentile
    #[arg(long, default_value_t = 99.99, value_name = "P", value_parser = percentile)]
    pub(crate) percentile: f64,
    /// Leave biases as they are, instead of making up for the mean error of the weights
    #[arg(long)]
    pub(crate) no_bias_correction: bool,
    /// Convolutions, or parts of the network, that stay in floats
    #[arg(long, num_args = 1.., value_name = "PATH")]
    pub(crate) skip: Vec<String>,
    /// Write what became of each convolution
    #[arg(long, value_name = "FILE.json")]
    pub(crate) report: Option<PathBuf>,
    /// Side of the images as the network sees them [default: as the model was trained, else 640]
    #[arg(long, value_name = "N|H,W", value_parser = super::detect::image_size)]
    pub(crate) imgsz: Option<[usize; 2]>,
    /// Leave the worst layers in floats until the model loses at most so much of mAP50-95, or of top-1, each from 0 to 1, on the labelled
    /// images of --val-split: 0.003 is 0.3 points
    #[arg(long, value_name = "SHARE", value_parser = super::detect::share::<f64>)]
    pub(crate) max_drop: Option<f64>,
    /// Part of the data that --max-drop measures on
    #[arg(long, default_value = "val", value_name = "NAME", requires = "max_drop")]
    pub(crate) val_split: String,
    /// Print one JSON object to stdout, nothing else
    #[arg(long)]
    pub(crate) json: bool,
}

/// How the range of an input is chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Method {
    /// From the least value that was seen to the greatest
    Minmax,
    /// Without the outermost values
    Percentile,
    /// With the least squared error
    Mse,
}

fn images(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(value) if (1..=MAX_IMAGES).contains(&value) => Ok(value),
        _ => Err(format!("give a whole number from 1 to {MAX_IMAGES}")),
    }
}

fn percentile(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(value) if value > 50. && value <= 100. => Ok(value),
        _ => Err("give a number above 50 and up to 100".to_owned()),
    }
}
