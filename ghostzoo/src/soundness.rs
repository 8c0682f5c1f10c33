//! Whether the tensors of a checkpoint can be computed with.

use candle_vision::spec::KeyMismatch;
use ghostzoo_weights::Checkpoint;

use crate::error::{Result, invalid, request};

/// Most tensors that a message names.
const SHOWN: usize = 3;

/// Refuses weights that are no numbers.
pub(crate) fn finite(name: &str, checkpoint: &Checkpoint) -> Result<()> {
    let bad = checkpoint.not_finite();
    if !bad.is_empty() {
        invalid!(
            "{name} holds NaN or infinity in {} of its {} tensors ({}{}): its training diverged, or the file is damaged; give \
             another checkpoint",
            bad.len(),
            checkpoint.tensors.len(),
            bad[..bad.len().min(SHOWN)].join(", "),
            if bad.len() > SHOWN { ", ..." } else { "" }
        );
    }
    Ok(())
}

/// Refuses a checkpoint whose tensors a network needs and candle does not hold; others that it holds beside are unexpected.
pub(crate) fn read(name: &str, checkpoint: &Checkpoint, mut mismatch: KeyMismatch) -> Result<KeyMismatch> {
    let unread = &checkpoint.metadata.unread;
    if let Some((tensor, why)) = mismatch.missing.iter().find_map(|missing| unread.get_key_value(missing)) {
        invalid!("{name} cannot be used: its tensor {tensor} {why}");
    }
    mismatch.unexpected.extend(unread.keys().cloned());
    Ok(mismatch)
}

/// Refuses a checkpoint that no training can begin from: with batch norms folded, or with weights that are no numbers.
pub(crate) fn trainable(name: &str, checkpoint: &Checkpoint) -> Result<()> {
    if !checkpoint.quantized.is_empty() {
        return Err(request(format!(
            "{name} is quantized to 8 bits, and cannot be trained on: give the checkpoint that it was made from"
        )));
    }
    if checkpoint.metadata.fused {
        return Err(request(format!(
            "{name} has its batch norms folded, and cannot be trained on: give it as it was trained"
        )));
    }
    if let Some((tensor, why)) = checkpoint.metadata.unread.first_key_value() {
        invalid!("{name} cannot be trained on: its tensor {tensor} {why}");
    }
    finite(name, checkpoint)
}
