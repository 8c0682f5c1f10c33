//! Orthogonalisation by Newton and Schulz's iteration.

use candle_core::{D, DType, Device, Result, Tensor};

use ghostzoo_kernels::{Real, Transposed, is_stock, product};

/// Coefficients of `a·X + (b·A + c·A²)·X`: steepest at 0, at the price of singular values between about 0.7 and 1.2.
const COEFFICIENTS: [f64; 3] = [3.4445, -4.7750, 2.0315];
const ITERATIONS: usize = 5;
const EPS: f64 = 1e-7;

/// About `U·Vᵀ` of the singular value decomposition `U·S·Vᵀ` of the matrix (dimension 0, all others) of `xs`, times
/// `√max(1, r)`, `r` being the ratio of the last two dimensions. `xs` has at least two dimensions and keeps its shape.
pub(super) fn orthogonalize(xs: &Tensor) -> Result<Tensor> {
    let matrix = xs.flatten_from(1)?;
    let x = match xs.dtype() {
        DType::F32 if xs.device().is_cpu() && !is_stock() => on_cpu::<f32>(&matrix)?,
        DType::F64 if xs.device().is_cpu() && !is_stock() => on_cpu::<f64>(&matrix)?,
        _ => compose(&matrix)?,
    };
    let scale = (xs.dim(D::Minus2)? as f64 / xs.dim(D::Minus1)? as f64).max(1.).sqrt();
    (x * scale)?.reshape(xs.shape())
}

/// On one thread; the side of `X·Xᵀ` is the shorter one of the matrix.
fn on_cpu<T: Real>(matrix: &Tensor) -> Result<Tensor> {
    let (rows, columns) = matrix.dims2()?;
    let is_tall = rows > columns;
    let [rows, columns] = if is_tall { [columns, rows] } else { [rows, columns] };
    let wide = |matrix: &Tensor| if is_tall { matrix.t() } else { Ok(matrix.clone()) };
    let mut x = wide(matrix)?.flatten_all()?.to_vec1::<T>()?;
    let norm = x.iter().map(|x| x.to_wide() * x.to_wide()).sum::<f64>().sqrt();
    let scale = T::nearest(1. / (norm + EPS));
    x.iter_mut().for_each(|x| *x *= scale);
    let [a, b, c] = COEFFICIENTS.map(T::nearest);
    let mut gram = vec![T::zero(); rows * rows];
    for _ in 0..ITERATIONS {
        product(&x, &x, &mut gram, [rows, rows, columns], Transposed::Right, [T::zero(), T::one()]);
        let (mut polynomial, mut next) = (gram.clone(), x.clone());
        product(&gram, &gram, &mut polynomial, [rows; 3], Transposed::Neither, [b, c]);
        product(&polynomial, &x, &mut next, [rows, columns, rows], Transposed::Neither, [a, T::one()]);
        x = next;
    }
    wide(&Tensor::from_vec(x, (rows, columns), &Device::Cpu)?)?.contiguous()
}

fn compose(matrix: &Tensor) -> Result<Tensor> {
    let (rows, columns) = matrix.dims2()?;
    let norm = matrix.sqr()?.sum_all()?.sqrt()?;
    let mut x = matrix.broadcast_div(&(norm + EPS)?)?;
    if rows > columns {
        x = x.t()?.contiguous()?;
    }
    let [a, b, c] = COEFFICIENTS;
    for _ in 0..ITERATIONS {
        let gram = x.matmul(&x.t()?)?;
        let polynomial = ((&gram * b)? + (gram.matmul(&gram)? * c)?)?;
        x = ((&x * a)? + polynomial.matmul(&x)?)?;
    }
    if rows > columns { x.t()?.contiguous() } else { Ok(x) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ghostzoo_kernels::with_candle_ops;

    #[test]
    fn the_kernel_equals_the_composed_form_of_wide_tall_and_square_matrices() -> Result<()> {
        for dims in [vec![3, 20], vec![20, 3], vec![7, 7], vec![12, 2, 3, 1], vec![16, 1, 3, 3]] {
            let xs = crate::seeded::uniform("update", &dims.clone().into(), &Device::Cpu)?;
            for (dtype, tolerance) in [(DType::F64, 1e-12), (DType::F32, 1e-4)] {
                let xs = xs.to_dtype(dtype)?;
                let (ours, composed) = (orthogonalize(&xs)?, with_candle_ops(|| orthogonalize(&xs))?);
                let difference = (ours - composed)?.abs()?.max_all()?.to_dtype(DType::F64)?.to_scalar::<f64>()?;
                assert!(difference < tolerance, "{dims:?} in {dtype:?}: {difference:e}");
            }
        }
        Ok(())
    }
}
