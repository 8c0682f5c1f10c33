//! What of a checkpoint's classes a training starts from.

use candle_vision::train::class_rows;
use ghostzoo_weights::Checkpoint;

/// For each class of the data the row of the checkpoint's last layer that has its name, see [`class_rows`].
pub(super) fn rows_by_name((_, checkpoint): &(String, Checkpoint), classes: &[String]) -> Option<Vec<Option<usize>>> {
    class_rows(checkpoint.metadata.names.as_deref()?, classes)
}

/// Says how many classes have a row.
pub(super) fn told_rows(rows: &[Option<usize>]) -> String {
    let known = rows.iter().flatten().count();
    format!("{known} of {} classes start from the checkpoint's row of the same name, see --cls-remap", rows.len())
}
