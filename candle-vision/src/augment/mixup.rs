//! Mixup and cutmix: batches whose images and labels are mixed in pairs, as timm's `Mixup` mixes them.
//!
//! Zhang et al., *mixup*, <https://arxiv.org/abs/1710.09412>; Yun et al., *CutMix*, <https://arxiv.org/abs/1905.04899>.
//! Image `i` of `n` is mixed with image `n - 1 - i`.

use rand::Rng;
use serde::{Deserialize, Serialize};

use super::random::{beta, happens};

/// For what one draw counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MixMode {
    /// All images of a batch.
    Batch,
    /// The two images of a pair.
    Pair,
    /// One image.
    Elem,
}

/// How batches are mixed.
#[derive(Debug, Clone, PartialEq)]
pub struct Mixup {
    /// Parameter of the Beta distribution of mixup's weights; 0 is no mixup.
    pub mixup_alpha: f64,
    /// Parameter of the Beta distribution of cutmix's areas; 0 is no cutmix.
    pub cutmix_alpha: f64,
    /// Probability of mixing.
    pub prob: f64,
    /// Probability of cutmix instead of mixup where both are on.
    pub switch_prob: f64,
    /// For what one draw counts.
    pub mode: MixMode,
}

/// What happens to one image.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum MixParams {
    /// Nothing.
    Keep,
    /// `share` of it and 1 - `share` of its partner.
    Blend {
        /// Weight of the image itself.
        share: f64,
    },
    /// A rectangle of its partner covers it.
    Paste {
        /// First row and the row after the last.
        rows: [usize; 2],
        /// First column and the column after the last.
        columns: [usize; 2],
        /// Share of the image that stays.
        share: f64,
    },
}

impl MixParams {
    /// The rectangle of 1 - `share` of an image of `size` = [height, width] about `center`, cut at the borders, after
    /// which its share is what stays: timm's `rand_bbox` with `correct_lam`.
    #[must_use]
    pub fn paste(share: f64, size: [usize; 2], center: [usize; 2]) -> Self {
        let ratio = (1. - share).max(0.).sqrt();
        let span = |axis: usize| {
            let cut = (size[axis] as f64 * ratio) as usize;
            let at = |place: usize| place.min(size[axis]);
            [at(center[axis].saturating_sub(cut / 2)), at(center[axis] + cut.div_ceil(2))]
        };
        let (rows, columns) = (span(0), span(1));
        let area = (rows[1] - rows[0]) * (columns[1] - columns[0]);
        Self::Paste { rows, columns, share: 1. - area as f64 / (size[0] * size[1]) as f64 }
    }

    /// Weight of the image's own label.
    #[must_use]
    pub fn share(&self) -> f64 {
        match *self {
            Self::Keep => 1.,
            Self::Blend { share } | Self::Paste { share, .. } => share,
        }
    }

    /// Changes `image`, three planes of `size` = [height, width], by its `partner`.
    fn apply(&self, image: &mut [f32], partner: &[f32], [height, width]: [usize; 2]) {
        match *self {
            Self::Keep => {}
            Self::Blend { share } => {
                let [own, other] = [share as f32, (1. - share) as f32];
                image.iter_mut().zip(partner).for_each(|(level, partner)| *level = *level * own + partner * other);
            }
            Self::Paste { rows, columns, .. } => {
                for plane in 0..3 {
                    for y in rows[0]..rows[1] {
                        let row = (plane * height + y) * width;
                        let span = row + columns[0]..row + columns[1];
                        image[span.clone()].copy_from_slice(&partner[span]);
                    }
                }
            }
        }
    }
}

impl Mixup {
    /// Draws what happens to each of `count` images of `size` = [height, width].
    pub fn draw(&self, rng: &mut impl Rng, count: usize, size: [usize; 2]) -> Vec<MixParams> {
        match self.mode {
            MixMode::Batch => vec![self.draw_one(rng, size); count],
            MixMode::Elem => (0..count).map(|_| self.draw_one(rng, size)).collect(),
            MixMode::Pair => {
                let mut mixes: Vec<MixParams> = (0..count / 2).map(|_| self.draw_one(rng, size)).collect();
                let mirrored: Vec<MixParams> = mixes.iter().rev().copied().collect();
                mixes.resize(count - mirrored.len(), MixParams::Keep);
                mixes.extend(mirrored);
                mixes
            }
        }
    }

    fn draw_one(&self, rng: &mut impl Rng, size: [usize; 2]) -> MixParams {
        let is_mixed = happens(rng, self.prob);
        let cuts = match (self.mixup_alpha > 0., self.cutmix_alpha > 0.) {
            (true, true) => happens(rng, self.switch_prob),
            (mixes, cuts) if mixes || cuts => cuts,
            _ => return MixParams::Keep,
        };
        if !is_mixed {
            MixParams::Keep
        } else if cuts {
            let share = beta(rng, self.cutmix_alpha);
            MixParams::paste(share, size, size.map(|side| rng.random_range(0..side.max(1))))
        } else {
            MixParams::Blend { share: beta(rng, self.mixup_alpha) }
        }
    }
}

/// Mixes a batch of images, each three planes of `size` = [height, width]; one `mixes` each. The middle one of an odd
/// number is its own partner, and stays.
pub fn mix_images(images: &mut [f32], size: [usize; 2], mixes: &[MixParams]) {
    let length = 3 * size[0] * size[1];
    let count = mixes.len();
    for (i, pair) in mixes.iter().zip(mixes.iter().rev()).enumerate().take(count / 2) {
        if pair == (&MixParams::Keep, &MixParams::Keep) {
            continue;
        }
        let (head, tail) = images.split_at_mut((count - 1 - i) * length);
        let (first, second) = (&mut head[i * length..][..length], &mut tail[..length]);
        let original = first.to_vec();
        pair.0.apply(first, second, size);
        pair.1.apply(second, &original, size);
    }
}

/// The labels of a mixed batch, of shape (n, `num_classes`): each image's own class and its partner's by their shares,
/// with `smoothing` of each spread over all classes.
///
/// # Panics
/// If a class is not below `num_classes`, or there are fewer classes than `mixes`.
#[must_use]
pub fn mixed_targets(classes: &[usize], mixes: &[MixParams], num_classes: usize, smoothing: f64) -> Vec<f32> {
    let off = smoothing / num_classes as f64;
    let [on, off] = [(1. - smoothing + off) as f32, off as f32];
    let level = |class: usize, of: usize| if class == of { on } else { off };
    let mut targets = Vec::with_capacity(mixes.len() * num_classes);
    for (i, mix) in mixes.iter().enumerate() {
        let (own, partner) = (classes[i], classes[mixes.len() - 1 - i]);
        assert!(own < num_classes, "the class {own} is none of {num_classes}");
        let [share, other] = [mix.share() as f32, (1. - mix.share()) as f32];
        targets.extend((0..num_classes).map(|class| level(class, own) * share + level(class, partner) * other));
    }
    targets
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, Shape};

    use super::*;
    use crate::augment::fixtures::{check, is_golden, value};
    use crate::seeded::uniform;
    use crate::train::stream;

    /// timm's labels are products and sums of f32 as these, but its shares of single images are f32 before they enter.
    const LABEL: f32 = 1e-6;

    fn mixup(mode: MixMode, mixup_alpha: f64, cutmix_alpha: f64) -> Mixup {
        Mixup { mixup_alpha, cutmix_alpha, prob: 1., switch_prob: 0.5, mode }
    }

    #[test]
    fn batches_are_mixed_as_by_timm() {
        check("mixing", |case| {
            let (size, count, shares): ([usize; 2], usize, Vec<f64>) =
                (value(case, "in"), value(case, "count"), value(case, "shares"));
            let centers: Vec<[usize; 2]> = value(case, "centers");
            // numpy's shares are f32 where they are many.
            let given = |at: usize| if shares.len() > 1 { f64::from(shares[at] as f32) } else { shares[at] };
            let one = |at: usize| match value(case, "cuts") {
                // timm leaves a batch of share 1 alone, so no centre is drawn.
                true => MixParams::paste(given(at), size, centers[at]),
                false => MixParams::Blend { share: given(at) },
            };
            let mixes: Vec<MixParams> = match value(case, "mode") {
                MixMode::Batch => vec![one(0); count],
                MixMode::Pair => (0..count).map(|i| one(i.min(count - 1 - i))).collect(),
                MixMode::Elem => (0..count).map(one).collect(),
            };
            let name = format!("mixing.{}", case["number"]);
            let images = uniform(&name, &Shape::from(count * 3 * size[0] * size[1]), &Device::Cpu).unwrap();
            let mut images = images.to_vec1::<f32>().unwrap();
            mix_images(&mut images, size, &mixes);
            let soft = mixed_targets(&value::<Vec<usize>>(case, "classes"), &mixes, value(case, "num_classes"), 0.1);
            let expected: Vec<f32> = value(case, "soft");
            let apart = soft.iter().zip(&expected).map(|(a, b)| (a - b).abs()).fold(0., f32::max);
            let bytes: Vec<u8> = images.iter().flat_map(|level| level.to_le_bytes()).collect();
            let is_right = is_golden(case, &bytes) && soft.len() == expected.len() && apart <= LABEL;
            (!is_right).then_some((apart, images[..3].to_vec()))
        });
    }

    #[test]
    fn the_odd_one_out_stays() {
        let mut images: Vec<f32> = (0..5 * 12).map(|at| at as f32).collect();
        let before = images.clone();
        for mode in [MixMode::Batch, MixMode::Pair, MixMode::Elem] {
            let mixes = mixup(mode, 1., 0.).draw(&mut stream(1, &[]), 5, [2, 2]);
            mix_images(&mut images, [2, 2], &mixes);
            assert_eq!(images[24..36], before[24..36], "{mode:?}");
            let targets = mixed_targets(&[0, 1, 1, 0, 2], &mixes, 3, 0.);
            assert_eq!(targets[6..9], [0., 1., 0.], "{mode:?}");
            assert!(targets.chunks(3).all(|row| (row.iter().sum::<f32>() - 1.).abs() < 1e-6));
        }
        assert_ne!(images[..12], before[..12]);
        mix_images(&mut [], [2, 2], &[]);
    }

    #[test]
    fn draws_have_their_probabilities() {
        const DRAWS: usize = 20_000;
        let mut rng = stream(2, &[]);
        let mut draw = |mixup: &Mixup| -> [f64; 3] {
            let mut counts = [0.; 3];
            for _ in 0..DRAWS {
                let mix = mixup.draw(&mut rng, 2, [16, 16])[0];
                counts[match mix {
                    MixParams::Keep => 0,
                    MixParams::Blend { .. } => 1,
                    MixParams::Paste { .. } => 2,
                }] += 1. / DRAWS as f64;
                assert!((0. ..=1.).contains(&mix.share()), "{mix:?}");
            }
            counts
        };
        let near = |found: [f64; 3], expected: [f64; 3]| found.iter().zip(expected).all(|(a, b)| (a - b).abs() < 0.02);
        let both = Mixup { prob: 0.8, switch_prob: 0.3, ..mixup(MixMode::Batch, 0.8, 1.) };
        assert!(near(draw(&both), [0.2, 0.56, 0.24]));
        assert!(near(draw(&mixup(MixMode::Pair, 0.2, 0.)), [0., 1., 0.]));
        assert!(near(draw(&mixup(MixMode::Elem, 0., 1.)), [0., 0., 1.]));
        assert!(near(draw(&mixup(MixMode::Batch, 0., 0.)), [1., 0., 0.]));
    }

    #[test]
    fn draws_count_for_what_the_mode_says() {
        let draw = |mode| mixup(mode, 1., 1.).draw(&mut stream(3, &[]), 6, [16, 16]);
        let batch = draw(MixMode::Batch);
        assert!(batch.iter().all(|mix| *mix == batch[0]));
        let pairs = draw(MixMode::Pair);
        assert!((0..3).all(|i| pairs[i] == pairs[5 - i]) && pairs[0] != pairs[1]);
        let elements = draw(MixMode::Elem);
        assert!(elements[0] != elements[5] && elements.len() == 6);
    }
}
