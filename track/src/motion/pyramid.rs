//! A Gaussian pyramid with borders, and its gradients.

use super::frame::GrayImage;

/// Pixels around a level: a window of flow that only touches the level lies within.
pub(super) const BORDER: usize = 24;
/// Levels above the image's own, at most.
const MAX_LEVEL: usize = 3;
/// A level has sides longer than this, the window of flow, but for the first.
const MIN_SIDE: usize = 21;

/// The image, then each level at half the size of the one before.
#[derive(Debug, Clone)]
pub(super) struct Pyramid {
    pub(super) levels: Vec<Level>,
}

/// An image within a border that mirrors it, without its outermost pixels twice (OpenCV's `BORDER_REFLECT_101`).
#[derive(Debug, Clone)]
pub(super) struct Level {
    pub(super) width: usize,
    pub(super) height: usize,
    pixels: Vec<u8>,
    /// Scharr's derivatives by x and y, times 32, within a border of zeros.
    gradients: [Vec<i16>; 2],
}

impl Pyramid {
    /// Of an image that has a pixel.
    pub(super) fn new(image: &GrayImage) -> Self {
        let frame = image.frame();
        let mut levels = vec![Level::new(frame.width, frame.height, frame.pixels)];
        while let Some(level) = levels.last()
            && levels.len() <= MAX_LEVEL
        {
            let [width, height] = [level.width.div_ceil(2), level.height.div_ceil(2)];
            if width.min(height) <= MIN_SIDE {
                break;
            }
            let smaller = Level::new(width, height, &level.halved());
            levels.push(smaller);
        }
        Self { levels }
    }

    /// Width and height of the image.
    pub(super) fn size(&self) -> [usize; 2] {
        self.levels.first().map_or([0; 2], |level| [level.width, level.height])
    }
}

impl Level {
    fn new(width: usize, height: usize, image: &[u8]) -> Self {
        let stride = width + 2 * BORDER;
        let mut pixels = Vec::with_capacity(stride * (height + 2 * BORDER));
        let columns: Vec<usize> = (0..stride).map(|x| mirrored(x, width)).collect();
        for y in 0..height + 2 * BORDER {
            let row = &image[mirrored(y, height) * width..][..width];
            pixels.extend(columns[..BORDER].iter().map(|&x| row[x]));
            pixels.extend_from_slice(row);
            pixels.extend(columns[BORDER + width..].iter().map(|&x| row[x]));
        }
        let mut level = Self { width, height, pixels, gradients: [Vec::new(), Vec::new()] };
        level.gradients = level.scharr();
        level
    }

    /// Bytes or gradients from one row's begin to the next.
    pub(super) fn stride(&self) -> usize {
        self.width + 2 * BORDER
    }

    /// Row `y`, from `-BORDER` on, with its borders: column 0 is at `BORDER`.
    pub(super) fn row(&self, y: isize) -> &[u8] {
        &self.pixels[self.offset(y)..][..self.stride()]
    }

    /// As [`Self::row`], of the derivative by x (0) or y (1), times 32.
    pub(super) fn gradient_row(&self, axis: usize, y: isize) -> &[i16] {
        &self.gradients[axis][self.offset(y)..][..self.stride()]
    }

    fn offset(&self, y: isize) -> usize {
        (y + BORDER as isize) as usize * self.stride()
    }

    /// The image smoothed by the binomial filter 1 4 6 4 1 along both axes, at every other pixel (Burt and Adelson 1983).
    fn halved(&self) -> Vec<u8> {
        let [width, height] = [self.width.div_ceil(2), self.height.div_ceil(2)];
        let mut pixels = Vec::with_capacity(width * height);
        let mut sums = vec![0_u16; 2 * width + 3];
        let filter = |[a, b, c, d, e]: [u16; 5]| a + e + 4 * (b + d) + 6 * c;
        for y in 0..height {
            let rows: [&[u8]; 5] = std::array::from_fn(|at| {
                let row = self.row((2 * y + at) as isize - 2);
                &row[BORDER - 2..][..2 * width + 3]
            });
            let [a, b, c, d, e] = rows.map(|row| row.iter().map(|&pixel| u16::from(pixel)));
            for (((((sum, a), b), c), d), e) in sums.iter_mut().zip(a).zip(b).zip(c).zip(d).zip(e) {
                *sum = filter([a, b, c, d, e]);
            }
            let windows = (0..width).map(|x| &sums[2 * x..][..5]);
            pixels.extend(windows.map(|w| ((filter([w[0], w[1], w[2], w[3], w[4]]) + 128) >> 8) as u8));
        }
        pixels
    }

    fn scharr(&self) -> [Vec<i16>; 2] {
        let mut gradients = [(); 2].map(|()| vec![0_i16; self.pixels.len()]);
        let columns = BORDER - 1..BORDER + self.width + 1;
        let mut smooth = vec![0_i16; columns.len()];
        let mut slope = smooth.clone();
        for y in 0..self.height as isize {
            let [above, here, below] = [y - 1, y, y + 1].map(|y| &self.row(y)[columns.clone()]);
            let triples = above.iter().zip(here).zip(below).map(|((&a, &h), &b)| [a, h, b].map(i16::from));
            for ((smooth, slope), [above, here, below]) in smooth.iter_mut().zip(&mut slope).zip(triples) {
                *smooth = 3 * (above + below) + 10 * here;
                *slope = below - above;
            }
            let at = self.offset(y) + BORDER;
            let [by_x, by_y] = gradients.each_mut().map(|plane| &mut plane[at..][..self.width]);
            for (out, w) in by_x.iter_mut().zip(smooth.windows(3)) {
                *out = w[2] - w[0];
            }
            for (out, w) in by_y.iter_mut().zip(slope.windows(3)) {
                *out = 3 * (w[0] + w[2]) + 10 * w[1];
            }
        }
        gradients
    }
}

/// Which pixel of a line of `len` stands at a place of the line with its borders.
fn mirrored(place: usize, len: usize) -> usize {
    if len == 1 {
        return 0;
    }
    let period = 2 * (len - 1);
    let at = (place as isize - BORDER as isize).rem_euclid(period as isize) as usize;
    at.min(period - at)
}
