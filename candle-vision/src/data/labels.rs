//! Labels files for images without class folders.
//!
//! | file | form |
//! |---|---|
//! | csv with a header | a column of names and one of labels, as Kaggle's `LOC_val_solution.csv` |
//! | `name label` lines | white space, a tab or a comma between |
//! | labels alone | one a line, in the order of the sorted names: TensorFlow's and the devkit's lists of ImageNet |
//!
//! Names match by path below the set, else by the last part; an image's ending may be left out. A list of 50,000
//! labels alone counts by the numbers in ImageNet's names, so that a part of the images is enough.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::path::Path;

use super::DataError;
use super::error::{count, examples};
use super::files::{Ending, base_name, read_text, without_ending};
use super::imagenet;
use super::listing::{Labels, Names, Origin};

/// File of the devkit, whose numbers are `ILSVRC2012_ID`.
const DEVKIT_FILE: &str = "ILSVRC2012_validation_ground_truth.txt";

/// Headers of a column of names, the preferred first.
const NAME_HEADERS: [&str; 8] = ["filename", "file_name", "file", "path", "image", "imageid", "image_id", "name"];

/// Headers of a column of labels, the preferred first.
const LABEL_HEADERS: [&str; 7] = ["wnid", "class_id", "label", "class", "target", "predictionstring", "category"];

/// What a labels file says.
enum Content {
    /// Name and label.
    Named(Vec<(String, String)>),
    /// Labels alone.
    Alone(Vec<String>),
}

/// Reads a labels file and gives each image its label. Every image needs one; spare labels are noted.
pub(super) fn read(path: &Path, names: &Names, notes: &mut Vec<String>) -> Result<(Labels, Origin), DataError> {
    let text = read_text(path)?;
    let content = parse(path, &text)?;
    let labels = match content {
        Content::Named(rows) => by_name(path, rows, names, notes)?,
        Content::Alone(labels) => by_position(path, &labels, names, notes)?,
    };
    let devkit = path.file_name().is_some_and(|name| name == DEVKIT_FILE);
    Ok((labels, Origin::File { devkit }))
}

fn parse(path: &Path, text: &str) -> Result<Content, DataError> {
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let is_csv = path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("csv"));
    if is_csv || lines.first().is_some_and(|line| has_header(line)) {
        return parse_csv(path, text);
    }
    let pairs: Option<Vec<(String, String)>> = lines.iter().map(|line| pair(line)).collect();
    let images = lines.iter().filter(|line| Ending::of(first_word(line)) == Ending::Image).count();
    match pairs {
        Some(pairs) if images > 0 || pairs.iter().all(|(_, label)| !label.contains(' ')) => Ok(Content::Named(pairs)),
        _ if images > 0 => {
            let without = lines.iter().position(|line| pair(line).is_none()).unwrap_or(0);
            Err(DataError::labels(path, format!("line {} `{}` has a name and no label", without + 1, lines[without])))
        }
        _ => Ok(Content::Alone(lines.into_iter().map(str::to_owned).collect())),
    }
}

fn first_word(line: &str) -> &str {
    line.split([' ', '\t', ',']).next().unwrap_or_default()
}

/// A name and a label, parted by the last tab, else by the first comma or space.
fn pair(line: &str) -> Option<(String, String)> {
    let (name, label) = line.rsplit_once('\t').or_else(|| line.split_once([',', ' ']))?;
    let (name, label) = (name.trim(), label.trim());
    (!name.is_empty() && !label.is_empty()).then(|| (name.to_owned(), label.to_owned()))
}

fn column(header: &[String], wanted: &[&str]) -> Option<usize> {
    wanted.iter().find_map(|wanted| header.iter().position(|name| name == wanted))
}

fn split_header(line: &str) -> Vec<String> {
    line.split(',').map(|name| name.trim().trim_matches('"').to_ascii_lowercase()).collect()
}

fn has_header(line: &str) -> bool {
    let header = split_header(line);
    header.len() > 1 && column(&header, &NAME_HEADERS).is_some() && column(&header, &LABEL_HEADERS).is_some()
}

#[cfg(not(feature = "csv"))]
fn parse_csv(path: &Path, _: &str) -> Result<Content, DataError> {
    Err(DataError::not_built_in(path, "csv"))
}

#[cfg(feature = "csv")]
fn parse_csv(path: &Path, text: &str) -> Result<Content, DataError> {
    let damaged = |error: csv::Error| DataError::damaged(path, format!("is no valid csv: {error}"));
    let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).from_reader(text.as_bytes());
    let headers = reader.headers().map_err(damaged)?;
    let header: Vec<String> = headers.iter().map(str::to_ascii_lowercase).collect();
    let label = column(&header, &LABEL_HEADERS).ok_or_else(|| {
        let found = examples(header.iter().map(String::as_str));
        let wanted = LABEL_HEADERS.join(", ");
        DataError::labels(path, format!("no column of labels under a header of {wanted}; the first line has {found}"))
    })?;
    let name = column(&header, &NAME_HEADERS);
    if name.is_none() && header.len() > 1 {
        let found = examples(header.iter().map(String::as_str));
        let wanted = NAME_HEADERS.join(", ");
        return Err(DataError::labels(
            path,
            format!("no column of names under a header of {wanted}; the first line has {found}"),
        ));
    }
    let is_kaggle = header[label] == "predictionstring";
    let (mut rows, mut alone) = (Vec::new(), Vec::new());
    for record in reader.records() {
        let record = record.map_err(damaged)?;
        let text = record.get(label).unwrap_or_default();
        // Kaggle's column is `wnid left top right bottom`, once for each box.
        let text = if is_kaggle { text.split_whitespace().next().unwrap_or_default() } else { text };
        if text.is_empty() {
            let line = record.position().map_or(0, csv::Position::line);
            return Err(DataError::labels(path, format!("line {line} has no label")));
        }
        match name {
            Some(name) => rows.push((record.get(name).unwrap_or_default().to_owned(), text.to_owned())),
            None => alone.push(text.to_owned()),
        }
    }
    Ok(if name.is_some() { Content::Named(rows) } else { Content::Alone(alone) })
}

/// A name as it is compared: slashes, no leading `./`, no image's ending.
fn key(name: &str) -> String {
    let name = name.replace('\\', "/");
    without_ending(name.trim_start_matches("./").trim_start_matches('/')).to_owned()
}

fn by_name(
    path: &Path,
    rows: Vec<(String, String)>,
    names: &Names,
    notes: &mut Vec<String>,
) -> Result<Labels, DataError> {
    let mut given: HashMap<String, (String, bool)> = HashMap::new();
    let (mut repeated, mut contradicting) = (0, Vec::new());
    for (name, label) in rows {
        match given.entry(key(&name)) {
            Entry::Vacant(entry) => {
                entry.insert((label, false));
            }
            Entry::Occupied(entry) if entry.get().0 == label => repeated += 1,
            Entry::Occupied(_) => contradicting.push(name),
        }
    }
    if !contradicting.is_empty() {
        let found = count(contradicting.len(), "line gives", "lines give");
        let names = examples(contradicting.iter().map(String::as_str));
        return Err(DataError::labels(path, format!("{found} a second, other label: {names}")));
    }
    // Where an image's path is not listed, its last part counts, if only one listed path and one image end so.
    let mut by_base: HashMap<String, Option<String>> = HashMap::new();
    for listed in given.keys() {
        by_base
            .entry(base_name(listed).to_owned())
            .and_modify(|path| *path = None)
            .or_insert_with(|| Some(listed.clone()));
    }
    let mut bases: HashMap<String, usize> = HashMap::new();
    names.iter().for_each(|name| *bases.entry(base_name(&key(name)).to_owned()).or_default() += 1);

    let mut labels = Labels::default();
    let (mut without, mut shared) = (Vec::new(), Vec::new());
    for name in names.iter() {
        let own = key(name);
        let base = base_name(&own);
        let listed = if given.contains_key(&own) { Some(own.clone()) } else { by_base.get(base).cloned().flatten() };
        let is_shared =
            listed.as_deref().is_some_and(|listed| listed != own) && bases.get(base).is_some_and(|&n| n > 1);
        match listed.and_then(|listed| given.get_mut(&listed)) {
            Some(_) if is_shared => shared.push(name),
            Some((label, used)) => {
                *used = true;
                labels.push(label);
            }
            None => without.push(name),
        }
    }
    let total = count(names.len(), "image", "images");
    if !shared.is_empty() {
        let found = format!("{} of {total} have a name that others have too: {}", shared.len(), examples(shared));
        return Err(DataError::labels(path, format!("{found}; list them with their folders")));
    }
    let spare = given.values().filter(|(_, used)| !used).count();
    if !without.is_empty() {
        let found = format!("{} of {total} have no label in it: {}", without.len(), examples(without));
        let listed = format!("{} name no image", count(spare, "of its lines", "of its lines"));
        return Err(DataError::labels(path, format!("{found}; {listed}")));
    }
    if spare > 0 {
        let absent = examples(sorted(given.iter().filter(|(_, (_, used))| !used).map(|(name, _)| name.as_str())));
        notes.push(format!("{} for images that are not there: {absent}", count(spare, "label is", "labels are")));
    }
    if repeated > 0 {
        notes.push(format!("{} a label given before", count(repeated, "line repeats", "lines repeat")));
    }
    Ok(labels)
}

fn sorted<'a>(names: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let mut names: Vec<&str> = names.collect();
    names.sort_unstable();
    names
}

fn by_position(path: &Path, given: &[String], names: &Names, notes: &mut Vec<String>) -> Result<Labels, DataError> {
    let numbers: Option<Vec<usize>> = names.iter().map(imagenet::image_number).collect();
    let mut positions = vec![0; names.len()];
    match numbers {
        Some(numbers) if given.len() == imagenet::IMAGES => {
            positions.iter_mut().zip(&numbers).for_each(|(position, number)| *position = number - 1);
            if names.len() < given.len() {
                notes.push(format!("the labels are taken by the numbers in the names of {} images", names.len()));
            }
        }
        _ if given.len() == names.len() => {
            let mut order: Vec<usize> = (0..names.len()).collect();
            order.sort_by_key(|&at| (base_name(names.get(at)), names.get(at)));
            order.iter().enumerate().for_each(|(position, &at)| positions[at] = position);
        }
        _ => {
            let found =
                format!("{} for {}", count(given.len(), "label", "labels"), count(names.len(), "image", "images"));
            let reason = "labels alone go by the order of the names, so there must be as many";
            return Err(DataError::labels(path, format!("{found}; {reason}")));
        }
    }
    let mut labels = Labels::default();
    positions.iter().for_each(|&position| labels.push(&given[position]));
    Ok(labels)
}

#[cfg(test)]
#[path = "labels_tests.rs"]
mod tests;
