//! Threads that start on a step within a fraction of a microsecond.
//!
//! While a [`Workers`] works, the pool's helpers wait for its next step without sleeping; between two of them they sleep. Helpers
//! never are waited for before they have taken work, so a step ends even where no helper comes. Each thread begins with the
//! same share of every step, so that what it wrote in one step is in its own cache in the next.

use std::any::Any;
use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

/// How long helpers keep looking for work before they sleep.
const PATIENCE: Duration = Duration::from_micros(200);
/// Turns of waiting for helpers that have not come yet: some microseconds.
const GRACE: u32 = 400;

/// What each chunk of a step is given to: the chunk, and a number below [`ThreadPool::threads`] that no other running chunk has.
type Work<'a> = dyn Fn(usize, usize) + Sync + 'a;

thread_local! {
    /// The pool of the [`Threads`] that this thread is one of.
    static OWN: RefCell<Option<Arc<ThreadPool>>> = const { RefCell::new(None) };
}

/// Threads that compute what is run on them, and nothing else: as many as a caller may use, whatever the rest of its process does.
/// Two of them work side by side. No result depends on their number. They end when this is dropped.
///
/// ```
/// use ghostzoo_kernels::Threads;
///
/// let one = Threads::new(1)?;
/// assert_eq!((one.count(), one.run(|| 1 + 1)), (1, 2));
/// # Ok::<(), rayon::ThreadPoolBuildError>(())
/// ```
#[derive(Debug)]
pub struct Threads {
    pool: rayon::ThreadPool,
}

impl Threads {
    /// So many threads; 0 for one per core, or as many as `RAYON_NUM_THREADS` says.
    ///
    /// # Errors
    /// Where the system gives no more threads.
    pub fn new(count: usize) -> Result<Self, rayon::ThreadPoolBuildError> {
        let name = |index| format!("ghostzoo {index}");
        let pool = rayon::ThreadPoolBuilder::new().num_threads(count).thread_name(name).build()?;
        let kernels = Arc::new(ThreadPool::new(pool.current_num_threads()));
        pool.broadcast(|_| OWN.set(Some(kernels.clone())));
        Ok(Self { pool })
    }

    /// How many they are.
    pub fn count(&self) -> usize {
        self.pool.current_num_threads()
    }

    /// Runs `work` on these threads, while the calling one waits.
    pub fn run<R: Send>(&self, work: impl FnOnce() -> R + Send) -> R {
        self.pool.install(work)
    }
}

/// One thread per core, or as many as rayon was told to use.
pub(crate) struct ThreadPool {
    shared: Arc<Shared>,
    helpers: Vec<Thread>,
    /// Held by the workers at work.
    leader: Mutex<()>,
}

/// The step in work.
struct Shared {
    /// What the leader publishes: one cache line, so that a helper learns of a step by one transfer between cores.
    step: Line<Step>,
    /// By slot, what each thread says and counts.
    slots: Vec<Line<Slot>>,
    /// Whether workers are at work, so that helpers do not sleep.
    busy: AtomicBool,
    /// Whether the pool is gone, and its helpers end.
    over: AtomicBool,
    /// What a helper panicked with.
    panic: Mutex<Option<Box<dyn Any + Send>>>,
}

#[derive(Default)]
struct Step {
    /// Odd while the step may be entered; each step has its own number.
    gate: AtomicUsize,
    chunks: AtomicUsize,
    /// Address of the leader's `&Work`.
    work: AtomicUsize,
}

#[derive(Default)]
struct Slot {
    /// The gate of the step that this helper is inside of, else 0.
    inside: AtomicUsize,
    /// The gate of the last step that this helper has been through.
    done: AtomicUsize,
    /// Next chunk of the slot's share, in steps whose chunks may change hands.
    next: AtomicUsize,
}

/// Alone on its cache lines.
#[derive(Default)]
#[repr(align(128))]
struct Line<T>(T);

impl ThreadPool {
    /// The pool of the [`Threads`] that the calling thread is one of, else the process's.
    pub(crate) fn current() -> Arc<Self> {
        static POOL: OnceLock<Arc<ThreadPool>> = OnceLock::new();
        let process = || POOL.get_or_init(|| Arc::new(Self::new(rayon::current_num_threads()))).clone();
        OWN.with_borrow(|own| own.clone()).unwrap_or_else(process)
    }

    /// A pool of the calling thread: for callers that already fill the machine.
    pub(crate) fn alone() -> &'static Self {
        static ALONE: OnceLock<ThreadPool> = OnceLock::new();
        ALONE.get_or_init(|| Self::new(1))
    }

    /// A pool of `threads`, the calling one among them.
    pub(crate) fn new(threads: usize) -> Self {
        let shared = Arc::new(Shared {
            step: Line::default(),
            slots: (0..threads.max(1)).map(|_| Line::default()).collect(),
            busy: AtomicBool::new(false),
            over: AtomicBool::new(false),
            panic: Mutex::new(None),
        });
        let helper = |slot: usize| {
            let shared = shared.clone();
            let spawned = thread::Builder::new().name(format!("kernel {slot}")).spawn(move || shared.help(slot));
            spawned.ok().map(|handle| handle.thread().clone())
        };
        let helpers = (1..threads).filter_map(helper).collect();
        Self { shared, helpers, leader: Mutex::new(()) }
    }

    /// Threads at work, at most.
    pub(crate) fn threads(&self) -> usize {
        self.helpers.len() + 1
    }

    /// Wakes the helpers for the steps to come. Where another thread leads them already, the caller works alone.
    pub(crate) fn workers(&self) -> Workers<'_> {
        let guard = match self.leader.try_lock() {
            Ok(guard) => Some(guard),
            Err(std::sync::TryLockError::Poisoned(guard)) => Some(guard.into_inner()),
            Err(std::sync::TryLockError::WouldBlock) => None,
        };
        let leads = guard.filter(|_| !self.helpers.is_empty());
        if leads.is_some() {
            self.shared.busy.store(true, Ordering::Release);
            self.helpers.iter().for_each(Thread::unpark);
        }
        Workers { shared: &self.shared, leads }
    }
}

impl Drop for ThreadPool {
    fn drop(&mut self) {
        self.shared.over.store(true, Ordering::Release);
        self.helpers.iter().for_each(Thread::unpark);
    }
}

/// A caller with the helpers at hand, or alone.
pub(crate) struct Workers<'a> {
    shared: &'a Shared,
    leads: Option<MutexGuard<'a, ()>>,
}

impl Workers<'_> {
    /// Runs `work` on every chunk and returns when all are done.
    pub(crate) fn each(&self, chunks: usize, work: &Work<'_>) {
        if chunks <= 1 || self.leads.is_none() {
            (0..chunks).for_each(|chunk| work(chunk, 0));
            return;
        }
        let shared = self.shared;
        let gate = shared.open(chunks, &work);
        let mine = catch_unwind(AssertUnwindSafe(|| shared.take(chunks, work, 0)));
        let left_over = shared.close(gate);
        // Shares of helpers that did not come in time.
        let theirs = catch_unwind(AssertUnwindSafe(|| {
            if chunks <= shared.slots.len() {
                left_over.iter().for_each(|slot| shared.share(chunks, *slot).for_each(|chunk| work(chunk, 0)));
            }
        }));
        let helpers = lock(&shared.panic).take();
        if let Some(panic) = mine.err().or(theirs.err()).or(helpers) {
            resume_unwind(panic);
        }
    }
}

impl Drop for Workers<'_> {
    fn drop(&mut self) {
        if self.leads.is_some() {
            self.shared.busy.store(false, Ordering::Release);
        }
    }
}

impl Shared {
    /// Lets helpers into a step; its gate.
    fn open(&self, chunks: usize, work: &&Work<'_>) -> usize {
        let Line(step) = &self.step;
        if chunks > self.slots.len() {
            for (slot, state) in self.slots.iter().enumerate() {
                state.0.next.store(self.share(chunks, slot).start, Ordering::Relaxed);
            }
        }
        step.chunks.store(chunks, Ordering::Relaxed);
        step.work.store(std::ptr::from_ref(work) as usize, Ordering::Relaxed);
        step.gate.fetch_add(1, Ordering::SeqCst) + 1
    }

    /// Lets no more helpers in and waits for those inside; the slots of those that never were.
    fn close(&self, gate: usize) -> Vec<usize> {
        let helpers = || self.slots.iter().enumerate().skip(1);
        let missing =
            |slot: &Slot| slot.inside.load(Ordering::SeqCst) != gate && slot.done.load(Ordering::SeqCst) != gate;
        // A helper that is awake comes within a microsecond, and then its share is in its own cache.
        let mut waited = 0;
        while waited < GRACE && helpers().any(|(_, slot)| missing(&slot.0)) {
            std::hint::spin_loop();
            waited += 1;
        }
        self.step.0.gate.store(gate + 1, Ordering::SeqCst);
        let mut left_over = Vec::new();
        for (index, Line(slot)) in helpers() {
            let mut waited = 0u32;
            while slot.inside.load(Ordering::SeqCst) == gate {
                pause(&mut waited);
            }
            if slot.done.load(Ordering::SeqCst) != gate {
                left_over.push(index);
            }
        }
        left_over
    }

    /// Works on the slot's share, and where chunks may change hands on what others have left.
    fn take(&self, chunks: usize, work: &Work<'_>, slot: usize) {
        let slots = self.slots.len();
        if chunks <= slots {
            self.share(chunks, slot).for_each(|chunk| work(chunk, slot));
            return;
        }
        for owner in (slot..slots).chain(0..slot) {
            let end = self.share(chunks, owner).end;
            loop {
                let chunk = self.slots[owner].0.next.fetch_add(1, Ordering::Relaxed);
                if chunk >= end {
                    break;
                }
                work(chunk, slot);
            }
        }
    }

    /// The chunks that a slot begins with.
    fn share(&self, chunks: usize, slot: usize) -> std::ops::Range<usize> {
        let slots = self.slots.len();
        chunks * slot / slots..chunks * (slot + 1) / slots
    }

    /// A helper's life.
    fn help(&self, slot: usize) {
        let (Line(step), Line(own)) = (&self.step, &self.slots[slot]);
        let (mut last, mut waited, mut idle) = (0, 0u32, None::<Instant>);
        loop {
            let gate = step.gate.load(Ordering::Acquire);
            if gate % 2 == 1 && gate != last {
                let (chunks, work) = (step.chunks.load(Ordering::Relaxed), step.work.load(Ordering::Relaxed));
                own.inside.store(gate, Ordering::SeqCst);
                // Either this sees that the step is over, or its leader sees that someone is inside, and waits.
                if step.gate.load(Ordering::SeqCst) == gate {
                    self.enter(chunks, work, slot);
                    own.done.store(gate, Ordering::SeqCst);
                }
                own.inside.store(0, Ordering::SeqCst);
                (last, waited, idle) = (gate, 0, None);
            } else if self.busy.load(Ordering::Acquire) {
                idle = None;
                pause(&mut waited);
            } else if self.over.load(Ordering::Acquire) {
                return;
            } else if idle.get_or_insert_with(Instant::now).elapsed() < PATIENCE {
                std::hint::spin_loop();
            } else {
                thread::park();
                idle = None;
            }
        }
    }

    fn enter(&self, chunks: usize, work: usize, slot: usize) {
        // SAFETY: this helper is inside the step, so its leader waits in `close`: the reference was published with the step's
        // gate and lives.
        let work = unsafe { *(work as *const &Work<'_>) };
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| self.take(chunks, work, slot))) {
            *lock(&self.panic) = Some(panic);
        }
    }
}

/// Waits a moment: without leaving the core at first, then giving it away where the machine has other work.
fn pause(waited: &mut u32) {
    *waited += 1;
    if waited.is_multiple_of(4096) { thread::yield_now() } else { std::hint::spin_loop() }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_chunk_runs_once_and_slots_never_meet() {
        let pool = ThreadPool::new(4);
        let workers = pool.workers();
        let slots: Vec<AtomicBool> = (0..4).map(|_| AtomicBool::new(false)).collect();
        for chunks in (0..200).chain([5000]) {
            let runs: Vec<AtomicUsize> = (0..chunks).map(|_| AtomicUsize::new(0)).collect();
            workers.each(chunks, &|chunk, slot| {
                assert!(!slots[slot].swap(true, Ordering::SeqCst), "slot {slot} is in use");
                runs[chunk].fetch_add(1, Ordering::SeqCst);
                slots[slot].store(false, Ordering::SeqCst);
            });
            assert!(runs.iter().all(|runs| runs.load(Ordering::SeqCst) == 1), "{chunks} chunks");
        }
    }

    #[test]
    fn a_second_leader_works_alone_and_a_panic_comes_back() {
        let pool = ThreadPool::new(2);
        let first = pool.workers();
        let (second, done) = (pool.workers(), AtomicUsize::new(0));
        second.each(10, &|_, slot| {
            assert_eq!(slot, 0);
            done.fetch_add(1, Ordering::SeqCst);
        });
        assert_eq!(done.load(Ordering::SeqCst), 10);
        for _ in 0..20 {
            let panicked = catch_unwind(AssertUnwindSafe(|| {
                first.each(64, &|chunk, _| assert!(chunk != 40, "chunk 40"));
            }));
            assert!(panicked.is_err(), "the panic is passed on");
            first.each(64, &|_, _| {
                done.fetch_add(1, Ordering::SeqCst);
            });
        }
        assert_eq!(done.load(Ordering::SeqCst), 10 + 20 * 64);
    }

    #[test]
    fn threads_lead_their_own_pool_and_other_callers_the_processes() {
        let (one, three) = (Threads::new(1).unwrap(), Threads::new(3).unwrap());
        let counts =
            |threads: &Threads| threads.run(|| (ThreadPool::current().threads(), rayon::current_num_threads()));
        assert_eq!((counts(&one), counts(&three)), ((1, 1), (3, 3)));
        let leader = three.run(ThreadPool::current);
        assert!(Arc::ptr_eq(&leader, &three.run(ThreadPool::current)), "every thread has the same");
        assert!(!Arc::ptr_eq(&leader, &ThreadPool::current()));
        // Each thread of `three` ends and lets go of the pool, whose helpers end then.
        let shared = Arc::downgrade(&leader.shared);
        drop((leader, three));
        let start = Instant::now();
        while shared.upgrade().is_some() {
            assert!(start.elapsed() < Duration::from_secs(60), "a thread goes on");
            thread::sleep(Duration::from_millis(1));
        }
    }
}
