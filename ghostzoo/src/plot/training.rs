//! The course of a training: losses and metrics over the epochs.

use candle_vision::image::RgbImage;
use plotters::style::RGBColor;

use super::axes::{Axes, is_drawable, range};
use super::canvas::{Align, INK, cut, paint};
use crate::error::{Result, invalid};

/// Width and height of one curve's part of the image.
const PANEL: [u32; 2] = [480, 600];
/// Height of the legend above the panels.
const LEGEND: u32 = 70;
const BLUE: RGBColor = RGBColor(31, 119, 180);
const ORANGE: RGBColor = RGBColor(255, 127, 14);
/// Heights of text.
const TITLE: f64 = 27.;
const TICK: f64 = 23.;
/// Standard deviation, in epochs, of the Gaussian that smooths a curve.
const SIGMA: f64 = 3.;

/// Draws each column of `results.csv` whose name holds `loss` or `metrics` over `epochs`, in two rows: losses of training
/// above those of validation, each before its half of the metrics. Values that are not finite leave gaps.
pub fn training_curves(epochs: &[f64], columns: &[(&str, &[f64])]) -> Result<RgbImage> {
    for (name, values) in columns {
        if values.len() != epochs.len() {
            invalid!("column {name} has {} values for {} epochs", values.len(), epochs.len());
        }
    }
    let of = |what: &str| -> Vec<_> { columns.iter().filter(|(name, _)| name.contains(what)).copied().collect() };
    let (losses, metrics) = (of("loss"), of("metrics"));
    if !(!losses.is_empty() || !metrics.is_empty()) {
        invalid!("no column holds a loss or a metric");
    }
    let (loss_rows, metric_rows) =
        (losses.split_at(losses.len().div_ceil(2)), metrics.split_at(metrics.len().div_ceil(2)));
    let rows = [[loss_rows.0, metric_rows.0].concat(), [loss_rows.1, metric_rows.1].concat()];
    let across = rows[0].len().max(rows[1].len()) as u32;
    let size = [across * PANEL[0], 2 * PANEL[1] + LEGEND];
    paint(size, |canvas| {
        let middle = f64::from(size[0]) / 2.;
        let y = f64::from(LEGEND) / 2. + 6.;
        canvas.line([[middle - 205., y], [middle - 155., y]], BLUE, 4.)?;
        canvas.disc([middle - 180., y], 6., BLUE)?;
        canvas.text("results", [middle - 140., y], TICK, Align::Left, INK)?;
        canvas.line([[middle + 30., y], [middle + 80., y]], ORANGE, 4.)?;
        canvas.text("smooth", [middle + 95., y], TICK, Align::Left, INK)?;
        for (row, panels) in rows.iter().enumerate() {
            for (column, (name, values)) in panels.iter().enumerate() {
                let [width, height] = PANEL.map(f64::from);
                let [left, top] = [column as f64 * width, row as f64 * height + f64::from(LEGEND)];
                let frame = [left + 105., top + 50., left + width - 20., top + height - 50.];
                let axes =
                    Axes { frame, x: range(epochs.iter().copied(), 0.04), y: range(values.iter().copied(), 0.06) };
                axes.draw(canvas, [3, 6], TICK, 2.)?;
                let title = cut(name, TITLE, width - 20.)?;
                canvas.text(&title, [(frame[0] + frame[2]) / 2., top + 22.], TITLE, Align::Centre, INK)?;
                axes.curve(canvas, epochs, values, BLUE, 4.)?;
                for (&x, &y) in epochs.iter().zip(*values).filter(|(x, y)| is_drawable(**x) && is_drawable(**y)) {
                    canvas.disc(axes.pixel(x, y), if epochs.len() > 60 { 3. } else { 6. }, BLUE)?;
                }
                axes.curve(canvas, epochs, &smoothed(values), ORANGE, 4.)?;
            }
        }
        Ok(())
    })
}

/// Each value replaced by the Gaussian mean of those around it that can be drawn; NaN where there is none.
fn smoothed(values: &[f64]) -> Vec<f64> {
    let reach = (4. * SIGMA) as usize;
    let at = |place: usize| {
        let near = place.saturating_sub(reach)..(place + reach + 1).min(values.len());
        let (sum, weights) = near.filter(|&near| is_drawable(values[near])).fold((0., 0.), |(sum, weights), near| {
            let weight = (-0.5 * ((near as f64 - place as f64) / SIGMA).powi(2)).exp();
            (sum + weight * values[near], weights + weight)
        });
        sum / weights
    };
    (0..values.len()).map(at).collect()
}
