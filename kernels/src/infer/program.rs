//! Steps bound to one arena, checked once so that running them is safe.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use candle_core::{Result, bail};

use super::{Aligned, Call, Kernel, View};
use crate::thread_pool::{ThreadPool, Workers};

/// A list of kernels to run in order.
pub(crate) struct Program {
    steps: Vec<Box<dyn Kernel>>,
    arena: usize,
    /// Elements of scratch memory per thread.
    scratch: usize,
    image: usize,
    /// Elements of each output.
    outputs: Vec<usize>,
}

impl Program {
    /// Checks that every step stays inside an arena of `arena` elements and never reads what it writes.
    ///
    /// The steps that read the image or write outputs are built for `image` and `outputs` elements.
    pub(crate) fn new(steps: Vec<Box<dyn Kernel>>, arena: usize, image: usize, outputs: Vec<usize>) -> Result<Self> {
        for step in &steps {
            let (read, written) = step.views();
            for view in read.iter().chain(&written) {
                if view.end() > arena || view.stride < view.channels {
                    bail!("{}: the view {view:?} leaves its arena of {arena} elements", step.describe())
                }
            }
            for (index, to) in written.iter().enumerate() {
                let others = read.iter().chain(&written[..index]);
                if let Some(from) = others.into_iter().find(|from| overlap(from, to)) {
                    bail!("{}: {to:?} is written over {from:?}", step.describe())
                }
            }
        }
        let scratch = steps.iter().map(|step| step.scratch()).max().unwrap_or(0).next_multiple_of(super::aligned::LINE);
        Ok(Self { steps, arena, scratch, image, outputs })
    }

    pub(crate) fn steps(&self) -> &[Box<dyn Kernel>] {
        &self.steps
    }

    /// Elements of memory that a run needs.
    pub(crate) fn memory(&self, pool: &ThreadPool) -> usize {
        self.arena.next_multiple_of(super::aligned::LINE) + self.scratch * pool.threads()
    }

    /// Runs the steps on an image; `times`, if given, gets the duration of each.
    pub(crate) fn run(
        &self,
        pool: &ThreadPool,
        memory: &mut Aligned,
        image: &[f32],
        outputs: &mut [&mut [f32]],
        mut times: Option<&mut Vec<Duration>>,
    ) {
        assert!(memory.len() >= self.memory(pool), "memory for the program");
        assert_eq!(image.len(), self.image, "elements of the image");
        assert!(outputs.iter().map(|output| output.len()).eq(self.outputs.iter().copied()), "elements of the outputs");
        let workers = pool.workers();
        let pointers: Vec<Shared<f32>> = outputs.iter_mut().map(|output| Shared(output.as_mut_ptr())).collect();
        let (arena, image, outputs) = (Shared(memory.as_mut_ptr()), image.as_ptr() as usize, pointers.as_slice());
        for step in &self.steps {
            let start = times.is_some().then(Instant::now);
            self.step(step.as_ref(), &workers, arena, image, outputs);
            if let (Some(times), Some(start)) = (times.as_mut(), start) {
                times.push(start.elapsed());
            }
        }
    }

    fn step(&self, step: &dyn Kernel, workers: &Workers, arena: Shared<f32>, image: usize, outputs: &[Shared<f32>]) {
        let first_scratch = self.arena.next_multiple_of(super::aligned::LINE);
        workers.each(step.chunks(), &|chunk, slot| {
            let arena = arena.get();
            let call = Call {
                arena,
                image: image as *const f32,
                outputs: outputs.as_ptr().cast(),
                scratch: arena.wrapping_add(first_scratch + slot * self.scratch),
                chunk,
            };
            // SAFETY: views end in the arena and no step reads what it writes (`new`); scratch memory, image and outputs
            // have their sizes (`run`); `each` runs a chunk once, on a slot of its own, and chunks write disjoint elements.
            unsafe { step.run(call) }
        });
    }
}

/// A pointer that many threads use for disjoint elements.
#[derive(Clone, Copy)]
#[repr(transparent)]
struct Shared<T>(*mut T);

// SAFETY: see `Program::step`: the elements that threads touch are disjoint.
unsafe impl<T> Sync for Shared<T> {}

impl<T> Shared<T> {
    fn get(self) -> *mut T {
        self.0
    }
}

/// Whether two maps share an element; of different strides, whether their ranges do.
pub(crate) fn overlap(a: &View, b: &View) -> bool {
    if a.end() <= b.offset || b.end() <= a.offset || a.positions() * b.positions() == 0 {
        return false;
    }
    if a.stride != b.stride {
        return true;
    }
    // Of equal stride: disjoint if their channels are, within the wider map that both are columns of.
    let distance = a.offset.abs_diff(b.offset) % a.stride;
    let (first, second) = if a.offset <= b.offset { (a, b) } else { (b, a) };
    !(first.channels <= distance && distance + second.channels <= a.stride)
}

/// Memory that runs borrow and give back, so that it stays mapped.
#[derive(Default)]
pub(crate) struct MemoryPool(Mutex<Vec<Aligned>>);

impl MemoryPool {
    /// Runs `f` with memory of at least `len` elements.
    pub(crate) fn with<R>(&self, len: usize, f: impl FnOnce(&mut Aligned) -> R) -> R {
        let taken = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner).pop();
        let mut memory = taken.filter(|memory| memory.len() >= len).unwrap_or_else(|| Aligned::zeroed(len));
        let result = f(&mut memory);
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push(memory);
        result
    }
}
