//! How much of a data set is used.

use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::OptionError;

/// How many of a split's images are used, from the first.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Fraction {
    /// So many, or all where there are fewer.
    Count(usize),
    /// This part of them, rounded half to even, at least one.
    Share(f64),
}

impl Fraction {
    /// The whole split.
    pub const ALL: Self = Self::Share(1.);

    /// How many of so many images that is.
    #[must_use]
    pub fn of(self, images: usize) -> usize {
        match self {
            Self::Count(count) => count.min(images),
            Self::Share(share) => ((images as f64 * share.clamp(0., 1.)).round_ties_even() as usize).max(1).min(images),
        }
    }

    /// Whether it is none of the images.
    fn is_none(self) -> bool {
        matches!(self, Self::Count(0) | Self::Share(0.))
    }
}

impl FromStr for Fraction {
    type Err = OptionError;

    /// A whole number of at least 2 is a count, one from 0 to 1 a share: Ultralytics' rule.
    fn from_str(text: &str) -> Result<Self, OptionError> {
        if let Ok(count) = text.parse::<usize>() {
            return Ok(if count <= 1 { Self::Share(count as f64) } else { Self::Count(count) });
        }
        let share: f64 = text.parse().map_err(|_| OptionError::Fraction)?;
        if (0. ..=1.).contains(&share) { Ok(Self::Share(share)) } else { Err(OptionError::Fraction) }
    }
}

/// The fractions of a data set: one of the training images, or a list in the order train, val, test.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Fractions {
    /// Of the training images; the other splits are used whole.
    Train(Fraction),
    /// Of two or three splits.
    Each(Vec<Fraction>),
}

impl Fractions {
    /// Of the training images.
    #[must_use]
    pub fn train(&self) -> Fraction {
        match self {
            Self::Train(fraction) => *fraction,
            Self::Each(fractions) => fractions.first().copied().unwrap_or(Fraction::ALL),
        }
    }

    /// Of the validation images.
    #[must_use]
    pub fn val(&self) -> Fraction {
        match self {
            Self::Train(_) => Fraction::ALL,
            Self::Each(fractions) => fractions.get(1).copied().unwrap_or(Fraction::ALL),
        }
    }
}

impl Default for Fractions {
    fn default() -> Self {
        Self::Train(Fraction::ALL)
    }
}

impl FromStr for Fractions {
    type Err = OptionError;

    fn from_str(text: &str) -> Result<Self, OptionError> {
        let entries = entries(text);
        let fractions: Vec<Fraction> = entries.iter().map(|entry| entry.parse()).collect::<Result<_, _>>()?;
        let used = &fractions[..fractions.len().min(2)];
        if used.iter().any(|fraction| fraction.is_none()) {
            return Err(OptionError::Fraction);
        }
        match fractions.len() {
            1 if entries[0] == text.trim() => Ok(Self::Train(fractions[0])),
            2 | 3 => Ok(Self::Each(fractions)),
            _ => Err(OptionError::Fraction),
        }
    }
}

/// The entries of `a,b`, `[a, b]` or `(a, b)`.
pub(crate) fn entries(text: &str) -> Vec<&str> {
    let text = text.trim();
    let within = |open: char, close: char| text.strip_prefix(open)?.strip_suffix(close);
    let text = within('[', ']').or_else(|| within('(', ')')).unwrap_or(text);
    text.split(',').map(str::trim).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::golden::options;

    #[derive(Deserialize)]
    struct Case {
        text: String,
        taken: Option<Taken>,
    }

    #[derive(Debug, PartialEq, Deserialize)]
    struct Taken {
        train: [usize; 3],
        val: [usize; 3],
    }

    #[test]
    fn each_text_takes_or_is_refused_what_ultralytics_takes_and_refuses() {
        let cases: Vec<Case> = options("fractions");
        assert_eq!(cases.len(), 21);
        for Case { text, taken } in cases {
            let of = |fraction: Fraction| [1, 5, 7].map(|images| fraction.of(images));
            let fractions = text.parse::<Fractions>();
            let found = fractions.as_ref().ok().map(|f| Taken { train: of(f.train()), val: of(f.val()) });
            assert_eq!(found, taken, "{text}");
            if let Err(error) = fractions {
                assert!(error.to_string().starts_with("give a share above 0"), "{text}: {error}");
            }
        }
        for text in ["nan", "", "0.5,", "(0.5"] {
            assert!(text.parse::<Fractions>().is_err(), "{text}");
        }
    }

    #[test]
    fn they_are_written_as_they_are_given() {
        for (text, written) in [("1", "1.0"), ("0.5", "0.5"), ("100", "100"), ("0.5,10,0", "[0.5,10,0.0]")] {
            let fractions: Fractions = text.parse().unwrap();
            assert_eq!(serde_json::to_string(&fractions).unwrap(), written);
            assert_eq!(serde_json::from_str::<Fractions>(written).unwrap(), fractions, "{text}");
        }
    }
}
