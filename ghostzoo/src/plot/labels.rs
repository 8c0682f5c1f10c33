//! The labels of a data set at a glance: how many of each class, where, and of what size.

use candle_vision::image::RgbImage;
use plotters::style::{RGBColor, WHITE};

use super::axes::Axes;
use super::canvas::{Align, Canvas, INK, curve_color, cut, paint};
use crate::error::{Result, invalid};

/// Width and height of the image.
const SIZE: u32 = 1600;
/// Side of a panel with what is written around it.
const PANEL: f64 = SIZE as f64 / 2.;
/// Most classes whose bars have names and numbers.
const MOST_NAMES: usize = 29;
/// Most boxes that are outlined.
const MOST_OUTLINES: usize = 500;
/// Cells of a density along each axis.
const BINS: usize = 50;
/// Heights of text.
const LABEL: f64 = 28.;
const TICK: f64 = 24.;
/// Share of a bar's place that it fills.
const BAR: f64 = 0.8;

/// Draws objects, each a class and its centre x, centre y, width and height as fractions of its image: numbers by
/// class, outlines around a common centre, densities of the centres and of the sizes.
pub fn label_overview(names: &[String], objects: &[(usize, [f32; 4])]) -> Result<RgbImage> {
    if names.is_empty() {
        invalid!("an overview of labels needs a class");
    }
    let mut counts = vec![0_usize; names.len()];
    for (class, _) in objects {
        if *class >= names.len() {
            invalid!("an object is of class {class}, where there are {} classes", names.len());
        }
        counts[*class] += 1;
    }
    paint([SIZE; 2], |canvas| {
        histogram(canvas, names, &counts)?;
        outlines(canvas, objects)?;
        let pairs = |first: usize| objects.iter().map(move |(_, xywh)| [xywh[first], xywh[first + 1]]);
        density(canvas, [0., PANEL], pairs(0), ["x", "y"])?;
        density(canvas, [PANEL; 2], pairs(2), ["width", "height"])
    })
}

/// The frame of the panel whose left top corner is at a place.
fn frame([left, top]: [f64; 2]) -> [f64; 4] {
    [left + 130., top + 40., left + PANEL - 40., top + PANEL - 110.]
}

fn histogram(canvas: &Canvas<'_>, names: &[String], counts: &[usize]) -> Result<()> {
    let most = counts.iter().copied().max().unwrap_or(0).max(1) as f64;
    let has_names = names.len() <= MOST_NAMES;
    let [left, top, right, bottom] = frame([0., 0.]);
    let bottom = if has_names { bottom - 70. } else { bottom };
    let axes = Axes { frame: [left, top, right, bottom], x: [0., names.len() as f64], y: [0., most * 1.08] };
    axes.draw(canvas, [if has_names { 0 } else { 5 }, 6], TICK, 2.)?;
    canvas.text("instances", [left - 105., (top + bottom) / 2.], LABEL, Align::RisingCentre, INK)?;
    if has_names {
        // In place of the ticks.
        canvas.rectangle([left - 0.5 * TICK, bottom + 2., right + 0.5 * TICK, bottom + 2. * TICK], WHITE)?;
    }
    let place = (right - left) / names.len() as f64;
    let text = (place * 0.7).min(TICK);
    for (class, (name, &count)) in names.iter().zip(counts).enumerate() {
        let from = class as f64 + (1. - BAR) / 2.;
        let [x1, y1] = axes.pixel(from, count as f64);
        let [x2, y2] = axes.pixel(from + BAR, 0.);
        canvas.rectangle([x1, y1, x2, y2], curve_color(class))?;
        if has_names {
            let middle = (x1 + x2) / 2.;
            canvas.text(&cut(name, text, 150.)?, [middle, bottom + 14.], text, Align::Rising, INK)?;
            canvas.text(&count.to_string(), [middle, y1 - text * 0.6], text, Align::Centre, INK)?;
        }
    }
    Ok(())
}

/// Boxes drawn around the middle of their panel, which stands for the image.
fn outlines(canvas: &Canvas<'_>, objects: &[(usize, [f32; 4])]) -> Result<()> {
    let [left, top, right, bottom] = frame([PANEL, 0.]);
    let side = (right - left).min(bottom - top);
    let middle = [(left + right) / 2., (top + bottom) / 2.];
    for (class, [_, _, w, h]) in objects.iter().take(MOST_OUTLINES) {
        let [x, y] = [w, h].map(|length| f64::from(*length).clamp(0., 1.) * side / 2.);
        let [x1, y1, x2, y2] = [middle[0] - x, middle[1] - y, middle[0] + x, middle[1] + y];
        canvas.line([[x1, y1], [x2, y1], [x2, y2], [x1, y2], [x1, y1]], curve_color(*class), 1.)?;
    }
    Ok(())
}

/// How often pairs fall into each cell from 0 to 1: white for never, blue for most often.
fn density(
    canvas: &Canvas<'_>,
    corner: [f64; 2],
    pairs: impl Iterator<Item = [f32; 2]>,
    names: [&str; 2],
) -> Result<()> {
    let mut counts = vec![0_u32; BINS * BINS];
    for [x, y] in pairs {
        let [column, row] = [x, y].map(|value| ((value.clamp(0., 1.) * BINS as f32) as usize).min(BINS - 1));
        counts[row * BINS + column] += 1;
    }
    let most = f64::from(counts.iter().copied().max().unwrap_or(0).max(1));
    let axes = Axes { frame: frame(corner), x: [0., 1.], y: [0., 1.] };
    axes.draw(canvas, [5, 5], TICK, 2.)?;
    let cell = |index: usize| index as f64 / BINS as f64;
    for (index, &count) in counts.iter().enumerate().filter(|(_, count)| **count > 0) {
        let (row, column) = (index / BINS, index % BINS);
        let pale = (255. * (1. - f64::from(count) / most)).round() as u8;
        let ([x1, y1], [x2, y2]) = (axes.pixel(cell(column), cell(row + 1)), axes.pixel(cell(column + 1), cell(row)));
        canvas.rectangle([x1, y1, x2, y2], RGBColor(pale, pale, 255))?;
    }
    let [left, top, right, bottom] = axes.frame;
    canvas.text(names[0], [(left + right) / 2., bottom + 60.], LABEL, Align::Below, INK)?;
    canvas.text(names[1], [left - 95., (top + bottom) / 2.], LABEL, Align::RisingCentre, INK)
}
