//! What can be wrong with a model's description.

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
