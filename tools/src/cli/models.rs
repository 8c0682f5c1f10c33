use clap::Args;

/// Arguments of `ghostzoo models`.
#[derive(Debug, Args)]
pub(crate) struct ModelsArgs {
    /// Print one JSON object per model and line to stdout, nothing else
    #[arg(long)]
    pub(crate) json: bool,
}
