//! Orthogonalisation by Newton and Schulz's iteration.

use candle_core::{D, Result, Tensor};

/// Coefficients of `a·X + (b·A + c·A²)·X`: steepest at 0, at the price of singular values between about 0.7 and 1.2.
const COEFFICIENTS: [f64; 3] = [3.4445, -4.7750, 2.0315];
const ITERATIONS: usize = 5;
const EPS: f64 = 1e-7;

/// About `U·Vᵀ` of the singular value decomposition `U·S·Vᵀ` of the matrix (dimension 0, all others) of `xs`, times
/// `√max(1, r)`, `r` being the ratio of the last two dimensions. `xs` has at least two dimensions and keeps its shape.
pub(super) fn orthogonalize(xs: &Tensor) -> Result<Tensor> {
    let matrix = xs.flatten_from(1)?;
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
    if rows > columns {
        x = x.t()?.contiguous()?;
    }
    let scale = (xs.dim(D::Minus2)? as f64 / xs.dim(D::Minus1)? as f64).max(1.).sqrt();
    (x * scale)?.reshape(xs.shape())
}
