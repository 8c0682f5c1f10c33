//! Tiles of AMX: registers of 16 rows of 64 bytes.

use std::arch::asm;
use std::arch::x86_64::__cpuid_count;
use std::sync::LazyLock;

use super::Block;

/// Whether the processor has tiles with products of both types, and the system lets this process use them.
pub(super) fn is_available() -> bool {
    static FOUND: LazyLock<bool> = LazyLock::new(|| has_tiles() && is_permitted());
    *FOUND
}

fn has_tiles() -> bool {
    let (tile, bf16, int8) = (1 << 24, 1 << 22, 1 << 25);
    let highest = __cpuid_count(0, 0).eax;
    highest >= 7 && __cpuid_count(7, 0).edx & (tile | bf16 | int8) == tile | bf16 | int8
}

/// Asks Linux for the tiles' state, which it keeps for all threads of the process from then on. A system that does not save it
/// refuses.
fn is_permitted() -> bool {
    const ARCH_REQ_XCOMP_PERM: libc::c_long = 0x1023;
    const XTILEDATA: libc::c_long = 18;
    // SAFETY: the call changes nothing but the process's permission.
    unsafe { libc::syscall(libc::SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XTILEDATA) == 0 }
}

/// Rows and bytes per row of eight tiles.
#[repr(C, align(64))]
struct Configuration {
    palette: u8,
    start_row: u8,
    reserved: [u8; 14],
    row_bytes: [u16; 16],
    rows: [u8; 16],
}

/// Sums are whole tiles, rows and columns of `step` elements.
///
/// # Safety
/// [`is_available`]; the step is from 1 to 16.
pub(super) unsafe fn configure(step: usize) {
    let (row, rows) = (4 * step as u16, step as u8);
    let configuration = Configuration {
        palette: 1,
        start_row: 0,
        reserved: [0; 14],
        row_bytes: [64, 64, 64, 64, row, row, 64, 64, 0, 0, 0, 0, 0, 0, 0, 0],
        rows: [16, 16, 16, 16, 16, 16, rows, rows, 0, 0, 0, 0, 0, 0, 0, 0],
    };
    // SAFETY: the configuration is 64 bytes of a valid form.
    unsafe { asm!("ldtilecfg [{}]", in(reg) &raw const configuration, options(nostack, readonly, preserves_flags)) };
}

/// # Safety
/// [`is_available`].
pub(super) unsafe fn release() {
    // SAFETY: tiles hold nothing between blocks.
    unsafe { asm!("tilerelease", options(nostack, nomem, preserves_flags)) };
}

/// A block's sums in tiles 0 to 3, its rows in 4 and 5, its columns in 6 and 7.
macro_rules! block {
    ($block:expr, [$($zero:literal),+], [$($step:expr),+], [$($store:literal),+]) => {{
        let Block { a, a_stride, segments, pitch, depth, step, b, columns, sums, .. } = *$block;
        let (row, column) = (a_stride * 4, columns * 4);
        asm!(
            $(concat!("tilezero tmm", $zero),)+
            "3:",
            "mov {left}, {steps}",
            "2:",
            $($step,)+
            "add {a}, {along}",
            "add {below}, {along}",
            "add {b}, {next}",
            "dec {left}",
            "jnz 2b",
            "add {a}, {skip}",
            "add {below}, {skip}",
            "dec {segments}",
            "jnz 3b",
            // Where the sums of the lower tiles go.
            "mov {below}, {column}",
            "shl {below}, 4",
            "add {below}, {sums}",
            $($store,)+
            a = inout(reg) a => _,
            below = inout(reg) a.wrapping_add(16 * a_stride) => _,
            row = in(reg) row,
            along = in(reg) 4 * step,
            skip = in(reg) (4 * pitch).wrapping_sub(4 * depth),
            b = inout(reg) b => _,
            column = in(reg) column,
            next = in(reg) step * column,
            steps = in(reg) depth / step,
            left = out(reg) _,
            segments = inout(reg) segments => _,
            sums = in(reg) sums,
            out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
            out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
            options(nostack),
        )
    }};
}

macro_rules! product {
    ($name:ident, $dot:literal) => {
        /// # Safety
        /// [`configure`] was called on this thread for the block's step; its pointers are as its fields say.
        pub(super) unsafe fn $name(block: &Block) {
            // SAFETY: tiles are read from the rows and the columns, and written to the sums.
            unsafe {
                match (block.rows, block.columns) {
                    (32, 32) => block!(
                        block,
                        [0, 1, 2, 3],
                        [
                            "tileloadd tmm4, [{a} + {row}*1]",
                            "tileloadd tmm6, [{b} + {column}*1]",
                            concat!($dot, " tmm0, tmm4, tmm6"),
                            "tileloadd tmm5, [{below} + {row}*1]",
                            concat!($dot, " tmm2, tmm5, tmm6"),
                            "tileloadd tmm7, [{b} + {column}*1 + 64]",
                            concat!($dot, " tmm1, tmm4, tmm7"),
                            concat!($dot, " tmm3, tmm5, tmm7")
                        ],
                        [
                            "tilestored [{sums} + {column}*1], tmm0",
                            "tilestored [{sums} + {column}*1 + 64], tmm1",
                            "tilestored [{below} + {column}*1], tmm2",
                            "tilestored [{below} + {column}*1 + 64], tmm3"
                        ]
                    ),
                    (16, 32) => block!(
                        block,
                        [0, 1],
                        [
                            "tileloadd tmm4, [{a} + {row}*1]",
                            "tileloadd tmm6, [{b} + {column}*1]",
                            concat!($dot, " tmm0, tmm4, tmm6"),
                            "tileloadd tmm7, [{b} + {column}*1 + 64]",
                            concat!($dot, " tmm1, tmm4, tmm7")
                        ],
                        ["tilestored [{sums} + {column}*1], tmm0", "tilestored [{sums} + {column}*1 + 64], tmm1"]
                    ),
                    (32, 16) => block!(
                        block,
                        [0, 2],
                        [
                            "tileloadd tmm6, [{b} + {column}*1]",
                            "tileloadd tmm4, [{a} + {row}*1]",
                            concat!($dot, " tmm0, tmm4, tmm6"),
                            "tileloadd tmm5, [{below} + {row}*1]",
                            concat!($dot, " tmm2, tmm5, tmm6")
                        ],
                        ["tilestored [{sums} + {column}*1], tmm0", "tilestored [{below} + {column}*1], tmm2"]
                    ),
                    (16, 16) => block!(
                        block,
                        [0],
                        [
                            "tileloadd tmm4, [{a} + {row}*1]",
                            "tileloadd tmm6, [{b} + {column}*1]",
                            concat!($dot, " tmm0, tmm4, tmm6")
                        ],
                        ["tilestored [{sums} + {column}*1], tmm0"]
                    ),
                    sides => unreachable!("a block of {sides:?}"),
                }
            }
        }
    };
}

product!(bf16, "tdpbf16ps");
product!(int8, "tdpbusd");
