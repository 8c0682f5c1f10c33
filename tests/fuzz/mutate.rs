//! Changes of bytes as damage, age and malice make them, from a seeded stream.

use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Numbers at which readers' arithmetic ends.
const EXTREMES: [u64; 12] = [
    0,
    1,
    0x7f,
    0x80,
    0xff,
    0x7fff,
    0xffff,
    0x7fff_ffff,
    0x8000_0000,
    0xffff_ffff,
    0x7fff_ffff_ffff_ffff,
    0xffff_ffff_ffff_ffff,
];

/// What may stand in text in place of a number.
const TEXTS: [&str; 12] =
    ["0", "-1", "1e999", "nan", "0.1", "65536", "4294967296", "18446744073709551616", "\"\"", "null", "[]", "{}"];

/// The stream of one case.
pub(crate) struct Mutator(ChaCha8Rng);

impl Mutator {
    pub(crate) fn new(format: &str, seed: u64, case: u64) -> Self {
        let mut key = [0; 32];
        key[..8].copy_from_slice(&seed.to_le_bytes());
        key[8..16].copy_from_slice(&case.to_le_bytes());
        for (slot, byte) in key[16..].iter_mut().zip(format.bytes()) {
            *slot = byte;
        }
        Self(ChaCha8Rng::from_seed(key))
    }

    /// One of `seeds` with one to eight changes. `repeats`: in some, a piece is there many times.
    pub(crate) fn mutate(&mut self, seeds: &[Vec<u8>], repeats: bool) -> Vec<u8> {
        let mut bytes = seeds.choose(&mut self.0).expect("seeds").clone();
        // Small counts are the most likely: what is changed in many places is refused early.
        let count = 1 << self.0.random_range(0..4);
        if repeats && self.0.random_range(0..4) == 0 {
            self.repeat(&mut bytes);
            if self.0.random() {
                return bytes;
            }
        }
        for _ in 0..count {
            self.change(&mut bytes, seeds);
        }
        bytes
    }

    /// One to sixteen bytes become up to a megabyte of themselves.
    fn repeat(&mut self, bytes: &mut Vec<u8>) {
        const MOST: usize = 1 << 20;
        let at = self.0.random_range(0..bytes.len());
        let piece = bytes[at..(at + self.0.random_range(1..=16)).min(bytes.len())].to_vec();
        let times = (1 << self.0.random_range(4..=20)).min(MOST / piece.len());
        bytes.splice(at..at, piece.repeat(times));
    }

    fn place(&mut self, bytes: &[u8]) -> usize {
        // Headers lie at the beginning, indices of zip, Parquet and JPEG at the end.
        let near = bytes.len().min(64);
        match self.0.random_range(0..4) {
            0 => self.0.random_range(0..near),
            1 => bytes.len() - 1 - self.0.random_range(0..near),
            _ => self.0.random_range(0..bytes.len()),
        }
    }

    fn change(&mut self, bytes: &mut Vec<u8>, seeds: &[Vec<u8>]) {
        if bytes.is_empty() {
            return bytes.push(self.0.random());
        }
        let at = self.place(bytes);
        let most = self.0.random_range(1..=64);
        let end = (at + most).min(bytes.len());
        match self.0.random_range(0..10) {
            0 | 1 => bytes[at] ^= 1 << self.0.random_range(0..8),
            2 => bytes[at] = self.0.random(),
            3 | 4 => self.extreme(bytes, at),
            5 => bytes.truncate(at),
            6 => drop(bytes.drain(at..end)),
            7 => {
                let again = bytes[at..end].to_vec();
                bytes.splice(at..at, again);
            }
            8 => {
                let other = seeds.choose(&mut self.0).expect("seeds");
                let from = self.0.random_range(0..other.len());
                let piece = other[from..(from + most).min(other.len())].to_vec();
                let end = (at + piece.len()).min(bytes.len());
                bytes.splice(at..end, piece);
            }
            _ => self.number(bytes, at),
        }
    }

    /// An extreme integer of 1, 2, 4 or 8 bytes.
    fn extreme(&mut self, bytes: &mut [u8], at: usize) {
        let value = *EXTREMES.choose(&mut self.0).expect("numbers");
        let width = 1 << self.0.random_range(0..4);
        let end = (at + width).min(bytes.len());
        let mut digits = value.to_le_bytes()[..width].to_vec();
        if self.0.random() {
            digits.reverse();
        }
        bytes[at..end].copy_from_slice(&digits[..end - at]);
    }

    /// The number in text behind `at`, if there is one near, becomes another.
    fn number(&mut self, bytes: &mut Vec<u8>, at: usize) {
        let Some(start) = bytes[at..].iter().take(64).position(u8::is_ascii_digit) else { return };
        let start = at + start;
        let length = bytes[start..].iter().take_while(|byte| byte.is_ascii_digit()).count();
        let text = *TEXTS.choose(&mut self.0).expect("texts");
        bytes.splice(start..start + length, text.bytes());
    }
}
