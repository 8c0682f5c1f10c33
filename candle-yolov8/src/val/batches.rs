//! The batches of a validation: which images go together, into which shape.
//!
//! Source: what Ultralytics 8.4 computes. An image's longer side is scaled to `imgsz`, the shorter rounded up; then it is
//! centred on grey. With rectangles, images are sorted by height / width, and each batch gets the least shape that holds
//! its images and half a stride more, rounded up to strides.

use candle_vision::image::{Letterbox, LetterboxTransform, RgbImage, letterbox, resize_bilinear};

/// Share of a stride that rectangles have as a margin.
const MARGIN: f64 = 0.5;

/// Images that share a forward pass.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ValBatch {
    /// Numbers of the images, in the order they are looked at.
    pub images: Vec<usize>,
    /// `[height, width]` of the network's input.
    pub shape: [usize; 2],
}

/// The batches of images of `[height, width]` each. Without `rect`, the input is a square of `imgsz`, rounded up to
/// strides.
pub fn batches(sizes: &[[usize; 2]], imgsz: usize, batch: usize, stride: usize, rect: bool) -> Vec<ValBatch> {
    let aspect = |image: &usize| sizes[*image][0] as f64 / sizes[*image][1].max(1) as f64;
    let mut order: Vec<usize> = (0..sizes.len()).collect();
    if rect {
        order.sort_by(|a, b| aspect(a).total_cmp(&aspect(b)));
    }
    let square = [imgsz.next_multiple_of(stride); 2];
    let of_chunk = |images: &[usize]| {
        let shape = match (rect, images.first(), images.last()) {
            (true, Some(lowest), Some(highest)) => rectangle([aspect(lowest), aspect(highest)], imgsz, stride),
            _ => square,
        };
        ValBatch { images: images.to_vec(), shape }
    };
    order.chunks(batch.max(1)).map(of_chunk).collect()
}

/// The shape for images from the least to the largest height / width.
fn rectangle([least, largest]: [f64; 2], imgsz: usize, stride: usize) -> [usize; 2] {
    let shape = if largest < 1. {
        [largest, 1.]
    } else if least > 1. {
        [1., 1. / least]
    } else {
        [1., 1.]
    };
    shape.map(|side| (side * imgsz as f64 / stride as f64 + MARGIN).ceil() as usize * stride)
}

/// An image in its place in the network's input.
#[derive(Debug, Clone)]
pub struct ValSample {
    /// The network's input.
    pub input: RgbImage,
    /// [height, width] of the image.
    pub original: [usize; 2],
    /// [height, width] of the scaled image.
    resized: [usize; 2],
    /// Where that lies in the input.
    info: LetterboxTransform,
}

impl ValSample {
    /// Scales an image and lays it into `shape`.
    pub fn new(image: &RgbImage, imgsz: usize, shape: [usize; 2]) -> Self {
        let original = [image.height() as usize, image.width() as usize];
        let ratio = imgsz as f64 / original[0].max(original[1]).max(1) as f64;
        let resized = original.map(|side| ((side as f64 * ratio).ceil() as usize).min(imgsz));
        let view = Letterbox::new(shape).scale_up(false);
        let (input, info) =
            if ratio == 1. { letterbox(image, &view) } else { letterbox(&resize_bilinear(image, resized), &view) };
        Self { input, original, resized, info }
    }

    /// An image as it is: pixels of the input are those of the image.
    pub fn whole(image: RgbImage) -> Self {
        let original = [image.height() as usize, image.width() as usize];
        let info = Letterbox::new(original).plan(original);
        Self { input: image, original, resized: original, info }
    }

    /// Carries a label, centre x, centre y, width, height as fractions of the image, to left, top, right, bottom in
    /// pixels of the input.
    pub fn to_input(&self, [cx, cy, w, h]: [f32; 4]) -> [f32; 4] {
        let [height, width] = self.info.resized.map(|side| side as f32);
        let [top, left] = self.info.pad.map(|pad| pad as f32);
        let place = |centre: f32, side: f32, length: f32, pad: f32| {
            [(centre - side / 2.) * length + pad, (centre + side / 2.) * length + pad]
        };
        let ([x1, x2], [y1, y2]) = (place(cx, w, width, left), place(cy, h, height, top));
        [x1, y1, x2, y2]
    }

    /// [`ValSample::to_input`] as centre x, centre y, width and height, as fractions of the input.
    pub fn to_target(&self, xywhn: [f32; 4]) -> [f32; 4] {
        let [x1, y1, x2, y2] = self.to_input(xywhn);
        let (w, h) = (self.input.width() as f32, self.input.height() as f32);
        [(x1 + x2) / 2. / w, (y1 + y2) / 2. / h, (x2 - x1) / w, (y2 - y1) / h]
    }

    /// Carries a box in pixels of the input to pixels of the image, clipped to it.
    pub fn to_original(&self, [x1, y1, x2, y2]: [f32; 4]) -> [f32; 4] {
        let back = |value: f32, axis: usize| {
            let gain = (self.resized[axis] as f64 / self.original[axis].max(1) as f64) as f32;
            ((value - self.info.pad[axis] as f32) / gain).clamp(0., self.original[axis] as f32)
        };
        [back(x1, 1), back(y1, 0), back(x2, 1), back(y2, 0)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_are_those_of_ultralytics() {
        // Measured with Ultralytics 8.4.190: BaseDataset.set_rectangle at pad 0.5 and stride 32.
        type Case = (&'static [[usize; 2]], usize, [usize; 2]);
        let cases: [Case; 6] = [
            (&[[480, 640], [480, 640]], 320, [256, 352]),
            (&[[640, 480]], 640, [672, 512]),
            (&[[480, 640], [640, 480]], 640, [672, 672]),
            (&[[333, 500], [375, 500]], 640, [512, 672]),
            (&[[1000, 10]], 640, [672, 32]),
            (&[[100, 100]], 320, [352, 352]),
        ];
        for (sizes, imgsz, expected) in cases {
            let found = batches(sizes, imgsz, 16, 32, true);
            assert_eq!(found.len(), 1);
            assert_eq!(found[0].shape, expected, "{sizes:?}");
        }
        let found = batches(&[[9, 3], [3, 9], [5, 5]], 64, 2, 32, true);
        assert_eq!(found.iter().map(|b| b.images.clone()).collect::<Vec<_>>(), [vec![1, 2], vec![0]]);
        let found = batches(&[[9, 3], [3, 9]], 100, 2, 32, false);
        assert_eq!(found, [ValBatch { images: vec![0, 1], shape: [128, 128] }]);
        assert!(batches(&[], 64, 2, 32, true).is_empty());
    }

    #[test]
    fn labels_go_to_the_input_and_come_back() {
        for (width, height) in [(640, 480), (97, 61), (61, 97), (1, 300), (320, 320), (333, 500)] {
            let size = [height as usize, width as usize];
            let shape = batches(&[size], 320, 1, 32, true)[0].shape;
            let view = ValSample::new(&RgbImage::new(width, height), 320, shape);
            assert_eq!([view.input.height() as usize, view.input.width() as usize], shape);
            let there = view.to_input([0.5, 0.25, 0.5, 0.5]);
            let back = view.to_original(there);
            let (w, h) = (width as f32, height as f32);
            for (found, expected) in back.iter().zip([0.25 * w, 0., 0.75 * w, 0.5 * h]) {
                assert!((found - expected).abs() < 1e-3 * w.max(h), "{size:?}: {back:?}");
            }
        }
    }
}
