//! Each instruction that the machine has against its arithmetic in plain code, bit by bit; that against the definition in `f64`.

use proptest::prelude::*;

use super::{Block, Dot};
use crate::seeded::splitmix;
use crate::simd::pairs::{bf16_halves, bf16_pair, quad};

const ALL: [Dot; 5] = [Dot::AmxBf16, Dot::AmxInt8, Dot::Avx512Bf16, Dot::Avx512Vnni, Dot::AvxVnni];

impl Dot {
    fn emulated(self) -> Self {
        match self {
            Self::AmxBf16 => Self::EmulatedAmxBf16,
            Self::Avx512Bf16 => Self::EmulatedAvx512Bf16,
            Self::AmxInt8 | Self::Avx512Vnni | Self::AvxVnni => Self::EmulatedInt8,
            emulated => emulated,
        }
    }
}

/// The operands of a block.
struct Operands {
    a: Vec<f32>,
    b: Vec<f32>,
    shape: Shape,
}

/// The shape of a block.
#[derive(Debug, Clone, Copy)]
struct Shape {
    sides: [usize; 2],
    segments: usize,
    steps: usize,
    step: usize,
    /// Between rows, and between segments.
    gaps: [usize; 2],
}

impl Shape {
    fn depth(&self) -> usize {
        self.steps * self.step
    }

    fn strides(&self) -> [usize; 2] {
        let pitch = self.depth() + self.gaps[1];
        [self.segments * pitch + self.gaps[0], pitch]
    }
}

impl Operands {
    fn new(shape: Shape, element: &mut dyn FnMut() -> f32) -> Self {
        let [rows, columns] = shape.sides;
        let a = (0..rows * shape.strides()[0]).map(|_| element()).collect();
        let b = (0..shape.segments * shape.depth() * columns).map(|_| element()).collect();
        Self { a, b, shape }
    }

    fn bits(&self, dot: Dot) -> Vec<u32> {
        let Shape { sides: [rows, columns], segments, step, .. } = self.shape;
        let (depth, [a_stride, pitch]) = (self.shape.depth(), self.shape.strides());
        let mut sums = vec![f32::NAN; rows * columns];
        let (a, b, to) = (self.a.as_ptr(), self.b.as_ptr(), sums.as_mut_ptr());
        // SAFETY: the instruction is there, and the operands are as a block's fields say.
        unsafe {
            dot.begin(step);
            dot.multiply(&Block { a, a_stride, rows, segments, pitch, depth, step, b, columns, sums: to });
            dot.end();
        }
        sums.into_iter().map(f32::to_bits).collect()
    }

    /// The sums by `product`, each with the sum of the products' magnitudes.
    fn truth(&self, product: impl Fn(f32, f32) -> Vec<f64>) -> Vec<[f64; 2]> {
        let ([rows, columns], [stride, pitch], depth) = (self.shape.sides, self.shape.strides(), self.shape.depth());
        let sum = |row: usize, column: usize| {
            let left = |k: usize| self.a[row * stride + k / depth * pitch + k % depth];
            let pairs = (0..self.shape.segments * depth).map(|k| (left(k), self.b[k * columns + column]));
            pairs.flat_map(|(a, b)| product(a, b)).fold([0., 0.], |[sum, size], x| [sum + x, size + x.abs()])
        };
        (0..rows)
            .flat_map(|row| (0..columns).map(move |column| (row, column)))
            .map(|(row, column)| sum(row, column))
            .collect()
    }
}

fn shapes() -> impl Strategy<Value = Shape> {
    let side = || prop_oneof![Just(16usize), Just(32)];
    ((side(), side()), 1..=3usize, 1..=4usize, 1..=super::MAX_STEP, (0..=5usize, 0..=5usize)).prop_map(
        |((rows, columns), segments, steps, step, (between_rows, between_segments))| Shape {
            sides: [rows, columns],
            segments,
            steps,
            step,
            gaps: [between_rows, between_segments],
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn products_of_bf16_are_within_the_rounding_of_their_sums(
        (shape, seed) in (shapes(), any::<u64>()),
    ) {
        let mut state = seed;
        let mut next = || splitmix(&mut state) as f32;
        let operands = Operands::new(shape, &mut || bf16_pair(next(), next()));
        let truth = operands.truth(|a, b| {
            let ([a, b], [c, d]) = (bf16_halves(a), bf16_halves(b));
            vec![f64::from(a) * f64::from(c), f64::from(b) * f64::from(d)]
        });
        for dot in [Dot::EmulatedAmxBf16, Dot::EmulatedAvx512Bf16] {
            for (bits, [sum, size]) in operands.bits(dot).into_iter().zip(&truth) {
                let bound = size * (shape.segments * shape.depth()) as f64 * f64::from(f32::EPSILON);
                prop_assert!((f64::from(f32::from_bits(bits)) - sum).abs() <= bound, "{dot:?}");
            }
        }
    }

    #[test]
    fn products_of_bytes_are_exact(
        (shape, seed, is_extreme) in (shapes(), any::<u64>(), any::<bool>()),
    ) {
        let mut state = seed;
        let mut byte = || ((splitmix(&mut state) + 1.) * 128.) as u8;
        let mut element = || if is_extreme { quad([255, 128, 255, 127]) } else { quad([byte(), byte(), byte(), byte()]) };
        let operands = Operands::new(shape, &mut element);
        let truth = operands.truth(|a, b| {
            let (a, b) = (a.to_bits().to_le_bytes(), b.to_bits().to_le_bytes());
            a.into_iter().zip(b).map(|(a, b)| f64::from(a) * f64::from(b as i8)).collect()
        });
        for (bits, [sum, _]) in operands.bits(Dot::EmulatedInt8).into_iter().zip(&truth) {
            prop_assert_eq!(f64::from(bits as i32), *sum);
        }
    }

    /// Says which instructions ran.
    #[test]
    fn instructions_equal_their_arithmetic_in_plain_code(
        (shape, seed) in (shapes(), any::<u64>()),
    ) {
        let mut ran = Vec::new();
        for dot in ALL.into_iter().filter(|dot| dot.is_available()) {
            let mut state = seed;
            // Of all magnitudes, subnormal products among them.
            let mut number = || {
                let exponent = (splitmix(&mut state) * 100.) as i32;
                splitmix(&mut state) as f32 * 2f32.powi(exponent)
            };
            let operands = Operands::new(shape, &mut || bf16_pair(number(), number()));
            prop_assert!(operands.bits(dot) == operands.bits(dot.emulated()), "{dot:?}");
            ran.push(dot.name());
        }
        static SAID: std::sync::Once = std::sync::Once::new();
        SAID.call_once(|| println!("ran on this machine: {ran:?}"));
    }
}

#[test]
fn subnormal_numbers_count_as_zero() {
    let tiny = f32::from_bits(1 << 16);
    for (a, b) in [(tiny, 1.), (1., tiny), (f32::MIN_POSITIVE, 0.5), (2f32.powi(-70), 2f32.powi(-60))] {
        for dot in [Dot::EmulatedAmxBf16, Dot::EmulatedAvx512Bf16] {
            let shape = Shape { sides: [16, 16], segments: 1, steps: 1, step: 16, gaps: [0, 0] };
            let mut left = Operands::new(shape, &mut || bf16_pair(a, 0.));
            left.b.fill(0.);
            left.b[..16].fill(bf16_pair(b, 0.));
            assert!(left.bits(dot).iter().all(|bits| *bits == 0), "{dot:?}: {a:e} times {b:e}");
        }
    }
}
