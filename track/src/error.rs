//! What is wrong with a tracker's settings.

/// Settings that no tracker takes. Its text is one line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TrackError {
    /// A name of no tracker.
    #[error("no tracker is called `{name}`: take bytetrack, botsort, ocsort or tracktrack")]
    UnknownTracker {
        /// The name as given.
        name: String,
    },
    /// A key that the tracker has no setting for.
    #[error("{tracker} has no setting `{key}`: it takes {}", known.join(", "))]
    UnknownKey {
        /// The tracker's name.
        tracker: &'static str,
        /// The key as given.
        key: String,
        /// The keys that it takes.
        known: Vec<&'static str>,
    },
    /// A value that the setting does not take.
    #[error("`{key}: {value}` is no setting of a tracker: give {needed}")]
    BadValue {
        /// The setting.
        key: &'static str,
        /// The value as given.
        value: String,
        /// What the setting takes.
        needed: &'static str,
    },
    /// A text that is no list of `key: value`.
    #[error("not the settings of a tracker, which are lines of `key: value`: {problem}")]
    Malformed {
        /// What is wrong, and where.
        problem: String,
    },
    /// A line without length, or not of numbers.
    #[error("a line needs two points, x1,y1,x2,y2, that differ, not {0}")]
    Line(String),
    /// A polygon of so few corners, or not of numbers.
    #[error("a zone needs at least three corners, x1,y1,x2,y2,x3,y3 and so on, of finite numbers; there are {0}")]
    Zone(usize),
}

/// Text of a user as an error shows it: its beginning, on one line.
pub(crate) fn quoted(text: &str) -> String {
    const LONGEST: usize = 60;
    let mut shown: String = text.chars().take(LONGEST).flat_map(char::escape_debug).collect();
    if text.chars().nth(LONGEST).is_some() {
        shown.push('…');
    }
    shown
}
