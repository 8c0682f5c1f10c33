//! YUV to RGB, as libavif 1.4 computes it for Pillow 13 on x86: by libyuv's fixed point where that knows the colours,
//! else in floating point.

use image::RgbImage;

use super::ImageError;
use super::avif_boxes::{Signal, unsupported};

/// Which levels of colour there are for each of brightness.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Layout {
    Grey,
    Full,
    HalfWide,
    Quarter,
}

impl Layout {
    /// By how many bits the sides of the colour planes are shorter.
    fn shifts(self) -> [u32; 2] {
        match self {
            Self::Grey | Self::Full => [0, 0],
            Self::HalfWide => [1, 0],
            Self::Quarter => [1, 1],
        }
    }

    /// [width, height] of the plane of this index.
    pub(super) fn sides(self, size: [u32; 2], plane: usize) -> [usize; 2] {
        let shifts = if plane == 0 { [0, 0] } else { self.shifts() };
        [0, 1].map(|side| size[side].div_ceil(1 << shifts[side]) as usize)
    }
}

/// Levels of `depth` bits: Y, U and V, or Y alone.
pub(super) struct Planes {
    /// [width, height] of the first.
    pub(super) size: [u32; 2],
    pub(super) depth: u32,
    pub(super) layout: Layout,
    pub(super) levels: Vec<Vec<u16>>,
    pub(super) signal: Signal,
}

impl Planes {
    /// Of the same kind and another size, all zero.
    pub(super) fn empty(&self, size: [u32; 2]) -> Self {
        let levels = |plane| {
            let [width, height] = self.layout.sides(size, plane);
            vec![0; width * height]
        };
        Self { size, levels: (0..self.levels.len()).map(levels).collect(), ..*self }
    }

    /// Puts a part, of which so many stand before it, where it does not reach beyond.
    pub(super) fn paste(&mut self, part: &Self, before: [usize; 2]) {
        for (plane, (whole, levels)) in self.levels.iter_mut().zip(&part.levels).enumerate() {
            let [width, height] = self.layout.sides(self.size, plane);
            let sides = self.layout.sides(part.size, plane);
            let [left, top] = [before[0] * sides[0], before[1] * sides[1]];
            let count = sides[0].min(width.saturating_sub(left));
            let rows = whole.chunks_exact_mut(width).skip(top).take(height.saturating_sub(top));
            for (row, levels) in rows.zip(levels.chunks_exact(sides[0])) {
                if count > 0 {
                    row[left..left + count].copy_from_slice(&levels[..count]);
                }
            }
        }
    }
}

/// What the file says of alpha, which Pillow drops.
pub(super) enum Alpha {
    Absent,
    Apart,
    /// The colours are multiplied by these levels, of as many bits.
    Multiplied(Vec<u16>),
}

/// The image in RGB.
///
/// # Errors
/// `Unsupported`, for what libavif refuses too.
pub(super) fn rgb(mut planes: Planes, alpha: &Alpha) -> Result<RgbImage, ImageError> {
    let has_alpha = !matches!(alpha, Alpha::Absent);
    let (depth, layout) = (planes.depth, planes.layout);
    let fixed = Fixed::of(planes.signal, layout).filter(|_| layout != Layout::Grey || has_alpha);
    let is_deep = has_alpha && (depth == 10 && layout != Layout::Grey || depth == 12 && layout == Layout::Quarter);
    // libyuv converts alpha of some kinds by dropping bits, libavif rounds.
    let mut alpha_is_cut = layout != Layout::Grey;
    let method = match fixed {
        Some(fixed) if is_deep => {
            alpha_is_cut = depth == 10;
            Method::Fixed { fixed, depth, is_smooth: depth == 10 }
        }
        Some(fixed) => {
            planes.levels.iter_mut().flatten().for_each(|level| *level = (*level >> (depth - 8)).min(255));
            Method::Fixed { fixed, depth: 8, is_smooth: true }
        }
        None => {
            alpha_is_cut = false;
            Method::Float(Float::of(&planes)?)
        }
    };
    let [width, height] = planes.size.map(|side| side as usize);
    let mut image = RgbImage::new(width as u32, height as u32);
    let mut colors = [vec![0u16; width], vec![0; width]];
    let mut fractions = [vec![0f32; width], vec![0.; width]];
    for (y, out) in image.chunks_exact_mut(3 * width).enumerate() {
        let bright = &planes.levels[0][y * width..][..width];
        let out = out.as_chunks_mut::<3>().0.iter_mut().zip(bright);
        match &method {
            Method::Fixed { fixed, depth, .. } if layout == Layout::Grey => {
                out.for_each(|(out, &level)| *out = fixed.color(level, 128 << (depth - 8), 128 << (depth - 8), *depth));
            }
            Method::Fixed { fixed, depth, is_smooth } => {
                let rows = Rows::of(&planes, y, *is_smooth);
                (0..2).for_each(|index| rows.levels(&planes.levels[1 + index], &mut colors[index]));
                out.enumerate()
                    .for_each(|(x, (out, &level))| *out = fixed.color(level, colors[0][x], colors[1][x], *depth));
            }
            Method::Float(float) if layout == Layout::Grey => {
                out.for_each(|(out, &level)| *out = [float.grey(level); 3]);
            }
            Method::Float(float) => {
                let rows = Rows::of(&planes, y, true);
                (0..2).for_each(|index| rows.fractions(&planes.levels[1 + index], float, &mut fractions[index]));
                out.enumerate()
                    .for_each(|(x, (out, &level))| *out = float.color(level, fractions[0][x], fractions[1][x]));
            }
        }
    }
    if let Alpha::Multiplied(alpha) = alpha {
        let most = f32::from(u16::MAX >> (16 - depth));
        for (out, &alpha) in image.as_chunks_mut::<3>().0.iter_mut().zip(alpha) {
            let rounded = || (f32::from(alpha) / most * 255. + 0.5) as u8;
            let alpha = if alpha_is_cut { (alpha >> (depth - 8)).min(255) as u8 } else { rounded() };
            *out = out.map(|level| divided(level, alpha));
        }
    }
    Ok(image)
}

enum Method {
    /// `is_smooth`: colours are interpolated, else repeated.
    Fixed {
        fixed: Fixed,
        depth: u32,
        is_smooth: bool,
    },
    Float(Float),
}

/// Which rows of the colour planes a row of the image is mixed of, and how.
struct Rows {
    width: usize,
    stride: usize,
    near: usize,
    far: Option<usize>,
    layout: Layout,
    is_smooth: bool,
}

impl Rows {
    fn of(planes: &Planes, y: usize, is_smooth: bool) -> Self {
        let [width, height] = planes.size.map(|side| side as usize);
        let near = y >> planes.layout.shifts()[1];
        let [stride, _] = planes.layout.sides(planes.size, 1);
        let is_at_edge = y == 0 || y == height - 1 && y % 2 == 1;
        let far = match planes.layout {
            Layout::Quarter if !is_at_edge && is_smooth => Some(if y % 2 == 1 { near + 1 } else { near - 1 }),
            _ => None,
        };
        Self { width, stride, near, far, layout: planes.layout, is_smooth }
    }

    /// The row's levels as libyuv interpolates them; the last pixel has the level beside it.
    fn levels(&self, plane: &[u16], out: &mut [u16]) {
        let near = &plane[self.near * self.stride..][..self.stride];
        if self.layout == Layout::Full {
            return out.copy_from_slice(near);
        }
        if !self.is_smooth {
            return out.iter_mut().enumerate().for_each(|(x, out)| *out = near[x / 2]);
        }
        let far = self.far.map(|far| &plane[far * self.stride..][..self.stride]);
        for (x, out) in out.iter_mut().enumerate() {
            let at = x / 2;
            let beside = match x {
                _ if x == 0 || x == self.width - 1 => at,
                _ if x % 2 == 1 => at + 1,
                _ => at - 1,
            };
            *out = match far {
                Some(far) if beside == at => (3 * near[at] + far[at] + 2) >> 2,
                Some(far) => (9 * near[at] + 3 * near[beside] + 3 * far[at] + far[beside] + 8) >> 4,
                None if beside == at => near[at],
                None => (3 * near[at] + near[beside] + 2) >> 2,
            };
        }
    }

    /// The row's fractions as libavif interpolates them.
    fn fractions(&self, plane: &[u16], float: &Float, out: &mut [f32]) {
        let near = &plane[self.near * self.stride..][..self.stride];
        if self.layout == Layout::Full {
            return out.iter_mut().zip(near).for_each(|(out, &level)| *out = float.chroma(level));
        }
        let far = self.far.map_or(near, |far| &plane[far * self.stride..][..self.stride]);
        for (x, out) in out.iter_mut().enumerate() {
            let at = x / 2;
            let beside = match x {
                _ if x == 0 || x == self.width - 1 && x % 2 == 1 => at,
                _ if x % 2 == 1 => at + 1,
                _ => at - 1,
            };
            let parts = [(near[at], 9.), (near[beside], 3.), (far[at], 3.), (far[beside], 1.)];
            let [first, second, third, fourth] = parts.map(|(level, weight)| float.chroma(level) * (weight / 16.));
            *out = first + second + third + fourth;
        }
    }
}

/// libyuv's constants, in 64ths; of brightness in 65536ths of these for 16 bits.
#[derive(Clone, Copy)]
struct Fixed {
    y_factor: u32,
    y_bias: i32,
    u_to_blue: i32,
    u_to_green: i32,
    v_to_green: i32,
    v_to_red: i32,
}

impl Fixed {
    fn of(signal: Signal, layout: Layout) -> Option<Self> {
        let matrix = match (signal.matrix, signal.primaries) {
            (0, _) if layout == Layout::Grey => 6,
            (12, 1 | 2) => 1,
            (12, 5 | 6) => 6,
            (12, 9) => 9,
            (matrix, _) => matrix,
        };
        let [y_factor, y_bias, u_to_blue, u_to_green, v_to_green, v_to_red] = match (matrix, signal.is_full) {
            (1, true) => [16320, 32, 119, 12, 30, 101],
            (2 | 5 | 6, true) => [16320, 32, 113, 22, 46, 90],
            (9, true) => [16320, 32, 120, 11, 37, 94],
            (1, false) => [18997, -1160, 128, 14, 34, 115],
            (2 | 5 | 6, false) => [18997, -1160, 128, 25, 52, 102],
            (9, false) => [19003, -1160, 128, 12, 42, 107],
            _ => return None,
        };
        Some(Self { y_factor: y_factor as u32, y_bias, u_to_blue, u_to_green, v_to_green, v_to_red })
    }

    fn color(&self, y: u16, u: u16, v: u16, depth: u32) -> [u8; 3] {
        let y = u32::from(y);
        let wide = y << (16 - depth) | y >> (2 * depth - 16);
        let bright = ((wide.min(0xFFFF) * self.y_factor) >> 16) as i32 + self.y_bias;
        let [u, v] = [u, v].map(|level| i32::from((level >> (depth - 8)).min(255)) - 128);
        let green = bright - (u * self.u_to_green + v * self.v_to_green);
        [bright + v * self.v_to_red, green, bright + u * self.u_to_blue].map(|level| (level >> 6).clamp(0, 255) as u8)
    }
}

/// libavif's own conversion, for colours that libyuv does not know.
struct Float {
    /// Of red, green and blue.
    shares: [f32; 3],
    mode: Mode,
    most: u16,
    y_bias: f32,
    y_range: f32,
    uv_bias: f32,
    uv_range: f32,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    Shares,
    /// The planes are green, blue and red.
    Identity,
    /// Green and orange.
    YCgCo,
}

impl Float {
    fn of(planes: &Planes) -> Result<Self, ImageError> {
        let Signal { matrix, is_full, .. } = planes.signal;
        let layout = planes.layout;
        let (mode, red, blue) = match matrix {
            0 if matches!(layout, Layout::Full | Layout::Grey) => (Mode::Identity, 0., 0.),
            8 if is_full => (Mode::YCgCo, 0., 0.),
            4 => (Mode::Shares, 0.3, 0.11),
            7 => (Mode::Shares, 0.212, 0.087),
            1 | 2 | 5 | 6 | 9 | 12 if layout == Layout::Grey => (Mode::Shares, 0., 0.),
            _ => return Err(unsupported("an AVIF of such colours")),
        };
        let step = 1 << (planes.depth - 8);
        let most = u16::MAX >> (16 - planes.depth);
        let range = |limited: u16| f32::from(if is_full { most } else { limited * step });
        let (uv_bias, uv_range) = (f32::from(128 * step), range(224));
        let (y_bias, y_range) = (f32::from(if is_full { 0 } else { 16 * step }), range(219));
        let (uv_bias, uv_range) = if mode == Mode::Identity { (y_bias, y_range) } else { (uv_bias, uv_range) };
        Ok(Self { shares: [red, 1. - red - blue, blue], mode, most, y_bias, y_range, uv_bias, uv_range })
    }

    fn luma(&self, level: u16) -> f32 {
        (f32::from(level.min(self.most)) - self.y_bias) / self.y_range
    }

    fn chroma(&self, level: u16) -> f32 {
        (f32::from(level.min(self.most)) - self.uv_bias) / self.uv_range
    }

    fn grey(&self, level: u16) -> u8 {
        stored(self.luma(level))
    }

    fn color(&self, level: u16, u: f32, v: f32) -> [u8; 3] {
        let y = self.luma(level);
        let [red, green, blue] = self.shares;
        let color = match self.mode {
            Mode::Identity => [v, y, u],
            Mode::YCgCo => [y - u + v, y + u, y - u - v],
            Mode::Shares => [
                y + (2. * (1. - red)) * v,
                y - (2. * ((red * (1. - red) * v) + (blue * (1. - blue) * u))) / green,
                y + (2. * (1. - blue)) * u,
            ],
        };
        color.map(stored)
    }
}

fn stored(fraction: f32) -> u8 {
    (0.5 + fraction.clamp(0., 1.) * 255.) as u8
}

/// A level without its alpha, as libyuv's vector code divides: what exceeds 15 bits is zero.
fn divided(level: u8, alpha: u8) -> u8 {
    let inverse = match alpha {
        0 => 0,
        1 => 0xFFFF,
        255 => 0x100,
        alpha => 0x1_0000 / u32::from(alpha),
    };
    match (u32::from(level) * 0x101 * inverse) >> 16 {
        quotient @ 0..0x8000 => quotient.min(255) as u8,
        _ => 0,
    }
}
