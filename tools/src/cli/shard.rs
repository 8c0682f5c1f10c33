use std::path::PathBuf;

use clap::Args;

/// Options of what runs in parts on many machines.
#[derive(Debug, Args)]
pub(crate) struct ShardArgs {
    /// Look at part I (from 0) of N equal parts only; `ghostzoo merge` adds parts up. auto takes I and N from the job array that
    /// started the program (Slurm, AWS Batch, Google Cloud), auto/N takes I alone (Kubernetes' Indexed Job too)
    #[arg(long, value_name = "I/N|auto[/N]", value_parser = shard, requires = "part", help_heading = PARTS)]
    pub(crate) shard: Option<Shard>,
    /// Keep what is found in this file while running
    #[arg(long, value_name = "FILE", help_heading = PARTS)]
    pub(crate) part: Option<PathBuf>,
    /// Go on where the run that wrote --part ended; begin where there is none
    #[arg(long, requires = "part", help_heading = PARTS)]
    pub(crate) resume: bool,
}

/// Where the help lists them.
pub(crate) const PARTS: &str = "Parts";

/// A part of the data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shard {
    /// Part I, from 0, of N.
    Of([usize; 2]),
    /// The part whose number the environment says, and how many there are where that is given.
    Auto(Option<usize>),
}

/// Parses `I/N` with I below N, `auto` or `auto/N`.
fn shard(text: &str) -> Result<Shard, String> {
    let wrong = || {
        let example = "give a part and a number of parts, such as 0/4 for the first of four";
        Err(format!("{example}, or auto or auto/4 for the part that a job array says"))
    };
    let number = |text: &str| text.trim().parse::<usize>().ok();
    match text.split_once('/') {
        None if text == "auto" => Ok(Shard::Auto(None)),
        None => wrong(),
        Some(("auto", count)) => match number(count) {
            Some(count) if count > 0 => Ok(Shard::Auto(Some(count))),
            _ => wrong(),
        },
        Some((index, count)) => match (number(index), number(count)) {
            (Some(index), Some(count)) if index < count => Ok(Shard::Of([index, count])),
            _ => wrong(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_count_from_zero() {
        assert_eq!(shard("3/4"), Ok(Shard::Of([3, 4])));
        assert_eq!((shard("auto"), shard("auto/7")), (Ok(Shard::Auto(None)), Ok(Shard::Auto(Some(7)))));
        for wrong in ["4/4", "1", "-1/2", "0/0", "a/b", "auto/0", "auto/", "auto/x", "/4"] {
            assert!(shard(wrong).is_err(), "{wrong}");
        }
    }
}
