//! Complete intersection over union of two boxes, and its gradient.
//!
//! `CIoU = IoU − ρ² / c² − α · v` with `v = 4 / π² · (atan(w₂ / h₂) − atan(w₁ / h₁))²` and `α = v / (1 − IoU + v)`, where
//! ρ is the distance of the centres and c the diagonal of the smallest box around both.
//! Source: Zheng et al., <https://arxiv.org/abs/1911.08287>.

use std::f64::consts::PI;

/// Keeps every quotient finite, and counts as height too: part of the number, as Ultralytics defines it.
const EPS: f64 = 1e-7;

/// CIoU of two boxes given as left, top, right and bottom.
pub(super) fn ciou(a: [f64; 4], b: [f64; 4]) -> f64 {
    with_gradient(a, b).0
}

/// CIoU, and its derivative by each side of `a`. α counts as a constant.
pub(super) fn with_gradient(a: [f64; 4], b: [f64; 4]) -> (f64, [f64; 4]) {
    let (size, other) = (size(a), size(b));
    let shared = [0, 1].map(|axis| a[axis + 2].min(b[axis + 2]) - a[axis].max(b[axis]));
    let around = [0, 1].map(|axis| a[axis + 2].max(b[axis + 2]) - a[axis].min(b[axis]));
    let apart = [0, 1].map(|axis| b[axis] + b[axis + 2] - a[axis] - a[axis + 2]);

    let intersection = shared[0].max(0.) * shared[1].max(0.);
    let union = size[0] * size[1] + other[0] * other[1] - intersection + EPS;
    let iou = intersection / union;
    let diagonal = around[0].powi(2) + around[1].powi(2) + EPS;
    let distance = (apart[0].powi(2) + apart[1].powi(2)) / 4.;
    let turn = (other[0] / other[1]).atan() - (size[0] / size[1]).atan();
    let v = 4. / PI.powi(2) * turn.powi(2);
    let alpha = v / (1. - iou + v + EPS);
    let value = iou - (distance / diagonal + v * alpha);

    let mut gradient = [0.; 4];
    let turn_by = 8. / PI.powi(2) * turn / (size[0].powi(2) + size[1].powi(2));
    for axis in 0..2 {
        let across = 1 - axis;
        // atan(w / h) grows with the width and falls with the height.
        let v_by_size = if axis == 0 { -turn_by * size[1] } else { turn_by * size[0] };
        for (side, sign) in [(axis, -1.), (axis + 2, 1.)] {
            let (own, others) = (sign * a[side], sign * b[side]);
            let open = if shared[axis] >= 0. { shared[across].max(0.) } else { 0. };
            let intersection_by = sign * share(own, others) * open;
            let union_by = sign * size[across] - intersection_by;
            let iou_by = (intersection_by - iou * union_by) / union;
            let diagonal_by = 2. * around[axis] * sign * share(others, own);
            let distance_by = -apart[axis] / 2.;
            let penalty_by = (distance_by - distance / diagonal * diagonal_by) / diagonal;
            gradient[side] = iou_by - penalty_by - alpha * sign * v_by_size;
        }
    }
    (value, gradient)
}

fn size([x1, y1, x2, y2]: [f64; 4]) -> [f64; 2] {
    [x2 - x1, y2 - y1 + EPS]
}

/// Derivative of `min(x, y)` by `x`: shared by halves where both are equal.
fn share(x: f64, y: f64) -> f64 {
    match x.partial_cmp(&y) {
        Some(std::cmp::Ordering::Less) => 1.,
        Some(std::cmp::Ordering::Equal) => 0.5,
        _ => 0.,
    }
}
