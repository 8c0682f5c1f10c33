//! Which parameters decay.

use candle_core::Var;

use super::{Algorithm, Config};

/// What a group's parameters are to schedules and weight decay.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ParamKind {
    /// Decayed.
    Weight,
    /// Not decayed: weights of batch norms, and all that has one dimension in timm's rule.
    Undecayed,
    /// Not decayed, and warmed up from a rate of its own in Ultralytics' schedule.
    Bias,
}

/// Parameters that share their rates.
#[derive(Debug, Clone)]
pub struct ParamGroup {
    /// What the parameters are.
    pub role: ParamKind,
    /// Names and variables.
    pub parameters: Vec<(String, Var)>,
    /// What a schedule's rate is multiplied by to give this group's.
    pub rate_factor: f64,
    /// Rate of the next step.
    pub learning_rate: f64,
    /// Momentum of the next step; the first beta of Adam and its kin.
    pub momentum: f64,
    /// Weight decay of the next step.
    pub weight_decay: f64,
}

impl ParamGroup {
    /// A group at the rates of `config`, decayed where its role says so.
    #[must_use]
    pub fn new(role: ParamKind, config: &Config, parameters: Vec<(String, Var)>) -> Self {
        let &Config { learning_rate, momentum, weight_decay, .. } = config;
        let weight_decay = if role == ParamKind::Weight { weight_decay } else { 0. };
        Self { role, parameters, rate_factor: 1., learning_rate, momentum, weight_decay }
    }
}

/// How much faster MuSGD moves the class branches of a detection head.
const BOOST: f64 = 3.;

/// Ultralytics' groups: weights, batch norm weights, biases, in this order, some of which may be empty.
///
/// MuSGD moves the parameters that `boosted` picks (the class branches of the detection head in Ultralytics) at three
/// times the rate: they are further groups behind these. Other algorithms ignore `boosted`.
#[must_use]
pub fn ultralytics_groups(
    parameters: Vec<(String, Var)>,
    config: &Config,
    boosted: impl Fn(&str) -> bool,
) -> Vec<ParamGroup> {
    let role = |name: &str, var: &Var| match var.rank() {
        _ if name.ends_with("bias") => ParamKind::Bias,
        1 if name.ends_with(".weight") => ParamKind::Undecayed,
        _ => ParamKind::Weight,
    };
    let has_boost = matches!(config.algorithm, Algorithm::MuSgd { .. });
    let (fast, usual): (Vec<_>, Vec<_>) = parameters.into_iter().partition(|(name, _)| has_boost && boosted(name));
    let mut groups = split(usual, config, &[ParamKind::Weight, ParamKind::Undecayed, ParamKind::Bias], role);
    let mut fast = split(fast, config, &[ParamKind::Weight, ParamKind::Undecayed, ParamKind::Bias], role);
    fast.retain(|group| !group.parameters.is_empty());
    for group in &mut fast {
        group.rate_factor = BOOST;
        group.learning_rate *= BOOST;
    }
    groups.append(&mut fast);
    groups
}

/// timm's groups: what has at most one dimension or is a bias, then what decays; either may be empty.
#[must_use]
pub fn timm_groups(parameters: Vec<(String, Var)>, config: &Config) -> Vec<ParamGroup> {
    let is_undecayed = |name: &str, var: &Var| var.rank() <= 1 || name.ends_with(".bias");
    let role = |name: &str, var: &Var| if is_undecayed(name, var) { ParamKind::Undecayed } else { ParamKind::Weight };
    split(parameters, config, &[ParamKind::Undecayed, ParamKind::Weight], role)
}

fn split(
    parameters: Vec<(String, Var)>,
    config: &Config,
    roles: &[ParamKind],
    role: impl Fn(&str, &Var) -> ParamKind,
) -> Vec<ParamGroup> {
    let of = |wanted: ParamKind| parameters.iter().filter(|(name, var)| role(name, var) == wanted).cloned().collect();
    roles.iter().map(|wanted| ParamGroup::new(*wanted, config, of(*wanted))).collect()
}
