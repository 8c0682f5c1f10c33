//! The images of a batch side by side, with their boxes.

use std::path::Path;

use candle_vision::image::{DrawnBox, Pen, Rgb, RgbImage, draw_boxes, draw_text, resize_bilinear};
use candle_yolov8::train::Batch;

use super::fonts::{drawable_line, typeface};

/// Most images that are shown.
const MOST_IMAGES: usize = 16;
/// Largest width and height.
const LARGEST: usize = 1920;
/// Width of the white line around an image.
const BORDER: u32 = 1;
/// How titles look, as Ultralytics draws them: letters, grey, pixels from the corner, font size at least and as a share of
/// the whole image's sides.
const LONGEST_TITLE: usize = 40;
const TITLE_COLOR: [u8; 3] = [220; 3];
const TITLE_MARGIN: f32 = 5.;
const SMALLEST_TITLE: f32 = 18.;
const TITLE_SHARE: f32 = 0.01;
/// Font sizes per pixel of a line, as Ultralytics draws a mosaic.
const SIZE_PER_LINE: f32 = 10.;
/// From the highest to the lowest point of the bundled font, in font sizes.
const EM: f32 = 1.164;

/// Draws up to 16 images of a training batch in a square, with the boxes and the names of their objects.
pub fn batch_mosaic(batch: &Batch, names: &[String]) -> RgbImage {
    let shown = 0..batch.len().min(MOST_IMAGES);
    let images: Vec<RgbImage> = shown.clone().map(|number| pixels(batch, number)).collect();
    let boxes: Vec<Vec<DrawnBox>> = shown.map(|number| boxes(batch, number, names)).collect();
    let titles: Vec<String> = batch.paths.iter().map(|path| title(path)).collect();
    mosaic(&images.iter().collect::<Vec<_>>(), &boxes, &titles, batch.size)
}

/// The name of an image's file, of which a tile shows the beginning.
pub fn title(path: &Path) -> String {
    drawable_line(path.file_name().unwrap_or_default().to_string_lossy().chars().take(LONGEST_TITLE).collect())
}

/// Draws up to 16 images of `[height, width]` each in a square, column by column, at most 1920 pixels wide or high, each
/// with its boxes and, where there are some, its title at the top left.
pub fn mosaic(
    images: &[&RgbImage],
    boxes: &[Vec<DrawnBox>],
    titles: &[String],
    [height, width]: [usize; 2],
) -> RgbImage {
    let count = images.len().min(MOST_IMAGES);
    let across = (1..).find(|across| across * across >= count).unwrap_or(count).max(1);
    let scale = ((LARGEST / across) as f64 / height.max(width).max(1) as f64).min(1.);
    let cell = [height, width].map(|side| ((side as f64 * scale) as usize).max(1));
    let [whole_height, whole_width] = cell.map(|side| (across * side) as u32);
    let size = (((cell[0] + cell[1]) * across) as f32 * TITLE_SHARE).floor().max(SMALLEST_TITLE);
    let pen = Pen::new().line_width((size / SIZE_PER_LINE).round_ties_even() as u32).font(typeface());
    let mut whole = RgbImage::from_pixel(whole_width, whole_height, Rgb([255; 3]));
    for (number, (image, boxes)) in images.iter().zip(boxes).take(count).enumerate() {
        let mut image = if scale < 1. { resize_bilinear(image, cell) } else { (*image).clone() };
        let scaled = |label: &DrawnBox| DrawnBox { xyxy: label.xyxy.map(|side| side * scale as f32), ..label.clone() };
        draw_boxes(&mut image, &boxes.iter().map(scaled).collect::<Vec<_>>(), &pen);
        frame(&mut image);
        if let Some(title) = titles.get(number) {
            draw_text(&mut image, title, [TITLE_MARGIN; 2], size * EM, TITLE_COLOR, typeface());
        }
        let [left, top] = [(number / across * cell[1]) as u32, (number % across * cell[0]) as u32];
        image.enumerate_pixels().for_each(|(x, y, pixel)| whole.put_pixel(left + x, top + y, *pixel));
    }
    whole
}

/// An image of its planes.
fn pixels(batch: &Batch, number: usize) -> RgbImage {
    let [height, width] = batch.size;
    let area = height * width;
    let planes = &batch.images[number * 3 * area..(number + 1) * 3 * area];
    RgbImage::from_fn(width as u32, height as u32, |x, y| {
        let place = y as usize * width + x as usize;
        Rgb([planes[place], planes[area + place], planes[2 * area + place]])
    })
}

fn boxes(batch: &Batch, number: usize, names: &[String]) -> Vec<DrawnBox> {
    let objects = batch.targets.iter().filter(|target| target.image == number);
    objects.map(|target| label(target.class, target.xywhn, batch.size, names)).collect()
}

/// A box, given as fractions of an image of `[height, width]`, under its class's name.
pub fn label(class_id: usize, xywhn: [f32; 4], [height, width]: [usize; 2], names: &[String]) -> DrawnBox {
    let [cx, cy, w, h] = xywhn;
    let ([cx, w], [cy, h]) = ([cx, w].map(|part| part * width as f32), [cy, h].map(|part| part * height as f32));
    let xyxy = [cx - w / 2., cy - h / 2., cx + w / 2., cy + h / 2.];
    DrawnBox { xyxy, class_id, text: names.get(class_id).cloned().unwrap_or_else(|| class_id.to_string()) }
}

/// White pixels along the edges.
fn frame(image: &mut RgbImage) {
    let (width, height) = image.dimensions();
    for (x, y, pixel) in image.enumerate_pixels_mut() {
        if x.min(y) < BORDER || x + BORDER >= width || y + BORDER >= height {
            *pixel = Rgb([255; 3]);
        }
    }
}
