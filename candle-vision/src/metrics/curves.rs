//! numpy's tools for curves.

/// `numpy.interp(x, xs, ys)` for rising `xs`: linear between points, the end values beyond them.
///
/// Of equal `xs`, the last counts, as there.
pub(super) fn interp(x: f64, xs: &[f64], ys: &[f64]) -> f64 {
    let above = xs.partition_point(|point| *point <= x);
    match above {
        0 => ys[0],
        _ if above == xs.len() => ys[above - 1],
        _ => {
            let (x0, x1, y0, y1) = (xs[above - 1], xs[above], ys[above - 1], ys[above]);
            (y1 - y0) / (x1 - x0) * (x - x0) + y0
        }
    }
}

/// `numpy.linspace(0, 1, points)[index]`.
pub(super) fn unit(index: usize, points: usize) -> f64 {
    if index + 1 == points { 1. } else { index as f64 * (1. / (points - 1) as f64) }
}

/// The mean of each point's neighbourhood of `width` points (odd), the ends repeated beyond themselves.
pub(super) fn smooth(ys: &[f64], width: usize) -> Vec<f64> {
    let half = (width / 2) as isize;
    let last = ys.len() as isize - 1;
    let at = |index: isize| ys[index.clamp(0, last) as usize];
    (0..=last).map(|i| (i - half..=i + half).map(at).sum::<f64>() / width as f64).collect()
}

/// The index of the largest value, the first of equals.
pub(super) fn argmax(ys: &[f64]) -> usize {
    ys.iter().enumerate().fold(0, |best, (index, y)| if *y > ys[best] { index } else { best })
}
