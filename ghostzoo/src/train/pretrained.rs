//! What of a checkpoint a training starts from.

use candle_vision::train::{LoadReport, TrainState, class_rows};
use ghostzoo_weights::{Checkpoint, NoProgress, Registry, ResolveOptions, ResolvedModel};

use super::messages::Messages;
use crate::error::{Error, Result, chain, invalid};
use crate::model;

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

impl Pretrained {
    /// The weights that a training of `model` starts from, but for a model that is a checkpoint and so its own weights.
    /// `is_architecture` says that it is the name of an architecture, of which there may be published weights.
    ///
    /// # Errors
    /// Weights that cannot be found or read.
    pub(super) fn weights(
        &self,
        model: &str,
        is_architecture: bool,
        find: &mut dyn FnMut(&str) -> Result<ResolvedModel>,
    ) -> Result<Option<(String, Checkpoint)>> {
        match self {
            Self::From(file) => read(file, find).map(Some),
            Self::Published if is_architecture && Registry::builtin().find(model).is_some() => read(model, find)
                .map(Some)
                .map_err(|error| Error::Invalid(format!("{}; `Pretrained::No` trains from the start", chain(&error)))),
            Self::No | Self::Published => Ok(None),
        }
    }
}

/// Finds a model's files, downloading them where they are not cached.
///
/// # Errors
/// As [`model::find`].
pub(super) fn find(name: &str) -> Result<ResolvedModel> {
    model::find(name, &ResolveOptions::default(), &mut NoProgress)
}

/// Reads what `find` finds, with its name.
///
/// # Errors
/// As `find` and [`model::read`].
pub(super) fn read(name: &str, find: &mut dyn FnMut(&str) -> Result<ResolvedModel>) -> Result<(String, Checkpoint)> {
    Ok((name.to_owned(), model::read(&find(name)?)?))
}

/// The licence of the weights that a training starts from, where it binds what is made of them.
pub(super) fn binding_licence(weights: Option<&(String, Checkpoint)>) -> Option<String> {
    let licence = weights?.1.metadata.licence.as_ref()?;
    let name = licence.to_ascii_uppercase();
    (name.contains("GPL") || name.contains("-SA")).then(|| licence.clone())
}

/// For each class of the data the row of the checkpoint's last layer that has its name, see [`class_rows`], where
/// `cls_remap` asks for it and the checkpoint names its classes. Says how many classes have one.
pub(super) fn class_rows_of(
    weights: Option<&(String, Checkpoint)>,
    cls_remap: bool,
    classes: &[String],
    messages: &Messages,
) -> Option<Vec<Option<usize>>> {
    let (_, checkpoint) = weights.filter(|_| cls_remap)?;
    let rows = class_rows(checkpoint.metadata.names.as_deref()?, classes)?;
    let known = rows.iter().flatten().count();
    messages.note(format!(
        "{known} of {} classes start from the checkpoint's row of the same name, see `options.cls_remap`",
        rows.len()
    ));
    Some(rows)
}

/// Says what of the tensors in training came from the weights, and which do not fit; nothing where there are none.
///
/// # Errors
/// Where nothing did.
pub(super) fn tell(
    loaded: Option<&LoadReport>,
    weights: Option<&(String, Checkpoint)>,
    state: &TrainState,
    messages: &Messages,
) -> Result<()> {
    let (Some(loaded), Some((name, _))) = (loaded, weights) else { return Ok(()) };
    let all = state.variables().iter().count();
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
