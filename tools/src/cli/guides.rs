use std::path::PathBuf;

use clap::Args;
use clap_complete::Shell;

/// Arguments of `ghostzoo completions`.
#[derive(Debug, Args)]
pub(crate) struct CompletionsArgs {
    /// Shell to write for
    #[arg(value_name = "SHELL")]
    pub(crate) shell: Shell,
}

/// Arguments of `ghostzoo man`.
#[derive(Debug, Args)]
pub(crate) struct ManArgs {
    /// Folder to write a page per command into, such as ~/.local/share/man/man1 [default: the first page to stdout]
    #[arg(value_name = "FOLDER")]
    pub(crate) folder: Option<PathBuf>,
}
