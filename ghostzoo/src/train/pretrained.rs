//! What of a checkpoint a training starts from.

use candle_vision::train::{LoadReport, class_rows};
use ghostzoo_weights::Checkpoint;

use super::messages::Messages;
use crate::error::{Error, Result, chain, invalid};

/// Most messages on tensors.
const SHOWN: usize = 20;

/// Where the first weights come from. A model that is a checkpoint is its own weights, whatever this says but for a file.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Pretrained {
    /// Random numbers.
    No,
    /// The model's published weights, where it has some.
    #[default]
    Published,
    /// Another checkpoint: a file, a name or an `hf://` address.
    From(String),
}

/// For each class of the data the row of the checkpoint's last layer that has its name, see [`class_rows`].
pub(super) fn rows_by_name((_, checkpoint): &(String, Checkpoint), classes: &[String]) -> Option<Vec<Option<usize>>> {
    class_rows(checkpoint.metadata.names.as_deref()?, classes)
}

/// Says how many classes have a row.
pub(super) fn rows_message(rows: &[Option<usize>]) -> String {
    let known = rows.iter().flatten().count();
    format!(
        "{known} of {} classes start from the checkpoint's row of the same name, see `options.cls_remap`",
        rows.len()
    )
}

/// Says what of the `all` tensors came from the checkpoint `name`, and which do not fit.
///
/// # Errors
/// Where nothing did.
pub(super) fn tell(loaded: &LoadReport, all: usize, name: &str, messages: &Messages) -> Result<()> {
    if loaded.matched.is_empty() {
        invalid!(
            "nothing of {name} fits: give its architecture with `options.model`, and it with `options.pretrained`"
        );
    }
    messages.note(format!("{} of {all} tensors are taken from {name}", loaded.matched.len()));
    let misshaped = &loaded.mismatch.misshaped;
    for (tensor, own, theirs) in misshaped.iter().take(SHOWN) {
        messages.note(format!("  {tensor} starts anew: {own:?} here, {theirs:?} there"));
    }
    if misshaped.len() > SHOWN {
        messages.note(format!("  and {} more", misshaped.len() - SHOWN));
    }
    Ok(())
}

/// The same error, with what to do without the weights.
pub(super) fn advised(error: Error, advice: &str) -> Error {
    Error::Invalid(format!("{}; {advice}", chain(&error)))
}
