//! Where tiles lie.

use image::{RgbImage, imageops};

/// A part of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tile {
    /// Left edge in pixels of the image.
    pub x: usize,
    /// Top edge in pixels of the image.
    pub y: usize,
    /// Width in pixels.
    pub width: usize,
    /// Height in pixels.
    pub height: usize,
}

/// Most tiles of one image.
pub const MAX_TILES: usize = 100_000;

/// Why an image has no tiles of a kind.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum GridError {
    /// A tile without pixels.
    #[error("a tile of {width}x{height} pixels has none: give sides of at least 1")]
    Size {
        /// Width in pixels.
        width: usize,
        /// Height in pixels.
        height: usize,
    },
    /// An overlap that leaves no step from one tile to the next, or a gap.
    #[error("tiles that overlap by {0} of their side do not cover an image: give a share from 0 up to, but not, 1")]
    Overlap(f64),
    /// More tiles than [`MAX_TILES`].
    #[error(
        "the image of {width}x{height} pixels has {count} such tiles, and {MAX_TILES} are the most: give larger tiles or a \
         smaller overlap"
    )]
    Count {
        /// Width of the image in pixels.
        width: usize,
        /// Height of the image in pixels.
        height: usize,
        /// The number of tiles.
        count: usize,
    },
}

/// The tiles that cover an image of `[height, width]`, row by row. Each is of `size` = `[height, width]`, or as large as the
/// image where that is smaller; neighbours share `overlap` of a side, rounded down to pixels, and the last of a row and of a
/// column are moved back to the image's edge. An image without pixels has none.
///
/// ```
/// use candle_vision::tiles::grid;
///
/// let tiles = grid([640, 1000], [640, 640], 0.2)?;
/// assert_eq!(tiles.iter().map(|tile| tile.x).collect::<Vec<_>>(), [0, 360]);
/// # Ok::<(), candle_vision::tiles::GridError>(())
/// ```
///
/// # Errors
/// A side of 0; an overlap outside 0 to 1, or 1; more than [`MAX_TILES`] tiles.
pub fn grid(image: [usize; 2], size: [usize; 2], overlap: f64) -> Result<Vec<Tile>, GridError> {
    let [height, width] = size;
    if height == 0 || width == 0 {
        return Err(GridError::Size { width, height });
    }
    if !(0. ..1.).contains(&overlap) {
        return Err(GridError::Overlap(overlap));
    }
    let axes = [0, 1].map(|axis| Axis::new(image[axis], size[axis], overlap));
    let count = axes[0].count.saturating_mul(axes[1].count);
    if count > MAX_TILES {
        return Err(GridError::Count { width: image[1], height: image[0], count });
    }
    let [rows, columns] = axes;
    let tile =
        |row, column| Tile { x: columns.start(column), y: rows.start(row), width: columns.length, height: rows.length };
    Ok((0..rows.count).flat_map(|row| (0..columns.count).map(move |column| tile(row, column))).collect())
}

/// Tiles along one side of an image.
#[derive(Debug, Clone, Copy)]
struct Axis {
    /// Length of a tile.
    length: usize,
    /// From one tile to the next, at least 1.
    step: usize,
    /// Number of tiles.
    count: usize,
    /// Where the last one starts.
    last: usize,
}

impl Axis {
    fn new(side: usize, tile: usize, overlap: f64) -> Self {
        let step = tile - ((overlap * tile as f64) as usize).min(tile - 1);
        let last = side.saturating_sub(tile);
        let count = if side == 0 { 0 } else { last.div_ceil(step) + 1 };
        Self { length: tile.min(side), step, count, last }
    }

    fn start(self, index: usize) -> usize {
        (index * self.step).min(self.last)
    }
}

/// The pixels of a tile, of those that the image has.
#[must_use]
pub fn crop(image: &RgbImage, tile: &Tile) -> RgbImage {
    let [x, y, width, height] =
        [tile.x, tile.y, tile.width, tile.height].map(|value| u32::try_from(value).unwrap_or(u32::MAX));
    imageops::crop_imm(image, x, y, width, height).to_image()
}
