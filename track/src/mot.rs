//! The text format of MOTChallenge, which TrackEval and motmetrics read.

use crate::Track;

/// One frame's objects as lines of `frame,id,left,top,width,height,confidence,-1,-1,-1`; `frame` counts from 1.
///
/// ```
/// let track = ghostzoo_track::Track { track_id: 3, detection_index: 0, class_id: 0, confidence: 0.5, xyxy: [1., 2., 4., 6.] };
/// assert_eq!(ghostzoo_track::mot_lines(12, &[track]), "12,3,1,2,3,4,0.5,-1,-1,-1\n");
/// ```
pub fn mot_lines(frame: u64, tracks: &[Track]) -> String {
    let line = |track: &Track| {
        let [x1, y1, x2, y2] = track.xyxy;
        let (width, height) = (x2 - x1, y2 - y1);
        format!("{frame},{},{x1},{y1},{width},{height},{},-1,-1,-1\n", track.track_id, track.confidence)
    };
    tracks.iter().map(line).collect()
}
