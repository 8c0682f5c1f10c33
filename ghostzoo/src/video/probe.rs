use std::collections::BTreeMap;
use std::ffi::OsString;

use super::arguments::of_input;
use super::error::VideoError;
use super::input::VideoInput;
use super::program;

/// What a file says of its first stream of frames.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Probe {
    /// Frames per second.
    pub(super) frame_rate: Option<f64>,
    /// Seconds.
    pub(super) duration: Option<f64>,
    /// Frames.
    pub(super) frames: Option<u64>,
}

/// Asks ffprobe of a file. Where there is no such program, or it finds nothing, nothing is known.
pub(super) fn probe(input: &VideoInput) -> Result<Probe, VideoError> {
    let mut arguments: Vec<OsString> =
        ["-v", "error", "-select_streams", "V:0", "-show_entries"].map(OsString::from).to_vec();
    arguments.push("stream=avg_frame_rate,r_frame_rate,nb_frames,duration:format=duration".into());
    arguments.extend(["-of", "default=noprint_wrappers=1"].map(OsString::from));
    arguments.extend(of_input(input)?);
    match program::output(program::ffprobe(), &arguments) {
        Ok((found, _)) => Ok(parse(&found)),
        Err(VideoError::NoProgram { .. }) => Ok(Probe::default()),
        Err(error) => Err(error),
    }
}

fn parse(found: &str) -> Probe {
    let mut values = BTreeMap::new();
    for (key, value) in found.lines().filter_map(|line| line.split_once('=')) {
        // The stream's comes before the file's.
        if value.trim() != "N/A" {
            values.entry(key.trim()).or_insert(value.trim());
        }
    }
    let number = |key: &str| values.get(key)?.parse::<f64>().ok().filter(|number| *number > 0. && number.is_finite());
    let rate = |key: &str| {
        let (over, under) = values.get(key)?.split_once('/')?;
        let rate = over.parse::<f64>().ok()? / under.parse::<f64>().ok()?;
        (rate > 0. && rate < 1000.).then_some(rate)
    };
    // Some files of AVI count fields in the one, some of varying rate have the least common one in the other.
    let frame_rate = match (rate("avg_frame_rate"), rate("r_frame_rate")) {
        (Some(mean), Some(base)) => Some(mean.min(base)),
        (mean, base) => mean.or(base),
    };
    let duration = number("duration");
    let counted = number("nb_frames").map(|frames| frames as u64);
    let frames = counted.or_else(|| Some((duration? * frame_rate?).round() as u64));
    Probe { frame_rate, duration, frames }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_file_says_is_read() {
        let mp4 = "r_frame_rate=25/1\navg_frame_rate=24/1\nduration=8.000000\nnb_frames=200\nduration=8.100000\n";
        assert_eq!(parse(mp4), Probe { frame_rate: Some(24.), duration: Some(8.), frames: Some(200) });
        let mkv = "r_frame_rate=30000/1001\navg_frame_rate=30000/1001\nduration=N/A\nnb_frames=N/A\nduration=2.002\n";
        assert_eq!(parse(mkv).frames, Some(60));
        assert_eq!(parse("avg_frame_rate=0/0\nr_frame_rate=90000/1\n"), Probe::default());
        assert_eq!(parse(""), Probe::default());
    }
}
