//! Vectors of `f32` and the instruction sets that the CPU has, chosen at run time.
//!
//! A kernel is a [`Job`] generic over [`Vector`]; [`Isa::run`] compiles it once per instruction set. Everything that a job
//! calls must be `#[inline(always)]`, or it is compiled without the instruction set's features.

pub(crate) mod dot;
#[cfg(target_arch = "aarch64")]
mod neon;
pub(crate) mod pairs;
#[cfg(target_arch = "aarch64")]
mod pairs_neon;
#[cfg(target_arch = "x86_64")]
mod pairs_x86;
mod peak;
mod portable;
#[cfg(test)]
mod tests;
#[cfg(target_arch = "x86_64")]
mod x86;

pub(crate) use dot::Dot;
pub(crate) use pairs::Pairs;
pub use peak::peak_flops;

use std::fmt;
use std::str::FromStr;
use std::sync::LazyLock;

/// An instruction set that the kernels are compiled for.
///
/// Networks in `f32` compute the same on all that have the same [vectors](Isa::vectors); products of `bf16` and of bytes take what
/// else there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Isa {
    /// What every CPU of the architecture has.
    Portable,
    /// Arm's 128-bit vectors.
    Neon,
    /// AVX2 with FMA.
    Avx2,
    /// AVX2 with AVX-VNNI, products of bytes.
    AvxVnni,
    /// AVX-512 F, VL, DQ and BW.
    Avx512,
    /// AVX-512 with VNNI, products of bytes.
    Avx512Vnni,
    /// AVX-512 with VNNI and BF16, products of bytes and of `bf16`.
    Avx512Bf16,
    /// AVX-512 with AMX, tiles of bytes and of `bf16`.
    Amx,
    /// The arithmetic of [`Isa::Avx512Bf16`] in plain code, for tests on any machine.
    EmulatedBf16,
    /// The arithmetic of [`Isa::Amx`] in plain code, for tests on any machine.
    EmulatedAmx,
}

impl Isa {
    /// Those that are emulated on every machine. None of them is [available](Isa::available).
    pub const EMULATED: [Self; 2] = [Self::EmulatedBf16, Self::EmulatedAmx];

    /// All that this machine runs, the slowest first.
    pub fn available() -> Vec<Self> {
        let mut found = vec![Self::Portable];
        #[cfg(target_arch = "aarch64")]
        if std::arch::is_aarch64_feature_detected!("neon") {
            found.push(Self::Neon);
        }
        #[cfg(target_arch = "x86_64")]
        if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
            found.push(Self::Avx2);
            let is_wide = is_x86_feature_detected!("avx512f")
                && is_x86_feature_detected!("avx512vl")
                && is_x86_feature_detected!("avx512dq")
                && is_x86_feature_detected!("avx512bw");
            if is_wide {
                found.push(Self::Avx512);
            }
        }
        let with_dots = [Self::AvxVnni, Self::Avx512Vnni, Self::Avx512Bf16, Self::Amx];
        for isa in with_dots {
            let mut dots = [isa.bf16(), isa.int8()].into_iter().flatten();
            if found.contains(&isa.vectors()) && dots.all(Dot::is_available) {
                found.push(isa);
            }
        }
        // In the order of their declaration: wide vectors come after products of bytes on narrow ones.
        found.sort_by_key(|isa| *isa as u8);
        found
    }

    /// The fastest that this machine runs.
    pub fn best() -> Self {
        static BEST: LazyLock<Isa> = LazyLock::new(|| Isa::available().pop().unwrap_or(Isa::Portable));
        *BEST
    }

    /// The set whose vectors this one computes `f32` with.
    pub fn vectors(self) -> Self {
        match self {
            Self::AvxVnni => Self::Avx2,
            Self::Avx512Vnni | Self::Avx512Bf16 | Self::Amx => Self::Avx512,
            Self::EmulatedBf16 | Self::EmulatedAmx => Self::best().vectors(),
            vectors => vectors,
        }
    }

    /// Whether dense convolutions of images in `bf16` multiply input and weights as such.
    pub fn multiplies_bf16(self) -> bool {
        self.bf16().is_some()
    }

    /// What multiplies `bf16`.
    pub(crate) fn bf16(self) -> Option<Dot> {
        match self {
            Self::Avx512Bf16 => Some(Dot::Avx512Bf16),
            Self::Amx => Some(Dot::AmxBf16),
            Self::EmulatedBf16 => Some(Dot::EmulatedAvx512Bf16),
            Self::EmulatedAmx => Some(Dot::EmulatedAmxBf16),
            _ => None,
        }
    }

    /// What multiplies bytes.
    pub(crate) fn int8(self) -> Option<Dot> {
        match self {
            Self::AvxVnni => Some(Dot::AvxVnni),
            Self::Avx512Vnni | Self::Avx512Bf16 => Some(Dot::Avx512Vnni),
            Self::Amx => Some(Dot::AmxInt8),
            Self::EmulatedBf16 | Self::EmulatedAmx => Some(Dot::EmulatedInt8),
            _ => None,
        }
    }

    /// The name that [`Isa::from_str`] reads.
    pub fn name(self) -> &'static str {
        match self {
            Self::Portable => "portable",
            Self::Neon => "neon",
            Self::Avx2 => "avx2",
            Self::AvxVnni => "avx-vnni",
            Self::Avx512 => "avx512",
            Self::Avx512Vnni => "avx512-vnni",
            Self::Avx512Bf16 => "avx512-bf16",
            Self::Amx => "amx",
            Self::EmulatedBf16 => "emulated-bf16",
            Self::EmulatedAmx => "emulated-amx",
        }
    }

    /// Runs a job with this instruction set's vectors of the asked width.
    ///
    /// # Safety
    /// [`Isa::available`] contains `self`, or it is emulated; and the job's own contract.
    #[inline]
    pub(crate) unsafe fn run<J: Job>(self, width: Width, job: J) {
        // SAFETY: the caller found the instruction set on this machine, and vouches for the job.
        unsafe {
            match (self.vectors(), width) {
                #[cfg(target_arch = "x86_64")]
                (Self::Avx512, Width::Full) => x86::avx512::<J, x86::Zmm>(job),
                #[cfg(target_arch = "x86_64")]
                (Self::Avx512, Width::Half) => x86::avx512::<J, x86::YmmMasked>(job),
                #[cfg(target_arch = "x86_64")]
                (Self::Avx2, _) => x86::avx2(job),
                #[cfg(target_arch = "aarch64")]
                (Self::Neon, _) => neon::neon(job),
                _ => job.run::<portable::Eight>(),
            }
        }
    }

    /// Elements per vector of the asked width.
    pub(crate) fn lanes(self, width: Width) -> usize {
        match (self.vectors(), width) {
            (Self::Avx512, Width::Full) => 16,
            (Self::Neon, _) => 4,
            _ => 8,
        }
    }

    /// Accumulator tile of a matrix product, by vectors per row: the most rows, and the most vectors.
    pub(crate) fn max_vectors(self) -> usize {
        if self.has_32_registers() { 4 } else { 2 }
    }

    /// Whether there are 32 vector registers rather than 16.
    pub(crate) fn has_32_registers(self) -> bool {
        matches!(self.vectors(), Self::Avx512 | Self::Neon)
    }
}

impl fmt::Display for Isa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Isa {
    type Err = UnknownIsa;

    fn from_str(name: &str) -> Result<Self, UnknownIsa> {
        let found = Self::available().into_iter().chain(Self::EMULATED).find(|isa| isa.name() == name);
        found.ok_or_else(|| UnknownIsa(name.to_owned()))
    }
}

/// A name that is no instruction set of this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownIsa(String);

impl fmt::Display for UnknownIsa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = Isa::available().into_iter().map(Isa::name).collect();
        write!(f, "this machine runs {}, not `{}`", names.join(", "), self.0)
    }
}

impl std::error::Error for UnknownIsa {}

/// Vector width within an instruction set: narrow ones waste less on few channels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Width {
    Full,
    Half,
}

/// A computation written once for all vectors.
pub(crate) trait Job {
    /// # Safety
    /// The vector's instruction set is there; and the job's own contract.
    unsafe fn run<V: Vector>(self);
}

/// A vector of `LANES` `f32`.
///
/// # Safety
/// Every method needs the instruction set of the implementing type. Loads read, and stores write, `LANES` elements at
/// `p` (no alignment needed), or `n <= LANES` in the `_part` forms, which read zeros beyond.
pub(crate) unsafe trait Vector: Pairs {
    const LANES: usize;
    /// Whether there are 32 registers of this type.
    const MANY_REGISTERS: bool;

    /// Runs a job out of line, so that its code is not repeated wherever it is called; the job's own contract holds.
    unsafe fn outline<J: Job>(job: J);
    unsafe fn splat(x: f32) -> Self;
    unsafe fn load(p: *const f32) -> Self;
    unsafe fn load_part(p: *const f32, n: usize) -> Self;
    unsafe fn store(self, p: *mut f32);
    unsafe fn store_part(self, p: *mut f32, n: usize);
    unsafe fn add(self, other: Self) -> Self;
    unsafe fn sub(self, other: Self) -> Self;
    unsafe fn mul(self, other: Self) -> Self;
    unsafe fn div(self, other: Self) -> Self;
    /// `1 / self` within 2 units in the last place, where that is a normal number.
    unsafe fn recip(self) -> Self;
    /// `other` where `self` is NaN.
    unsafe fn max(self, other: Self) -> Self;
    /// `other` where `self` is NaN.
    unsafe fn min(self, other: Self) -> Self;
    /// `self * b + c`, rounded once where the instruction set can.
    unsafe fn mul_add(self, b: Self, c: Self) -> Self;
    /// `2^n`, where the bits of `self` hold `1.5 * 2^23 + n` as a float and -127 < n < 128.
    unsafe fn exp2_of_shifted(self) -> Self;

    #[inline(always)]
    unsafe fn zero() -> Self {
        // SAFETY: as the trait says.
        unsafe { Self::splat(0.) }
    }
}
