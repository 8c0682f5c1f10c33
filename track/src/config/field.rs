//! What a key of the settings takes.

use super::GmcMethod;
use crate::error::{TrackError, quoted};

/// Where a value goes, and which values are taken. Appearance is not computed: what weighs it is read and has no effect.
pub(super) enum Field<'a> {
    Ratio(&'a mut f64),
    Weight(&'a mut f64),
    Count(&'a mut u32),
    Positive(&'a mut u32),
    Flag(&'a mut bool),
    Gmc(&'a mut GmcMethod),
    UnusedRatio,
    Never,
    AnyText,
}

impl Field<'_> {
    fn needed(&self) -> &'static str {
        match self {
            Self::Ratio(_) | Self::UnusedRatio => "a number from 0 to 1",
            Self::Weight(_) => "a finite number of at least 0",
            Self::Count(_) => "a whole number of at least 0",
            Self::Positive(_) => "a whole number of at least 1",
            Self::Flag(_) => "True or False",
            Self::Gmc(_) => "sparseOptFlow or none",
            Self::Never => "False: appearance (re-identification) is not computed",
            Self::AnyText => "a text",
        }
    }

    /// Takes the value of a text, or leaves the setting as it was.
    pub(super) fn set(self, key: &'static str, text: &str) -> Result<(), TrackError> {
        let refused = TrackError::BadValue { key, value: quoted(text), needed: self.needed() };
        let taken = match self {
            Self::Ratio(value) => store(value, text.parse().ok().filter(|value| is_ratio(*value))),
            Self::UnusedRatio => text.parse().is_ok_and(is_ratio),
            Self::Weight(value) => store(value, text.parse().ok().filter(|value| is_weight(*value))),
            Self::Count(value) => store(value, text.parse().ok()),
            Self::Positive(value) => store(value, text.parse().ok().filter(|value| *value > 0)),
            Self::Flag(value) => store(value, flag(text)),
            Self::Gmc(value) => {
                let method = match text {
                    "sparseOptFlow" => Some(GmcMethod::SparseOptFlow),
                    "none" | "None" => Some(GmcMethod::None),
                    _ => None,
                };
                store(value, method)
            }
            Self::Never => flag(text) == Some(false),
            Self::AnyText => true,
        };
        if taken { Ok(()) } else { Err(refused) }
    }

    /// Refuses a number out of range.
    pub(super) fn check(self, key: &'static str) -> Result<(), TrackError> {
        let needed = self.needed();
        let wrong = match self {
            Self::Ratio(value) => Some(*value).filter(|value| !is_ratio(*value)),
            Self::Weight(value) => Some(*value).filter(|value| !is_weight(*value)),
            Self::Positive(value) => Some(f64::from(*value)).filter(|value| *value < 1.0),
            _ => None,
        };
        wrong.map_or(Ok(()), |value| Err(TrackError::BadValue { key, value: value.to_string(), needed }))
    }
}

fn store<T>(place: &mut T, value: Option<T>) -> bool {
    value.map(|value| *place = value).is_some()
}

fn is_ratio(value: f64) -> bool {
    (0.0..=1.0).contains(&value)
}

fn is_weight(value: f64) -> bool {
    value.is_finite() && value >= 0.0
}

fn flag(text: &str) -> Option<bool> {
    match text {
        "true" | "True" | "TRUE" => Some(true),
        "false" | "False" | "FALSE" => Some(false),
        _ => None,
    }
}
