//! Rotation, scale and translation between two sets of points, some of which moved otherwise.
//!
//! RANSAC (Fischler and Bolles 1981): the motion that two drawn pairs of points have is tried on all pairs; the motion with the most
//! pairs within [`THRESHOLD`] is then fitted to those by least squares. Pairs are drawn as OpenCV's `estimateAffinePartial2D`
//! (Apache-2.0) draws them, whose generator always starts alike: the same points always give the same motion, and OpenCV's.

/// How far a point may lie from where the motion takes it, in pixels.
const THRESHOLD: f32 = 3.0;
/// How sure it should be that one draw was of points of the motion alone.
const CONFIDENCE: f64 = 0.99;
/// Draws, at most.
const MAX_DRAWS: u32 = 2000;

/// Two points: where one lay, and where it lies now.
pub(super) type Pair = [[f32; 2]; 2];

/// `x' = a x - b y + c`, `y' = b x + a y + d`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Similarity {
    pub(super) a: f64,
    pub(super) b: f64,
    pub(super) c: f64,
    pub(super) d: f64,
}

/// The motion that most pairs have; nothing if no two pairs of different points have one.
pub(super) fn estimate(pairs: &[Pair]) -> Option<Similarity> {
    if pairs.len() < 2 {
        return None;
    }
    let mut draws = Draws::default();
    let mut best: Option<(usize, Similarity)> = None;
    let (mut draw, mut enough) = (0, MAX_DRAWS);
    while draw < enough {
        draw += 1;
        let Some(motion) = Similarity::fit(draws.two(pairs).into_iter()) else { continue };
        let count = motion.inliers(pairs).count();
        if count >= 2 && best.is_none_or(|(most, _)| count > most) {
            best = Some((count, motion));
            enough = draws_needed(count as f64 / pairs.len() as f64).min(enough);
        }
    }
    let (_, motion) = best?;
    Some(Similarity::fit(motion.inliers(pairs)).unwrap_or(motion))
}

/// How many draws of two pairs are to be made, if `share` of all have the motion.
fn draws_needed(share: f64) -> u32 {
    let miss = 1.0 - share * share;
    if miss < f64::MIN_POSITIVE {
        return 0;
    }
    ((1.0 - CONFIDENCE).ln() / miss.ln()).round_ties_even().min(f64::from(MAX_DRAWS)) as u32
}

impl Similarity {
    /// The least squares' fit; nothing if all points lay at one place.
    fn fit<'a>(pairs: impl Iterator<Item = &'a Pair> + Clone) -> Option<Self> {
        let wide = |point: [f32; 2]| point.map(f64::from);
        let mut count = 0.0;
        let mut sums = [0.0; 4];
        for &[from, to] in pairs.clone() {
            count += 1.0;
            for (sum, value) in sums.iter_mut().zip(wide(from).into_iter().chain(wide(to))) {
                *sum += value;
            }
        }
        let [from_x, from_y, to_x, to_y] = sums.map(|sum| sum / count);
        let (mut square, mut along, mut across) = (0.0, 0.0, 0.0);
        for &[from, to] in pairs {
            let ([x, y], [u, v]) = (wide(from), wide(to));
            let (x, y, u, v) = (x - from_x, y - from_y, u - to_x, v - to_y);
            square += x * x + y * y;
            along += x * u + y * v;
            across += x * v - y * u;
        }
        let (a, b) = (along / square, across / square);
        let motion = Self { a, b, c: to_x - (a * from_x - b * from_y), d: to_y - (b * from_x + a * from_y) };
        (square > 0.0 && [motion.a, motion.b, motion.c, motion.d].iter().all(|value| value.is_finite()))
            .then_some(motion)
    }

    /// The pairs whose second point lies where the motion takes the first, in single precision as OpenCV.
    fn inliers(self, pairs: &[Pair]) -> impl Iterator<Item = &Pair> + Clone {
        let [a, b, c, d] = [self.a, self.b, self.c, self.d].map(|value| value as f32);
        pairs.iter().filter(move |[[x, y], [u, v]]| {
            let (right, down) = (a * x - b * y + c - u, b * x + a * y + d - v);
            right * right + down * down <= THRESHOLD * THRESHOLD
        })
    }
}

/// Draws by multiplication with carry (Marsaglia), as OpenCV's `RNG`.
struct Draws {
    state: u64,
}

impl Default for Draws {
    fn default() -> Self {
        Self { state: u64::MAX }
    }
}

impl Draws {
    /// A place below `len`, of at least 1.
    fn below(&mut self, len: usize) -> usize {
        const MULTIPLIER: u64 = 4_164_903_690;
        self.state = (self.state & 0xFFFF_FFFF) * MULTIPLIER + (self.state >> 32);
        (self.state & 0xFFFF_FFFF) as usize % len
    }

    /// Two of at least two pairs.
    fn two<'a>(&mut self, pairs: &'a [Pair]) -> [&'a Pair; 2] {
        let first = self.below(pairs.len());
        let mut second = self.below(pairs.len());
        while second == first {
            second = self.below(pairs.len());
        }
        [&pairs[first], &pairs[second]]
    }
}
