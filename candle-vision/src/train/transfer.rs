//! Parts of a checkpoint's tensors for a model whose tensors have other shapes or other classes.

use std::collections::BTreeMap;

use candle_core::{DType, Device, Result, Tensor, bail};

use super::VarStore;

/// For each class of `target` the class of `source` that is called the same, without regard to case and to spaces around
/// it, where the last layer is to be put together row by row; `None` where it is taken as it is, or not at all, by its shape.
///
/// That is so where names are unknown or only numbers (`0`, `1`, …), where no name is in both, and where both lists are the
/// same. Of classes of `source` that share a name the last counts. This is Ultralytics' rule (`cls_remap`).
#[must_use]
pub fn class_rows(source: &[String], target: &[String]) -> Option<Vec<Option<usize>>> {
    let plain = |name: &String| name.trim().to_lowercase();
    let are_numbers = |names: &[String]| names.iter().enumerate().all(|(id, name)| *name == id.to_string());
    if are_numbers(source) || are_numbers(target) {
        return None;
    }
    let source: Vec<String> = source.iter().map(plain).collect();
    let rows: Vec<Option<usize>> =
        target.iter().map(|name| source.iter().rposition(|other| *other == plain(name))).collect();
    let is_same = rows.len() == source.len() && rows.iter().enumerate().all(|(id, row)| *row == Some(id));
    (!is_same && rows.iter().any(Option::is_some)).then_some(rows)
}

/// Puts each tensor of `tensors` that `is_last` picks together for the classes of the model: class `c` has row `rows[c]`
/// of it, or keeps its own. Tensors whose rows have another shape than the model's stay as they are.
///
/// # Errors
/// A row that the tensor does not have.
pub fn take_class_rows(
    variables: &VarStore,
    tensors: &mut BTreeMap<String, Tensor>,
    is_last: impl Fn(&str) -> bool,
    rows: &[Option<usize>],
) -> Result<()> {
    for (name, tensor) in tensors.iter_mut().filter(|(name, _)| is_last(name)) {
        let Some(own) = variables.get(name) else { continue };
        if own.dims().first() != Some(&rows.len()) || own.dims()[1..] != tensor.dims()[1..] {
            continue;
        }
        let count = tensor.dim(0)?;
        if rows.iter().flatten().any(|row| *row >= count) {
            bail!("{name} has {count} rows, and the checkpoint names more classes")
        }
        let (own, theirs) = (host(&own)?, host(tensor)?);
        let row = |(class, row): (usize, &Option<usize>)| match row {
            Some(row) => theirs.narrow(0, *row, 1),
            None => own.narrow(0, class, 1),
        };
        *tensor = Tensor::cat(&rows.iter().enumerate().map(row).collect::<Result<Vec<_>>>()?, 0)?;
    }
    Ok(())
}

/// Gives the convolution `name` as many filters and channels of the checkpoint's as both have, where its counts are others and
/// its kernel is the same; the rest keep their own values. Ultralytics does so with a detector's first convolution.
pub fn take_filters(variables: &VarStore, tensors: &mut BTreeMap<String, Tensor>, name: &str) -> Result<()> {
    let (Some(own), Some(theirs)) = (variables.get(name), tensors.get(name)) else { return Ok(()) };
    let ([c2, c1, kernel @ ..], [their_c2, their_c1, their_kernel @ ..]) = (own.dims(), theirs.dims()) else {
        return Ok(());
    };
    if own.dims() == theirs.dims() || kernel != their_kernel {
        return Ok(());
    }
    let (filters, channels) = (*c2.min(their_c2), *c1.min(their_c1));
    let (own, theirs) = (host(&own)?, host(theirs)?);
    let part = theirs.narrow(0, 0, filters)?.narrow(1, 0, channels)?;
    let beside = own.narrow(0, 0, filters)?.narrow(1, channels, c1 - channels)?;
    let below = own.narrow(0, filters, c2 - filters)?;
    tensors.insert(name.to_owned(), Tensor::cat(&[Tensor::cat(&[part, beside], 1)?, below], 0)?);
    Ok(())
}

/// Values on the CPU in `f32`.
fn host(tensor: &Tensor) -> Result<Tensor> {
    tensor.to_device(&Device::Cpu)?.to_dtype(DType::F32)?.contiguous()
}

#[cfg(test)]
mod tests {
    use candle_nn::Init;

    use super::*;

    fn rows(source: &[&str], target: &[&str]) -> Option<Vec<Option<usize>>> {
        let [source, target] =
            [source, target].map(|names| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>());
        class_rows(&source, &target)
    }

    /// The right sides are those of Ultralytics 8.4.190, `DetectionModel._remap_cls_by_names`.
    #[test]
    fn classes_of_the_same_name_share_a_row() {
        for (source, target, expected) in [
            (&["cat", "dog"][..], &["dog", "cat"][..], Some(vec![Some(1), Some(0)])),
            (&["cat", "dog", "cow"], &["cow"], Some(vec![Some(2)])),
            (&[" Cat ", "dog"], &["bird", "CAT"], Some(vec![None, Some(0)])),
            (&["cat", "cat"], &["cat"], Some(vec![Some(1)])),
            (&["cat", "dog"], &["Cat", " dog"], None),
            (&["cat", "dog"], &["cow", "hen"], None),
            (&["0", "1"], &["1", "0"], None),
            (&["1", "0"], &["0", "1"], None),
            (&["cat", "dog"], &["cat", "dog", "cow"], Some(vec![Some(0), Some(1), None])),
            (&[], &["cat"], None),
        ] {
            assert_eq!(rows(source, target), expected, "{source:?} {target:?}");
        }
    }

    fn numbered(dims: &[usize], first: f32) -> Result<Tensor> {
        let count = dims.iter().product::<usize>();
        Tensor::arange(first, first + count as f32, &Device::Cpu)?.reshape(dims)
    }

    fn model(dims: &[usize]) -> Result<VarStore> {
        let variables = VarStore::new(DType::F32, &Device::Cpu, 0);
        variables.builder().get_with_hints(dims, "last.weight", Init::Const(-1.))?;
        Ok(variables)
    }

    #[test]
    fn rows_of_known_classes_are_taken_and_the_others_kept() -> Result<()> {
        let variables = model(&[3, 2])?;
        let mut tensors = BTreeMap::from([("last.weight".to_owned(), numbered(&[4, 2], 0.)?.to_dtype(DType::F16)?)]);
        take_class_rows(&variables, &mut tensors, |name| name == "last.weight", &[Some(3), None, Some(0)])?;
        assert_eq!(tensors["last.weight"].to_vec2::<f32>()?, [[6., 7.], [-1., -1.], [0., 1.]]);

        let wider = BTreeMap::from([("last.weight".to_owned(), numbered(&[4, 5], 0.)?)]);
        let mut tensors = wider.clone();
        take_class_rows(&variables, &mut tensors, |_| true, &[Some(3), None, Some(0)])?;
        assert_eq!(tensors["last.weight"].dims(), wider["last.weight"].dims());

        let mut few = BTreeMap::from([("last.weight".to_owned(), numbered(&[2, 2], 0.)?)]);
        let error = take_class_rows(&variables, &mut few, |_| true, &[Some(3), None, None]).expect_err("row 3 of 2");
        assert!(error.to_string().contains("last.weight has 2 rows"), "{error}");
        Ok(())
    }

    #[test]
    fn a_first_convolution_takes_the_filters_that_both_have() -> Result<()> {
        let variables = model(&[2, 3, 1, 1])?;
        let take = |dims: &[usize]| -> Result<Vec<f32>> {
            let mut tensors = BTreeMap::from([("last.weight".to_owned(), numbered(dims, 0.)?)]);
            take_filters(&variables, &mut tensors, "last.weight")?;
            tensors["last.weight"].flatten_all()?.to_vec1()
        };
        assert_eq!(take(&[1, 3, 1, 1])?, [0., 1., 2., -1., -1., -1.]);
        assert_eq!(take(&[3, 2, 1, 1])?, [0., 1., -1., 2., 3., -1.]);
        assert_eq!(take(&[1, 1, 3, 1])?, [0., 1., 2.], "another kernel");
        Ok(())
    }
}
