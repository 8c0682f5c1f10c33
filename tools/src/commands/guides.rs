//! `ghostzoo completions` and `ghostzoo man`: the command line as shells and manuals tell it.

use std::path::Path;

use anyhow::{Context, Result};
use clap::Command;
use clap_mangen::Man;

use crate::cli::{self, CompletionsArgs, ManArgs};
use crate::files;
use crate::output::Stdout;

/// Prints what a shell is to read.
pub(crate) fn completions(args: &CompletionsArgs) -> Result<()> {
    let mut script = Vec::new();
    let mut command = cli::listed();
    let name = command.get_name().to_owned();
    clap_complete::generate(args.shell, &mut command, name, &mut script);
    Stdout::new().text(&String::from_utf8(script).context("the script is not UTF-8")?)
}

/// Writes the page of each command into a folder, or prints the first.
pub(crate) fn man(args: &ManArgs) -> Result<()> {
    let mut command = cli::listed();
    // Names the pages `ghostzoo-detect`, as their files are.
    command.build();
    match &args.folder {
        Some(folder) => {
            files::make_folder(folder)?;
            save(&command, folder)
        }
        None => Stdout::new().text(&page(&command)?),
    }
}

/// A page as roff.
fn page(command: &Command) -> Result<String> {
    let mut page = Vec::new();
    Man::new(command.clone()).render(&mut page)?;
    String::from_utf8(page).context("the page is not UTF-8")
}

/// Writes the page of a command and those of its own.
fn save(command: &Command, folder: &Path) -> Result<()> {
    let name = command.get_display_name().unwrap_or_else(|| command.get_name());
    files::write(&folder.join(format!("{name}.1")), page(command)?.as_bytes())?;
    let mut own = command.get_subcommands().filter(|own| !own.is_hide_set() && own.get_name() != "help");
    own.try_for_each(|own| save(own, folder))
}
