//! What is known of tracked objects besides their boxes.

use ghostzoo::track::Crossing;
use serde::Serialize;

/// What tracking says of one image.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Tracked {
    /// The identity of each detection.
    pub(crate) track_ids: Vec<u64>,
    /// Who crossed a line, where there are lines.
    pub(crate) crossings: Option<Vec<JsonCrossing>>,
    /// Who is in which zone, where there are zones.
    pub(crate) zones: Option<Vec<JsonZone>>,
}

/// An object that crossed a line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct JsonCrossing {
    /// From 1.
    line: usize,
    track_id: u64,
    direction: &'static str,
}

impl JsonCrossing {
    pub(crate) fn new(line: usize, track_id: u64, crossing: Crossing) -> Self {
        let direction = match crossing {
            Crossing::In => "in",
            Crossing::Out => "out",
        };
        Self { line, track_id, direction }
    }
}

/// The objects in a zone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct JsonZone {
    /// From 1.
    pub(crate) zone: usize,
    /// Who is in it.
    pub(crate) track_ids: Vec<u64>,
    /// Who came in with this image.
    pub(crate) entered: Vec<u64>,
    /// Who went out with this image.
    pub(crate) left: Vec<u64>,
}
