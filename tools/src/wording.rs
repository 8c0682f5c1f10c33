//! The library's words as the command line has them. The library names an option as `options.NAME`, or by the path of what it is
//! part of, and other doors of its own by their Rust names: neither is what a user calls a file, a model or a class.

use std::borrow::Cow;

/// What the library says, and what the command says for it.
const PHRASES: [(&str, &str); 11] = [
    ("`options.hours`", "--time"),
    ("`Pretrained::No` trains", "--pretrained false trains"),
    ("or give a local file", "or give --model a local file"),
    ("give a checkpoint trained for it", "give --model a checkpoint trained for it"),
    ("`ResolveOptions::again` downloads", "`ghostzoo pull --force` downloads"),
    ("`DetectionData::files` list them", "`val --data split.yaml` of the run's folder looks at the same"),
    ("`Registry` lists all names", "`ghostzoo models` lists all names"),
    ("`Classifier` reads GhostNets", "`ghostzoo classify` reads GhostNets"),
    ("use `Detector`", "use `ghostzoo detect`"),
    ("train a `ClassificationTask`", "`ghostzoo train classify`"),
    ("train a `DetectionTask`", "`ghostzoo train detect`"),
];

/// A message of the library as the command prints it: `options.recipe.warmup_epochs` is `--warmup-epochs`. A message of the command stays
/// as it is.
pub(crate) fn of_command(message: &str) -> String {
    let text = PHRASES.iter().fold(Cow::from(message), |text, (from, to)| text.replace(from, to).into());
    let mut parts = text.split("`options.");
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        match part.split_once('`') {
            Some((path, rest)) => {
                let name = path.rsplit('.').next().unwrap_or(path).replace('_', "-");
                out.extend(["--", &name, rest]);
            }
            None => out.extend(["`options.", part]),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn a_message_that_is_told_twice_has_the_same_words() {
        for (library, command) in PHRASES {
            assert_eq!(of_command(library), command);
            assert_eq!(of_command(command), command);
        }
    }

    #[test]
    fn options_are_flags_and_what_users_named_keeps_its_name() {
        for (library, command) in [
            ("a larger `options.recipe.batch` or `options.imgsz`", "a larger --batch or --imgsz"),
            ("validate with, `options.val_split` 0.2", "validate with, --val-split 0.2"),
            ("a larger `options.hours` goes on", "a larger --time goes on"),
            (
                "unknown model `data` (`Registry` lists all names)",
                "unknown model `data` (`ghostzoo models` lists all names)",
            ),
            ("`lr0` is 0.01 in this run", "`lr0` is 0.01 in this run"),
            ("`options.", "`options."),
        ] {
            assert_eq!(of_command(library), command);
        }
    }

    /// The text of the Rust files below a folder.
    fn sources(folder: &Path) -> String {
        let entries = std::fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path());
        entries
            .map(|path| match path.extension() {
                _ if path.is_dir() => sources(&path),
                Some(ending) if ending == "rs" => std::fs::read_to_string(&path).expect("a source"),
                _ => String::new(),
            })
            .collect()
    }

    #[test]
    fn every_phrase_is_one_that_the_library_says() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let said: String = ["ghostzoo/src", "weights/src"].iter().map(|folder| sources(&root.join(folder))).collect();
        for (phrase, _) in PHRASES {
            assert!(said.contains(phrase), "nothing says {phrase:?}");
        }
    }
}
