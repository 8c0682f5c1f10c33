//! What to freeze.

/// Whether the tensor called `name` lies in the first `layers` layers of a network: the stem, then one stage each.
///
/// For [`candle_vision::train::VarStore::freeze`]; 11 layers are all but the hidden layer and the classifier.
#[must_use]
pub fn is_frozen(name: &str, layers: usize) -> bool {
    let stage = |rest: &str| rest.split('.').next().and_then(|index| index.parse::<usize>().ok());
    let layer = match name.strip_prefix("blocks.") {
        Some(rest) => stage(rest).map(|stage| stage + 1),
        None => (name.starts_with("conv_stem.") || name.starts_with("bn1.")).then_some(0),
    };
    layer.is_some_and(|layer| layer < layers)
}
