//! The confusion matrix: predicted classes as rows, true ones as columns; of a detector the background behind both.

use candle_vision::image::RgbImage;
use plotters::style::{RGBColor, WHITE};

use super::canvas::{Align, Canvas, INK, cut, paint, text_width};
use crate::error::{Result, invalid};

/// `[width, height]` of the image.
const SIZE: [u32; 2] = [3000, 2250];
/// Most rows whose cells hold numbers; more have none.
const MOST_NUMBERS: usize = 31;
/// Most rows with names along the sides.
const MOST_NAMES: usize = 100;
/// Cells below this share of the scale's unit are blank.
const LEAST: f64 = 0.005;
/// Share of the scale above which a cell is too dark for dark text.
const DARK: f64 = 0.45;
/// Heights of text.
const TITLE: f64 = 52.;
const LABEL: f64 = 44.;
const TICK: f64 = 36.;
/// Widest name along a side.
const WIDEST: f64 = 380.;

/// Width of the colour bar, of the gap before it and of the numbers behind it.
const BAR: f64 = 70.;
const GAP: f64 = 80.;
const SCALE: f64 = 150.;

/// What the cells hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cells {
    /// Numbers of objects.
    Counts,
    /// Shares of the column: what became of the objects of a class.
    Normalised,
}

/// Where the matrix lies: as large as the names beside and below it allow, in the middle of the image.
struct KeyLayout {
    left: f64,
    top: f64,
    side: f64,
    /// Names of the rows and columns, cut; none where they are too many.
    names: Vec<String>,
    /// Their height, and the width of the widest.
    text: f64,
    widest: f64,
}

impl KeyLayout {
    fn new(rows: &[&str]) -> Result<Self> {
        let n = rows.len();
        let [width, height] = SIZE.map(f64::from);
        let (top, below) = (130., 120.);
        let text = (0.8 * (height - top - below - WIDEST) / n as f64).min(TICK);
        let (mut names, mut widest) = (Vec::new(), 0_f64);
        if n <= MOST_NAMES {
            for name in rows {
                let name = cut(name, text, WIDEST)?;
                widest = widest.max(text_width(&name, text)?);
                names.push(name);
            }
        }
        let side = height - top - below - widest;
        let before = LABEL + 75. + widest;
        let left = before + (width - before - side - GAP - BAR - SCALE) / 2.;
        Ok(Self { left, top, side, names, text, widest })
    }
}

/// Draws the matrix of `names`. `count` takes the predicted and the true class. Detections count above `confidence`, and
/// have the background as the last row and column; a classifier has neither.
pub fn confusion_matrix(
    names: &[String],
    count: impl Fn(usize, usize) -> u64,
    cells: Cells,
    confidence: Option<f32>,
) -> Result<RgbImage> {
    if names.is_empty() {
        invalid!("a confusion matrix needs a class");
    }
    let rows: Vec<&str> = names.iter().map(String::as_str).chain(confidence.map(|_| "background")).collect();
    let n = rows.len();
    let sums: Vec<f64> = (0..n).map(|truth| (0..n).map(|predicted| count(predicted, truth) as f64).sum()).collect();
    let value = |predicted: usize, truth: usize| match cells {
        Cells::Counts => count(predicted, truth) as f64,
        Cells::Normalised if sums[truth] > 0. => count(predicted, truth) as f64 / sums[truth],
        Cells::Normalised => 0.,
    };
    let most = match cells {
        Cells::Normalised => 1.,
        Cells::Counts => {
            let values = (0..n * n).map(|index| count(index / n, index % n));
            values.max().unwrap_or(0).max(1) as f64
        }
    };
    let layout = KeyLayout::new(&rows)?;
    let [left, top, side, cell] = [layout.left, layout.top, layout.side, layout.side / n as f64];
    let edge = |index: usize| side * index as f64 / n as f64;
    paint(SIZE, |canvas| {
        for predicted in 0..n {
            for truth in 0..n {
                let value = value(predicted, truth);
                if value < LEAST {
                    continue;
                }
                let place =
                    [left + edge(truth), top + edge(predicted), left + edge(truth + 1), top + edge(predicted + 1)];
                canvas.rectangle(place, blue(value / most))?;
                if n <= MOST_NUMBERS {
                    let text = match cells {
                        Cells::Counts => format!("{value}"),
                        Cells::Normalised => format!("{value:.2}"),
                    };
                    let height = (1.5 * cell / text.len().max(4) as f64).min(TICK);
                    let ink = if value / most > DARK { WHITE } else { INK };
                    canvas.text(
                        &text,
                        [left + edge(truth) + cell / 2., top + edge(predicted) + cell / 2.],
                        height,
                        Align::Centre,
                        ink,
                    )?;
                }
            }
        }
        frame(canvas, [left, top, left + side, top + side])?;
        for (index, name) in layout.names.iter().enumerate() {
            let middle = edge(index) + cell / 2.;
            canvas.line([[left - 10., top + middle], [left, top + middle]], INK, 2.)?;
            canvas.text(name, [left - 20., top + middle], layout.text, Align::Right, INK)?;
            canvas.line([[left + middle, top + side], [left + middle, top + side + 10.]], INK, 2.)?;
            canvas.text(name, [left + middle, top + side + 20.], layout.text, Align::Rising, INK)?;
        }
        let title = match cells {
            Cells::Counts => "Confusion Matrix",
            Cells::Normalised => "Confusion Matrix Normalized",
        };
        let title = match confidence {
            Some(confidence) => format!("{title} at confidence {confidence}"),
            None => title.to_owned(),
        };
        canvas.text(&title, [left + side / 2., 70.], TITLE, Align::Centre, INK)?;
        canvas.text("True", [left + side / 2., top + side + layout.widest + 70.], LABEL, Align::Centre, INK)?;
        canvas.text("Predicted", [left - layout.widest - 75., top + side / 2.], LABEL, Align::RisingCentre, INK)?;
        color_bar(canvas, [left + side + GAP, top, left + side + GAP + BAR, top + side], most)
    })
}

fn frame(canvas: &Canvas<'_>, [left, top, right, bottom]: [f64; 4]) -> Result<()> {
    canvas.line([[left, top], [right, top], [right, bottom], [left, bottom], [left, top]], INK, 2.)
}

/// The colours from 0 at the bottom to `most`, with five labels.
fn color_bar(canvas: &Canvas<'_>, [left, top, right, bottom]: [f64; 4], most: f64) -> Result<()> {
    const STEPS: usize = 256;
    let at = |share: f64| bottom - share * (bottom - top);
    for step in 0..STEPS {
        let [low, high] = [step, step + 1].map(|step| step as f64 / STEPS as f64);
        canvas.rectangle([left, at(high), right, at(low)], blue((low + high) / 2.))?;
    }
    frame(canvas, [left, top, right, bottom])?;
    let labels = if most > 1. && most < 5. { most as usize } else { 5 };
    for label in 0..=labels {
        let share = label as f64 / labels as f64;
        let text = if most > 1. { format!("{:.0}", most * share) } else { format!("{share:.1}") };
        canvas.line([[right, at(share)], [right + 12., at(share)]], INK, 2.)?;
        canvas.text(&text, [right + 24., at(share)], TICK, Align::Left, INK)?;
    }
    Ok(())
}

/// From near white at 0 to dark blue at 1.
fn blue(share: f64) -> RGBColor {
    const STOPS: [[f64; 3]; 5] =
        [[247., 251., 255.], [198., 219., 239.], [107., 174., 214.], [33., 113., 181.], [8., 48., 107.]];
    let place = share.clamp(0., 1.) * (STOPS.len() - 1) as f64;
    let below = (place as usize).min(STOPS.len() - 2);
    let level = |channel: usize| {
        let [from, to] = [STOPS[below][channel], STOPS[below + 1][channel]];
        (from + (to - from) * (place - below as f64)).round() as u8
    };
    RGBColor(level(0), level(1), level(2))
}
