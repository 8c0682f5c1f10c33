//! A TIFF's levels to RGB.
//!
//! | | Pillow | OpenCV |
//! |---|---|---|
//! | levels of a palette | the high byte | the high byte; the low one where no level exceeds it |
//! | grey of 16 bits | clipped at 255 | the high byte |
//! | the same where zero is white | not inverted; refused if big-endian | inverted |
//! | CMYK of 8 bits | rounded | rounded down, as by libtiff; of 16 bits as Pillow |
//! | alpha apart, colours of 8 bits | dropped | multiplied into the colours |
//! | alpha, grey of 8 bits | dropped; in planes refused | dropped; in planes multiplied into the grey |
//! | colours multiplied by alpha | divided by it | as they are |

use super::Reference;

/// What the channel behind the colours says.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Alpha {
    Absent,
    /// The colours do not depend on it.
    Apart,
    /// The colours are multiplied by it.
    Multiplied,
}

/// What the levels of a pixel mean.
pub(super) enum Colors {
    Grey { white_is_zero: bool, alpha: Alpha },
    Rgb(Alpha),
    Cmyk,
    Palette(Vec<[u8; 3]>),
}

impl Colors {
    /// Pixels of `levels`, `channels` of `bits` each.
    pub(super) fn write(&self, levels: &[u16], channels: usize, bits: u8, reference: Reference, out: &mut [[u8; 3]]) {
        let pixels = out.iter_mut().zip(levels.chunks_exact(channels));
        let high = |level: u16| if bits == 16 { (level >> 8) as u8 } else { level as u8 };
        let is_wide = bits == 16;
        match (self, reference) {
            (Self::Palette(colors), _) => {
                let color = |levels: &[u16]| colors.get(usize::from(levels[0])).copied().unwrap_or_default();
                pixels.for_each(|(out, levels)| *out = color(levels));
            }
            (Self::Grey { .. }, Reference::Pillow) if is_wide && channels == 1 => {
                pixels.for_each(|(out, levels)| *out = [levels[0].min(255) as u8; 3]);
            }
            (&Self::Grey { white_is_zero, alpha }, _) => {
                let most = u16::MAX >> (16 - bits);
                let is_weighted = alpha == Alpha::Apart && !is_wide;
                for (out, levels) in pixels {
                    let level = if white_is_zero { most - levels[0] } else { levels[0] };
                    let level = if is_wide { high(level) } else { (level * (255 / most)) as u8 };
                    *out = [if is_weighted { weighted(level, high(levels[1])) } else { level }; 3];
                }
            }
            (&Self::Rgb(alpha), _) => {
                for (out, levels) in pixels {
                    *out = [high(levels[0]), high(levels[1]), high(levels[2])];
                    match (alpha, reference) {
                        (Alpha::Apart, Reference::OpenCv) if !is_wide => {
                            *out = out.map(|level| weighted(level, high(levels[3])));
                        }
                        (Alpha::Multiplied, Reference::Pillow) => {
                            *out = out.map(|level| divided(level, high(levels[3])))
                        }
                        _ => {}
                    }
                }
            }
            (Self::Cmyk, _) => {
                let mix = if is_wide || reference == Reference::Pillow { rounded } else { rounded_down };
                for (out, levels) in pixels {
                    let white = 255 - high(levels[3]);
                    *out = [levels[0], levels[1], levels[2]].map(|ink| mix(high(ink), white));
                }
            }
        }
    }
}

/// The colours of indices of `bits`, from a TIFF's table: all reds, all greens, all blues. `None` if it is too short.
pub(super) fn palette(levels: &[u16], bits: u8, reference: Reference) -> Option<Vec<[u8; 3]>> {
    let count = 1 << bits.min(8);
    let levels = levels.get(..3 * count)?;
    let is_low = reference == Reference::OpenCv && levels.iter().all(|&level| level < 256);
    let level = |index: usize| if is_low { levels[index] as u8 } else { (levels[index] >> 8) as u8 };
    Some((0..count).map(|index| [level(index), level(count + index), level(2 * count + index)]).collect())
}

fn weighted(level: u8, alpha: u8) -> u8 {
    ((u32::from(level) * u32::from(alpha) + 127) / 255) as u8
}

fn divided(level: u8, alpha: u8) -> u8 {
    (255 * u32::from(level)).checked_div(alpha.into()).unwrap_or(0).min(255) as u8
}

/// An ink taken from `white`.
fn rounded(ink: u8, white: u8) -> u8 {
    let product = u32::from(ink) * u32::from(white) + 128;
    white.saturating_sub(((product + (product >> 8)) >> 8) as u8)
}

/// [`rounded`] as libtiff rounds.
fn rounded_down(ink: u8, white: u8) -> u8 {
    (u32::from(white) * u32::from(255 - ink) / 255) as u8
}
