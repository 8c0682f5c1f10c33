//! Batches of images of similar shapes.

/// The order of images by their shapes, and the shapes of the batches that they make in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Rect {
    order: Vec<usize>,
    shapes: Vec<[usize; 2]>,
}

impl Rect {
    /// Of images of these sizes, [height, width], from the widest to the highest, those of one shape in their own order. A
    /// batch has `imgsz` as its longer side, and as much of the other as its images need, rounded up to a multiple of
    /// `stride`; one of wide and high images is a square.
    pub(super) fn new(sizes: &[[usize; 2]], batch: usize, imgsz: usize, stride: usize) -> Self {
        let aspect = |index: &usize| sizes[*index][0] as f64 / sizes[*index][1] as f64;
        let mut order: Vec<usize> = (0..sizes.len()).collect();
        order.sort_by(|a, b| aspect(a).total_cmp(&aspect(b)));
        let shape = |images: &[usize]| {
            let aspects = || images.iter().map(aspect);
            let (least, most) = (aspects().fold(f64::INFINITY, f64::min), aspects().fold(0., f64::max));
            let shares = match () {
                () if most < 1. => [most, 1.],
                () if least > 1. => [1., 1. / least],
                () => [1., 1.],
            };
            shares.map(|share| (share * imgsz as f64 / stride as f64).ceil() as usize * stride)
        };
        let shapes = order.chunks(batch.max(1)).map(shape).collect();
        Self { order, shapes }
    }

    /// The images in order.
    pub(super) fn order(&self) -> &[usize] {
        &self.order
    }

    /// [height, width] of a batch.
    pub(super) fn shape(&self, batch: usize) -> [usize; 2] {
        self.shapes[batch]
    }

    /// Whether all batches have one shape: then each may hold any of the images.
    pub(super) fn is_uniform(&self) -> bool {
        self.shapes.iter().all(|shape| *shape == self.shapes[0])
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;
    use crate::train::golden::options;

    #[derive(Deserialize)]
    struct Case {
        sizes: Vec<[usize; 2]>,
        batch: usize,
        imgsz: usize,
        stride: usize,
        order: Vec<usize>,
        shapes: Vec<[usize; 2]>,
        is_shuffled: bool,
    }

    #[test]
    fn order_and_shapes_are_those_of_ultralytics() {
        let cases: Vec<Case> = options("rect");
        assert_eq!(cases.len(), 15);
        for (number, case) in cases.into_iter().enumerate() {
            let rect = Rect::new(&case.sizes, case.batch, case.imgsz, case.stride);
            assert_eq!((rect.order(), &rect.shapes), (&case.order[..], &case.shapes), "{number}");
            assert_eq!(rect.is_uniform(), case.is_shuffled, "{number}");
        }
    }

    #[test]
    fn images_of_one_shape_keep_their_order() {
        let rect = Rect::new(&[[10, 20], [5, 5], [20, 40], [7, 7], [1, 2]], 2, 64, 32);
        assert_eq!(rect.order(), [0, 2, 4, 1, 3]);
    }
}
