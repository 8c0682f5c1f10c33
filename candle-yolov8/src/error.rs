//! What can be wrong with a model's description, and with an option.

/// Why a model yaml was refused. Rows are numbered as layers are, from 0 through backbone and head.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum YamlError {
    /// The text is no YAML.
    #[error("this is no YAML: {0}")]
    Syntax(String),
    /// A key is missing or holds something else than it should.
    #[error("key `{key}`: {problem}")]
    Key {
        /// The key.
        key: &'static str,
        /// What is wrong, and what is allowed.
        problem: String,
    },
    /// A row cannot be built.
    #[error("layer {index} ({module}): {problem}")]
    Layer {
        /// Number of the layer.
        index: usize,
        /// The module it names.
        module: String,
        /// What is wrong, and what is allowed.
        problem: String,
    },
}

/// Why an option was refused: what is wrong, and what is allowed.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum OptionError {
    /// No optimizer is called so.
    #[error("`{0}` is no optimizer here: give SGD, MuSGD, AdamW, Adam, Adamax, NAdam, RAdam, RMSProp or auto")]
    Optimizer(String),
    /// The optimizer is still to be chosen by the length of the run.
    #[error("`auto` depends on the data: resolve the recipe first")]
    Unresolved,
    /// No layer, and no part of one, is called so.
    #[error("`{0}` is no layer: give a number of layers, or a list such as 0,1,9 or 22.cv2")]
    Layer(String),
    /// Something other than numbers of classes.
    #[error("give the numbers of classes, such as 0 or 0,2,3")]
    Classes,
    /// No part of a data set.
    #[error(
        "give a share above 0 and up to 1, a count of at least 2, or a list such as 0.5,100 of both for train, val and test"
    )]
    Fraction,
    /// No range of factors.
    #[error("give a number from 0 to 1, or the smallest and the largest factor, such as 0.5,2")]
    Scale,
    /// A number out of its range.
    #[error("`{name}` is {value}, where 0 to {most} is allowed")]
    OutOfRange {
        /// The option, by Ultralytics' name.
        name: &'static str,
        /// Its value.
        value: f64,
        /// The largest that is allowed.
        most: f64,
    },
    /// A gain of the scale out of its range.
    #[error("`scale` is {0}, where 0 to 1 is allowed, or a pair of factors")]
    ScaleGain(f64),
    /// Factors of the scale that are none, or in the wrong order.
    #[error("`scale` is {low},{high}, where two factors above 0 are allowed, the smaller one first", low = .0[0], high = .0[1])]
    ScaleRange([f64; 2]),
}
