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
    a_stride: usize,
    b: Vec<f32>,
    sides: [usize; 2],
    depth: usize,
}

impl Operands {
    fn new(sides: [usize; 2], steps: usize, gap: usize, element: &mut dyn FnMut() -> f32) -> Self {
        let (depth, [rows, columns]) = (steps * super::STEP, sides);
        let a_stride = depth + gap;
        let a = (0..rows * a_stride).map(|_| element()).collect();
        let b = (0..depth * columns).map(|_| element()).collect();
        Self { a, a_stride, b, sides, depth }
    }

    fn bits(&self, dot: Dot) -> Vec<u32> {
        let [rows, columns] = self.sides;
        let mut sums = vec![f32::NAN; rows * columns];
        let (a, b, a_stride, depth) = (self.a.as_ptr(), self.b.as_ptr(), self.a_stride, self.depth);
        // SAFETY: the instruction is there, and the operands are as a block's fields say.
        unsafe {
            dot.begin();
            dot.multiply(&Block { a, a_stride, rows, b, columns, depth, sums: sums.as_mut_ptr() });
            dot.end();
        }
        sums.into_iter().map(f32::to_bits).collect()
    }

    /// The sums by `product`, each with the sum of the products' magnitudes.
    fn truth(&self, product: impl Fn(f32, f32) -> Vec<f64>) -> Vec<[f64; 2]> {
        let [rows, columns] = self.sides;
        let sum = |row: usize, column: usize| {
            let pairs = (0..self.depth).map(|k| (self.a[row * self.a_stride + k], self.b[k * columns + column]));
            pairs.flat_map(|(a, b)| product(a, b)).fold([0., 0.], |[sum, size], x| [sum + x, size + x.abs()])
        };
        (0..rows)
            .flat_map(|row| (0..columns).map(move |column| (row, column)))
            .map(|(row, column)| sum(row, column))
            .collect()
    }
}

fn sides() -> impl Strategy<Value = [usize; 2]> {
    (prop_oneof![Just(16usize), Just(32)], prop_oneof![Just(16usize), Just(32)])
        .prop_map(|(rows, columns)| [rows, columns])
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn products_of_bf16_are_within_the_rounding_of_their_sums(
        (sides, steps, gap, seed) in (sides(), 1..=6usize, 0..=5usize, any::<u64>()),
    ) {
        let mut state = seed;
        let mut next = || splitmix(&mut state) as f32;
        let operands = Operands::new(sides, steps, gap, &mut || bf16_pair(next(), next()));
        let truth = operands.truth(|a, b| {
            let ([a, b], [c, d]) = (bf16_halves(a), bf16_halves(b));
            vec![f64::from(a) * f64::from(c), f64::from(b) * f64::from(d)]
        });
        for dot in [Dot::EmulatedAmxBf16, Dot::EmulatedAvx512Bf16] {
            for (bits, [sum, size]) in operands.bits(dot).into_iter().zip(&truth) {
                let bound = size * operands.depth as f64 * f64::from(f32::EPSILON);
                prop_assert!((f64::from(f32::from_bits(bits)) - sum).abs() <= bound, "{dot:?}");
            }
        }
    }

    #[test]
    fn products_of_bytes_are_exact(
        (sides, steps, gap, seed, is_extreme) in (sides(), 1..=6usize, 0..=5usize, any::<u64>(), any::<bool>()),
    ) {
        let mut state = seed;
        let mut byte = || ((splitmix(&mut state) + 1.) * 128.) as u8;
        let mut element = || if is_extreme { quad([255, 128, 255, 127]) } else { quad([byte(), byte(), byte(), byte()]) };
        let operands = Operands::new(sides, steps, gap, &mut element);
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
        (sides, steps, gap, seed) in (sides(), 1..=6usize, 0..=5usize, any::<u64>()),
    ) {
        let mut ran = Vec::new();
        for dot in ALL.into_iter().filter(|dot| dot.is_available()) {
            let mut state = seed;
            // Of all magnitudes, subnormal products among them.
            let mut number = || {
                let exponent = (splitmix(&mut state) * 100.) as i32;
                splitmix(&mut state) as f32 * 2f32.powi(exponent)
            };
            let operands = Operands::new(sides, steps, gap, &mut || bf16_pair(number(), number()));
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
            let mut left = Operands::new([16, 16], 1, 0, &mut || bf16_pair(a, 0.));
            left.b.fill(0.);
            left.b[..16].fill(bf16_pair(b, 0.));
            assert!(left.bits(dot).iter().all(|bits| *bits == 0), "{dot:?}: {a:e} times {b:e}");
        }
    }
}
