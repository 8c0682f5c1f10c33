//! Boxes of objects while their images change, in `f32` and in the order of operations of Ultralytics.

/// Narrowest side, in pixels, of a box that is kept after a warp.
const LEAST_SIDE: f32 = 2.;
/// Most times that a kept box's longer side exceeds its shorter one.
const MOST_ASPECT: f32 = 100.;
/// Least part of a box that must be left within the input.
const LEAST_PART: f32 = 0.1;
/// Guard against division by zero.
const TINY: f32 = 1e-16;

/// An object of an image.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BoxTarget {
    /// Number of the class.
    pub class: usize,
    /// Centre x, centre y, width and height as fractions of the image.
    pub xywhn: [f32; 4],
}

/// An object in the pixels of a canvas.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PixelBox {
    /// Number of the class.
    pub class: usize,
    /// Left, top, right and bottom in pixels.
    pub xyxy: [f32; 4],
}

impl BoxTarget {
    /// Its place where an image of `size` = [height, width] has its left top corner at `corner` = [x, y].
    pub(super) fn place(&self, size: [usize; 2], corner: [f32; 2]) -> PixelBox {
        let [cx, cy, w, h] = self.xywhn;
        let [height, width] = size.map(|side| side as f32);
        let [x, y] = corner;
        let [half_w, half_h] = [w / 2., h / 2.];
        let xyxy = [
            (cx - half_w) * width + x,
            (cy - half_h) * height + y,
            (cx + half_w) * width + x,
            (cy + half_h) * height + y,
        ];
        PixelBox { class: self.class, xyxy }
    }
}

impl PixelBox {
    /// Cut to a canvas of `size` = [height, width].
    pub(super) fn clipped(self, size: [usize; 2]) -> Self {
        let [height, width] = size.map(|side| side as f32);
        let [x1, y1, x2, y2] = self.xyxy;
        Self { xyxy: [x1.clamp(0., width), y1.clamp(0., height), x2.clamp(0., width), y2.clamp(0., height)], ..self }
    }

    /// Width and height.
    pub(super) fn sides(&self) -> [f32; 2] {
        let [x1, y1, x2, y2] = self.xyxy;
        [x2 - x1, y2 - y1]
    }

    /// The box around the four corners, each carried by `matrix`; sums are rounded once per term.
    pub(super) fn warped(&self, matrix: &[[f32; 3]; 3], has_perspective: bool) -> Self {
        let [x1, y1, x2, y2] = self.xyxy;
        let carry = |[x, y]: [f32; 2]| {
            let [x, y, depth] = matrix.map(|[a, b, c]| y.mul_add(b, x * a) + c);
            if has_perspective { [x / depth, y / depth] } else { [x, y] }
        };
        let corners = [[x1, y1], [x2, y2], [x1, y2], [x2, y1]].map(carry);
        let bound = |axis: usize, choose: fn(f32, f32) -> f32| {
            // As numpy's, which passes NaN on.
            let pick = |a: f32, b: f32| if a.is_nan() || b.is_nan() { f32::NAN } else { choose(a, b) };
            corners.map(|corner| corner[axis]).into_iter().reduce(pick).unwrap_or(f32::NAN)
        };
        let xyxy = [bound(0, f32::min), bound(1, f32::min), bound(0, f32::max), bound(1, f32::max)];
        Self { xyxy, ..*self }
    }

    /// Whether enough of a box is left after it was warped by a matrix that enlarges by `scale` and cut.
    pub(super) fn is_kept_as(&self, cut: &Self, scale: f32) -> bool {
        let [[w1, h1], [w2, h2]] = [Self { xyxy: self.xyxy.map(|value| value * scale), ..*self }.sides(), cut.sides()];
        let aspect = (w2 / (h2 + TINY)).max(h2 / (w2 + TINY));
        w2 > LEAST_SIDE && h2 > LEAST_SIDE && w2 * h2 / (w1 * h1 + TINY) > LEAST_PART && aspect < MOST_ASPECT
    }

    /// As fractions of a canvas of `size` = [height, width], after flips.
    pub(super) fn normalised(&self, size: [usize; 2], flip_vertical: bool, flip_horizontal: bool) -> BoxTarget {
        let [x1, y1, x2, y2] = self.xyxy;
        let [height, width] = size.map(|side| side as f32);
        let flipped = |centre: f32, side: f32, is_flipped: bool| if is_flipped { side - centre } else { centre };
        let x = flipped((x1 + x2) / 2., width, flip_horizontal);
        let y = flipped((y1 + y2) / 2., height, flip_vertical);
        BoxTarget { class: self.class, xywhn: [x / width, y / height, (x2 - x1) / width, (y2 - y1) / height] }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_too_small_too_thin_or_mostly_gone_is_dropped() {
        let placed = |xyxy| PixelBox { class: 0, xyxy };
        let whole = placed([0., 0., 40., 40.]);
        for (before, after, scale, is_kept) in [
            (whole, whole, 1., true),
            (whole, placed([0., 0., 2., 40.]), 0.5, false),
            (whole, placed([0., 0., 2.5, 40.]), 0.5, true),
            (whole, placed([0., 0., 3.9, 40.]), 1., false),
            (whole, placed([0., 0., 4.1, 40.]), 1., true),
            (placed([0., 0., 4., 500.]), placed([0., 0., 4., 500.]), 1., false),
            (placed([0., 0., 6., 500.]), placed([0., 0., 6., 500.]), 1., true),
            (whole, placed([f32::NAN; 4]), 1., false),
        ] {
            assert_eq!(before.is_kept_as(&after, scale), is_kept, "{after:?}");
        }
    }

    #[test]
    fn a_quarter_turn_exchanges_the_sides() {
        let object = PixelBox { class: 3, xyxy: [10., 20., 40., 30.] };
        let turned = object.warped(&[[0., 1., 0.], [-1., 0., 100.], [0., 0., 1.]], false);
        assert_eq!(turned, PixelBox { class: 3, xyxy: [20., 60., 30., 90.] });
        let far = object.warped(&[[1., 0., 0.], [0., 1., 0.], [0., 0., 2.]], true);
        assert_eq!(far.xyxy, [5., 10., 20., 15.]);
    }

    #[test]
    fn flips_and_fractions_are_exact() {
        let object = PixelBox { class: 1, xyxy: [0., 16., 32., 64.] };
        assert_eq!(object.normalised([64; 2], false, false).xywhn, [0.25, 0.625, 0.5, 0.75]);
        assert_eq!(object.normalised([64; 2], true, true).xywhn, [0.75, 0.375, 0.5, 0.75]);
        let back = object.normalised([64; 2], false, false).place([64, 64], [1., 2.]);
        assert_eq!(back.xyxy, [1., 18., 33., 66.]);
        assert_eq!(back.clipped([60; 2]).xyxy, [1., 18., 33., 60.]);
        assert_eq!(back.clipped([40, 30]).xyxy, [1., 18., 30., 40.]);
        assert_eq!(object.normalised([128, 64], false, true).xywhn, [0.75, 0.3125, 0.5, 0.375]);
    }
}
