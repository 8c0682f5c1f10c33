//! Precision, recall and F1 as curves: one thin line per class, one thick line of all classes.

use candle_vision::image::RgbImage;
use plotters::style::RGBColor;

use super::axes::Axes;
use super::canvas::{Align, INK, curve_color, cut, paint, text_width};
use crate::error::{Result, invalid};

/// `[width, height]` of the image.
const SIZE: [u32; 2] = [2250, 1500];
/// Most classes with names and colours; more are grey.
const MOST_NAMES: usize = 20;
const GREY: RGBColor = RGBColor(170, 170, 170);
const BLUE: RGBColor = RGBColor(0, 0, 255);
/// Heights of text.
const TITLE: f64 = 44.;
const LABEL: f64 = 38.;
const TICK: f64 = 34.;
/// Widest legend text.
const WIDEST: f64 = 480.;
/// Length of a legend's line.
const SAMPLE: f64 = 60.;
/// Part of the curve, on either side of a point, in the mean that smooths it.
const SMOOTHING: f64 = 0.05;

/// What is plotted against the confidence threshold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Metric {
    /// Share of the detections that are right.
    Precision,
    /// Share of the objects that are found.
    Recall,
    /// Harmonic mean of both.
    F1,
}

/// Precision over recall. `precision` holds a curve per class over `recall`, `ap50` a value per class; curves of NaN are
/// those of classes without objects, which count in no mean.
pub fn precision_recall(recall: &[f64], precision: &[Vec<f64>], ap50: &[f64], names: &[String]) -> Result<RgbImage> {
    if ap50.len() != names.len() {
        invalid!("{} values of AP for {} classes", ap50.len(), names.len());
    }
    let known: Vec<f64> = ap50.iter().copied().filter(|value| value.is_finite()).collect();
    let map = if known.is_empty() { 0. } else { known.iter().sum::<f64>() / known.len() as f64 };
    let all = (mean(precision, recall.len()), format!("all classes {map:.3} mAP@0.5"));
    let value = |class: usize| if ap50[class].is_finite() { format!(" {:.3}", ap50[class]) } else { " –".into() };
    draw(["Precision-Recall Curve", "Recall", "Precision"], recall, precision, names, value, all)
}

/// A metric over the confidence threshold. `curves` holds a curve per class over `confidence`. The curve of all classes is
/// the mean of those without NaN, smoothed over a tenth of its length; its legend tells its greatest value and where.
pub fn against_confidence(
    metric: Metric,
    confidence: &[f64],
    curves: &[Vec<f64>],
    names: &[String],
) -> Result<RgbImage> {
    let [title, label] = match metric {
        Metric::Precision => ["Precision-Confidence Curve", "Precision"],
        Metric::Recall => ["Recall-Confidence Curve", "Recall"],
        Metric::F1 => ["F1-Confidence Curve", "F1"],
    };
    let all = smoothed(&mean(curves, confidence.len()));
    let finite = all.iter().zip(confidence).filter(|(value, _)| value.is_finite());
    let best = finite.fold(None, |best: Option<(f64, f64)>, (&value, &at)| match best {
        Some((most, _)) if most >= value => best,
        _ => Some((value, at)),
    });
    let (most, at) = best.unwrap_or((0., 0.));
    let all = (all, format!("all classes {most:.2} at {at:.3}"));
    draw([title, "Confidence", label], confidence, curves, names, |_| String::new(), all)
}

/// `text` is the title and the labels of x and y; `value` what stands behind a class's name.
fn draw(
    text: [&str; 3],
    x: &[f64],
    curves: &[Vec<f64>],
    names: &[String],
    value: impl Fn(usize) -> String,
    all: (Vec<f64>, String),
) -> Result<RgbImage> {
    if curves.len() != names.len() {
        invalid!("{} curves for {} classes", curves.len(), names.len());
    }
    for (curve, name) in curves.iter().zip(names) {
        if curve.len() != x.len() {
            invalid!("the curve of {name} has {} points where there are {}", curve.len(), x.len());
        }
    }
    let is_named = names.len() <= MOST_NAMES;
    let color = |class: usize| if is_named { curve_color(class) } else { GREY };
    let mut legend = Vec::new();
    if is_named {
        for (class, name) in names.iter().enumerate() {
            let value = value(class);
            let room = WIDEST - text_width(&value, TICK)?;
            legend.push((cut(name, TICK, room)? + &value, color(class), 3.));
        }
    }
    legend.push((all.1, BLUE, 8.));
    let mut widest = 0_f64;
    for (text, ..) in &legend {
        widest = widest.max(text_width(text, TICK)?);
    }
    let [width, height] = SIZE.map(f64::from);
    let right = width - widest - SAMPLE - 110.;
    let frame = [160., 100., right, height - 140.];
    let axes = Axes { frame, x: [0., 1.], y: [0., 1.] };
    paint(SIZE, |canvas| {
        axes.draw(canvas, [5, 5], TICK, 2.)?;
        let middle = [(frame[0] + frame[2]) / 2., (frame[1] + frame[3]) / 2.];
        canvas.text(text[0], [middle[0], 54.], TITLE, Align::Centre, INK)?;
        canvas.text(text[1], [middle[0], height - 44.], LABEL, Align::Centre, INK)?;
        canvas.text(text[2], [48., middle[1]], LABEL, Align::RisingCentre, INK)?;
        for (class, curve) in curves.iter().enumerate() {
            axes.curve(canvas, x, curve, color(class), if is_named { 3. } else { 1.5 })?;
        }
        axes.curve(canvas, x, &all.0, BLUE, 8.)?;
        for (index, (text, color, width)) in legend.iter().enumerate() {
            let y = frame[1] + 30. + index as f64 * 56.;
            canvas.line([[right + 40., y], [right + 40. + SAMPLE, y]], *color, *width)?;
            canvas.text(text, [right + 60. + SAMPLE, y], TICK, Align::Left, INK)?;
        }
        Ok(())
    })
}

/// The mean of the curves at each point, without values that are not finite; NaN where there is none.
fn mean(curves: &[Vec<f64>], points: usize) -> Vec<f64> {
    let at = |point: usize| {
        let known = || curves.iter().map(move |curve| curve[point]).filter(|value| value.is_finite());
        known().sum::<f64>() / known().count() as f64
    };
    if curves.iter().any(|curve| curve.len() != points) {
        return vec![f64::NAN; points];
    }
    (0..points).map(at).collect()
}

/// Each point replaced by the mean of those around it; the ends go on beyond the curve.
fn smoothed(curve: &[f64]) -> Vec<f64> {
    let reach = (curve.len() as f64 * SMOOTHING).round() as isize;
    let last = curve.len() as isize - 1;
    let at = |point: isize| {
        let around = (point - reach..=point + reach).map(|near| curve[near.clamp(0, last) as usize]);
        around.sum::<f64>() / (2 * reach + 1) as f64
    };
    (0..=last).map(at).collect()
}
