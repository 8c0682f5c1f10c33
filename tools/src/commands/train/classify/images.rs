//! A classifier's images as people see them.

use std::path::Path;

use candle_vision::augment::Batch;
use candle_vision::image::{DrawnBox, EvalTransform, Rgb, RgbImage, resize_bilinear};

use ghostzoo::plot;

/// Shortest side at which an image is drawn, so that there is room for a name.
const SHORTEST: usize = 320;

/// Names of the classes as they are drawn, and how inputs were normalised.
pub(super) struct Images<'a> {
    pub(super) names: &'a [String],
    pub(super) view: &'a EvalTransform,
}

impl Images<'_> {
    /// Up to 16 images of a batch side by side, each under the name of the class that `classes` has at its place and of its
    /// file, which `name` knows by the image's number.
    pub(super) fn draw<'n>(&self, batch: &Batch, classes: &[usize], name: impl Fn(usize) -> &'n str) -> RgbImage {
        let [height, width] = batch.size;
        let times = SHORTEST.div_ceil(height.min(width).max(1));
        let size = [times * height, times * width];
        let images: Vec<RgbImage> =
            (0..classes.len()).map(|number| resize_bilinear(&self.image(batch, number), size)).collect();
        let label = |(&class_id, &image): (&usize, &usize)| {
            let class = self.names.get(class_id).cloned().unwrap_or_else(|| class_id.to_string());
            let text = format!("{class} {}", plot::title(Path::new(name(image))));
            vec![DrawnBox { xyxy: [0., 0., size[1] as f32, size[0] as f32], class_id, text }]
        };
        let labels: Vec<Vec<DrawnBox>> = classes.iter().zip(&batch.indices).map(label).collect();
        plot::mosaic(&images.iter().collect::<Vec<_>>(), &labels, &[], size)
    }

    /// The levels that became a network's input.
    fn image(&self, batch: &Batch, number: usize) -> RgbImage {
        let [height, width] = batch.size;
        let area = height * width;
        let planes = &batch.images[number * 3 * area..(number + 1) * 3 * area];
        RgbImage::from_fn(width as u32, height as u32, |x, y| {
            let place = y as usize * width + x as usize;
            Rgb([0, 1, 2].map(|channel| {
                let level = planes[channel * area + place] * self.view.std[channel] + self.view.mean[channel];
                (level * 255.).round().clamp(0., 255.) as u8
            }))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inputs_become_the_levels_that_they_were() {
        let view = EvalTransform::new().input_size([1, 2]);
        let levels = [[0_u8, 128, 255], [7, 200, 1]];
        let input = |channel: usize, pixel: usize| {
            (f32::from(levels[pixel][channel]) / 255. - view.mean[channel]) / view.std[channel]
        };
        let images = (0..6).map(|place| input(place / 2, place % 2)).collect();
        let batch = Batch { images, size: [1, 2], classes: vec![0], indices: vec![0], soft: None };
        let images = Images { names: &["cell".into()], view: &view };
        let image = images.image(&batch, 0);
        assert_eq!([image.get_pixel(0, 0).0, image.get_pixel(1, 0).0], levels);
        let drawn = images.draw(&batch, &[0], |_| "a.png");
        assert_eq!(drawn.dimensions(), (2 * SHORTEST as u32, SHORTEST as u32));
    }
}
