//! The order of an image's channels.

use ghostzoo_kernels::widest;

/// Pixels of three levels with the first and the last exchanged: blue, green, red, as OpenCV holds images, to red, green, blue, or
/// back. Levels behind the last whole pixel become 0.
///
/// ```
/// assert_eq!(candle_vision::image::swap_red_blue(&[1, 2, 3, 4, 5, 6, 7]), [3, 2, 1, 6, 5, 4, 0]);
/// ```
#[must_use]
pub fn swap_red_blue(levels: &[u8]) -> Vec<u8> {
    let mut out = vec![0; levels.len()];
    swap_red_blue_into(levels, &mut out);
    out
}

/// [`swap_red_blue`] into memory that is there; of two lengths the shorter counts, and levels of `out` behind the last whole pixel stay.
pub fn swap_red_blue_into(levels: &[u8], out: &mut [u8]) {
    widest(|| swap(levels, out));
}

/// The compiler turns it into shuffles of bytes where the processor has them.
#[inline(always)]
fn swap(levels: &[u8], out: &mut [u8]) {
    for ([first, middle, last], out) in levels.as_chunks().0.iter().zip(out.as_chunks_mut().0) {
        *out = [*last, *middle, *first];
    }
}
