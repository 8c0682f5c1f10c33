//! Element-wise steps that no convolution could take along.

use super::epilogue::{load, store};
use super::{Body, Call, Invoke, Kernel, View, chunks, part};
use crate::simd::{Isa, Vector, Width};

/// What becomes of an element of the first and of the second map.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Operation {
    /// The second.
    Copy,
    /// Their sum.
    Add,
    /// Their product.
    Multiply,
}

/// An operation over the output's positions, the second map resampled to them by nearest neighbour: one position is a gate
/// per channel, half the size a map to upsample.
pub(crate) struct Combine {
    operation: Operation,
    /// Of the output's size; the output itself where the operation is [`Operation::Copy`].
    first: View,
    second: View,
    out: View,
    isa: Isa,
    rows: Vec<usize>,
    columns: Vec<usize>,
    chunks: usize,
}

impl Combine {
    /// `rows` and `columns` are the second map's position for each of the output's.
    pub(crate) fn new(
        operation: Operation,
        [first, second, out]: [View; 3],
        [rows, columns]: [Vec<usize>; 2],
        isa: Isa,
        threads: usize,
    ) -> Self {
        let chunks = chunks(threads, 0, out.height);
        Self { operation, first, second, out, isa, rows, columns, chunks }
    }
}

impl Kernel for Combine {
    fn views(&self) -> (Vec<View>, Vec<View>) {
        let first = (self.operation != Operation::Copy).then_some(self.first);
        (first.into_iter().chain([self.second]).collect(), vec![self.out])
    }

    fn chunks(&self) -> usize {
        self.chunks
    }

    fn describe(&self) -> String {
        let name = match self.operation {
            Operation::Copy => "copy",
            Operation::Add => "add",
            Operation::Multiply => "multiply",
        };
        format!("{name} x{}", self.chunks)
    }

    unsafe fn run(&self, call: Call) {
        // SAFETY: plans are built for an available instruction set; the rest is the caller's contract.
        unsafe { self.isa.run(Width::Full, Invoke(self, call)) }
    }
}

impl Body for Combine {
    #[inline(always)]
    unsafe fn body<V: Vector>(&self, call: Call) {
        let arena = call.arena;
        for y in part(self.out.height, self.chunks, call.chunk) {
            for x in 0..self.out.width {
                let first = self.first.at(y, x);
                let second = self.second.at(self.rows[y], self.columns[x]);
                let out = self.out.at(y, x);
                for channel in (0..self.out.channels).step_by(V::LANES) {
                    let n = self.out.channels - channel;
                    // SAFETY: the views end in the arena.
                    unsafe {
                        let second = load::<V>(arena.add(second + channel), n);
                        let value = match self.operation {
                            Operation::Copy => second,
                            Operation::Add => load::<V>(arena.add(first + channel), n).add(second),
                            Operation::Multiply => load::<V>(arena.add(first + channel), n).mul(second),
                        };
                        store(arena.add(out + channel), n, value);
                    }
                }
            }
        }
    }
}
