use super::Modules;

/// The size of a network, on one image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Summary {
    /// Modules of the unfused PyTorch counterpart; Ultralytics' releases print those without children as "layers", older ones
    /// all.
    pub modules: Modules,
    /// Elements of all weights and biases.
    pub parameters: usize,
    /// Those of them that are trained.
    pub gradients: usize,
    /// Multiply-accumulates of convolutions and linear layers.
    pub macs: u64,
    /// Floating-point operations as Ultralytics counts them: two per multiply-accumulate, and eight per output of a batch norm
    /// that is not folded.
    pub flops: u64,
}
