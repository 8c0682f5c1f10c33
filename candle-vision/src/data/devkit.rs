//! `ILSVRC2012_ID`: the numbers of ImageNet's devkit, which follow no other order.

use std::collections::HashMap;
use std::path::Path;

use super::class_map::ClassMap;
use super::error::examples;
use super::{DataError, imagenet, matlab};

/// The class index of each `ILSVRC2012_ID` in `numbers`, from the class map or else from `meta.mat` beside `place`.
pub(super) fn classes(
    numbers: &[usize],
    place: &Path,
    map: Option<(&Path, &ClassMap)>,
    num_classes: usize,
) -> Result<Vec<usize>, DataError> {
    if num_classes != imagenet::CLASSES {
        let reason = format!("numbers of the devkit name ImageNet-1k's 1000 classes, and the model has {num_classes}");
        return Err(DataError::classes(place, reason));
    }
    let read;
    let (source, wnids) = match map {
        Some((path, ClassMap::Devkit(wnids))) => (path.to_path_buf(), wnids),
        Some((path, ClassMap::Classes(_))) => {
            let reason = "gives no devkit numbers; give lines such as `n02119789 1 kit_fox` (map_clsloc.txt)";
            return Err(DataError::order(path, reason));
        }
        None => {
            let beside = [Some(place), place.parent()].into_iter().flatten().map(|folder| folder.join("meta.mat"));
            let Some(path) = beside.into_iter().find(|path| path.is_file()) else {
                let reason = "its numbers are the devkit's (ILSVRC2012_ID), which are not in class order; put the \
                              devkit's meta.mat beside it, or give map_clsloc.txt as the class map";
                return Err(DataError::order(place, reason));
            };
            let synsets = matlab::read_synsets(&path)?;
            read = synsets.into_iter().collect::<HashMap<usize, String>>();
            (path, &read)
        }
    };
    let class_of = |number: &usize| wnids.get(number).and_then(|wnid| imagenet::class_of(wnid));
    let unknown: Vec<String> =
        numbers.iter().filter(|number| class_of(number).is_none()).map(usize::to_string).collect();
    if !unknown.is_empty() {
        let unknown = examples(unknown.iter().map(String::as_str));
        let reason = format!("ILSVRC2012_ID {unknown} is no class of ImageNet-1k in {}", source.display());
        return Err(DataError::classes(place, reason));
    }
    Ok(numbers.iter().filter_map(class_of).collect())
}
