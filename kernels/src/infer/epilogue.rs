//! What every convolution does with its sums: activation, residual, store.

use std::sync::Arc;

use super::gemm::Sink;
use super::{Aligned, LowPrecision, View};
use crate::Activation;
use crate::simd::{Job, Vector};

/// A bias padded with zeros to whole vectors.
pub(crate) type Bias = Arc<Aligned>;

/// Destination of a convolution: `out = act(sum) + residual`, and without the residual to `plain`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Epilogue {
    pub(crate) activation: Activation,
    pub(crate) out: View,
    pub(crate) residual: Option<View>,
    /// Whether the residual is stored as [`LowPrecision::Bf16`].
    pub(crate) is_residual_bf16: bool,
    pub(crate) plain: Option<View>,
    /// How `out` holds low-precision numbers, and how many channels.
    pub(crate) precision: Option<(LowPrecision, usize)>,
}

impl Epilogue {
    /// Output channels.
    pub(crate) fn channels(&self) -> usize {
        self.precision.map_or(self.out.channels, |(_, channels)| channels)
    }

    /// The maps read, then the maps written.
    pub(crate) fn views(&self) -> (Vec<View>, Vec<View>) {
        (self.residual.into_iter().collect(), [self.out].into_iter().chain(self.plain).collect())
    }

    /// Binds the views to an arena.
    ///
    /// # Safety
    /// The views end in `arena`; `bias` has an element per channel, padded to whole vectors.
    #[inline(always)]
    pub(super) unsafe fn bind(&self, arena: *mut f32, bias: &Aligned) -> Store {
        let at = |view: &View| arena.wrapping_add(view.offset);
        let optional = |view: &Option<View>| view.as_ref().map_or((std::ptr::null_mut(), 0), |v| (at(v), v.stride));
        let ((residual, residual_stride), (plain, plain_stride)) = (optional(&self.residual), optional(&self.plain));
        let is_alone = self.plain.is_none();
        Store {
            bias: bias.as_ptr(),
            activation: self.activation,
            out: at(&self.out),
            stride: self.out.stride,
            channels: self.channels(),
            is_bare: is_alone && self.residual.is_none() && self.precision.is_none(),
            is_simple: is_alone
                && !self.is_residual_bf16
                && matches!(self.precision, None | Some((LowPrecision::Pairs(_), _))),
            precision: self.precision.map(|(precision, _)| precision),
            is_residual_bf16: self.is_residual_bf16,
            residual,
            residual_stride,
            plain,
            plain_stride,
        }
    }
}

/// An [`Epilogue`] in an arena. Rows are positions.
#[derive(Clone, Copy)]
pub(super) struct Store {
    bias: *const f32,
    activation: Activation,
    out: *mut f32,
    stride: usize,
    channels: usize,
    /// Whether the output alone is written, in `f32`, and no residual is added.
    is_bare: bool,
    /// Whether the output alone is written, in `f32` or as [`LowPrecision::Pairs`], and a residual, if there is one, is of `f32`.
    is_simple: bool,
    precision: Option<LowPrecision>,
    is_residual_bf16: bool,
    residual: *const f32,
    residual_stride: usize,
    plain: *mut f32,
    plain_stride: usize,
}

impl Sink for Store {
    #[inline(always)]
    unsafe fn start<V: Vector>(self, channel: usize) -> V {
        // SAFETY: the bias is padded to whole vectors.
        unsafe { V::load(self.bias.add(channel)) }
    }

    #[inline(always)]
    unsafe fn put<V: Vector, const MR: usize, const NV: usize>(self, row: usize, channel: usize, sums: [[V; NV]; MR]) {
        let mut sums = sums;
        // SAFETY: the vector's instruction set is there by the caller's contract; `row + i` is a position of the output and of the
        // residual, which have all channels of the vectors that are stored here.
        unsafe {
            // Sums of one vector per row are those of depthwise windows and of transformed tiles, too: with few products each, a call
            // would show.
            let is_inline = self.is_bare || NV == 1 && self.is_simple;
            if !is_inline || channel + NV * V::LANES > self.channels {
                let sums = sums.as_flattened_mut();
                return V::outline(StoreRows { store: self, row, channel, vectors: NV, sums });
            }
            match self.activation {
                Activation::Identity => {}
                Activation::Relu => {
                    for sum in sums.as_flattened_mut() {
                        *sum = V::zero().max(*sum);
                    }
                }
                activation => V::outline(Activate(activation, sums.as_flattened_mut())),
            }
            for (i, sums) in sums.iter().enumerate() {
                let out = self.out.add((row + i) * self.stride);
                for (j, sum) in sums.iter().enumerate() {
                    let (mut sum, channel) = (*sum, channel + j * V::LANES);
                    if NV == 1 && !self.residual.is_null() {
                        sum = sum.add(V::load(self.residual.add((row + i) * self.residual_stride + channel)));
                    }
                    match self.precision {
                        Some(LowPrecision::Pairs(integers)) if NV == 1 => integers.store(out, channel, V::LANES, sum),
                        _ => sum.store(out.add(channel)),
                    }
                }
            }
        }
    }
}

/// Rows of some vectors of sums for a [`Store`] of any form, as a job: of the vector that the job runs with. Out of line, so that the forms
/// are compiled once and not in each tile.
struct StoreRows<'a, V> {
    store: Store,
    row: usize,
    channel: usize,
    /// Of a row.
    vectors: usize,
    sums: &'a mut [V],
}

impl<W: Vector> Job for StoreRows<'_, W> {
    #[inline(always)]
    unsafe fn run<V: Vector>(self) {
        let Self { store, row, channel, vectors, sums } = self;
        // SAFETY: `outline` runs a job with its own vector, so that `V` is `W`; the vector's instruction set is there by the caller's
        // contract; `row + i` is a position of the views and `channel` a channel of them.
        unsafe {
            let sums = std::slice::from_raw_parts_mut(sums.as_mut_ptr().cast::<V>(), sums.len());
            activate(store.activation, sums);
            for (j, channel) in (channel..store.channels).step_by(V::LANES).take(vectors).enumerate() {
                for (i, sum) in sums[j..].iter().step_by(vectors).enumerate() {
                    store.store(row + i, channel, store.channels - channel, *sum);
                }
            }
        }
    }
}

/// A [`Store`] of sums of integers.
#[derive(Clone, Copy)]
pub(super) struct IntegerStore {
    store: Store,
    scales: *const f32,
}

impl Sink for IntegerStore {
    const INTEGERS: bool = true;

    #[inline(always)]
    unsafe fn start<V: Vector>(self, _: usize) -> V {
        // SAFETY: by the caller's contract.
        unsafe { V::zero() }
    }

    #[inline(always)]
    unsafe fn put<V: Vector, const MR: usize, const NV: usize>(self, row: usize, channel: usize, sums: [[V; NV]; MR]) {
        let mut sums = sums;
        // SAFETY: the bias and the scales are padded to whole vectors; the rest is the caller's contract.
        unsafe {
            for j in 0..NV {
                let bias = self.store.start::<V>(channel + j * V::LANES);
                let scale = V::load(self.scales.add(channel + j * V::LANES));
                for sums in &mut sums {
                    sums[j] = sums[j].int_to_float().mul(scale).add(bias);
                }
            }
            self.store.put(row, channel, sums);
        }
    }
}

impl Store {
    /// The store of sums of integers, each of which counts its channel's scale.
    pub(super) fn of_integers(self, scales: &Aligned) -> IntegerStore {
        IntegerStore { store: self, scales: scales.as_ptr() }
    }

    /// Adds the residual and writes the first `n` channels from `channel` of a position.
    ///
    /// # Safety
    /// The position and the channels exist.
    #[inline(always)]
    unsafe fn store<V: Vector>(self, row: usize, channel: usize, n: usize, value: V) {
        // SAFETY: by the caller's contract.
        unsafe {
            let mut value = value;
            if !self.plain.is_null() {
                store(self.plain.add(row * self.plain_stride + channel), n, value);
            }
            if !self.residual.is_null() {
                let residual = self.residual.add(row * self.residual_stride);
                let residual = match self.is_residual_bf16 {
                    false => load(residual.add(channel), n),
                    true => V::load_bf16(residual.add(channel / 2), n),
                };
                value = value.add(residual);
            }
            let out = self.out.add(row * self.stride);
            match self.precision {
                None => store(out.add(channel), n, value),
                Some(precision) => precision.store(out, channel, n, value),
            }
        }
    }
}

/// The first `n` elements, or all if there are as many.
///
/// # Safety
/// They are readable.
#[inline(always)]
pub(super) unsafe fn load<V: Vector>(p: *const f32, n: usize) -> V {
    // SAFETY: by the caller's contract.
    unsafe { if n >= V::LANES { V::load(p) } else { V::load_part(p, n) } }
}

/// Writes the first `n` elements, or all if there are as many.
///
/// # Safety
/// They are writable.
#[inline(always)]
pub(super) unsafe fn store<V: Vector>(p: *mut f32, n: usize, value: V) {
    // SAFETY: by the caller's contract.
    unsafe { if n >= V::LANES { value.store(p) } else { value.store_part(p, n) } }
}

/// An activation of some vectors as a job: of the vector that the job runs with.
struct Activate<'a, V>(Activation, &'a mut [V]);

impl<W: Vector> Job for Activate<'_, W> {
    #[inline(always)]
    unsafe fn run<V: Vector>(self) {
        // SAFETY: `outline` runs a job with its own vector, so that `V` is `W`.
        let xs = unsafe { std::slice::from_raw_parts_mut(self.1.as_mut_ptr().cast::<V>(), self.1.len()) };
        // SAFETY: the vector's instruction set is there by the caller's contract.
        unsafe { activate(self.0, xs) }
    }
}

/// Applies an activation to each vector.
///
/// # Safety
/// The vector's instruction set is there.
#[inline(always)]
pub(super) unsafe fn activate<V: Vector>(activation: Activation, xs: &mut [V]) {
    // SAFETY: by the caller's contract.
    unsafe {
        let (zero, one) = (V::zero(), V::splat(1.));
        match activation {
            Activation::Identity => {}
            Activation::Relu => {
                for x in xs {
                    *x = zero.max(*x);
                }
            }
            Activation::Relu6 => {
                for x in xs {
                    *x = V::splat(6.).min(zero.max(*x));
                }
            }
            Activation::LeakyRelu(slope) => {
                let slope = V::splat(slope);
                for x in xs {
                    *x = zero.max(*x).add(slope.mul(zero.min(*x)));
                }
            }
            Activation::Sigmoid => {
                for x in xs {
                    *x = one.add(exp(zero.sub(*x))).recip();
                }
            }
            Activation::Silu => {
                for x in xs {
                    *x = x.mul(one.add(exp(zero.sub(*x))).recip());
                }
            }
            Activation::HardSigmoid => {
                for x in xs {
                    *x = hard_sigmoid(*x);
                }
            }
            Activation::HardSwish => {
                for x in xs {
                    *x = x.mul(hard_sigmoid(*x));
                }
            }
            Activation::Gelu => {
                let lanes = std::slice::from_raw_parts_mut(xs.as_mut_ptr().cast::<f32>(), xs.len() * V::LANES);
                activation.apply_slice(lanes);
            }
        }
    }
}

/// # Safety
/// The vector's instruction set is there.
#[inline(always)]
unsafe fn hard_sigmoid<V: Vector>(x: V) -> V {
    // SAFETY: by the caller's contract.
    unsafe { V::splat(6.).min(V::zero().max(x.add(V::splat(3.)))).mul(V::splat(1. / 6.)) }
}

/// `e^x` with a relative error below 2 · `f32::EPSILON`, NaN for NaN, saturating: Cody and Waite's reduction and a minimax
/// polynomial of degree 6.
///
/// # Safety
/// The vector's instruction set is there.
#[inline(always)]
pub(super) unsafe fn exp<V: Vector>(x: V) -> V {
    const ROUND: f32 = 12_582_912.; // 1.5 * 2^23
    // SAFETY: by the caller's contract.
    unsafe {
        let x = V::splat(88.).min(V::splat(-87.336_54).max(x));
        let shifted = x.mul_add(V::splat(std::f32::consts::LOG2_E), V::splat(ROUND));
        let n = shifted.sub(V::splat(ROUND));
        let r = n.mul_add(V::splat(-0.693_359_4), x);
        let r = n.mul_add(V::splat(2.121_944_4e-4), r);
        let mut p = V::splat(1.383_679_4e-3);
        for c in [8.374_857e-3, 4.166_823e-2, 0.166_664_2, 0.499_999_94, 1., 1.] {
            p = p.mul_add(r, V::splat(c));
        }
        p.mul(shifted.exp2_of_shifted())
    }
}
