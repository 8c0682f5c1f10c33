//! The memory that reading one file may take, paid for before it is taken.

/// Bytes beside twice a file's length that its values and tensors may take.
///
/// A checkpoint's tensors take its length, and its names and values some hundred bytes each.
const SPARE: usize = 44 << 20;

/// What is left of the memory that a file may take, in bytes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Budget {
    left: usize,
}

/// More memory is asked for than there is of it.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
#[error(
    "it describes more than twice its length and 64 MB of memory would hold; \
     load it in Python and save its state_dict() alone, without copies or views"
)]
pub(crate) struct Exceeded;

impl Budget {
    /// For a file of `length` bytes, `held` of which are in memory.
    pub(crate) fn of(length: usize, held: usize) -> Self {
        Self { left: length.saturating_mul(2).saturating_add(SPARE).saturating_sub(held) }
    }

    /// Pays for bytes that stay.
    pub(crate) fn charge(&mut self, bytes: usize) -> Result<(), Exceeded> {
        self.left = self.left.checked_sub(bytes).ok_or(Exceeded)?;
        Ok(())
    }

    /// Whether there is room for bytes that do not stay, or that are paid for when they are there.
    pub(crate) fn afford(&self, bytes: usize) -> Result<(), Exceeded> {
        if bytes <= self.left { Ok(()) } else { Err(Exceeded) }
    }

    /// Pays for room for `more` items, and makes it.
    pub(crate) fn reserve<T>(&mut self, items: &mut Vec<T>, more: usize) -> Result<(), Exceeded> {
        let needed = items.len().checked_add(more).ok_or(Exceeded)?;
        if needed <= items.capacity() {
            return Ok(());
        }
        let capacity = needed.max(items.capacity() + items.capacity() / 2).max(4);
        // The old and the new room are both there while the items move.
        self.afford(capacity.saturating_mul(size_of::<T>()))?;
        self.charge((capacity - items.capacity()) * size_of::<T>())?;
        items.reserve_exact(capacity - items.len());
        Ok(())
    }
}

/// More bytes than any JSON text of this length takes as a tree of values: each comma, colon or bracket begins one at most.
pub(crate) fn json_bytes(text: &[u8]) -> usize {
    const VALUE: usize = 200;
    let begins = text.iter().filter(|byte| matches!(byte, b',' | b':' | b'[' | b'{')).count();
    begins.saturating_mul(VALUE).saturating_add(text.len() * 3)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_is_paid_for_once_and_refused_before_it_is_made() {
        let mut budget = Budget::of(0, 0);
        let mut items: Vec<u64> = Vec::new();
        for i in 0..100_000 {
            budget.reserve(&mut items, 1).expect("800 kB");
            items.push(i);
        }
        assert_eq!(budget.left, SPARE - items.capacity() * 8);
        assert!(items.capacity() < 200_000, "{}", items.capacity());
        let before = (budget.left, items.capacity());
        assert_eq!(budget.reserve(&mut items, SPARE), Err(Exceeded));
        assert_eq!(budget.reserve(&mut items, usize::MAX), Err(Exceeded));
        assert_eq!((budget.left, items.capacity()), before);
        assert_eq!(Budget::of(100, 100).left, SPARE + 100, "a file that is held takes its own length");
        assert_eq!(Budget::of(100, 0).left, SPARE + 200, "one that is mapped does not");
    }
}
