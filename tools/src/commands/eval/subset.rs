//! Which images of a set are looked at.

use std::ops::Range;

use crate::shard;

/// `taken` of `len` images, spread evenly; each has a position from 0 to `taken` - 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Subset {
    len: usize,
    taken: usize,
}

impl Subset {
    pub(super) fn new(len: usize, limit: Option<usize>) -> Self {
        Self { len, taken: limit.map_or(len, |limit| limit.min(len)) }
    }

    /// How many images are looked at.
    pub(super) fn total(&self) -> usize {
        self.taken
    }

    /// The positions of part `index` of `count`.
    pub(super) fn shard(&self, part: [usize; 2]) -> Range<usize> {
        shard::bounds(self.taken, part)
    }

    /// The images of the set that hold these positions.
    pub(super) fn images(&self, positions: Range<usize>) -> Range<usize> {
        self.image(positions.start)..self.image(positions.end)
    }

    /// The image at a position.
    fn image(&self, position: usize) -> usize {
        if self.taken == 0 {
            return 0;
        }
        (position as u128 * self.len as u128).div_ceil(self.taken as u128) as usize
    }

    /// Whether an image is looked at.
    pub(super) fn contains(&self, image: usize) -> bool {
        let position = (image as u128 * self.taken as u128 / self.len.max(1) as u128) as usize;
        position < self.taken && self.image(position) == image
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_are_contiguous_and_hold_each_selected_image_once() {
        for (len, limit) in
            [(10, None), (10, Some(3)), (7, Some(7)), (7, Some(99)), (1000, Some(17)), (0, None), (3, Some(1))]
        {
            let selection = Subset::new(len, limit);
            let selected: Vec<usize> = (0..len).filter(|image| selection.contains(*image)).collect();
            assert_eq!(selected.len(), limit.unwrap_or(len).min(len), "{len} {limit:?}");
            for count in [1, 2, 3, 5, 11] {
                let mut found = Vec::new();
                for index in 0..count {
                    let positions = selection.shard([index, count]);
                    let images: Vec<usize> =
                        selection.images(positions.clone()).filter(|image| selection.contains(*image)).collect();
                    assert_eq!(images.len(), positions.len(), "{len} {limit:?} {index}/{count}");
                    found.extend(images);
                }
                assert_eq!(found, selected, "{len} {limit:?} {count}");
            }
        }
        let selection = Subset::new(100, Some(4));
        assert_eq!((0..100).filter(|image| selection.contains(*image)).collect::<Vec<_>>(), [0, 25, 50, 75]);
    }
}
