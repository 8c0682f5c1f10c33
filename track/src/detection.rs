//! What goes into a tracker and what comes out.

/// A box that a detector found in one frame.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Detection {
    /// Class number.
    pub class_id: usize,
    /// Confidence, from 0 to 1.
    pub confidence: f32,
    /// Left, top, right, bottom, in pixels of the frame.
    pub xyxy: [f32; 4],
}

/// A tracked object as one frame shows it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Track {
    /// Identity: 1 for a tracker's first, never given twice by one tracker.
    pub track_id: u64,
    /// Which of the frame's detections it is, by its place in what `update` was given.
    pub detection_index: usize,
    /// Class number of that detection.
    pub class_id: usize,
    /// Confidence of that detection.
    pub confidence: f32,
    /// The tracker's estimate of the box: left, top, right, bottom, in pixels of the frame.
    pub xyxy: [f32; 4],
}

impl Track {
    /// The box's centre: x, y.
    pub fn centre(&self) -> [f64; 2] {
        let [x1, y1, x2, y2] = self.xyxy.map(f64::from);
        [(x1 + x2) / 2., (y1 + y2) / 2.]
    }
}
