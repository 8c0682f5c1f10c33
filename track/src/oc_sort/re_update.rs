//! Observation-centric re-update: what a filter would know, had the object been seen while it was lost.

use crate::kalman::BoxState;

/// Takes `state` from the frame of the observation `last` (frame, box), after which it was, to the prediction for `frame`:
/// over one measurement for each frame in between, on the straight line from the last box to `found`. The filter measures
/// center, aspect ratio and height.
pub(super) fn re_update(state: &mut BoxState, last: (u64, [f32; 4]), frame: u64, found: [f32; 4]) {
    let gap = frame.saturating_sub(last.0);
    for step in 1..gap {
        let part = step as f64 / gap as f64;
        let (of_last, of_found) = ((1.0 - part) as f32, part as f32);
        let [left, top, right, bottom] = std::array::from_fn(|side| of_last * last.1[side] + of_found * found[side]);
        let (width, height) = (right - left, bottom - top);
        state.predict();
        state.update([left + width / 2.0, top + height / 2.0, width / height, height].map(f64::from), None);
    }
    state.predict();
}
