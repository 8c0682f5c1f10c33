//! Ultralytics' label files: one object per row, `class cx cy w h` or `class x1 y1 x2 y2 x3 y3 ...`, as fractions of the
//! picture.
//!
//! An outline of three points or more counts as the box around it. What a file may hold is what Ultralytics accepts: a
//! hundredth beyond the picture is tolerated, rows that repeat another as 32-bit numbers are dropped, and one wrong row
//! makes the file wrong.

use std::collections::HashSet;

use super::{Label, LabelBox};

/// How far beyond the picture, as a fraction of it, a centre or a side may reach.
const TOLERANCE: f64 = 0.01;

/// What a label file holds.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Labels {
    /// The objects.
    pub(super) labels: Vec<Label>,
    /// Number of rows dropped because they repeat another.
    pub(super) duplicates: usize,
}

/// Reads the rows of a label file for `nc` classes. The error begins with the number of the line, from 1.
pub(super) fn parse(text: &str, nc: usize) -> Result<Labels, String> {
    let rows = || {
        let numbered = text.lines().enumerate().map(|(index, line)| (index + 1, line.trim()));
        numbered.filter(|(_, line)| !line.is_empty())
    };
    let columns = |line: &str| line.split_whitespace().count();
    let has_outlines = rows().any(|(_, line)| columns(line) > 6);
    let mut found = Labels::default();
    let mut seen = HashSet::new();
    for (number, line) in rows() {
        let (class, values) = row(line, nc, has_outlines).map_err(|problem| format!("{number}: {problem}"))?;
        // Adding zero makes one of the two zeros.
        let key: Vec<u32> = values.iter().map(|&value| (value as f32 + 0.).to_bits()).collect();
        let place = place(&values).map_err(|problem| format!("{number}: {problem}"))?;
        if seen.insert((class, key)) {
            let place = LabelBox::Normalised(place);
            found.labels.push(Label { class, place, outline_area: None, crowd: false });
        } else {
            found.duplicates += 1;
        }
    }
    Ok(found)
}

/// The class and the numbers behind it: four of a box, or two per point of an outline.
fn row(line: &str, nc: usize, has_outlines: bool) -> Result<(usize, Vec<f64>), String> {
    let mut columns = line.split_whitespace();
    let class = class(columns.next().unwrap_or_default(), nc)?;
    let values = columns.map(number).collect::<Result<Vec<_>, _>>()?;
    match values.len() {
        4 if has_outlines => Err("a box among rows of outlines; a file holds either boxes or outlines".into()),
        4 => Ok((class, values)),
        count if count >= 6 && count % 2 == 0 => Ok((class, values)),
        count => Err(format!(
            "{} columns; a class is followed by 4 numbers of a box or by 2 for each of 3 or more points",
            count + 1
        )),
    }
}

fn number(text: &str) -> Result<f64, String> {
    let number = text.parse::<f64>().map_err(|_| format!("`{}` is no number", shortened(text)))?;
    if number.is_finite() { Ok(number) } else { Err(format!("`{}` is not finite", shortened(text))) }
}

fn class(text: &str, nc: usize) -> Result<usize, String> {
    let class = number(text)?;
    if class.fract() != 0. || class < 0. {
        return Err(format!("class {class} is no whole number from 0"));
    }
    if class >= nc as f64 {
        return Err(format!("class {class}, where the dataset has {nc} classes, 0 to {}", nc.saturating_sub(1)));
    }
    Ok(class as usize)
}

/// Centre, width and height of a row's box.
fn place(values: &[f64]) -> Result<[f64; 4], String> {
    let place = match *values {
        [cx, cy, w, h] => [cx, cy, w, h],
        _ => {
            let [mut low, mut high] = [[f64::INFINITY; 2], [f64::NEG_INFINITY; 2]];
            for point in values.as_chunks::<2>().0 {
                low = [low[0].min(point[0]), low[1].min(point[1])];
                high = [high[0].max(point[0]), high[1].max(point[1])];
            }
            let middle = |axis: usize| (low[axis] + high[axis]) / 2.;
            [middle(0), middle(1), high[0] - low[0], high[1] - low[1]]
        }
    };
    for (value, what) in place.into_iter().zip(["centre x", "centre y", "width", "height"]) {
        let least = if what.starts_with("centre") { -TOLERANCE } else { 0. };
        if !(least..=1. + TOLERANCE).contains(&value) {
            return Err(format!("{what} is {value}, where a fraction of the picture, 0 to 1, is needed"));
        }
    }
    Ok(place)
}

/// The beginning of a text that may be of any length.
fn shortened(text: &str) -> String {
    const MOST: usize = 24;
    match text.char_indices().nth(MOST) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.to_owned(),
    }
}
