//! Which part of the data a run looks at, by its arguments or by the job array that started it.

use anyhow::Result;

use crate::cli::Shard;
use crate::error::usage;

/// What a scheduler tells its tasks.
struct Scheduler {
    /// The variable of the task's number, from 0.
    index: &'static str,
    /// The variable of the number of tasks, where there is one.
    count: Option<&'static str>,
}

/// Slurm's array, Kubernetes' Indexed Job, AWS Batch's array job, Google Cloud's Batch and Cloud Run jobs.
const SCHEDULERS: [Scheduler; 5] = [
    Scheduler { index: "SLURM_ARRAY_TASK_ID", count: Some("SLURM_ARRAY_TASK_COUNT") },
    Scheduler { index: "JOB_COMPLETION_INDEX", count: None },
    Scheduler { index: "AWS_BATCH_JOB_ARRAY_INDEX", count: Some("AWS_BATCH_JOB_ARRAY_SIZE") },
    Scheduler { index: "BATCH_TASK_INDEX", count: Some("BATCH_TASK_COUNT") },
    Scheduler { index: "CLOUD_RUN_TASK_INDEX", count: Some("CLOUD_RUN_TASK_COUNT") },
];

/// The part, from 0, and the number of parts; the whole where nothing is asked for. What is taken from the environment is said.
///
/// # Errors
/// A part that is to be taken from the environment, and is not there or not clear.
pub(crate) fn part(asked: Option<Shard>, quiet: bool) -> Result<[usize; 2]> {
    match asked {
        None => Ok([0, 1]),
        Some(Shard::Of(part)) => Ok(part),
        Some(Shard::Auto(count)) => {
            let (part, from) = taken(count, &|name| std::env::var(name).ok())?;
            if !quiet {
                status!("note: --shard auto is {}/{}, by {from}", part[0], part[1]);
            }
            Ok(part)
        }
    }
}

/// The positions of a part of `total`: parts are as equal as can be.
pub(crate) fn bounds(total: usize, [index, count]: [usize; 2]) -> std::ops::Range<usize> {
    let bound = |part: usize| (total as u128 * part as u128 / count as u128) as usize;
    bound(index)..bound(index + 1)
}

/// The part, and the variables that say so.
fn taken(count: Option<usize>, variable: &dyn Fn(&str) -> Option<String>) -> Result<([usize; 2], String)> {
    let number = |name: &str| -> Result<Option<usize>> {
        let Some(text) = variable(name).filter(|text| !text.is_empty()) else { return Ok(None) };
        let wrong = || usage(format!("--shard auto: {name} is {text:?}, no whole number: give I/N"));
        text.trim().parse().map(Some).map_err(|_| wrong())
    };
    let mut found = Vec::new();
    for scheduler in &SCHEDULERS {
        found.extend(number(scheduler.index)?.map(|index| (scheduler, index)));
    }
    let (scheduler, index) = match found.as_slice() {
        [one] => *one,
        [] => {
            let names = SCHEDULERS.map(|scheduler| scheduler.index).join(", ");
            return Err(usage(format!("--shard auto: none of {names} is set: this is no task of an array; give I/N")));
        }
        [(one, _), (other, _), ..] => {
            let both = format!("{} and {}", one.index, other.index);
            return Err(usage(format!("--shard auto: {both} are set both; give I/N")));
        }
    };
    let name = scheduler.index;
    let unknown = format!("does not say of how many parts {name}={index} is one: give --shard auto/N");
    let (count, from) = match (count, scheduler.count) {
        (Some(count), _) => (count, format!("{name}={index}")),
        (None, None) => return Err(usage(format!("--shard auto: the environment {unknown}"))),
        (None, Some(of)) => match number(of)? {
            None => return Err(usage(format!("--shard auto: {of} is not set, which {unknown}"))),
            Some(count) => {
                if name == SLURM {
                    check_array(count, &unknown, &number)?;
                }
                (count, format!("{name}={index} and {of}={count}"))
            }
        },
    };
    if index >= count {
        return Err(usage(format!(
            "--shard auto: {name} is {index}, and of {count} parts the last is {}: number the tasks from 0",
            count.saturating_sub(1)
        )));
    }
    Ok(([index, count], from))
}

const SLURM: &str = "SLURM_ARRAY_TASK_ID";

/// Refuses an array of Slurm whose tasks are not numbered from 0 without gaps. Who starts one task of an array anew gets an
/// array of one, which does not say how many there were.
fn check_array(count: usize, unknown: &str, number: &dyn Fn(&str) -> Result<Option<usize>>) -> Result<()> {
    if count == 1 {
        return Err(usage(format!("--shard auto: an array of one task {unknown}")));
    }
    let [least, most] = [number("SLURM_ARRAY_TASK_MIN")?, number("SLURM_ARRAY_TASK_MAX")?];
    if least.is_none_or(|least| least == 0) && most.is_none_or(|most| most.checked_add(1) == Some(count)) {
        return Ok(());
    }
    let shown = |bound: Option<usize>| bound.map_or_else(|| "?".to_owned(), |bound| bound.to_string());
    let numbers = format!("from {} to {}", shown(least), shown(most));
    Err(usage(format!(
        "--shard auto: the array's {count} tasks go {numbers}: number them from 0 without gaps (--array=0-{}), or give \
         --shard auto/N",
        count.saturating_sub(1)
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(count: Option<usize>, set: &str) -> Result<[usize; 2], String> {
        let variable = |name: &str| {
            let pair = set.split(' ').find_map(|pair| pair.split_once('=').filter(|(key, _)| *key == name));
            pair.map(|(_, value)| value.to_owned())
        };
        taken(count, &variable).map(|(part, _)| part).map_err(|error| error.to_string())
    }

    #[test]
    fn a_task_of_an_array_knows_its_part() {
        let slurm = "SLURM_ARRAY_TASK_ID=3 SLURM_ARRAY_TASK_COUNT=8 SLURM_ARRAY_TASK_MIN=0 SLURM_ARRAY_TASK_MAX=7";
        for (count, set) in [
            (None, slurm),
            (Some(8), slurm),
            (Some(8), "SLURM_ARRAY_TASK_ID=3 SLURM_ARRAY_TASK_COUNT=1 SLURM_ARRAY_TASK_MIN=3 SLURM_ARRAY_TASK_MAX=3"),
            (Some(8), "JOB_COMPLETION_INDEX=3"),
            (None, "AWS_BATCH_JOB_ARRAY_INDEX=3 AWS_BATCH_JOB_ARRAY_SIZE=8"),
            (None, "BATCH_TASK_INDEX=3 BATCH_TASK_COUNT=8"),
            (None, "CLOUD_RUN_TASK_INDEX=3 CLOUD_RUN_TASK_COUNT=8"),
            (Some(8), "CLOUD_RUN_TASK_INDEX=3 CLOUD_RUN_TASK_COUNT=2"),
        ] {
            assert_eq!(of(count, set), Ok([3, 8]), "{set}");
        }
    }

    #[test]
    fn what_is_not_clear_is_refused() {
        for (count, set, expected) in [
            (None, "", "none of SLURM_ARRAY_TASK_ID, JOB_COMPLETION_INDEX"),
            (None, "JOB_COMPLETION_INDEX=3", "auto/N"),
            (None, "AWS_BATCH_JOB_ARRAY_INDEX=3", "AWS_BATCH_JOB_ARRAY_SIZE is not set"),
            (Some(3), "JOB_COMPLETION_INDEX=3", "of 3 parts the last is 2"),
            (Some(8), "JOB_COMPLETION_INDEX=3 SLURM_ARRAY_TASK_ID=3", "are set both"),
            (Some(8), "JOB_COMPLETION_INDEX=x", "no whole number"),
            (None, "SLURM_ARRAY_TASK_ID=3 SLURM_ARRAY_TASK_COUNT=1", "an array of one task"),
            (
                None,
                "SLURM_ARRAY_TASK_ID=3 SLURM_ARRAY_TASK_COUNT=8 SLURM_ARRAY_TASK_MIN=1 SLURM_ARRAY_TASK_MAX=8",
                "go from 1 to 8",
            ),
            (
                None,
                "SLURM_ARRAY_TASK_ID=6 SLURM_ARRAY_TASK_COUNT=4 SLURM_ARRAY_TASK_MIN=0 SLURM_ARRAY_TASK_MAX=6",
                "--array=0-3",
            ),
        ] {
            let error = of(count, set).expect_err(set);
            assert!(error.contains(expected), "{error} | {expected}");
        }
    }

    #[test]
    fn parts_hold_each_position_once() {
        for (total, count) in [(0, 1), (3, 7), (10, 3), (usize::MAX, 2)] {
            let ends: Vec<_> = (0..count).map(|index| bounds(total, [index, count])).collect();
            assert_eq!((ends[0].start, ends[count - 1].end), (0, total));
            assert!(ends.windows(2).all(|pair| pair[0].end == pair[1].start));
        }
    }
}
