//! What decides how this thread's operations are computed, all of it in one place.
//!
//! An operation asks, in this order:
//!
//! 1. Is the pass counted ([`crate::flops::count`])? Then a convolution gives zeros of its shape, and reads no weight.
//! 2. Is it candle's own ([`with_candle_ops`])? Then it is composed of candle's operations, on any device.
//! 3. Is a GPU emulated ([`crate::with_emulated`])? Then the GPU's kernels run in the place of the CPU's.
//! 4. Else the kernels of the tensor's device run, where there are some for its type.
//!
//! A plan ([`crate::plan::Session`]) stands in for a pass only where neither 1 nor 2 holds. Apart from these, kernels note
//! their gradients on the tape, where there is one: [`crate::joint_backward`] makes it, unless 2 holds. On the way back along
//! it, gradients of variables go to the sink, where there is one ([`with_gradient_sink`]).
//!
//! Each answer holds on the thread that gave it, for as long as the function runs that it was given for; then the one
//! before it holds again.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use candle_core::{Result, Tensor, TensorId};

use crate::flops::Flops;
#[cfg(feature = "emulate")]
use crate::gpu::emulate::EmulatedGpu;
use crate::tape::Tape;

thread_local! {
    static CONTEXT: Context = const { Context::new() };
}

/// The answers of a thread.
struct Context {
    /// What the counted pass has come to.
    flops: Cell<Option<Flops>>,
    candle_ops: Cell<bool>,
    #[cfg(feature = "emulate")]
    emulated: Cell<Option<EmulatedGpu>>,
    tape: RefCell<Option<Tape>>,
    sink: RefCell<Option<Rc<dyn GradientSink>>>,
}

/// Who wants gradients of variables as soon as a backward pass has them: to send them while it goes on.
pub trait GradientSink {
    /// The gradient of a variable, of which no more comes from this [`crate::joint_backward`]. Where the sink keeps it (true), the
    /// pass does not: it then hands out what else the variable's gradient has, from operations outside of the joint ones, or none.
    fn keep(&self, variable: TensorId, grad: &Tensor) -> Result<bool>;
}

impl Context {
    const fn new() -> Self {
        Self {
            flops: Cell::new(None),
            candle_ops: Cell::new(false),
            #[cfg(feature = "emulate")]
            emulated: Cell::new(None),
            tape: RefCell::new(None),
            sink: RefCell::new(None),
        }
    }
}

/// A field, and what it holds again in the end.
struct Scope<T: Copy> {
    field: fn(&Context) -> &Cell<T>,
    outer: T,
}

impl<T: Copy> Drop for Scope<T> {
    fn drop(&mut self) {
        CONTEXT.with(|context| (self.field)(context).set(self.outer));
    }
}

/// Runs `f` with a field set; its result, and what the field held at the end.
fn scoped<T: Copy, R>(field: fn(&Context) -> &Cell<T>, value: T, f: impl FnOnce() -> R) -> (R, T) {
    let _scope = Scope { field, outer: CONTEXT.with(|context| field(context).replace(value)) };
    let result = f();
    (result, CONTEXT.with(|context| field(context).get()))
}

/// Runs `f` with every operation it calls on this thread composed of candle's own, as on a device without kernels: to
/// measure against.
pub fn with_candle_ops<R>(f: impl FnOnce() -> R) -> R {
    scoped(|context| &context.candle_ops, true, f).0
}

/// Whether this thread computes by candle's operations alone ([`with_candle_ops`]).
#[must_use]
pub fn is_stock() -> bool {
    CONTEXT.with(|context| context.candle_ops.get())
}

/// Runs `f` as a counted pass; its result and count.
pub(crate) fn with_flops<R>(f: impl FnOnce() -> R) -> (R, Flops) {
    let (result, flops) = scoped(|context| &context.flops, Some(Flops::default()), f);
    (result, flops.unwrap_or_default())
}

/// The count of a counted pass so far.
pub(crate) fn flops() -> Option<Flops> {
    CONTEXT.with(|context| context.flops.get())
}

/// Sets the count of a counted pass.
pub(crate) fn set_flops(flops: Flops) {
    CONTEXT.with(|context| context.flops.set(Some(flops)));
}

/// Runs `f` with a GPU's kernels, emulated, in the place of the CPU's.
#[cfg(feature = "emulate")]
pub(crate) fn with_emulated<R>(kind: EmulatedGpu, f: impl FnOnce() -> R) -> R {
    scoped(|context| &context.emulated, Some(kind), f).0
}

/// The GPU that is emulated.
#[cfg(feature = "emulate")]
pub(crate) fn emulated() -> Option<EmulatedGpu> {
    CONTEXT.with(|context| context.emulated.get())
}

/// Whether this thread's launches run in the emulator, and stand in for the CPU's kernels.
pub(crate) fn is_emulating() -> bool {
    #[cfg(feature = "emulate")]
    return emulated().is_some();
    #[cfg(not(feature = "emulate"))]
    return false;
}

/// Puts a tape in its place, or takes it away; gives the one that was there.
pub(crate) fn set_tape(tape: Option<Tape>) -> Option<Tape> {
    CONTEXT.with(|context| context.tape.replace(tape))
}

/// Calls `f` with the tape.
pub(crate) fn with_tape<R>(f: impl FnOnce(Option<&mut Tape>) -> R) -> R {
    CONTEXT.with(|context| f(context.tape.borrow_mut().as_mut()))
}

/// Whether kernels of this thread note their gradients on a tape.
pub(crate) fn is_recording() -> bool {
    CONTEXT.with(|context| context.tape.borrow().is_some())
}

/// What was the sink before.
struct SinkScope(Option<Rc<dyn GradientSink>>);

impl Drop for SinkScope {
    fn drop(&mut self) {
        CONTEXT.with(|context| context.sink.replace(self.0.take()));
    }
}

/// Runs `f`, in which gradients of joint operations ([`crate::joint_backward`]) go to a sink.
pub fn with_gradient_sink<R>(sink: Rc<dyn GradientSink>, f: impl FnOnce() -> R) -> R {
    let _scope = SinkScope(CONTEXT.with(|context| context.sink.replace(Some(sink))));
    f()
}

/// The sink of [`with_gradient_sink`].
pub(crate) fn gradient_sink() -> Option<Rc<dyn GradientSink>> {
    CONTEXT.with(|context| context.sink.borrow().clone())
}
