//! One step of one parameter.

use std::collections::BTreeMap;

use candle_core::{Result, Tensor, Var};

use super::groups::ParamGroup;
use super::muon::orthogonalize;
use ghostzoo_kernels::Update;

/// The rule by which a step moves a parameter.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Algorithm {
    /// `b ← momentum·b + g + wd·p`, then `p ← p − lr·b`; with Nesterov's momentum `p ← p − lr·(g + wd·p + momentum·b)`.
    ///
    /// `torch.optim.SGD` without dampening. Source: Sutskever et al.,
    /// <https://proceedings.mlr.press/v28/sutskever13.html>.
    Sgd {
        /// Whether the step looks ahead by the momentum.
        nesterov: bool,
    },
    /// `m ← β₁·m + (1 − β₁)·g`, `v ← β₂·v + (1 − β₂)·g²`, then `p ← p − lr·m̂ / (√v̂ + eps)` with `m̂ = m / (1 − β₁ᵗ)` and
    /// `v̂ = v / (1 − β₂ᵗ)` in step `t`; `wd·p` is added to `g`. β₁ is the group's momentum.
    ///
    /// `torch.optim.Adam`. Source: Kingma and Ba, <https://arxiv.org/abs/1412.6980>.
    Adam {
        /// Decay of the mean square.
        beta2: f64,
        /// Added to the root.
        eps: f64,
    },
    /// As [`Algorithm::Adam`], but the decay is `p ← (1 − lr·wd)·p` before the step.
    ///
    /// `torch.optim.AdamW`. Source: Loshchilov and Hutter, <https://arxiv.org/abs/1711.05101>.
    AdamW {
        /// Decay of the mean square.
        beta2: f64,
        /// Added to the root.
        eps: f64,
    },
    /// `m` as in [`Algorithm::Adam`], `u ← max(β₂·u, |g| + eps)`, then `p ← p − lr·m / ((1 − β₁ᵗ)·u)`; `wd·p` is added to `g`.
    ///
    /// `torch.optim.Adamax`. Source: Kingma and Ba, section 7.1, <https://arxiv.org/abs/1412.6980>.
    Adamax {
        /// Decay of the largest gradient.
        beta2: f64,
        /// Added to each gradient's magnitude.
        eps: f64,
    },
    /// `m` and `v̂` as in [`Algorithm::Adam`], `μₜ = β₁·(1 − 0.96^(t·decay) / 2)` and `Πₜ = μ₁·…·μₜ`, then
    /// `p ← p − lr·((1 − μₜ) / (1 − Πₜ)·g + μₜ₊₁ / (1 − Πₜ·μₜ₊₁)·m) / (√v̂ + eps)`; `wd·p` is added to `g`. `Π` is an `f32`,
    /// whatever the parameter is.
    ///
    /// `torch.optim.NAdam`. Source: Dozat, <https://openreview.net/forum?id=OM0jvwB8jIp57ZJjtNEZ>.
    NAdam {
        /// Decay of the mean square.
        beta2: f64,
        /// Added to the root.
        eps: f64,
        /// How fast the look-ahead grows to β₁.
        decay: f64,
    },
    /// `m` and `v̂` as in [`Algorithm::Adam`]. With `ρ∞ = 2 / (1 − β₂) − 1` and `ρ = ρ∞ − 2·t·β₂ᵗ / (1 − β₂ᵗ)`, where `ρ > 5`
    /// `p ← p − lr·m̂·√((ρ − 4)·(ρ − 2)·ρ∞ / ((ρ∞ − 4)·(ρ∞ − 2)·ρ))·√(1 − β₂ᵗ) / (√v + eps)`, and before `p ← p − lr·m̂`; `wd·p`
    /// is added to `g`.
    ///
    /// `torch.optim.RAdam`. Source: Liu et al., <https://arxiv.org/abs/1908.03265>.
    RAdam {
        /// Decay of the mean square.
        beta2: f64,
        /// Added to the root.
        eps: f64,
    },
    /// `v ← decay·v + (1 − decay)·g²`, `b ← momentum·b + g / (√v + eps)`, then `p ← p − lr·b`; `wd·p` is added to `g`. Without
    /// momentum there is no `b`.
    ///
    /// `torch.optim.RMSprop`. Source: Hinton, lecture 6 of Neural Networks for Machine Learning.
    Rmsprop {
        /// Decay of the mean square, PyTorch's alpha.
        decay: f64,
        /// Added to the root.
        eps: f64,
    },
    /// `v ← v + (1 − decay)·(g² − v)` from 1, `b ← momentum·b + lr·g / √(v + eps)`, then `p ← p − b`; `wd·p` is added to
    /// `g`. Without momentum there is no `b`.
    ///
    /// timm's `RMSpropTF`, which is TensorFlow's.
    RmspropTf {
        /// Decay of the mean square, PyTorch's alpha.
        decay: f64,
        /// Added under the root.
        eps: f64,
        /// Whether the rate scales what enters the momentum, instead of what leaves it.
        lr_in_momentum: bool,
    },
    /// Matrices and convolutions move by an orthogonalised momentum and by SGD, everything else by SGD with Nesterov's
    /// momentum.
    ///
    /// For a parameter of two or four dimensions, `o ← momentum·o + (1 − momentum)·g` gives the look-ahead
    /// `u = momentum·o + (1 − momentum)·g`, whose matrix (dimension 0, all others) is orthogonalised:
    /// `X₀ = u / (‖u‖ + 1e-7)`, then five times `X ← a·X + (b·A + c·A²)·X` with `A = X·Xᵀ` and
    /// `(a, b, c) = (3.4445, −4.775, 2.0315)`, on the transpose where there are more rows than columns. Then
    /// `p ← p − lr·muon·√max(1, r)·X`, `r` being the ratio of the parameter's last two dimensions (the kernel's height to
    /// its width in a convolution), and [`Algorithm::Sgd`] with the rate `lr·sgd`, which alone decays.
    ///
    /// Ultralytics 8.4 computes `X` in `bfloat16`, this in the parameter's own dtype. Source: Jordan et al., Muon,
    /// <https://kellerjordan.github.io/posts/muon/>.
    MuSgd {
        /// Share of the orthogonalised update; Ultralytics' trainer takes 0.2.
        muon: f64,
        /// Share of SGD in a parameter that has the other; Ultralytics' trainer takes 1.
        sgd: f64,
    },
}

/// What an optimizer remembers of one parameter.
#[derive(Debug, Default)]
pub(super) struct Slots {
    pub(super) steps: i64,
    /// NAdam's `Π`, after the first step.
    pub(super) product: Option<f32>,
    pub(super) buffers: BTreeMap<&'static str, Var>,
}

impl Slots {
    /// The buffer called `name`, all `start` before its first use.
    fn buffer(&mut self, name: &'static str, like: &Var, start: f64) -> Result<Var> {
        if let Some(buffer) = self.buffers.get(name) {
            return Ok(buffer.clone());
        }
        let values = Tensor::full(start as f32, like.shape(), like.device())?.to_dtype(like.dtype())?;
        let buffer = Var::from_tensor(&values.contiguous()?)?;
        self.buffers.insert(name, buffer.clone());
        Ok(buffer)
    }
}

const MOMENTUM: &str = "momentum_buffer";
const ORTHOGONAL: &str = "muon_buffer";
const MEAN: &str = "exp_avg";
const MEAN_SQUARE: &str = "exp_avg_sq";
const SQUARE: &str = "square_avg";
const LARGEST: &str = "exp_inf";
/// Base of NAdam's look-ahead.
const LOOK_AHEAD: f64 = 0.96;
/// The length of the average up to which RAdam does not adapt.
const SHORT_AVERAGE: f64 = 5.;

impl Algorithm {
    /// PyTorch's AdamW with its own constants.
    pub const ADAM_W: Self = Self::AdamW { beta2: 0.999, eps: 1e-8 };

    /// PyTorch's Adam with its own constants.
    pub const ADAM: Self = Self::Adam { beta2: 0.999, eps: 1e-8 };

    /// PyTorch's Adamax with its own constants.
    pub const ADAMAX: Self = Self::Adamax { beta2: 0.999, eps: 1e-8 };

    /// PyTorch's NAdam with its own constants.
    pub const N_ADAM: Self = Self::NAdam { beta2: 0.999, eps: 1e-8, decay: 4e-3 };

    /// PyTorch's RAdam with its own constants.
    pub const R_ADAM: Self = Self::RAdam { beta2: 0.999, eps: 1e-8 };

    /// PyTorch's RMSprop with its own constants.
    pub const RMSPROP: Self = Self::Rmsprop { decay: 0.99, eps: 1e-8 };

    /// timm's RMSpropTF with its own constants.
    pub const RMSPROP_TF: Self = Self::RmspropTf { decay: 0.9, eps: 1e-10, lr_in_momentum: true };

    /// MuSGD as Ultralytics' trainer sets it.
    pub const MU_SGD: Self = Self::MuSgd { muon: 0.2, sgd: 1. };

    /// Names of the buffers that it may have.
    pub(super) fn buffers(self) -> &'static [&'static str] {
        match self {
            Self::Sgd { .. } => &[MOMENTUM],
            Self::Adam { .. } | Self::AdamW { .. } | Self::NAdam { .. } | Self::RAdam { .. } => &[MEAN, MEAN_SQUARE],
            Self::Adamax { .. } => &[MEAN, LARGEST],
            Self::Rmsprop { .. } | Self::RmspropTf { .. } => &[SQUARE, MOMENTUM],
            Self::MuSgd { .. } => &[MOMENTUM, ORTHOGONAL],
        }
    }

    /// Whether a group's momentum is the first of two betas, which PyTorch keeps apart from what it calls momentum.
    #[must_use]
    pub fn has_betas(self) -> bool {
        match self {
            Self::Adam { .. } | Self::AdamW { .. } | Self::Adamax { .. } | Self::NAdam { .. } | Self::RAdam { .. } => {
                true
            }
            Self::Sgd { .. } | Self::MuSgd { .. } | Self::Rmsprop { .. } | Self::RmspropTf { .. } => false,
        }
    }

    pub(super) fn step(self, group: &ParamGroup, var: &Var, grad: &Tensor, slots: &mut Slots) -> Result<()> {
        slots.steps += 1;
        let &ParamGroup { learning_rate: lr, momentum, weight_decay, .. } = group;
        let decayed = || match weight_decay {
            0. => Ok(grad.clone()),
            _ => grad + (var.as_detached_tensor() * weight_decay)?,
        };
        match self {
            Self::Sgd { nesterov } => sgd(group, lr, nesterov, var, grad, slots),
            Self::Adam { beta2, eps } => adam([lr, momentum, beta2, eps], 1., var, &decayed()?, slots),
            Self::AdamW { beta2, eps } => adam([lr, momentum, beta2, eps], 1. - lr * weight_decay, var, grad, slots),
            Self::Adamax { beta2, eps } => adamax([lr, momentum, beta2, eps], var, &decayed()?, slots),
            Self::NAdam { beta2, eps, decay } => nadam([lr, momentum, beta2, eps, decay], var, &decayed()?, slots),
            Self::RAdam { beta2, eps } => radam([lr, momentum, beta2, eps], var, &decayed()?, slots),
            Self::Rmsprop { decay, eps } => rmsprop([lr, momentum, decay, eps], var, &decayed()?, slots),
            Self::RmspropTf { decay, eps, lr_in_momentum } => {
                rmsprop_tf([lr, momentum, decay, eps], lr_in_momentum, var, &decayed()?, slots)
            }
            Self::MuSgd { muon, sgd: share } => {
                let is_matrix = matches!(var.rank(), 2 | 4);
                if is_matrix {
                    let buffer = slots.buffer(ORTHOGONAL, var, 0.)?;
                    Update::Step { rate: 1. - momentum, a: -1., b: 1., c: 0. }.apply(&buffer, grad, grad)?;
                    let ahead = ((buffer.as_detached_tensor() * momentum)? + (grad * (1. - momentum))?)?;
                    let update = orthogonalize(&ahead)?;
                    Update::Step { rate: -lr * muon, a: 0., b: 1., c: 0. }.apply(var, &update, &update)?;
                }
                sgd(group, if is_matrix { lr * share } else { lr }, true, var, grad, slots)
            }
        }
    }
}

fn sgd(group: &ParamGroup, lr: f64, nesterov: bool, var: &Var, grad: &Tensor, slots: &mut Slots) -> Result<()> {
    let &ParamGroup { momentum, weight_decay, .. } = group;
    if momentum == 0. {
        return Update::Step { rate: -lr, a: weight_decay, b: 1., c: 0. }.apply(var, grad, grad);
    }
    let buffer = slots.buffer(MOMENTUM, var, 0.)?;
    Update::Linear { a: momentum, b: 1., c: weight_decay }.apply(&buffer, grad, var)?;
    if nesterov {
        Update::Step { rate: -lr, a: weight_decay, b: 1., c: momentum }.apply(var, grad, &buffer)
    } else {
        Update::Step { rate: -lr, a: 0., b: 1., c: 0. }.apply(var, &buffer, &buffer)
    }
}

/// The mean of the gradients and the mean of their squares, after a step's.
fn moments([beta1, beta2]: [f64; 2], var: &Var, grad: &Tensor, slots: &mut Slots) -> Result<[Var; 2]> {
    let (mean, square) = (slots.buffer(MEAN, var, 0.)?, slots.buffer(MEAN_SQUARE, var, 0.)?);
    Update::Step { rate: 1. - beta1, a: -1., b: 1., c: 0. }.apply(&mean, grad, grad)?;
    Update::Product { rate: 1. - beta2 }.apply(&square, grad, grad)?;
    Ok([mean, square])
}

/// What an average over so many steps, begun at zero, falls short by.
fn correction(beta: f64, slots: &Slots) -> f64 {
    1. - beta.powf(slots.steps as f64)
}

fn adam([lr, beta1, beta2, eps]: [f64; 4], kept: f64, var: &Var, grad: &Tensor, slots: &mut Slots) -> Result<()> {
    let [mean, square] = moments([beta1, beta2], var, grad, slots)?;
    let rate = lr / correction(beta1, slots);
    let scale = correction(beta2, slots).sqrt().recip();
    Update::Quotient { a: kept, b: -rate, inner: 0., scale, outer: eps }.apply(var, &mean, &square)
}

fn adamax([lr, beta1, beta2, eps]: [f64; 4], var: &Var, grad: &Tensor, slots: &mut Slots) -> Result<()> {
    let (mean, largest) = (slots.buffer(MEAN, var, 0.)?, slots.buffer(LARGEST, var, 0.)?);
    Update::Step { rate: 1. - beta1, a: -1., b: 1., c: 0. }.apply(&mean, grad, grad)?;
    Update::Largest { a: beta2, floor: eps }.apply(&largest, grad, grad)?;
    Update::Ratio { b: -lr / correction(beta1, slots) }.apply(var, &mean, &largest)
}

fn nadam([lr, beta1, beta2, eps, decay]: [f64; 5], var: &Var, grad: &Tensor, slots: &mut Slots) -> Result<()> {
    let ahead = |step: i64| beta1 * (1. - 0.5 * LOOK_AHEAD.powf(step as f64 * decay));
    let [now, next] = [ahead(slots.steps), ahead(slots.steps + 1)];
    let product = slots.product.unwrap_or(1.) * now as f32;
    slots.product = Some(product);
    let [mean, square] = moments([beta1, beta2], var, grad, slots)?;
    let scale = correction(beta2, slots).sqrt().recip();
    let product = f64::from(product);
    let quotient = |b: f64| Update::Quotient { a: 1., b, inner: 0., scale, outer: eps };
    quotient(-lr * (1. - now) / (1. - product)).apply(var, grad, &square)?;
    quotient(-lr * next / (1. - product * next)).apply(var, &mean, &square)
}

fn radam([lr, beta1, beta2, eps]: [f64; 4], var: &Var, grad: &Tensor, slots: &mut Slots) -> Result<()> {
    let [mean, square] = moments([beta1, beta2], var, grad, slots)?;
    let rate = lr / correction(beta1, slots);
    let (steps, missing) = (slots.steps as f64, correction(beta2, slots));
    let most = 2. / (1. - beta2) - 1.;
    let length = most - 2. * steps * beta2.powf(steps) / missing;
    if length <= SHORT_AVERAGE {
        return Update::Step { rate: -rate, a: 0., b: 1., c: 0. }.apply(var, &mean, &mean);
    }
    let rectified = ((length - 4.) * (length - 2.) * most / ((most - 4.) * (most - 2.) * length)).sqrt();
    let b = -rate * rectified * missing.sqrt();
    Update::Quotient { a: 1., b, inner: 0., scale: 1., outer: eps }.apply(var, &mean, &square)
}

fn rmsprop([lr, momentum, decay, eps]: [f64; 4], var: &Var, grad: &Tensor, slots: &mut Slots) -> Result<()> {
    let square = slots.buffer(SQUARE, var, 0.)?;
    Update::Product { rate: 1. - decay }.apply(&square, grad, grad)?;
    let quotient = |a, b| Update::Quotient { a, b, inner: 0., scale: 1., outer: eps };
    if momentum == 0. {
        return quotient(1., -lr).apply(var, grad, &square);
    }
    let buffer = slots.buffer(MOMENTUM, var, 0.)?;
    quotient(momentum, 1.).apply(&buffer, grad, &square)?;
    Update::Step { rate: -lr, a: 0., b: 1., c: 0. }.apply(var, &buffer, &buffer)
}

fn rmsprop_tf(
    [lr, momentum, decay, eps]: [f64; 4],
    lr_in_momentum: bool,
    var: &Var,
    grad: &Tensor,
    slots: &mut Slots,
) -> Result<()> {
    let square = slots.buffer(SQUARE, var, 1.)?;
    Update::Product { rate: 1. - decay }.apply(&square, grad, grad)?;
    let quotient = |a, b| Update::Quotient { a, b, inner: eps, scale: 1., outer: 0. };
    if momentum == 0. {
        return quotient(1., -lr).apply(var, grad, &square);
    }
    let buffer = slots.buffer(MOMENTUM, var, 0.)?;
    let (inside, outside) = if lr_in_momentum { (lr, 1.) } else { (1., lr) };
    quotient(momentum, inside).apply(&buffer, grad, &square)?;
    Update::Step { rate: -outside, a: 0., b: 1., c: 0. }.apply(var, &buffer, &buffer)
}
