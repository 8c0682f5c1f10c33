//! What is to be tracked, and how.

use std::ffi::OsStr;
use std::io::Read;
use std::path::Path;

use anyhow::{Context, Result};
use candle_vision::regular;
use ghostzoo::track::{LineCounter, TrackError, Tracker, TrackerConfig, Zone};

use super::sequence::Sequence;
use crate::cli::{Points, TrackingArgs, bytes};
use crate::error::usage;

/// Most bytes of a file of settings.
const MOST_BYTES: u64 = 1 << 20;

/// How the sequences of a run are tracked.
pub(crate) struct TrackOptions {
    config: TrackerConfig,
    trails: usize,
    lines: Vec<LineCounter>,
    zones: Vec<Zone>,
    pub(crate) save_mot: bool,
}

impl TrackOptions {
    /// Checks what the arguments say.
    pub(crate) fn new(args: &TrackingArgs) -> Result<Self> {
        let line = |points: &Points| {
            let [[x1, y1], [x2, y2]] = points[..] else {
                return Err(usage(format!("--line takes two points, X1,Y1,X2,Y2, not {}", points.len())));
            };
            LineCounter::new([x1, y1, x2, y2]).map_err(|error| usage(format!("--line: {error}")))
        };
        let zone = |points: &Points| Zone::new(points.to_vec()).map_err(|error| usage(format!("--zone: {error}")));
        let options = Self {
            config: config(&args.tracker)?,
            trails: args.trails,
            lines: args.lines.iter().map(line).collect::<Result<_>>()?,
            zones: args.zones.iter().map(zone).collect::<Result<_>>()?,
            save_mot: args.save_mot,
        };
        // So that its settings are refused before the work begins.
        options.tracker()?;
        Ok(options)
    }

    /// The tracker's settings.
    pub(crate) fn config(&self) -> &TrackerConfig {
        &self.config
    }

    fn tracker(&self) -> Result<Tracker> {
        Tracker::new(self.config.clone()).map_err(|error| usage(format!("--tracker: {error}")))
    }

    /// What is kept of one more sequence.
    pub(crate) fn sequence(&self) -> Result<Sequence> {
        Ok(Sequence::new(self.tracker()?, self.trails, self.lines.clone(), self.zones.clone()))
    }
}

/// The settings of a name, or of a file.
fn config(given: &OsStr) -> Result<TrackerConfig> {
    let (path, shown) = (Path::new(given), bytes::shown(given));
    let is_refused = |error: TrackError| usage(format!("--tracker {shown}: {error}"));
    if !path.exists() {
        return TrackerConfig::named(&given.to_string_lossy()).map_err(|error| match shown.contains(['.', '/']) {
            true => usage(format!(
                "--tracker {shown}: there is no such file; by name there are tracktrack, bytetrack, botsort and ocsort"
            )),
            false => usage(format!("--tracker: {error}, or a .yaml file of settings")),
        });
    }
    let mut text = Vec::new();
    let read = regular::open(path).and_then(|file| file.take(MOST_BYTES).read_to_end(&mut text));
    read.with_context(|| format!("cannot read --tracker {shown}"))?;
    let text = bytes::of_file(text).map_err(|error| usage(format!("--tracker {shown}: {error}")))?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    TrackerConfig::from_yaml(text).map_err(is_refused)
}
