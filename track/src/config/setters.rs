//! One method per setting, to write settings in a row.

use super::{GmcMethod, TrackerConfig};

macro_rules! setters {
    ($($name:ident: $value:ty,)*) => {
        impl TrackerConfig {
            $(
                #[doc = concat!("Sets the field `", stringify!($name), "`.")]
                #[must_use]
                pub fn $name(mut self, value: $value) -> Self {
                    self.$name = value;
                    self
                }
            )*
        }
    };
}

setters! {
    track_high_thresh: f64,
    track_low_thresh: f64,
    new_track_thresh: f64,
    track_buffer: u32,
    match_thresh: f64,
    fuse_score: bool,
    gmc_method: GmcMethod,
    delta_t: u32,
    inertia: f64,
    use_byte: bool,
    lost_match_thr: f64,
    conf_weight: f64,
    angle_weight: f64,
    penalty_p: f64,
    penalty_q: f64,
    reduce_step: f64,
    tai_thr: f64,
    min_track_len: u32,
}
