//! What each subcommand does.

pub(crate) mod bench;
pub(crate) mod classify;
pub(crate) mod convert;
pub(crate) mod detect;
pub(crate) mod eval;
pub(crate) mod guides;
pub(crate) mod merge;
pub(crate) mod models;
pub(crate) mod prune;
pub(crate) mod publish;
pub(crate) mod pull;
pub(crate) mod quantize;
pub(crate) mod summary;
pub(crate) mod track;
pub(crate) mod train;
pub(crate) mod val;
