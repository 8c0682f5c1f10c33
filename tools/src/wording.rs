//! The library's words as the command line has them.

/// Flags that the library knows by the names of options: `val_split` is `--val-split`.
const FLAGS: [&str; 19] = [
    "accept-changed-data",
    "arch",
    "classes",
    "cls-remap",
    "data",
    "epochs",
    "imgsz",
    "lr",
    "lr0",
    "max-det",
    "max-pixels",
    "model",
    "multi-scale",
    "patience",
    "pretrained",
    "recipe.batch",
    "teacher",
    "val-split",
    "warmup-epochs",
];
/// What the library says, and what the command says for it.
const PHRASES: [(&str, &str); 18] = [
    ("--recipe.batch", "--batch"),
    ("`hours`", "--time"),
    ("`Pretrained::No` trains", "--pretrained false trains"),
    ("or take another folder", "or give --name another folder"),
    ("give a checkpoint trained for it", "give a checkpoint trained for it: --model FILE"),
    ("or give a local file", "or give a local file to --model"),
    ("to use it all the same, ask for", "to use it all the same, give --model"),
    ("say it with --arch, by a name or a yaml file", "say it with --arch NAME or --arch FILE.yaml"),
    ("use f16 or f32", "use --dtype f16 or f32"),
    ("`DetectionData::files` list them", "`val --data split.yaml` of the run's folder looks at the same"),
    ("`Registry` lists all names", "`ghostzoo models` lists all names"),
    ("`Classifier` reads GhostNets", "`ghostzoo classify` reads GhostNets"),
    ("use `Detector`", "use `ghostzoo detect`"),
    ("train a `ClassificationTask`", "`ghostzoo train classify`"),
    ("train a `DetectionTask`", "`ghostzoo train detect`"),
    ("is a run of the task `", "is a run of `train "),
    ("resolving `", "`ghostzoo pull "),
    ("` `again` downloads it anew", " --force` downloads it again"),
];

/// A message of the library as the command prints it, options by their flags.
pub(crate) fn of_command(message: &str) -> String {
    let flag = |text: String, flag: &&str| text.replace(&format!("`{}`", flag.replace('-', "_")), &format!("--{flag}"));
    let text = FLAGS.iter().fold(message.to_owned(), flag);
    PHRASES.iter().fold(text, |text, (from, to)| text.replace(from, to))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_flags_and_files_keep_their_fields() {
        for (library, command) in [
            ("a larger `recipe.batch` or `imgsz`", "a larger --batch or --imgsz"),
            ("validate with, `val_split` 0.2", "validate with, --val-split 0.2"),
            (
                "resolving `hf://a/b/c.pt` `again` downloads it anew",
                "`ghostzoo pull hf://a/b/c.pt --force` downloads it again",
            ),
            ("say it with `arch`, by a name or a yaml file", "say it with --arch NAME or --arch FILE.yaml"),
            ("is a run of the task `classify`", "is a run of `train classify`"),
            ("`decided.recipe.batch` is 0, `batch` is 4", "`decided.recipe.batch` is 0, `batch` is 4"),
        ] {
            assert_eq!(of_command(library), command);
        }
    }
}
