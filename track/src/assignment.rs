//! Assignment of rows to columns at the least cost, where a pair above a limit is worse than none.
//!
//! The least sum over all rows of the cost of the pair that a row is in, or of the limit where it is in none: what `lap.lapjv`
//! finds with `extend_cost` and `cost_limit`. Each row in turn takes the shortest augmenting path (Jonker and Volgenant 1987;
//! Crouse 2016), which ends at a free column or at a row that is given up for the limit. Boxes overlap few others, so that costs
//! are a list of pairs: a path stays within the rows and columns that pairs connect, and no matrix is built. That is why this
//! is no crate: `lapjv` wants a full square matrix, `pathfinding` one of whole numbers.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

/// What it costs to match a row with a column.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Pair {
    pub(crate) row: usize,
    pub(crate) column: usize,
    pub(crate) cost: f64,
}

/// Who is matched.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Assignment {
    /// Row and column of each match, by row.
    pub(crate) matches: Vec<(usize, usize)>,
    /// Rows without a match, ascending.
    pub(crate) rows: Vec<usize>,
    /// Columns without a match, ascending.
    pub(crate) columns: Vec<usize>,
}

/// Matches `rows` rows with `columns` columns. `pairs` are by row; what is not among them, or not below the limit, is no match.
pub(crate) fn assign(rows: usize, columns: usize, pairs: &[Pair], limit: f64) -> Assignment {
    let pairs: Vec<Pair> = pairs.iter().filter(|pair| pair.cost < limit).copied().collect();
    let mut solver = Solver::new(rows, columns, &pairs, limit);
    (0..rows).for_each(|row| solver.augment(row));
    let column_of = |row: usize| Some((row, solver.column_of[row]?));
    Assignment {
        matches: (0..rows).filter_map(column_of).collect(),
        rows: (0..rows).filter(|row| solver.column_of[*row].is_none()).collect(),
        columns: (0..columns).filter(|column| solver.row_of[*column].is_none()).collect(),
    }
}

struct Solver<'a> {
    pairs: &'a [Pair],
    /// Where the pairs of each row begin, and their end.
    begin: Vec<usize>,
    limit: f64,
    column_of: Vec<Option<usize>>,
    row_of: Vec<Option<usize>>,
    /// Dual values: no pair costs less than its row's and column's together.
    row_price: Vec<f64>,
    column_price: Vec<f64>,
    /// Length of the shortest path to each column, infinite if none is known, and the row that it comes from.
    distance: Vec<f64>,
    reached_from: Vec<usize>,
    /// Whether the shortest path to a column is known; it stays, so that no rounding leads a path back to itself.
    is_settled: Vec<bool>,
    heap: BinaryHeap<Reached>,
}

/// A column at the end of a path.
#[derive(PartialEq)]
struct Reached {
    distance: f64,
    column: usize,
}

impl Eq for Reached {}

impl Ord for Reached {
    /// The nearest is the greatest.
    fn cmp(&self, other: &Self) -> Ordering {
        other.distance.total_cmp(&self.distance).then(other.column.cmp(&self.column))
    }
}

impl PartialOrd for Reached {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// Where the shortest path ends.
#[derive(Clone, Copy)]
enum End {
    /// The row is left without a column.
    Row(usize),
    /// The column was free.
    Column(usize),
}

impl<'a> Solver<'a> {
    fn new(rows: usize, columns: usize, pairs: &'a [Pair], limit: f64) -> Self {
        Self {
            pairs,
            begin: (0..=rows).map(|row| pairs.partition_point(|pair| pair.row < row)).collect(),
            limit,
            column_of: vec![None; rows],
            row_of: vec![None; columns],
            row_price: vec![0.0; rows],
            column_price: vec![0.0; columns],
            distance: vec![f64::INFINITY; columns],
            reached_from: vec![0; columns],
            is_settled: vec![false; columns],
            heap: BinaryHeap::new(),
        }
    }

    /// Takes one row more in.
    fn augment(&mut self, start: usize) {
        let costs = self.pairs[self.begin[start]..self.begin[start + 1]].iter().map(|pair| pair.cost);
        self.row_price[start] = costs.fold(0.0_f64.min(self.limit), f64::min);
        let mut end = End::Row(start);
        let mut length = f64::INFINITY;
        let mut touched = Vec::new();
        let mut settled: Vec<usize> = Vec::new();
        let (mut row, mut so_far) = (start, 0.0);
        loop {
            let given_up = so_far + self.limit - self.row_price[row];
            if given_up < length {
                (length, end) = (given_up, End::Row(row));
            }
            for pair in &self.pairs[self.begin[row]..self.begin[row + 1]] {
                let column = pair.column;
                let distance = so_far + (pair.cost - self.row_price[row] - self.column_price[column]);
                if distance < self.distance[column] && distance < length && !self.is_settled[column] {
                    touched.push(column);
                    self.distance[column] = distance;
                    self.reached_from[column] = row;
                    match self.row_of[column] {
                        None => (length, end) = (distance, End::Column(column)),
                        Some(_) => self.heap.push(Reached { distance, column }),
                    }
                }
            }
            // Entries that a shorter path to the same column has outdated are passed over.
            let distances = &self.distance;
            let next = std::iter::from_fn(|| self.heap.pop()).find(|next| next.distance <= distances[next.column]);
            let Some(next) = next.filter(|next| next.distance < length) else { break };
            let Some(owner) = self.row_of[next.column] else { break };
            settled.push(next.column);
            self.is_settled[next.column] = true;
            (row, so_far) = (owner, next.distance);
        }
        self.row_price[start] += length;
        for column in settled {
            let slack = length - self.distance[column];
            self.column_price[column] -= slack;
            if let Some(owner) = self.row_of[column] {
                self.row_price[owner] += slack;
            }
        }
        self.flip(start, end);
        self.heap.clear();
        for column in touched {
            (self.distance[column], self.is_settled[column]) = (f64::INFINITY, false);
        }
    }

    /// Matches along the path that ends at `end`, back to its start.
    fn flip(&mut self, start: usize, end: End) {
        let mut free = match end {
            End::Column(column) => column,
            End::Row(row) => match self.column_of[row].take() {
                Some(column) => column,
                None => return,
            },
        };
        loop {
            let row = self.reached_from[free];
            self.row_of[free] = Some(row);
            let next = self.column_of[row].replace(free);
            match next {
                Some(column) if row != start => free = column,
                _ => return,
            }
        }
    }
}

#[cfg(test)]
mod tests;
