//! Foundation.

pub mod image;
