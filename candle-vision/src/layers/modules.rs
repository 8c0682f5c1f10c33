use std::iter::Sum;
use std::ops::Add;

/// How many modules a PyTorch network has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Modules {
    /// `len(list(module.modules()))`: containers and the root are included.
    pub all: usize,
    /// Those without children: `sum(not m._modules for m in module.modules())`.
    pub leaves: usize,
}

impl Modules {
    /// `count` modules without children.
    #[must_use]
    pub const fn leaves(count: usize) -> Self {
        Self { all: count, leaves: count }
    }

    /// `count` modules with children, which are counted apart.
    #[must_use]
    pub const fn containers(count: usize) -> Self {
        Self { all: count, leaves: 0 }
    }

    /// `self` `count` times.
    #[must_use]
    pub const fn times(self, count: usize) -> Self {
        Self { all: self.all * count, leaves: self.leaves * count }
    }
}

impl Add for Modules {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self { all: self.all + other.all, leaves: self.leaves + other.leaves }
    }
}

impl Sum for Modules {
    fn sum<I: Iterator<Item = Self>>(parts: I) -> Self {
        parts.fold(Self::default(), Add::add)
    }
}
