use clap::Args;

/// Arguments of `ghostzoo pull`.
#[derive(Debug, Args)]
pub(crate) struct PullArgs {
    /// A name of `ghostzoo models`, or hf://org/repo@rev/file
    #[arg(value_name = "NAME")]
    pub(crate) model: String,

    /// Download it even where the cache has it, and put it in that file's place
    #[arg(long)]
    pub(crate) force: bool,
}
