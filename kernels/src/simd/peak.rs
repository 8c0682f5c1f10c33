//! What the machine's multiply-add units can do: the limit that kernels are measured against.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use super::{Isa, Job, Vector, Width};
use crate::thread_pool::ThreadPool;

/// Independent sums, enough to hide the latency of an addition.
const SUMS: usize = 12;
const ROUNDS: usize = 200_000;

/// Floating-point operations per second of a loop of multiply-adds in registers on `threads` threads, the best of
/// several tries.
pub fn peak_flops(isa: Isa, threads: usize) -> f64 {
    let pool = ThreadPool::new(threads);
    let workers = pool.workers();
    let mut best = 0f64;
    for _ in 0..10 {
        let (lanes, start) = (AtomicU64::new(0), Instant::now());
        workers.each(threads, &|_, _| {
            let isa = if Isa::available().contains(&isa) { isa } else { Isa::Portable };
            // SAFETY: the instruction set is one of this machine's, or the portable one.
            unsafe { isa.run(Width::Full, Loop(&lanes)) }
        });
        let operations = 2 * lanes.load(Ordering::Relaxed) as usize * SUMS * ROUNDS;
        best = best.max(operations as f64 / start.elapsed().as_secs_f64());
    }
    best
}

struct Loop<'a>(&'a AtomicU64);

impl Job for Loop<'_> {
    #[inline(always)]
    unsafe fn run<V: Vector>(self) {
        // SAFETY: the vector's instruction set is there by the caller's contract.
        unsafe {
            let factor = V::splat(std::hint::black_box(0.999_999));
            let mut sums = [V::splat(std::hint::black_box(1.)); SUMS];
            for _ in 0..ROUNDS {
                for sum in &mut sums {
                    *sum = sum.mul_add(factor, factor);
                }
            }
            std::hint::black_box(sums);
        }
        self.0.fetch_add(V::LANES as u64, Ordering::Relaxed);
    }
}
