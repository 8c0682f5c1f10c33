//! AVIF as Pillow 13 reads it, by which Ultralytics reads it too: a still image or a grid of them, not clipped.

use image::RgbImage;
use image::metadata::Orientation;
use re_rav1d::pixel::YUVRange;
use re_rav1d::{Decoder, Picture, PixelLayout, PlanarImageComponent, Settings};

use super::ImageError;
use super::avif_boxes::{Container, Item, Signal, corrupt, unsupported};
use super::avif_colors::{Alpha, Layout, Planes, rgb};
use super::decode::check_size;

/// Number of the matrix that depends on the primaries.
const OF_PRIMARIES: u16 = 12;
const UNSPECIFIED: u16 = 2;

/// [width, height] as stored, and how the image is to be turned. Its data are there, but not decoded.
///
/// # Errors
/// `Truncated`, `Corrupt`, `Unsupported` or `TooLarge`.
pub(super) fn header(bytes: &[u8], max_pixels: u64) -> Result<([u32; 2], Orientation), ImageError> {
    let container = Container::read(bytes)?;
    let item = container.primary()?;
    container.check(item)?;
    let size = container.size(item)?;
    check_size(size, "AVIF", max_pixels)?;
    container.data(item)?;
    for cell in container.cells(item) {
        container.data(cell)?;
    }
    Ok((size, container.orientation(item)))
}

/// The image as stored, and how it is to be turned.
///
/// # Errors
/// As [`header`].
pub(super) fn decode(bytes: &[u8], max_pixels: u64) -> Result<(RgbImage, Orientation), ImageError> {
    let container = Container::read(bytes)?;
    let item = container.primary()?;
    let mut planes = planes_of(&container, item, max_pixels)?;
    planes.signal = container.signal(item).unwrap_or(planes.signal);
    let alpha = match container.alpha(item) {
        Some(alpha) if container.is_multiplied(item, alpha) => {
            let mut alpha = planes_of(&container, alpha, max_pixels)?;
            if alpha.size != planes.size || alpha.depth != planes.depth {
                return Err(unsupported("an AVIF whose alpha is of another size or depth"));
            }
            Alpha::Multiplied(alpha.levels.swap_remove(0))
        }
        Some(_) => Alpha::Apart,
        None => {
            let cells = container.cells(item);
            let has_alpha = !cells.is_empty() && cells.iter().all(|cell| container.alpha(cell).is_some());
            if has_alpha { Alpha::Apart } else { Alpha::Absent }
        }
    };
    Ok((rgb(planes, &alpha)?, container.orientation(item)))
}

fn planes_of(container: &Container<'_>, item: &Item, max_pixels: u64) -> Result<Planes, ImageError> {
    let size = container.size(item)?;
    check_size(size, "AVIF", max_pixels)?;
    container.check(item)?;
    match &item.kind {
        b"av01" => decoded(container.data(item)?.into_owned(), size, container.operating_point(item)),
        b"grid" => grid(container, item, size, max_pixels),
        kind => Err(unsupported(&format!("an AVIF whose image is of the kind {}", kind.escape_ascii()))),
    }
}

/// An image in equal parts, of which the last of a row or column may reach beyond it.
fn grid(container: &Container<'_>, item: &Item, size: [u32; 2], max_pixels: u64) -> Result<Planes, ImageError> {
    let told = container.data(item)?;
    let (rows, columns, sides) = match told[..] {
        [0, flags, rows, columns, ref sides @ ..] if sides.len() >= 4 * (1 + usize::from(flags & 1)) => {
            let number = |bytes: &[u8]| bytes.iter().fold(0u32, |sum, &byte| sum << 8 | u32::from(byte));
            let half = 2 * (1 + usize::from(flags & 1));
            (usize::from(rows) + 1, usize::from(columns) + 1, [number(&sides[..half]), number(&sides[half..2 * half])])
        }
        _ => return Err(corrupt("its grid is broken")),
    };
    let cells = container.cells(item);
    if cells.len() != rows * columns || sides != size {
        return Err(corrupt("its grid has other cells than it tells"));
    }
    let mut whole: Option<(Planes, [u32; 2])> = None;
    for (index, cell) in cells.into_iter().enumerate() {
        // A grid within a grid is none that an AVIF has.
        if cell.kind != *b"av01" {
            return Err(corrupt("a cell of its grid is no image"));
        }
        let part = planes_of(container, cell, max_pixels)?;
        let (whole, cell_size) = whole.get_or_insert_with(|| (part.empty(size), part.size));
        // None lies beyond the image.
        let covers = |side: usize, count: usize| {
            let (cell, size) = (u64::from(cell_size[side]), u64::from(size[side]));
            cell * count as u64 >= size && cell * (count as u64 - 1) < size
        };
        let is_alike = part.size == *cell_size && part.depth == whole.depth && part.layout == whole.layout;
        if !is_alike || !covers(0, columns) || !covers(1, rows) {
            return Err(corrupt("the cells of its grid do not fit"));
        }
        whole.paste(&part, [index % columns, index / columns]);
    }
    whole.map(|(whole, _)| whole).ok_or_else(|| corrupt("its grid is empty"))
}

/// The first frame of AV1 data.
fn decoded(data: Vec<u8>, size: [u32; 2], operating_point: u32) -> Result<Planes, ImageError> {
    /// Of a frame that is there, several parts may have to be asked for.
    const TRIES: usize = 64;
    let failed = |error: re_rav1d::Error| corrupt(&format!("AV1 decoder: {error}"));
    let mut settings = Settings::new();
    settings.set_n_threads(1);
    settings.set_max_frame_delay(1);
    settings.set_all_layers(false);
    settings.set_operating_point(operating_point);
    settings.set_frame_size_limit(size[0].saturating_mul(size[1]));
    let mut decoder = Decoder::with_settings(&settings).map_err(failed)?;
    match decoder.send_data(data, None, None, None) {
        Err(error) if !error.is_again() => return Err(failed(error)),
        _ => {}
    }
    for _ in 0..TRIES {
        match decoder.get_picture() {
            Ok(image) => return planes_from(&image, size),
            Err(error) if !error.is_again() => return Err(failed(error)),
            Err(_) => {}
        }
        match decoder.send_pending_data() {
            Err(error) if !error.is_again() => return Err(failed(error)),
            _ => {}
        }
    }
    Err(corrupt("its data hold no frame"))
}

fn planes_from(image: &Picture, size: [u32; 2]) -> Result<Planes, ImageError> {
    if [image.width(), image.height()] != size {
        return Err(corrupt("its size is told in two ways"));
    }
    let layout = match image.pixel_layout() {
        PixelLayout::I400 => Layout::Grey,
        PixelLayout::I420 => Layout::Quarter,
        PixelLayout::I422 => Layout::HalfWide,
        PixelLayout::I444 => Layout::Full,
    };
    let depth = image.bit_depth();
    let components = [PlanarImageComponent::Y, PlanarImageComponent::U, PlanarImageComponent::V];
    let count = if layout == Layout::Grey { 1 } else { 3 };
    let levels = components.into_iter().take(count).enumerate().map(|(index, component)| {
        let [width, height] = layout.sides(size, index);
        let (plane, stride) = (image.plane(component), image.stride(component) as usize);
        let rows = (0..height).map(|y| &plane[y * stride..]);
        match depth {
            8 => rows.flat_map(|row| row[..width].iter().map(|&level| level.into())).collect(),
            _ => rows.flat_map(|row| row[..2 * width].as_chunks().0).map(|&level| u16::from_ne_bytes(level)).collect(),
        }
    });
    let matrix = image.matrix_coefficients() as u16;
    // What is asked for needlessly may be a number that the decoder does not know.
    let primaries = if matrix == OF_PRIMARIES { image.color_primaries() as u16 } else { UNSPECIFIED };
    let is_full = image.color_range() == YUVRange::Full;
    let signal = Signal { primaries, matrix, is_full };
    Ok(Planes { size, depth: depth as u32, layout, levels: levels.collect(), signal })
}
