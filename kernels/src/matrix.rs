//! Products of dense row-major matrices on one thread.

use gemm::Parallelism;

use super::real::Real;

/// Which operand of [`product`] is stored transposed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transposed {
    /// None.
    Neither,
    /// The first.
    Left,
    /// The second.
    Right,
}

/// `out` (m, n) = `keep` · `out` + `factor` · `lhs` (m, k) · `rhs` (k, n). With a `keep` of zero `out` is not read.
pub fn product<T: Real>(
    lhs: &[T],
    rhs: &[T],
    out: &mut [T],
    [m, n, k]: [usize; 3],
    transposed: Transposed,
    [keep, factor]: [T; 2],
) {
    assert!(lhs.len() == m * k && rhs.len() == k * n && out.len() == m * n, "matrix product operands fit");
    let (lhs_cs, lhs_rs) = if transposed == Transposed::Left { (m, 1) } else { (1, k) };
    let (rhs_cs, rhs_rs) = if transposed == Transposed::Right { (k, 1) } else { (1, n) };
    // SAFETY: the three slices hold exactly the elements that the sizes and strides above address.
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            out.as_mut_ptr(),
            1,
            n as isize,
            keep != T::zero(),
            lhs.as_ptr(),
            lhs_cs as isize,
            lhs_rs as isize,
            rhs.as_ptr(),
            rhs_cs as isize,
            rhs_rs as isize,
            keep,
            factor,
            false,
            false,
            false,
            Parallelism::None,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn products_of_all_layouts_add_to_what_is_kept() {
        let [m, n, k] = [3, 5, 4];
        let lhs = |i: usize, p: usize| (i * 7 + p * 3 % 5) as f64 - 4.;
        let rhs = |p: usize, j: usize| (p * 2 + j * 5 % 7) as f64 - 3.;
        let table = |rows: usize, columns: usize, f: &dyn Fn(usize, usize) -> f64| -> Vec<f64> {
            (0..rows * columns).map(|index| f(index / columns, index % columns)).collect()
        };
        let before = table(m, n, &|i, j| (i + 10 * j) as f64);
        for transposed in [Transposed::Neither, Transposed::Left, Transposed::Right] {
            for keep in [0., -2.] {
                let left = match transposed {
                    Transposed::Left => table(k, m, &|p, i| lhs(i, p)),
                    _ => table(m, k, &lhs),
                };
                let right = match transposed {
                    Transposed::Right => table(n, k, &|j, p| rhs(p, j)),
                    _ => table(k, n, &rhs),
                };
                let mut out = before.clone();
                product(&left, &right, &mut out, [m, n, k], transposed, [keep, 3.]);
                let expected = table(m, n, &|i, j| {
                    keep * before[i * n + j] + 3. * (0..k).map(|p| lhs(i, p) * rhs(p, j)).sum::<f64>()
                });
                assert_eq!(out, expected, "{transposed:?}, {keep} of what was there");
            }
        }
    }
}
