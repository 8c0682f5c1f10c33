//! GhostNet.
