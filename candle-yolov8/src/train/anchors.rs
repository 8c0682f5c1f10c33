//! The anchors of an image: one in the middle of each cell of each level.

/// A cell of a level. Lengths are in cells of its level.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Anchor {
    /// Number of the level.
    pub(super) level: usize,
    /// Number of the cell, row by row.
    pub(super) cell: usize,
    /// Cells of the level.
    pub(super) cells: usize,
    /// Centre x and y.
    pub(super) centre: [f64; 2],
    /// Pixels per cell.
    pub(super) stride: f64,
}

/// All anchors, level by level and row by row, from each level's height and width in cells and its stride.
pub(super) fn anchors(levels: &[([usize; 2], f64)]) -> Vec<Anchor> {
    let level = |(level, ([h, w], stride)): (usize, &([usize; 2], f64))| {
        let (cells, w, stride) = (h * w, *w, *stride);
        (0..cells).map(move |cell| {
            let centre = [cell % w, cell / w].map(|position| position as f64 + 0.5);
            Anchor { level, cell, cells, centre, stride }
        })
    };
    levels.iter().enumerate().flat_map(level).collect()
}

impl Anchor {
    /// The box at these distances from the centre: left, top, right and bottom.
    pub(super) fn xyxy(&self, [left, top, right, bottom]: [f64; 4]) -> [f64; 4] {
        let [x, y] = self.centre;
        [x - left, y - top, x + right, y + bottom]
    }

    /// The distances of a box's sides from the centre: left, top, right and bottom.
    pub(super) fn distances(&self, [x1, y1, x2, y2]: [f64; 4]) -> [f64; 4] {
        let [x, y] = self.centre;
        [x - x1, y - y1, x2 - x, y2 - y]
    }
}
