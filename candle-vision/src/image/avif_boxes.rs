//! The boxes of an AVIF file: which bytes are the image, of which size, how turned, in which colours. `avif-parse` 2.1 tells
//! neither turns, nor colours, nor grids.

use std::borrow::Cow;
use std::collections::BTreeMap;

use image::metadata::Orientation;

use super::ImageError;

type Name = [u8; 4];

/// Properties that may be essential to an item that is read here.
const KNOWN: [&Name; 13] = [
    b"ispe", b"colr", b"pixi", b"av1C", b"auxC", b"pasp", b"clap", b"irot", b"imir", b"a1op", b"a1lx", b"lsel", b"clli",
];
const ALPHA: [&[u8]; 2] = [b"urn:mpeg:mpegB:cicp:systems:auxiliary:alpha", b"urn:mpeg:hevc:2015:auxid:1"];
/// A layer selector that selects none.
const ALL_LAYERS: u16 = 0xFFFF;

/// How colours are written; numbers as in H.273.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Signal {
    pub(super) primaries: u16,
    pub(super) matrix: u16,
    pub(super) is_full: bool,
}

/// The parts of a file that matter to its image.
#[derive(Default)]
pub(super) struct Container<'a> {
    bytes: &'a [u8],
    /// What the file keeps within its list of items.
    inner: &'a [u8],
    primary: u32,
    items: BTreeMap<u32, Item>,
    properties: Vec<(Name, &'a [u8])>,
    references: Vec<Reference>,
}

#[derive(Default)]
pub(super) struct Item {
    id: u32,
    pub(super) kind: Name,
    is_inner: bool,
    /// Starts and lengths; a length of zero reaches to the end.
    extents: Vec<[u64; 2]>,
    /// Places among the properties, counted from one, and whether each is essential.
    properties: Vec<(usize, bool)>,
}

struct Reference {
    kind: Name,
    from: u32,
    to: Vec<u32>,
}

impl<'a> Container<'a> {
    /// # Errors
    /// `Truncated`, `Corrupt`, or `Unsupported`.
    pub(super) fn read(bytes: &'a [u8]) -> Result<Self, ImageError> {
        let mut rest = bytes;
        while let Some((name, content, behind)) = next_box(rest) {
            if name == b"meta" {
                let mut container = Self { bytes, ..Self::default() };
                return match container.read_meta(content) {
                    Some(()) => Ok(container),
                    // A box that claims to reach beyond the file.
                    None if behind.is_empty() => Err(cut()),
                    None => Err(corrupt("its list of items is broken")),
                };
            }
            rest = behind;
        }
        if rest.is_empty() { Err(unsupported("an AVIF without a still image")) } else { Err(cut()) }
    }

    fn read_meta(&mut self, content: &'a [u8]) -> Option<()> {
        let mut rest = content.get(4..)?;
        while !rest.is_empty() {
            let (name, content, behind) = next_box(rest)?;
            let mut data = Data(content);
            match name {
                b"pitm" => {
                    let version = data.version()?;
                    self.primary = data.id(version >= 1)?;
                }
                b"idat" => self.inner = content,
                b"iinf" => {
                    let version = data.version()?;
                    data.number(if version == 0 { 2 } else { 4 })?;
                    while let Some((_, content, behind)) = next_box(data.0) {
                        let mut entry = Data(content);
                        let version = entry.version()?;
                        let id = entry.id(version >= 3)?;
                        entry.number(2)?;
                        self.item(id).kind = *entry.0.first_chunk()?;
                        data.0 = behind;
                    }
                }
                b"iloc" => self.read_places(&mut data)?,
                b"iref" => {
                    let is_long = data.version()? >= 1;
                    while let Some((&kind, content, behind)) = next_box(data.0) {
                        let mut entry = Data(content);
                        let from = entry.id(is_long)?;
                        let count = entry.number(2)?;
                        let to = (0..count).map(|_| entry.id(is_long)).collect::<Option<_>>()?;
                        self.references.push(Reference { kind, from, to });
                        data.0 = behind;
                    }
                }
                b"iprp" => self.read_properties(&mut data)?,
                _ => {}
            }
            rest = behind;
        }
        Some(())
    }

    fn read_places(&mut self, data: &mut Data<'a>) -> Option<()> {
        let version = data.version()?;
        let sizes = data.number(2)?;
        let [offset, length, base, index] = [12, 8, 4, 0].map(|shift| (sizes >> shift & 15) as usize);
        let count = data.number(if version < 2 { 2 } else { 4 })?;
        for _ in 0..count {
            let id = data.id(version >= 2)?;
            let method = if version >= 1 { data.number(2)? & 15 } else { 0 };
            data.number(2)?;
            let base = data.number(base)?;
            let count = data.number(2)?;
            let index = if version >= 1 { index } else { 0 };
            // Parts that take no bytes to list would take memory without end.
            (count <= 1 || index + offset + length > 0).then_some(())?;
            let mut extents = Vec::new();
            for _ in 0..count {
                data.number(index)?;
                extents.push([base.checked_add(data.number(offset)?)?, data.number(length)?]);
            }
            let item = self.item(id);
            // An item within an item is none that an AVIF has.
            (method <= 1).then_some(())?;
            (item.is_inner, item.extents) = (method == 1, extents);
        }
        Some(())
    }

    fn read_properties(&mut self, data: &mut Data<'a>) -> Option<()> {
        while let Some((name, content, behind)) = next_box(data.0) {
            let mut content = Data(content);
            match name {
                b"ipco" => {
                    while let Some((&name, property, behind)) = next_box(content.0) {
                        self.properties.push((name, property));
                        content.0 = behind;
                    }
                }
                b"ipma" => {
                    let head = content.number(4)?;
                    let (is_long, is_wide) = (head >> 24 >= 1, head & 1 == 1);
                    for _ in 0..content.number(4)? {
                        let id = content.id(is_long)?;
                        for _ in 0..content.number(1)? {
                            let value = content.number(1 + usize::from(is_wide))? as usize;
                            let essential = if is_wide { 1 << 15 } else { 1 << 7 };
                            self.item(id).properties.push((value & (essential - 1), value & essential != 0));
                        }
                    }
                }
                _ => {}
            }
            data.0 = behind;
        }
        Some(())
    }

    /// The item of this number, made where it was not heard of.
    fn item(&mut self, id: u32) -> &mut Item {
        self.items.entry(id).or_insert_with(|| Item { id, ..Item::default() })
    }

    fn find(&self, id: u32) -> Option<&Item> {
        self.items.get(&id)
    }

    /// The item that is the image.
    pub(super) fn primary(&self) -> Result<&Item, ImageError> {
        self.find(self.primary).ok_or_else(|| corrupt("it names no image"))
    }

    /// Items that a grid is made of, row by row.
    pub(super) fn cells(&self, grid: &Item) -> Vec<&Item> {
        let cells = self.references.iter().filter(|reference| reference.kind == *b"dimg" && reference.from == grid.id);
        cells.flat_map(|reference| &reference.to).filter_map(|&id| self.find(id)).collect()
    }

    /// The item that is another's alpha.
    pub(super) fn alpha(&self, of: &Item) -> Option<&Item> {
        let mut names = self.references.iter().filter(|one| one.kind == *b"auxl" && one.to.contains(&of.id));
        names.find_map(|reference| {
            let item = self.find(reference.from)?;
            let kind = self.property(item, b"auxC")?.get(4..)?.split(|&byte| byte == 0).next()?;
            ALPHA.contains(&kind).then_some(item)
        })
    }

    /// Whether the colours of one item are multiplied by the alpha of another.
    pub(super) fn is_multiplied(&self, item: &Item, alpha: &Item) -> bool {
        let mut references = self.references.iter();
        references.any(|one| one.kind == *b"prem" && one.from == item.id && one.to.contains(&alpha.id))
    }

    fn property(&self, item: &Item, name: &Name) -> Option<&'a [u8]> {
        let mut properties = item.properties.iter().filter_map(|&(at, _)| self.properties.get(at.checked_sub(1)?));
        properties.find(|(other, _)| other == name).map(|&(_, content)| content)
    }

    /// Refuses an item of which a property is essential, and none that is read here.
    pub(super) fn check(&self, item: &Item) -> Result<(), ImageError> {
        for &(at, is_essential) in &item.properties {
            let Some((name, content)) = at.checked_sub(1).and_then(|at| self.properties.get(at)) else { continue };
            let selects = name == b"lsel" && *content != ALL_LAYERS.to_be_bytes();
            if is_essential && !KNOWN.contains(&name) || selects {
                let name = name.escape_ascii();
                return Err(unsupported(&format!("an AVIF with the property {name}")));
            }
        }
        Ok(())
    }

    /// [width, height] in pixels.
    pub(super) fn size(&self, item: &Item) -> Result<[u32; 2], ImageError> {
        let size = self.property(item, b"ispe").and_then(|content| {
            let mut data = Data(content.get(4..)?);
            Some([data.number(4)? as u32, data.number(4)? as u32])
        });
        size.ok_or_else(|| corrupt("it tells no size"))
    }

    /// The layers to decode.
    pub(super) fn operating_point(&self, item: &Item) -> u32 {
        self.property(item, b"a1op").and_then(<[u8]>::first).map_or(0, |&point| point.into())
    }

    /// What is said beside the data, and counts more than what they say.
    pub(super) fn signal(&self, item: &Item) -> Option<Signal> {
        let mut properties = item.properties.iter().filter_map(|&(at, _)| self.properties.get(at.checked_sub(1)?));
        let (_, content) = properties.find(|(name, content)| name == b"colr" && content.starts_with(b"nclx"))?;
        let mut data = Data(&content[4..]);
        let [primaries, _, matrix] = [data.number(2)?, data.number(2)?, data.number(2)?];
        Some(Signal { primaries: primaries as u16, matrix: matrix as u16, is_full: data.number(1)? & 0x80 != 0 })
    }

    /// As the boxes for turning and mirroring say, of which Pillow makes an EXIF orientation.
    pub(super) fn orientation(&self, item: &Item) -> Orientation {
        let byte = |name: &Name| self.property(item, name).and_then(|content| content.first().copied());
        let turns = byte(b"irot").map_or(0, |turns| turns & 3);
        let axis = byte(b"imir").map(|axis| axis & 1);
        let exif = match (turns, axis) {
            (0, None) => 1,
            (0, Some(1)) | (2, Some(0)) => 2,
            (2, None) => 3,
            (0, _) | (2, _) => 4,
            (1, Some(0)) | (3, Some(1)) => 5,
            (3, None) => 6,
            (1, Some(_)) | (3, _) => 7,
            _ => 8,
        };
        Orientation::from_exif(exif).unwrap_or(Orientation::NoTransforms)
    }

    /// An item's bytes.
    pub(super) fn data(&self, item: &Item) -> Result<Cow<'a, [u8]>, ImageError> {
        let source = if item.is_inner { self.inner } else { self.bytes };
        let mut data: Vec<&[u8]> = Vec::new();
        let mut len = 0;
        for &[start, length] in &item.extents {
            let from = usize::try_from(start).ok().and_then(|start| source.get(start..)).ok_or_else(cut)?;
            let part = match length {
                0 => Some(from),
                length => usize::try_from(length).ok().and_then(|length| from.get(..length)),
            };
            let part = part.ok_or_else(cut)?;
            len += part.len();
            data.push(part);
            if len > self.bytes.len() {
                return Err(corrupt("its parts overlap"));
            }
        }
        match data[..] {
            _ if len == 0 => Err(corrupt("its image has no data")),
            [whole] => Ok(Cow::Borrowed(whole)),
            _ => Ok(Cow::Owned(data.concat())),
        }
    }
}

/// The name and content of the first box, and what follows it. A box that ends beyond the bytes ends with them.
pub(super) fn next_box(bytes: &[u8]) -> Option<(&Name, &[u8], &[u8])> {
    let mut data = Data(bytes);
    let short = data.number(4)?;
    let name = data.0.first_chunk()?;
    data.0 = &data.0[4..];
    let head = if short == 1 { 16 } else { 8 };
    let length = match short {
        0 => bytes.len() as u64,
        1 => data.number(8)?,
        length => length,
    };
    let length = usize::try_from(length.checked_sub(head)?).ok()?.min(data.0.len());
    let (content, behind) = data.0.split_at(length);
    Some((name, content, behind))
}

/// Bytes that are read from their start.
struct Data<'a>(&'a [u8]);

impl Data<'_> {
    /// A number of so many bytes, eight at most.
    fn number(&mut self, bytes: usize) -> Option<u64> {
        let (number, rest) = self.0.split_at_checked(bytes).filter(|_| bytes <= 8)?;
        self.0 = rest;
        Some(number.iter().fold(0, |sum, &byte| sum << 8 | u64::from(byte)))
    }

    /// A box's version, past its flags.
    fn version(&mut self) -> Option<u64> {
        self.number(4).map(|head| head >> 24)
    }

    /// An item's number.
    fn id(&mut self, is_long: bool) -> Option<u32> {
        self.number(if is_long { 4 } else { 2 }).map(|id| id as u32)
    }
}

pub(super) fn cut() -> ImageError {
    ImageError::Truncated { format: "AVIF", reason: "the data ends too early".into() }
}

pub(super) fn corrupt(reason: &str) -> ImageError {
    ImageError::Corrupt { format: "AVIF", reason: reason.into() }
}

pub(super) fn unsupported(what: &str) -> ImageError {
    ImageError::Unsupported { what: what.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn boxed(name: &[u8; 4], content: &[&[u8]]) -> Vec<u8> {
        let content = content.concat();
        [&(8 + content.len() as u32).to_be_bytes(), &name[..], &content].concat()
    }

    /// A file with one item of parts that each take no bytes to list.
    fn file(parts: u8) -> Vec<u8> {
        let primary = boxed(b"pitm", &[&[0; 4], &[0, 1]]);
        let places = boxed(b"iloc", &[&[0; 4], &[0, 0], &[0, 1], &[0, 1], &[0, 0], &[0, parts]]);
        boxed(b"meta", &[&[0; 4], &primary, &places])
    }

    #[test]
    fn parts_that_take_no_bytes_are_no_list() {
        let one = file(1);
        let container = Container::read(&one).expect("the whole file is a part");
        let item = container.primary().expect("the item");
        assert_eq!(container.data(item).expect("its bytes"), one);
        assert!(matches!(Container::read(&file(2)), Err(ImageError::Truncated { .. } | ImageError::Corrupt { .. })));
    }
}
