//! Options of all commands that mean nothing to some, or something else: the former do not list them, and take them with a
//! note.

use clap::parser::ValueSource;
use clap::{Arg, ArgMatches, Command};

/// What a command has no use for.
fn of(command: &str) -> &'static [&'static str] {
    match command {
        "models" | "pull" | "merge" | "completions" | "man" => &["arch", "device", "dtype", "threads"],
        "summary" => &["device", "dtype", "threads"],
        "convert" => &["device"],
        "publish" => &["device", "dtype", "threads"],
        // Another type than f32 is refused there.
        "train" => &["dtype"],
        _ => &[],
    }
}

/// The command line with such options hidden.
pub(super) fn hidden(command: Command) -> Command {
    each(command, |command, option, is_idle| match option.get_id().as_str() {
        _ if is_idle => Some(option.hide(true)),
        "dtype" if command == "convert" => Some(option.help(WRITTEN)),
        _ => None,
    })
}

/// The command line without such options, for completions and manuals, which list hidden ones too.
pub(super) fn listed(command: Command) -> Command {
    let all = each(command, |command, option, is_idle| match option.get_id().as_str() {
        _ if is_idle => None,
        "dtype" if command == "convert" => Some(option.help(WRITTEN)),
        _ => Some(option),
    });
    all.mut_args(|option| option.global(false))
}

/// What `--dtype` is to the one command that does not compute in it.
const WRITTEN: &str = "Type to write [default: as it is]";

/// Each command and each task of one with what `own` gives for an option of all.
fn each(command: Command, own: impl Fn(&str, Arg, bool) -> Option<Arg>) -> Command {
    let all: Vec<Arg> = command.get_arguments().filter(|option| option.is_global_set()).cloned().collect();
    let with = |command: Command, name: &str| {
        let is_idle = |option: &Arg| of(name).contains(&option.get_id().as_str());
        let given = all.iter().filter_map(|option| own(name, option.clone().global(false), is_idle(option)));
        command.args(given.collect::<Vec<_>>())
    };
    command.mut_subcommands(|command| {
        let name = command.get_name().to_owned();
        with(command, &name).mut_subcommands(|task| with(task, &name))
    })
}

/// Says which options were given to a command that has no use for them.
pub(crate) fn tell(matches: &ArgMatches, quiet: bool) {
    let Some(command) = matches.subcommand_name().filter(|command| !quiet && *command != "train") else { return };
    let is_given = |name: &&&str| matches.value_source(name) == Some(ValueSource::CommandLine);
    for name in of(command).iter().filter(is_given) {
        status!("note: --{name} means nothing to `{command}`");
    }
}

#[cfg(test)]
mod tests {
    use clap::FromArgMatches as _;

    use crate::cli::{Cli, command};
    use crate::device::Choice;

    /// The options that a command's help lists.
    fn listed(words: &[&str]) -> String {
        let words = [&["ghostzoo"], words, &["--help"]].concat();
        command().try_get_matches_from(words).expect_err("help").to_string()
    }

    #[test]
    fn commands_list_the_options_that_they_use() {
        for (words, is_there) in [
            (&["detect"][..], [true; 4]),
            (&["bench"], [true; 4]),
            (&["train", "detect"], [true, true, false, true]),
            (&["convert"], [true, false, true, true]),
            (&["summary"], [true, false, false, false]),
            (&["publish"], [true, false, false, false]),
            (&["models"], [false; 4]),
            (&["pull"], [false; 4]),
            (&["merge"], [false; 4]),
        ] {
            let help = listed(words);
            let found =
                ["--arch", "--device", "--dtype", "--threads"].map(|option| help.contains(&format!("{option} ")));
            assert_eq!(found, is_there, "{words:?}");
            assert!(help.contains("--quiet"), "{words:?}");
        }
    }

    #[test]
    fn options_of_all_commands_may_stand_before_and_behind_every_command() {
        for line in [
            "--device cpu --threads 2 --dtype f16 --arch a detect x",
            "detect x --device cpu --threads 2 --dtype f16 --arch a",
            "--device cpu --dtype f16 models --threads 2 --arch a",
            "--threads 2 convert --device cpu --dtype f16 --arch a in out",
            "--dtype f16 train detect --data d --device cpu --threads 2 --arch a",
            "train --device cpu detect --data d --dtype f16 --threads 2 --arch a",
        ] {
            let words = format!("ghostzoo {line}");
            let matches = command().try_get_matches_from(words.split(' ')).expect(line);
            let global = Cli::from_arg_matches(&matches).expect(line).global;
            let given = (global.device, global.threads, global.dtype.is_some(), global.arch);
            assert_eq!(given, (Choice::Cpu, Some(2), true, Some("a".into())), "{line}");
        }
    }
}
