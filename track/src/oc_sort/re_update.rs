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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kalman::BoxForm;

    /// Box of an object that goes to the right and grows, and what the filter measures of it.
    fn at(frame: u64) -> ([f32; 4], [f64; 4]) {
        let (x, size) = (8.0 * frame as f32, 32.0 + 2.0 * frame as f32);
        let xyxy = [x, 64.0, x + size, 64.0 + size];
        (xyxy, [x + size / 2.0, 64.0 + size / 2.0, 1.0, size].map(f64::from))
    }

    #[test]
    fn an_object_that_went_straight_is_known_as_if_it_had_been_seen() {
        let mut state = BoxState::new(BoxForm::Xyah, at(1).1);
        for frame in 2..=5 {
            state.predict();
            state.update(at(frame).1, None);
        }
        let mut lost = state.clone();
        re_update(&mut lost, (5, at(5).0), 12, at(12).0);
        let mut blind = state.clone();
        for frame in 6..=11 {
            state.predict();
            state.update(at(frame).1, None);
            blind.predict();
        }
        state.predict();
        blind.predict();
        let difference = |other: &BoxState| {
            let means = state.mean.iter().zip(&other.mean).map(|(a, b)| (a - b).abs());
            let cells = state.covariance.as_flattened().iter().zip(other.covariance.as_flattened());
            means.chain(cells.map(|(a, b)| (a - b).abs())).fold(0.0, f64::max)
        };
        assert!(difference(&lost) < 1e-3, "{}", difference(&lost));
        assert!(difference(&blind) > 1.0, "{}", difference(&blind));
    }
}
