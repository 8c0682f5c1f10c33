//! The biases that a detection head starts training with.

use crate::modules::REG_MAX;
use crate::yaml::ModelConfig;

/// Box logits start alike: every distance at the middle of the bins.
const BOX_BIAS: f32 = 2.;
/// Objects that an image of [`SIDE`] pixels is thought to have.
const OBJECTS: f64 = 5.;
/// Width and height of that image, in pixels.
const SIDE: f64 = 640.;

/// The biases of the last convolutions of the head by their checkpoint names, for a start from nothing.
///
/// Of the box branches 2; of the class branches the logarithm of the share of anchors that a class is expected at,
/// `ln(5 / nc / (640 / stride)²)`, as Ultralytics has it. The prior keeps the many anchors without an object from
/// dominating the first steps: Lin et al., Focal Loss, <https://arxiv.org/abs/1708.02002>.
pub fn initial_head_biases(def: &ModelConfig) -> Vec<(String, Vec<f32>)> {
    let Some((head, layers)) = def.rows.split_last() else { return Vec::new() };
    let level = |(index, from): (usize, &Option<usize>)| {
        let stride = from.map_or(1., |from| layers[from].stride);
        let prior = (OBJECTS / def.nc as f64 / (SIDE / stride).powi(2)).ln();
        let name = |branch: &str| format!("model.{}.{branch}.{index}.2.bias", layers.len());
        [(name("cv2"), vec![BOX_BIAS; 4 * REG_MAX]), (name("cv3"), vec![prior as f32; def.nc])]
    };
    head.from.iter().enumerate().flat_map(level).collect()
}
