//! A group of threads.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::process_group::{GroupError, ProcessGroup};

/// How long a member waits for the others, unless told otherwise: PyTorch's time for CPUs.
const TIMEOUT: Duration = Duration::from_secs(1800);

/// One member of a group of threads in one process, which hand each other copies of their values. Sums are taken in the order
/// of ranks.
///
/// Each member goes to a thread of its own, which is none of rayon's: those must not wait for each other. A member that is
/// dropped is gone, and those that wait for it are told so.
///
/// ```
/// use candle_vision::train::distributed::{LocalGroup, ProcessGroup};
///
/// let sums: Vec<f64> = std::thread::scope(|scope| {
///     let members = LocalGroup::new(3).into_iter();
///     let threads: Vec<_> = members
///         .map(|member| {
///             scope.spawn(move || {
///                 let mut values = [member.rank() as f64];
///                 member.all_reduce_f64(&mut values).map(|()| values[0])
///             })
///         })
///         .collect();
///     threads.into_iter().map(|thread| thread.join().expect("no panic")).collect::<Result<_, _>>()
/// })?;
/// assert_eq!(sums, [3., 3., 3.]);
/// # Ok::<(), candle_vision::train::distributed::GroupError>(())
/// ```
#[derive(Debug)]
pub struct LocalGroup {
    rank: usize,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    world_size: usize,
    timeout: Duration,
}

/// The operation that is going on.
#[derive(Debug)]
struct State {
    /// What each member gave.
    given: Vec<Option<Values>>,
    /// What came of it, once all have given, until all have taken it.
    result: Option<Arc<Values>>,
    taken: Vec<bool>,
    /// Why there is no further operation.
    failed: Option<GroupError>,
}

#[derive(Debug)]
enum Values {
    F32(Vec<f32>),
    F64(Vec<f64>),
    Bytes { root: usize, bytes: Vec<u8> },
}

impl Values {
    fn describe(&self) -> String {
        match self {
            Self::F32(values) => format!("{} numbers of f32 to add", values.len()),
            Self::F64(values) => format!("{} numbers of f64 to add", values.len()),
            Self::Bytes { root, bytes } => format!("{} bytes to be of rank {root}", bytes.len()),
        }
    }

    /// Of all ranks' values, in their order, what all get.
    fn combine(all: Vec<Self>) -> Result<Self, GroupError> {
        let descriptions: Vec<String> = all.iter().map(Self::describe).collect();
        if let Some(rank) = descriptions.iter().position(|description| *description != descriptions[0]) {
            let [found, expected] = [rank, 0].map(|rank| descriptions[rank].clone());
            return Err(GroupError::Differs { rank, found, expected });
        }
        let add = |mut sums: Self, next: Self| {
            match (&mut sums, next) {
                (Self::F32(sums), Self::F32(next)) => sums.iter_mut().zip(next).for_each(|(sum, next)| *sum += next),
                (Self::F64(sums), Self::F64(next)) => sums.iter_mut().zip(next).for_each(|(sum, next)| *sum += next),
                _ => {}
            }
            sums
        };
        let mut all = all.into_iter();
        match all.next() {
            Some(Self::Bytes { root: 0, bytes }) => Ok(Self::Bytes { root: 0, bytes }),
            Some(Self::Bytes { root, .. }) => all
                .nth(root - 1)
                .ok_or_else(|| GroupError::Transport(format!("there is no rank {root} to take bytes of"))),
            Some(first) => Ok(all.fold(first, add)),
            None => Err(GroupError::Transport("a group without members".to_owned())),
        }
    }
}

impl LocalGroup {
    /// A group of so many members, by rank, who wait half an hour for each other.
    #[must_use]
    pub fn new(world_size: usize) -> Vec<Self> {
        Self::with_timeout(world_size, TIMEOUT)
    }

    /// A group whose members wait so long for each other.
    #[must_use]
    pub fn with_timeout(world_size: usize, timeout: Duration) -> Vec<Self> {
        let given = (0..world_size).map(|_| None).collect();
        let state = State { given, result: None, taken: vec![false; world_size], failed: None };
        let shared = Arc::new(Shared { state: Mutex::new(state), changed: Condvar::new(), world_size, timeout });
        (0..world_size).map(|rank| Self { rank, shared: shared.clone() }).collect()
    }

    /// Gives values, and takes what came of those of all.
    fn exchange(&self, values: Values) -> Result<Arc<Values>, GroupError> {
        let shared = &*self.shared;
        // Those before may not have taken theirs yet.
        let mut state = shared.wait(shared.lock(), |state| state.result.is_none(), |state| &state.taken)?;
        if let Some(error) = &state.failed {
            return Err(error.clone());
        }
        state.given[self.rank] = Some(values);
        if state.given.iter().all(Option::is_some) {
            let all = state.given.iter_mut().filter_map(Option::take).collect();
            match Values::combine(all) {
                Ok(values) => state.result = Some(Arc::new(values)),
                Err(error) => state.failed = Some(error),
            }
            state.taken.fill(false);
            shared.changed.notify_all();
        }
        let mut state = shared.wait(state, |state| state.result.is_some(), |state| &state.given)?;
        let Some(result) = state.result.clone() else {
            return Err(GroupError::Transport("an operation without a result".to_owned()));
        };
        state.taken[self.rank] = true;
        if state.taken.iter().all(|taken| *taken) {
            state.result = None;
            shared.changed.notify_all();
        }
        Ok(result)
    }

    fn fail(&self, reason: Option<&str>) {
        let mut state = self.shared.lock();
        let reason = reason.map(str::to_owned);
        state.failed.get_or_insert(GroupError::Gone { rank: self.rank, world_size: self.shared.world_size, reason });
        self.shared.changed.notify_all();
    }
}

/// Whether a member has done its part.
trait Done {
    fn is_done(&self) -> bool;
}

impl Done for bool {
    fn is_done(&self) -> bool {
        *self
    }
}

impl Done for Option<Values> {
    fn is_done(&self) -> bool {
        self.is_some()
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until a state is reached; `parts` are what it waits for, by rank.
    fn wait<'a, P: Done>(
        &self,
        state: MutexGuard<'a, State>,
        is_reached: impl Fn(&State) -> bool,
        parts: impl Fn(&State) -> &Vec<P>,
    ) -> Result<MutexGuard<'a, State>, GroupError> {
        let waits = |state: &mut State| !is_reached(state) && state.failed.is_none();
        let waited = self.changed.wait_timeout_while(state, self.timeout, waits);
        let (mut state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        // What was reached counts, also where a member has gone since.
        if is_reached(&state) {
            return Ok(state);
        }
        let rank = parts(&state).iter().position(|part| !part.is_done()).unwrap_or_default();
        let late = GroupError::TimedOut { rank, world_size: self.world_size, seconds: self.timeout.as_secs() };
        let error = state.failed.get_or_insert(late).clone();
        self.changed.notify_all();
        Err(error)
    }
}

impl ProcessGroup for LocalGroup {
    fn rank(&self) -> usize {
        self.rank
    }

    fn world_size(&self) -> usize {
        self.shared.world_size
    }

    fn all_reduce_f32(&self, values: &mut [f32]) -> Result<(), GroupError> {
        if let Values::F32(sums) = &*self.exchange(Values::F32(values.to_vec()))? {
            values.copy_from_slice(sums);
        }
        Ok(())
    }

    fn all_reduce_f64(&self, values: &mut [f64]) -> Result<(), GroupError> {
        if let Values::F64(sums) = &*self.exchange(Values::F64(values.to_vec()))? {
            values.copy_from_slice(sums);
        }
        Ok(())
    }

    fn broadcast(&self, root: usize, bytes: &mut [u8]) -> Result<(), GroupError> {
        if let Values::Bytes { bytes: of_root, .. } = &*self.exchange(Values::Bytes { root, bytes: bytes.to_vec() })? {
            bytes.copy_from_slice(of_root);
        }
        Ok(())
    }

    fn abort(&self, reason: &str) {
        self.fail(Some(reason));
    }
}

impl Drop for LocalGroup {
    fn drop(&mut self) {
        self.fail(None);
    }
}
