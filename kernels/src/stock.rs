//! Candle's own operations on the CPU, to measure against.

use std::cell::Cell;

thread_local! {
    static STOCK: Cell<bool> = const { Cell::new(false) };
}

/// Runs `f` with every operation it calls on this thread composed of candle's own, as on a GPU.
pub fn with_candle_ops<R>(f: impl FnOnce() -> R) -> R {
    let outer = STOCK.replace(true);
    let result = f();
    STOCK.set(outer);
    result
}

/// Whether this thread computes by candle's operations alone ([`with_candle_ops`]).
#[must_use]
pub fn is_stock() -> bool {
    STOCK.get()
}
