//! Layers that a training leaves as they are.

use std::fmt;
use std::str::FromStr;

use crate::OptionError;

/// Which parameters stay as they are, in Ultralytics' notation.
///
/// `10` means the first ten layers, `0,1,9` those layers, `22.cv2` a part of one; a list of one layer ends with a comma.
/// The batch norms of what is frozen keep their running statistics, and use them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Freeze {
    prefixes: Vec<String>,
}

impl Freeze {
    /// Whether the tensor of this checkpoint name stays as it is.
    #[must_use]
    pub fn holds(&self, name: &str) -> bool {
        self.prefixes.iter().any(|prefix| name.starts_with(prefix))
    }

    /// The parts that a network of so many `layers` and of tensors called `names` does not have. A layer may have no tensor.
    pub fn unknown<'a>(&'a self, layers: usize, names: impl IntoIterator<Item = &'a str> + Clone) -> Vec<&'a str> {
        let is_layer = |prefix: &str| {
            let layer = prefix.strip_prefix("model.").and_then(|rest| rest.trim_end_matches('.').parse::<usize>().ok());
            layer.is_some_and(|layer| layer < layers)
        };
        let has_tensor = |prefix: &str| names.clone().into_iter().any(|name| name.starts_with(prefix));
        let is_unknown = |prefix: &&String| !is_layer(prefix) && !has_tensor(prefix);
        self.prefixes.iter().filter(is_unknown).map(|prefix| prefix.trim_end_matches('.')).collect()
    }
}

impl fmt::Display for Freeze {
    /// As it is read: the layers, each with a comma behind it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut layers = self.prefixes.iter().filter_map(|prefix| prefix.strip_prefix("model."));
        layers.try_for_each(|layer| write!(f, "{},", layer.trim_end_matches('.')))
    }
}

impl FromStr for Freeze {
    type Err = OptionError;

    fn from_str(text: &str) -> Result<Self, OptionError> {
        let whole = text.trim();
        let text = whole.trim_start_matches('[').trim_end_matches(']');
        if text.is_empty() || text == "None" {
            return Ok(Self::default());
        }
        let layers: Vec<String> = match text.parse::<usize>() {
            Ok(first) if text == whole => (0..first).map(|layer| layer.to_string()).collect(),
            _ => text.split(',').map(|part| part.trim().to_owned()).filter(|part| !part.is_empty()).collect(),
        };
        let is_layer = |layer: &String| layer.split('.').next().is_some_and(|first| first.parse::<usize>().is_ok());
        if let Some(wrong) = layers.iter().find(|layer| !is_layer(layer)) {
            return Err(OptionError::Layer(wrong.clone()));
        }
        Ok(Self { prefixes: layers.into_iter().map(|layer| format!("model.{layer}.")).collect() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_lists_and_parts_are_told_apart() {
        let held = |text: &str| {
            let freeze: Freeze = text.parse().expect("a layer");
            let names =
                ["model.0.conv.weight", "model.1.conv.weight", "model.10.bn.bias", "model.22.cv2.0.0.bn.weight"];
            names.iter().map(|name| u8::from(freeze.holds(name)).to_string()).collect::<String>()
        };
        for (text, expected) in [
            ("", "0000"),
            ("None", "0000"),
            ("1", "1000"),
            ("2", "1100"),
            ("1,", "0100"),
            ("[1]", "0100"),
            ("[1, 10]", "0110"),
            ("22.cv2,", "0001"),
            ("22.cv3,", "0000"),
            ("23", "1111"),
        ] {
            assert_eq!(held(text), expected, "{text}");
        }
        assert!("head".parse::<Freeze>().is_err_and(|error| error.to_string().contains("`head` is no layer")));
        let freeze: Freeze = "1,10,99,22.cv9".parse().expect("layers");
        assert_eq!(freeze.unknown(23, ["model.1.conv.weight", "model.22.cv2.0.2.bias"]), ["model.99", "model.22.cv9"]);
        for freeze in [freeze, "3".parse().expect("a number"), "3,".parse().expect("a layer"), Freeze::default()] {
            assert_eq!(freeze.to_string().parse(), Ok(freeze));
        }
    }
}
