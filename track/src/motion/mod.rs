//! Camera motion compensation by sparse optical flow.
//!
//! [`Compensation`] estimates how the image moved from one frame to the next, so that a tracker can move its boxes along before it
//! compares them with detections. It does what Ultralytics 8.4.190 does with `gmc_method: sparseOptFlow`, by OpenCV:
//!
//! 1. the frame is halved (`resize`, `INTER_LINEAR`);
//! 2. up to 400 corners are found (`goodFeaturesToTrack`: quality 0.01, no least distance, blocks of 3, no Harris);
//! 3. the corners of the previous frame are followed into this one (`calcOpticalFlowPyrLK`: windows of 21, three levels above the
//!    image, 30 steps, 0.01, least eigenvalue 1e-4);
//! 4. if more than four are found again, a rotation, scale and translation is fitted (`estimateAffinePartial2D`: RANSAC within 3
//!    pixels, 2000 draws, confidence 0.99), and its translation doubled.
//!
//! Two things differ. A frame of another size than the one before starts anew; there, Ultralytics compensates no frame any more. And
//! the last step of the fit is the exact least squares, not ten steps towards it.
//!
//! The crate `optical-flow-lk` 0.6.0 was measured for steps 2 and 3, and not taken: where it finds a point again it agrees with OpenCV
//! (median 0.0005 pixels), but it gives up windows that reach beyond the image, 4 to 16 in 100 points of photographs, and its corners,
//! by another gradient filter, are OpenCV's in 74 to 91 of 100.

mod affine;
mod corners;
mod flow;
mod frame;
mod pyramid;
#[cfg(test)]
mod tests;

pub use frame::{FrameError, GrayFrame, GrayImage};

use crate::Detection;
use pyramid::Pyramid;

/// No motion, as [`Compensation::apply`] says it.
pub const IDENTITY: [f64; 6] = [1.0, 0.0, 0.0, 0.0, 1.0, 0.0];

/// A motion is fitted to more points than these.
const TOO_FEW: usize = 4;

/// The motion of the camera from frame to frame.
#[derive(Debug, Clone, Default)]
pub struct Compensation {
    previous: Option<Previous>,
}

/// What the next frame needs of the previous one.
#[derive(Debug, Clone)]
struct Previous {
    pyramid: Pyramid,
    corners: Vec<[f32; 2]>,
}

impl Compensation {
    /// Before the first frame.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The motion from the previous frame to this one: the affine map `[a, b, c, d, e, f]`, the rows of a 2x3 matrix, takes the pixel
    /// (x, y) of the previous frame to (a x + b y + c, d x + e y + f) of this one.
    ///
    /// [`IDENTITY`] for the first frame, for one of another size than the one before, and where too few points are found again. A frame
    /// whose bytes are not what its size says, or that is less than two pixels wide or high, is as none: the next one is a first.
    /// The detections are not used: the corners are those of the whole frame, and the fit leaves out objects that move on their own.
    pub fn apply(&mut self, frame: &GrayFrame<'_>, _detections: &[Detection]) -> [f64; 6] {
        let Some(image) = GrayImage::halved(frame) else {
            self.previous = None;
            return IDENTITY;
        };
        let pyramid = Pyramid::new(&image);
        let motion = self.previous.as_ref().and_then(|previous| previous.motion_to(&pyramid));
        let corners = pyramid.levels.first().map(corners::corners).unwrap_or_default();
        self.previous = Some(Previous { pyramid, corners });
        motion.map_or(IDENTITY, |motion| [motion.a, -motion.b, 2.0 * motion.c, motion.b, motion.a, 2.0 * motion.d])
    }
}

impl Previous {
    /// The motion in pixels of the halved frames; nothing for frames of different sizes or too few points.
    fn motion_to(&self, next: &Pyramid) -> Option<affine::Similarity> {
        if self.pyramid.size() != next.size() {
            return None;
        }
        let found = flow::track(&self.pyramid, next, &self.corners);
        let pairs: Vec<affine::Pair> =
            self.corners.iter().zip(found).filter_map(|(&from, to)| Some([from, to?])).collect();
        if pairs.len() <= TOO_FEW { None } else { affine::estimate(&pairs) }
    }
}
