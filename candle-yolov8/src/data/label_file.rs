//! Ultralytics' label files: one object per row, `class cx cy w h` or `class x1 y1 x2 y2 x3 y3 ...`, as fractions of the
//! image; of poses, `class cx cy w h` and the points.
//!
//! An outline of three points or more counts as the box around it, a pose as its box. What a file may hold is what
//! Ultralytics accepts: a hundredth beyond the image is tolerated, in 32 bits, rows that repeat another as 32-bit numbers
//! are dropped, and one wrong row makes the file wrong.

use std::collections::HashSet;

use super::text::{columns, lines};
use super::{Annotation, BBox};

/// How far beyond the image, as a fraction of it, a centre may reach on the left or top.
const LEAST: f32 = -0.01;
/// How far, as a fraction of the image, a centre or a side may reach.
const MOST: f32 = 1.01;
/// Columns of a box.
const BOX: usize = 5;

/// What a data set says of the rows of its label files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Rows {
    /// Number of classes.
    pub(super) classes: usize,
    /// Whether all objects count as class 0, whatever class a row names.
    pub(super) single_cls: bool,
    /// Numbers behind the box of a row with a pose; 0 where there are no poses.
    pub(super) pose: usize,
}

/// What a label file holds.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Labels {
    /// The objects.
    pub(super) labels: Vec<Annotation>,
    /// Number of rows dropped because they repeat another.
    pub(super) duplicates: usize,
}

/// Reads the rows of a label file. The error begins with the number of the line, from 1.
pub(super) fn parse(text: &str, rows: Rows) -> Result<Labels, String> {
    let numbered = || {
        let lines = lines(text).enumerate().map(|(index, line)| (index + 1, rows.columns(line)));
        lines.filter(|(_, columns)| !columns.is_empty())
    };
    let has_outlines = numbered().any(|(_, columns)| columns.len() > BOX + 1);
    let mut found = Labels::default();
    let mut seen = HashSet::new();
    for (number, columns) in numbered() {
        let (class, values) = row(&columns, rows, has_outlines).map_err(|problem| format!("{number}: {problem}"))?;
        // Adding zero makes one of the two zeros.
        let key: Vec<u32> = values.iter().map(|&value| (value as f32 + 0.).to_bits()).collect();
        let place = place(&values).map_err(|problem| format!("{number}: {problem}"))?;
        if seen.insert((class, key)) {
            let (class, place) = (if rows.single_cls { 0 } else { class }, BBox::Normalised(place));
            found.labels.push(Annotation { class, place, outline_area: None, crowd: false });
        } else {
            found.duplicates += 1;
        }
    }
    Ok(found)
}

impl Rows {
    /// The columns of a line that count: of a pose, those of its box.
    fn columns(self, line: &str) -> Vec<&str> {
        let mut columns: Vec<&str> = columns(line).collect();
        if self.pose > 0 && columns.len() == BOX + self.pose {
            columns.truncate(BOX);
        }
        columns
    }
}

/// The class and the numbers behind it: four of a box, or two per point of an outline.
fn row(columns: &[&str], rows: Rows, has_outlines: bool) -> Result<(usize, Vec<f64>), String> {
    let (first, others) = columns.split_first().ok_or("no columns")?;
    let class = class(first, rows)?;
    let values = others.iter().copied().map(number).collect::<Result<Vec<_>, _>>()?;
    let poses = if rows.pose > 0 { format!(", of a pose by {}", BOX + rows.pose - 1) } else { String::new() };
    match values.len() {
        4 if has_outlines => Err("a box among rows of outlines; a file holds either boxes or outlines".into()),
        4 => Ok((class, values)),
        count if count >= 6 && count % 2 == 0 => Ok((class, values)),
        count => Err(format!(
            "{} columns; a class is followed by 4 numbers of a box or by 2 for each of 3 or more points{poses}",
            count + 1
        )),
    }
}

fn number(text: &str) -> Result<f64, String> {
    let number = text.parse::<f64>().map_err(|_| format!("`{}` is no number", shortened(text)))?;
    if number.is_finite() { Ok(number) } else { Err(format!("`{}` is not finite", shortened(text))) }
}

/// The class that a number is in 32 bits.
fn class(text: &str, Rows { classes, single_cls, .. }: Rows) -> Result<usize, String> {
    let number = number(text)?;
    let rounded = f64::from(number as f32);
    let class = if rounded.is_finite() { rounded } else { number };
    if class.fract() != 0. || class < 0. {
        return Err(format!("class {class} is no whole number from 0"));
    }
    if class >= classes as f64 && !single_cls {
        return Err(format!(
            "class {class}, where the dataset has {classes} classes, 0 to {}",
            classes.saturating_sub(1)
        ));
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
        let least = if what.starts_with("centre") { LEAST } else { 0. };
        if !(least..=MOST).contains(&(value as f32)) {
            return Err(format!("{what} is {value}, where a fraction of the image, 0 to 1, is needed"));
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
