//! A frame with ticks, and curves in it.

use plotters::style::RGBColor;

use super::canvas::{Align, Canvas, GRID, INK};
use crate::error::Result;

/// Magnitude beyond which a value is not drawn.
const LARGEST: f64 = 1e15;

/// A frame in pixels and the values at its edges.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Axes {
    /// `[left, top, right, bottom]` in pixels.
    pub(super) frame: [f64; 4],
    /// Values at the left and right edge.
    pub(super) x: [f64; 2],
    /// Values at the bottom and top edge.
    pub(super) y: [f64; 2],
}

/// Whether a value has a place in a plot.
pub(super) fn is_drawable(value: f64) -> bool {
    value.abs() <= LARGEST
}

/// Least and greatest of the values that can be drawn, with a margin; 0 and 1 where there is none.
pub(super) fn range(values: impl IntoIterator<Item = f64>, margin: f64) -> [f64; 2] {
    let none = [f64::INFINITY, f64::NEG_INFINITY];
    let [low, high] = values
        .into_iter()
        .filter(|&value| is_drawable(value))
        .fold(none, |[low, high], value| [low.min(value), high.max(value)]);
    if low > high {
        return [0., 1.];
    }
    let least_span = low.abs().max(high.abs()).max(1e-6) * 1e-6;
    let span = match high - low {
        span if span > least_span => span * margin,
        _ if low == 0. => 0.05,
        _ => (low.abs() * 0.05).max(least_span),
    };
    [low - span, high + span]
}

/// Multiples of 1, 2 or 5 times a power of ten between `low` and `high`, about `count` of them, and their decimals.
fn ticks([low, high]: [f64; 2], count: usize) -> (Vec<f64>, usize) {
    let rough = (high - low) / count.max(1) as f64;
    let power = 10_f64.powf(rough.log10().floor());
    let step = [1., 2., 5., 10.].map(|factor| factor * power).into_iter().find(|&step| step >= rough * 0.75);
    let step = step.unwrap_or(rough);
    let decimals = (-step.log10() - 1e-9).ceil().clamp(0., 12.) as usize;
    let (first, last) = ((low / step - 1e-6).ceil(), (high / step + 1e-6).floor());
    let steps = (last - first).clamp(0., 100.) as usize;
    ((0..=steps).map(|index| (first + index as f64) * step).collect(), decimals)
}

/// A tick's label.
fn tick_label(value: f64, decimals: usize) -> String {
    let value = if value == 0. { 0. } else { value };
    if value.abs() >= 1e6 || (value != 0. && decimals > 6) {
        format!("{value:.1e}")
    } else {
        format!("{value:.decimals$}")
    }
}

impl Axes {
    /// The pixel of a point. Values outside the frame go to its edge.
    pub(super) fn pixel(&self, x: f64, y: f64) -> [f64; 2] {
        let [left, top, right, bottom] = self.frame;
        let share = |value: f64, [low, high]: [f64; 2]| ((value - low) / (high - low)).clamp(0., 1.);
        [left + share(x, self.x) * (right - left), bottom - share(y, self.y) * (bottom - top)]
    }

    /// The frame, with grid lines and about `counts` labelled ticks along x and y.
    pub(super) fn draw(&self, canvas: &Canvas<'_>, counts: [usize; 2], text: f64, line: f64) -> Result<()> {
        let [left, top, right, bottom] = self.frame;
        let (x_ticks, decimals) = ticks(self.x, counts[0]);
        for value in x_ticks {
            let [x, _] = self.pixel(value, self.y[0]);
            canvas.line([[x, top], [x, bottom]], GRID, line)?;
            canvas.line([[x, bottom], [x, bottom + text * 0.35]], INK, line)?;
            canvas.text(&tick_label(value, decimals), [x, bottom + text * 0.7], text, Align::Below, INK)?;
        }
        let (y_ticks, decimals) = ticks(self.y, counts[1]);
        for value in y_ticks {
            let [_, y] = self.pixel(self.x[0], value);
            canvas.line([[left, y], [right, y]], GRID, line)?;
            canvas.line([[left - text * 0.35, y], [left, y]], INK, line)?;
            canvas.text(&tick_label(value, decimals), [left - text * 0.6, y], text, Align::Right, INK)?;
        }
        canvas.line([[left, top], [right, top], [right, bottom], [left, bottom], [left, top]], INK, line)
    }

    /// The curve through those points that can be drawn; the others leave gaps. A point without neighbours is a dot.
    pub(super) fn curve(&self, canvas: &Canvas<'_>, x: &[f64], y: &[f64], color: RGBColor, width: f64) -> Result<()> {
        let points: Vec<[f64; 2]> = x.iter().zip(y).map(|(&x, &y)| [x, y]).collect();
        for part in points.split(|point| !point.iter().all(|&value| is_drawable(value))) {
            match part {
                [] => {}
                [[x, y]] => canvas.disc(self.pixel(*x, *y), width, color)?,
                part => canvas.line(part.iter().map(|&[x, y]| self.pixel(x, y)), color, width)?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_numbers() {
        for (range, count, expected) in [
            ([0., 1.], 5, &["0.0", "0.2", "0.4", "0.6", "0.8", "1.0"][..]),
            ([0., 100.], 4, &["0", "20", "40", "60", "80", "100"]),
            ([-0.013, 0.021], 4, &["-0.01", "0.00", "0.01", "0.02"]),
            ([0.9, 7.1], 3, &["2", "4", "6"]),
            ([1e9, 3e9], 2, &["1.0e9", "2.0e9", "3.0e9"]),
            ([0., 2e-9], 2, &["0.000000000", "1.0e-9", "2.0e-9"]),
        ] {
            let (values, decimals) = ticks(range, count);
            let labels: Vec<String> = values.iter().map(|&value| tick_label(value, decimals)).collect();
            assert_eq!(labels, expected, "{range:?}");
        }
    }

    #[test]
    fn a_range_is_never_empty() {
        for values in
            [&[][..], &[f64::NAN], &[3.], &[0., 0.], &[-2., -2.], &[1e300, f64::INFINITY], &[1e15], &[1., 1. + 1e-15]]
        {
            let [low, high] = range(values.iter().copied(), 0.05);
            assert!(low < high && (low + (high - low) / 10.) > low, "{values:?}: {low} {high}");
        }
        assert_eq!(range([2., f64::NAN, 4.], 0.5), [1., 5.]);
        assert_eq!(range([0., 0.], 0.5), [-0.05, 0.05], "labels of nothing but zeros can be read");
    }
}
