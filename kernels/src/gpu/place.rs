//! Where the tests of a GPU's kernels run.

use std::sync::LazyLock;

use candle_core::Device;

use super::emulate::{EmulatedGpu, is_available, with_emulated};

/// The CPU's kernels, or a GPU's: emulated, or on one.
#[derive(Debug, Clone)]
pub enum Place {
    /// The CPU's own kernels.
    Cpu,
    /// A GPU's, on the CPU.
    Emulator(EmulatedGpu),
    /// A GPU's, on it.
    Gpu(Device),
}

/// The CPU, the emulators that a compiler makes here, and the GPUs of the build's that open.
pub static PLACES: LazyLock<Vec<Place>> = LazyLock::new(|| {
    let mut places = vec![Place::Cpu];
    places.extend(EmulatedGpu::ALL.into_iter().filter(|kind| is_available(*kind)).map(Place::Emulator));
    for (name, gpu) in [("CUDA", Device::new_cuda(0)), ("Metal", Device::new_metal(0))] {
        match gpu {
            Ok(gpu) => places.push(Place::Gpu(gpu)),
            Err(error) => println!("not run on {name}: {}", error.to_string().lines().next().unwrap_or_default()),
        }
    }
    places
});

impl Place {
    /// Where its tensors lie.
    #[must_use]
    pub fn device(&self) -> &Device {
        match self {
            Self::Cpu | Self::Emulator(_) => &Device::Cpu,
            Self::Gpu(device) => device,
        }
    }

    /// Runs `f` with its kernels.
    pub fn run<R>(&self, f: impl FnOnce() -> R) -> R {
        match self {
            Self::Emulator(kind) => with_emulated(*kind, f).expect("an emulator"),
            _ => f(),
        }
    }
}
