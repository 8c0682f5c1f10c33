//! The pixels that the motion of the camera is estimated from.

/// A grey image: rows of 8-bit luma, `width * height` bytes.
#[derive(Debug, Clone, Copy)]
pub struct GrayFrame<'a> {
    /// Pixels of a row.
    pub width: usize,
    /// Rows.
    pub height: usize,
    /// The rows from the top, without gaps.
    pub pixels: &'a [u8],
}
