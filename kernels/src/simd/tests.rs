use super::{Isa, Job, Vector, Width};

/// Every instruction set and width of the machine.
fn vectors() -> Vec<(Isa, Width)> {
    Isa::available().into_iter().flat_map(|isa| [(isa, Width::Full), (isa, Width::Half)]).collect()
}

/// `|got - exact|` in units of the last place of `exact`.
fn ulps(got: f32, exact: f64) -> f64 {
    (f64::from(got) - exact).abs() / exact.abs().log2().floor().exp2() * f64::from(1u32 << 23)
}

struct Parts;

impl Job for Parts {
    #[inline(always)]
    unsafe fn run<V: Vector>(self) {
        let from: [f32; 40] = std::array::from_fn(|i| i as f32 + 1.);
        for n in 0..=V::LANES {
            let (mut loaded, mut stored) = ([-1f32; 40], [-1f32; 40]);
            // SAFETY: the buffers hold more than a vector after their third element.
            unsafe {
                V::load_part(from.as_ptr().add(3), n).store(loaded.as_mut_ptr().add(3));
                V::load(from.as_ptr().add(3)).store_part(stored.as_mut_ptr().add(3), n);
            }
            for i in 0..40 {
                let is_lane = (3..3 + V::LANES).contains(&i);
                let is_part = (3..3 + n).contains(&i);
                let rest = if is_lane { 0. } else { -1. };
                assert_eq!(loaded[i], if is_part { from[i] } else { rest }, "load of {n}, element {i}");
                assert_eq!(stored[i], if is_part { from[i] } else { -1. }, "store of {n}, element {i}");
            }
        }
    }
}

#[test]
fn parts_touch_their_elements_only() {
    for (isa, width) in vectors() {
        // SAFETY: the instruction set is this machine's.
        unsafe { isa.run(width, Parts) };
    }
}

/// Loads parts that end where `end` does.
#[cfg(target_os = "linux")]
struct LoadsBefore(*const f32);

#[cfg(target_os = "linux")]
impl Job for LoadsBefore {
    #[inline(always)]
    unsafe fn run<V: Vector>(self) {
        for n in 1..V::LANES {
            let mut got = [-1f32; 16];
            // SAFETY: `n` elements before the end are readable.
            unsafe { V::load_part(self.0.sub(n), n).store(got.as_mut_ptr()) };
            assert!(got[..V::LANES].iter().all(|x| *x == 0.), "{n} zeros: {got:?}");
        }
    }
}

/// The pages after a file's end cannot be read: a load past its elements ends the process.
#[cfg(target_os = "linux")]
#[test]
fn a_part_may_end_where_memory_ends() -> std::io::Result<()> {
    const LEN: usize = 1 << 16;
    let path = std::env::temp_dir().join(format!("candle-vision-part-{}", std::process::id()));
    std::fs::write(&path, [0u8; LEN])?;
    let file = std::fs::File::open(&path)?;
    // SAFETY: nobody else knows the file, which is not changed while it is mapped.
    let map = unsafe { memmap2::MmapOptions::new().len(2 * LEN).map(&file)? };
    std::fs::remove_file(&path)?;
    let end = map.as_ptr().wrapping_add(LEN).cast();
    for (isa, width) in vectors() {
        // SAFETY: the instruction set is this machine's; the file's elements lie before `end`.
        unsafe { isa.run(width, LoadsBefore(end)) };
    }
    Ok(())
}

/// Reciprocals and powers of two of whole vectors.
struct Map<'a> {
    xs: &'a [f32],
    out: &'a mut [f32],
    is_recip: bool,
}

impl Job for Map<'_> {
    #[inline(always)]
    unsafe fn run<V: Vector>(self) {
        for (xs, out) in self.xs.chunks_exact(V::LANES).zip(self.out.chunks_exact_mut(V::LANES)) {
            // SAFETY: both are a vector long.
            unsafe {
                let x = V::load(xs.as_ptr());
                let y = if self.is_recip { x.recip() } else { x.exp2_of_shifted() };
                y.store(out.as_mut_ptr());
            }
        }
    }
}

#[test]
fn reciprocals_are_within_their_units_in_the_last_place() {
    let mut xs: Vec<f32> = (-125..=125)
        .flat_map(|exponent| (0..997).map(move |step| (1. + step as f32 / 997.) * 2f32.powi(exponent)))
        .flat_map(|x| [x, -x])
        .collect();
    xs.truncate(xs.len() / 16 * 16);
    for (isa, width) in vectors() {
        let mut out = vec![f32::NAN; xs.len()];
        // SAFETY: the instruction set is this machine's.
        unsafe { isa.run(width, Map { xs: &xs, out: &mut out, is_recip: true }) };
        let worst = xs
            .iter()
            .zip(&out)
            .map(|(x, y)| ulps(*y, 1. / f64::from(*x)))
            .fold(0., |a: f64, b| if b <= a { a } else { b });
        assert!(worst <= 2., "{isa} {width:?}: {worst} units");
    }
}

#[test]
fn powers_of_two_are_exact() {
    let xs: Vec<f32> = (-126..=113).map(|n| 12_582_912. + n as f32).collect();
    for (isa, width) in vectors() {
        let mut out = vec![f32::NAN; xs.len()];
        // SAFETY: the instruction set is this machine's.
        unsafe { isa.run(width, Map { xs: &xs, out: &mut out, is_recip: false }) };
        for (n, y) in (-126..=113).zip(out) {
            assert_eq!(y, 2f32.powi(n), "{isa} {width:?}: 2^{n}");
        }
    }
}

/// Numbers as `bf16`, and back.
struct Bf16AndBack;

impl Job for Bf16AndBack {
    #[inline(always)]
    unsafe fn run<V: Vector>(self) {
        let mut numbers: Vec<f32> = (0..4000).map(|i| f32::from_bits(i * 1_073_741)).collect();
        numbers.extend([
            f32::NAN,
            -f32::NAN,
            f32::INFINITY,
            f32::MAX,
            -0.,
            f32::from_bits(0x3f80_8000),
            f32::from_bits(0x3f81_8000),
        ]);
        numbers.resize(numbers.len().next_multiple_of(16), 0.5);
        for xs in numbers.chunks_exact(V::LANES) {
            let steps: Vec<f32> = xs.iter().map(|x| (x.to_bits() % 2047) as f32 / 16.).collect();
            for n in 1..=V::LANES {
                let (mut halves, mut bytes, mut back) = ([-1f32; 9], [-1f32; 5], [-1f32; 16]);
                // SAFETY: the buffers hold a vector.
                unsafe {
                    V::load(xs.as_ptr()).store_bf16(halves.as_mut_ptr(), n);
                    V::load(steps.as_ptr()).store_bytes(17, bytes.as_mut_ptr(), n);
                    V::load_bf16(halves.as_ptr(), n).store(back.as_mut_ptr());
                }
                for i in 0..16 {
                    let rounded = half::bf16::from_f32(if i < n { xs[i] } else { 0. });
                    if i < n.next_multiple_of(2) {
                        let bits = halves[i / 2].to_bits() >> (16 * (i % 2)) & 0xffff;
                        assert_eq!(bits, u32::from(rounded.to_bits()), "{:x}", xs[i.min(n - 1)].to_bits());
                    }
                    if i < V::LANES {
                        assert_eq!(back[i].to_bits(), rounded.to_f32().to_bits());
                    }
                    if i < n.next_multiple_of(4) {
                        let byte = if i < n { steps[i].round_ties_even() as u8 + 17 } else { 0 };
                        assert_eq!(bytes[i / 4].to_bits().to_le_bytes()[i % 4], byte, "{:?}", steps);
                    }
                }
                assert_eq!([halves[n.div_ceil(2)], bytes[n.div_ceil(4)]], [-1.; 2], "nothing else is written");
            }
        }
    }
}

#[test]
fn bf16_is_rounded_to_even() {
    for (isa, width) in vectors() {
        // SAFETY: the instruction set is this machine's.
        unsafe { isa.run(width, Bf16AndBack) };
    }
}

struct Operations;

impl Job for Operations {
    #[inline(always)]
    unsafe fn run<V: Vector>(self) {
        let (a, b, c) = (1.0000001f32, -3.7f32, 0.3f32);
        let mut got = [[0f32; 16]; 9];
        // SAFETY: the rows hold a vector.
        unsafe {
            let (x, y, z, nan) = (V::splat(a), V::splat(b), V::splat(c), V::splat(f32::NAN));
            let results =
                [x.add(y), x.sub(y), x.mul(y), x.div(y), x.max(y), x.min(y), nan.max(y), nan.min(y), x.mul_add(y, z)];
            for (result, got) in results.into_iter().zip(&mut got) {
                result.store(got.as_mut_ptr());
            }
        }
        let fused = (f64::from(a) * f64::from(b) + f64::from(c)) as f32;
        let expected = [a + b, a - b, a * b, a / b, a.max(b), a.min(b), b, b];
        for lane in 0..V::LANES {
            for (got, expected) in got.iter().zip(expected) {
                assert_eq!(got[lane], expected);
            }
            assert!([fused, a * b + c].contains(&got[8][lane]), "multiply-add: {}", got[8][lane]);
        }
    }
}

#[test]
fn operations_are_those_of_every_lane() {
    for (isa, width) in vectors() {
        // SAFETY: the instruction set is this machine's.
        unsafe { isa.run(width, Operations) };
    }
}
