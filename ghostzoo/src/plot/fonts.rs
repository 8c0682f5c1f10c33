//! Names in letters that the bundled font lacks: in a font of the system that has them, else numbers in their place.

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::sync::OnceLock;

use candle_vision::image::{Typeface, is_in_bundled_font};
use fontdb::{Database, FaceInfo, Source, Style};

/// Most names that a note names.
const SHOWN: usize = 3;
/// The weight of the bundled font.
const BOLD: u16 = 700;

/// What was found when a name first had a letter that the bundled font lacks.
static FOUND: OnceLock<Option<Letters>> = OnceLock::new();

/// A font of the system.
pub(super) struct Letters {
    /// Its file, of whose fonts the first is meant.
    pub file: &'static [u8],
    pub typeface: Typeface<'static>,
}

/// The font for letters that the bundled one lacks, where [`drawable`] was asked for one and found it.
pub(super) fn font() -> Option<&'static Letters> {
    FOUND.get()?.as_ref()
}

/// The font of the system for letters that the bundled one lacks, where [`drawable`] was asked for one and found it.
pub fn typeface() -> Option<&'static Typeface<'static>> {
    font().map(|letters| &letters.typeface)
}

/// The names as they are drawn, and what to say of those with letters that neither the bundled font nor one of the system
/// has: they are drawn as their numbers. Fonts are looked for when the first name needs one.
pub fn drawable(names: &[String]) -> (Vec<String>, Option<String>) {
    let lacking = lacking(names);
    if lacking.is_empty() {
        return (names.to_vec(), None);
    }
    replaced(names, found(&lacking))
}

/// A line of text as it is drawn: for letters that neither the bundled font nor one of the system has stands an underscore.
pub(super) fn drawable_line(text: String) -> String {
    let lacking = lacking(std::slice::from_ref(&text));
    if lacking.is_empty() {
        return text;
    }
    underscored(&text, &lacking, found(&lacking))
}

fn underscored(text: &str, lacking: &BTreeSet<char>, font: Option<&Typeface<'_>>) -> String {
    let is_drawn = |c: &char| !lacking.contains(c) || font.is_some_and(|font| font.has(*c));
    text.chars().map(|c| if is_drawn(&c) { c } else { '_' }).collect()
}

/// The font of the system, looked for at the first call by the characters that it lacks.
fn found(lacking: &BTreeSet<char>) -> Option<&'static Typeface<'static>> {
    let found = FOUND.get_or_init(|| {
        let mut fonts = Database::new();
        fonts.load_system_fonts();
        best(&fonts, lacking)
    });
    found.as_ref().map(|letters| &letters.typeface)
}

/// The characters that the bundled font lacks.
fn lacking(names: &[String]) -> BTreeSet<char> {
    names.iter().flat_map(|name| name.chars()).filter(|c| !c.is_control() && !is_in_bundled_font(*c)).collect()
}

/// The font with the most of the characters; of several the one most like the bundled font.
fn best(fonts: &Database, lacking: &BTreeSet<char>) -> Option<Letters> {
    let known = |face: &FaceInfo| {
        let count =
            |file: &[u8], _| Typeface::new(file).map_or(0, |font| lacking.iter().filter(|c| font.has(**c)).count());
        fonts.with_face_data(face.id, count).unwrap_or(0)
    };
    let upright = fonts.faces().filter(|face| face.index == 0 && face.style == Style::Normal);
    let rated = upright.map(|face| {
        let unlike = (Reverse(face.weight.0.abs_diff(BOLD)), !face.monospaced, Reverse(&face.post_script_name));
        (known(face), unlike, face)
    });
    let (_, _, face) = rated.filter(|(count, ..)| *count > 0).max_by(|a, b| (a.0, &a.1).cmp(&(b.0, &b.1)))?;
    let Source::File(path) = &face.source else { return None };
    // Plots keep fonts for the rest of the process.
    let file: &'static [u8] = std::fs::read(path).ok()?.leak();
    Some(Letters { file, typeface: Typeface::new(file)? })
}

/// The names, in place of those that cannot be drawn their numbers, and what to say of these.
fn replaced(names: &[String], font: Option<&Typeface<'_>>) -> (Vec<String>, Option<String>) {
    let is_drawn = |c: char| c.is_control() || is_in_bundled_font(c) || font.is_some_and(|font| font.has(c));
    let (mut drawn, mut numbered) = (names.to_vec(), Vec::new());
    for (number, (name, drawn)) in names.iter().zip(&mut drawn).enumerate() {
        if !name.chars().all(is_drawn) {
            numbered.push(name.as_str());
            *drawn = number.to_string();
        }
    }
    let more = numbered.len().saturating_sub(SHOWN);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    let note = (!numbered.is_empty()).then(|| {
        format!(
            "no font with the letters of {}{more} was found: images show the numbers of these classes; install a font that \
             has them, such as Noto Sans CJK",
            numbered[..numbered.len().min(SHOWN)].join(", ")
        )
    });
    (drawn, note)
}

/// Takes the font of a folder for what the system has.
#[cfg(test)]
pub(super) fn use_fonts_of(folder: &std::path::Path, names: &[String]) -> Option<&'static Letters> {
    let mut fonts = Database::new();
    fonts.load_fonts_dir(folder);
    FOUND.get_or_init(|| best(&fonts, &lacking(names))).as_ref()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    fn fonts_of(folder: &Path) -> Database {
        let mut fonts = Database::new();
        fonts.load_fonts_dir(folder);
        fonts
    }

    #[test]
    fn the_font_with_the_most_of_the_letters_is_taken_and_other_names_are_numbers() {
        let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden/draw");
        let all = names(&["cat é", "猫", "犬 1", "狗", "猫\t"]);
        assert_eq!(lacking(&all), BTreeSet::from(['猫', '犬', '狗']));
        let found = best(&fonts_of(&golden), &lacking(&all)).expect("the font of two letters");
        let (drawn, note) = replaced(&all, Some(&found.typeface));
        assert_eq!(drawn, ["cat é", "猫", "犬 1", "3", "猫\t"]);
        let note = note.expect("a name is a number");
        assert!(note.starts_with("no font with the letters of 狗 was found: images show the numbers"), "{note}");
        assert!(note.contains("install a font that has them"), "{note}");
        let line = underscored("犬 狗.jpg", &BTreeSet::from(['犬', '狗']), Some(&found.typeface));
        assert_eq!(line, "犬 _.jpg", "a file's name keeps the rest");
        let none = best(&fonts_of(&golden), &BTreeSet::from(['狗']));
        assert!(none.is_none(), "a font without the letters is of no use");
    }

    #[test]
    fn without_a_font_the_numbers_are_drawn_and_the_names_told() {
        let folder = tempfile::tempdir().expect("a folder");
        let all = names(&["猫", "cat", "犬", "狗", "鳥", "魚"]);
        assert!(best(&fonts_of(folder.path()), &lacking(&all)).is_none());
        let (drawn, note) = replaced(&all, None);
        assert_eq!(drawn, ["0", "cat", "2", "3", "4", "5"]);
        assert!(note.is_some_and(|note| note.contains("letters of 猫, 犬, 狗 and 2 more was found")));
        assert_eq!(drawable(&names(&["cat", "Ж"])), (names(&["cat", "Ж"]), None), "no font is looked for");
    }
}
