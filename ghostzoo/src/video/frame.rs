use candle_vision::image::RgbImage;

/// One frame of a video.
#[derive(Debug, Clone)]
pub struct Frame {
    /// Its pixels, upright.
    pub image: RgbImage,
    /// How many frames were given before it. Those that a stride leaves out, or a live source skips, do not count.
    pub index: u64,
    /// Its place in the source, in seconds from the source's beginning; of a live source, from when it was opened.
    pub time_s: f64,
}

/// What is known of a source once it is open.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct VideoInfo {
    /// Pixels across.
    pub width: u32,
    /// Pixels down.
    pub height: u32,
    /// Frames per second as they are given: the source's mean rate over the stride. `None` where the source does not say.
    pub frame_rate: Option<f64>,
    /// Frames that will be given, by what the file says of itself; `None` where it does not, and of live sources.
    pub frames: Option<u64>,
    /// Whether frames come as they happen, so that they are lost where they are not taken.
    pub is_live: bool,
}
