//! Frames that integers alone describe, as `tests/oracle/motion.py` draws them.

#![allow(unreachable_pub, reason = "a module of several programs")]
#![allow(clippy::unwrap_used, reason = "it reads what the oracle wrote")]

use serde_json::Value;

/// What a frame shows: a texture through a camera, and boxes of other textures on the image.
pub struct Scene {
    pub width: usize,
    pub height: usize,
    /// From the frame's pixels to the texture's, in 1/65536 pixels.
    pub map: [i64; 6],
    seed: u32,
    contrast: i64,
    noise: i64,
    noise_seed: u32,
    /// Left, top, right, bottom, seed.
    boxes: Vec<[i64; 5]>,
}

impl Scene {
    /// As the golden file describes a frame.
    pub fn from_json(frame: &Value) -> Self {
        let number = |key: &str| frame[key].as_i64().unwrap();
        let [width, height] = integers(&frame["size"]).map(|side| side as usize);
        Self {
            width,
            height,
            map: integers(&frame["map"]),
            seed: number("seed") as u32,
            contrast: number("contrast"),
            noise: number("noise"),
            noise_seed: number("noise_seed") as u32,
            boxes: frame["boxes"].as_array().unwrap().iter().map(integers).collect(),
        }
    }

    /// The 8-bit luma.
    pub fn draw(&self) -> Vec<u8> {
        let places = (0..self.height as i64).flat_map(|y| (0..self.width as i64).map(move |x| (x, y)));
        places.map(|(x, y)| self.level(x, y)).collect()
    }

    fn level(&self, x: i64, y: i64) -> u8 {
        let [a, b, c, d, e, f] = self.map;
        let mut level = match self.boxes.iter().rev().find(|&&[l, t, r, b, _]| x >= l && x < r && y >= t && y < b) {
            Some(&[left, top, _, _, seed]) => texture((x - left) << 8, (y - top) << 8, seed as u32),
            None => {
                let level = texture((a * x + b * y + c) >> 8, (d * x + e * y + f) >> 8, self.seed);
                128 + (((level - 128) * self.contrast) >> 8)
            }
        };
        if self.noise > 0 {
            level += mixed(x, y, self.noise_seed) * (2 * self.noise + 1) / 256 - self.noise;
        }
        level.clamp(0, 255) as u8
    }
}

/// A hash of three integers, from 0 to 255.
pub fn mixed(i: i64, j: i64, seed: u32) -> i64 {
    let mut hash =
        (i as u32).wrapping_mul(0x9E37_79B1) ^ (j as u32).wrapping_mul(0x85EB_CA77) ^ seed.wrapping_mul(0xC2B2_AE3D);
    hash ^= hash >> 15;
    hash = hash.wrapping_mul(0x2C1B_3C6D);
    hash ^= hash >> 12;
    hash = hash.wrapping_mul(0x297A_2D39);
    hash ^= hash >> 15;
    i64::from(hash >> 24)
}

/// Value noise in cells of `2^octave` pixels; u and v in pixels / 256.
fn noise(u: i64, v: i64, octave: u32, seed: u32) -> i64 {
    let (i, j) = (u >> (octave + 8), v >> (octave + 8));
    let (x, y) = ((u >> octave) & 255, (v >> octave) & 255);
    let row = |j: i64| mixed(i, j, seed) * (256 - x) + mixed(i + 1, j, seed) * x;
    (row(j) * (256 - y) + row(j + 1) * y) >> 16
}

fn texture(u: i64, v: i64, seed: u32) -> i64 {
    (3 * noise(u, v, 5, seed) + 3 * noise(u, v, 3, seed + 1) + 2 * noise(u, v, 1, seed + 2)) >> 3
}

fn integers<const N: usize>(values: &Value) -> [i64; N] {
    let values: Vec<i64> = values.as_array().unwrap().iter().map(|value| value.as_i64().unwrap()).collect();
    values.try_into().unwrap()
}
