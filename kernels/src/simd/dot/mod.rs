//! Matrix products of low-precision numbers, by the instructions that some processors have for them: pairs of `bf16` summed in `f32`,
//! and unsigned times signed bytes summed in `i32`.

#[cfg(all(target_arch = "x86_64", target_os = "linux", target_env = "gnu"))]
mod amx;
mod emulated;
#[cfg(test)]
mod tests;
#[cfg(target_arch = "x86_64")]
mod vectors;

/// Most elements of a row that are multiplied at once: what a tile holds of it.
pub(crate) const MAX_STEP: usize = 16;
/// Most rows and columns of a [`Block`].
pub(crate) const SIDE: usize = 32;

/// A product of some rows by some columns, `sums[i][j] = Σ a[i][k] · b[k][j]`, over elements of four bytes: two `bf16`, the lower
/// half first, or four bytes.
#[derive(Clone, Copy)]
pub(crate) struct Block {
    /// The first row; row `i` starts `i · a_stride` elements behind.
    pub(crate) a: *const f32,
    pub(crate) a_stride: usize,
    /// 16 or 32.
    pub(crate) rows: usize,
    /// A row is `segments` times `depth` elements, the segments `pitch` elements from each other.
    pub(crate) segments: usize,
    pub(crate) pitch: usize,
    /// A multiple of `step`, at least one.
    pub(crate) depth: usize,
    /// Elements that are multiplied at once, up to [`MAX_STEP`].
    pub(crate) step: usize,
    /// `segments · depth` times `columns` elements.
    pub(crate) b: *const f32,
    /// 16 or 32.
    pub(crate) columns: usize,
    /// `rows` times `columns` sums, each of the four bytes of an `f32` or an `i32`.
    pub(crate) sums: *mut f32,
}

/// An instruction that multiplies and sums, or its arithmetic in plain code, which gives the same bits everywhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Dot {
    /// `tdpbf16ps`, on tiles.
    AmxBf16,
    /// `tdpbusd`, on tiles.
    AmxInt8,
    /// `vdpbf16ps`.
    Avx512Bf16,
    /// `vpdpbusd` on 512 bits.
    Avx512Vnni,
    /// `vpdpbusd` on 256 bits.
    AvxVnni,
    EmulatedAmxBf16,
    EmulatedAvx512Bf16,
    /// Of every instruction on bytes: their sums are exact.
    EmulatedInt8,
}

impl Dot {
    /// Whether this machine has the instruction.
    pub(crate) fn is_available(self) -> bool {
        match self {
            Self::EmulatedAmxBf16 | Self::EmulatedAvx512Bf16 | Self::EmulatedInt8 => true,
            #[cfg(all(target_arch = "x86_64", target_os = "linux", target_env = "gnu"))]
            Self::AmxBf16 | Self::AmxInt8 => amx::is_available(),
            #[cfg(target_arch = "x86_64")]
            Self::Avx512Bf16 => is_x86_feature_detected!("avx512bf16"),
            #[cfg(target_arch = "x86_64")]
            Self::Avx512Vnni => is_x86_feature_detected!("avx512vnni"),
            #[cfg(target_arch = "x86_64")]
            Self::AvxVnni => is_x86_feature_detected!("avxvnni"),
            #[allow(unreachable_patterns, reason = "where there is AMX")]
            _ => false,
        }
    }

    /// What the instruction is called in profiles.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::AmxBf16 => "amx-bf16",
            Self::AmxInt8 => "amx-int8",
            Self::Avx512Bf16 => "avx512-bf16",
            Self::Avx512Vnni => "avx512-vnni",
            Self::AvxVnni => "avx-vnni",
            Self::EmulatedAmxBf16 => "emulated amx-bf16",
            Self::EmulatedAvx512Bf16 => "emulated avx512-bf16",
            Self::EmulatedInt8 => "emulated int8",
        }
    }

    /// Whether elements are pairs of `bf16`.
    pub(crate) fn is_bf16(self) -> bool {
        matches!(self, Self::AmxBf16 | Self::Avx512Bf16 | Self::EmulatedAmxBf16 | Self::EmulatedAvx512Bf16)
    }

    /// Whether three by three windows are faster by Winograd's algorithm in `f32` than as products of this instruction, which
    /// makes twice as many in a cycle as `f32` has.
    pub(crate) fn loses_to_winograd(self) -> bool {
        matches!(self, Self::Avx512Bf16 | Self::EmulatedAvx512Bf16)
    }

    /// Makes the thread ready for [`Dot::multiply`] in steps of `step` elements, up to [`Dot::end`].
    ///
    /// # Safety
    /// [`Dot::is_available`]; the step is from 1 to [`MAX_STEP`].
    pub(crate) unsafe fn begin(self, step: usize) {
        #[cfg(all(target_arch = "x86_64", target_os = "linux", target_env = "gnu"))]
        if matches!(self, Self::AmxBf16 | Self::AmxInt8) {
            // SAFETY: by the caller's contract.
            unsafe { amx::configure(step) }
        }
        let _ = step;
    }

    /// Gives back what [`Dot::begin`] took.
    ///
    /// # Safety
    /// As there.
    pub(crate) unsafe fn end(self) {
        #[cfg(all(target_arch = "x86_64", target_os = "linux", target_env = "gnu"))]
        if matches!(self, Self::AmxBf16 | Self::AmxInt8) {
            // SAFETY: by the caller's contract.
            unsafe { amx::release() }
        }
    }

    /// Computes a block, in an order of sums that the instruction decides.
    ///
    /// # Safety
    /// [`Dot::begin`] was called on this thread for the block's step; its pointers are as its fields say.
    pub(crate) unsafe fn multiply(self, block: &Block) {
        // SAFETY: by the caller's contract.
        unsafe {
            match self {
                #[cfg(all(target_arch = "x86_64", target_os = "linux", target_env = "gnu"))]
                Self::AmxBf16 => amx::bf16(block),
                #[cfg(all(target_arch = "x86_64", target_os = "linux", target_env = "gnu"))]
                Self::AmxInt8 => amx::int8(block),
                #[cfg(target_arch = "x86_64")]
                Self::Avx512Bf16 => vectors::avx512_bf16(block),
                #[cfg(target_arch = "x86_64")]
                Self::Avx512Vnni => vectors::avx512_vnni(block),
                #[cfg(target_arch = "x86_64")]
                Self::AvxVnni => vectors::avx_vnni(block),
                Self::EmulatedAmxBf16 => emulated::amx_bf16(block),
                Self::EmulatedAvx512Bf16 => emulated::avx512_bf16(block),
                Self::EmulatedInt8 => emulated::int8(block),
                #[allow(unreachable_patterns, reason = "where there is AMX")]
                _ => unreachable!("an instruction that is not available"),
            }
        }
    }
}
