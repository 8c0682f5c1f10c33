//! Where to compute.

use std::str::FromStr;

use anyhow::{Context, Result};
use candle_core::Device;

use crate::error::usage;

/// A device by its name on the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Choice {
    /// The first GPU of a kind that is built in and opens, else the CPU.
    Auto,
    /// The processor.
    Cpu,
    /// An NVIDIA GPU by its number.
    Cuda(usize),
    /// An Apple GPU.
    Metal,
}

impl FromStr for Choice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "auto" => Ok(Self::Auto),
            "cpu" => Ok(Self::Cpu),
            "cuda" => Ok(Self::Cuda(0)),
            "metal" => Ok(Self::Metal),
            // A bare number is what Ultralytics calls a GPU.
            _ => match text.strip_prefix("cuda:").or(Some(text)).and_then(|number| number.parse().ok()) {
                Some(number) => Ok(Self::Cuda(number)),
                None => Err("give auto, cpu, cuda, cuda:N or metal".to_owned()),
            },
        }
    }
}

impl Choice {
    /// Opens the device. `quiet` keeps back the note that `auto` fell back to the CPU.
    pub(crate) fn open(self, quiet: bool) -> Result<Device> {
        match self {
            Self::Cpu => Ok(Device::Cpu),
            Self::Cuda(number) if cfg!(feature = "cuda") => {
                Device::new_cuda(number).with_context(|| format!("cannot open --device cuda:{number}"))
            }
            Self::Metal if cfg!(feature = "metal") => Device::new_metal(0).context("cannot open --device metal"),
            Self::Cuda(_) => Err(not_built("cuda")),
            Self::Metal => Err(not_built("metal")),
            Self::Auto => {
                let gpu = match () {
                    () if cfg!(feature = "cuda") => Device::new_cuda(0).context("CUDA"),
                    () if cfg!(feature = "metal") => Device::new_metal(0).context("Metal"),
                    () => return Ok(Device::Cpu),
                };
                Ok(gpu.unwrap_or_else(|error| {
                    if !quiet {
                        status!("note: computing on the CPU, no GPU opens: {}", crate::error::text(&error));
                    }
                    Device::Cpu
                }))
            }
        }
    }
}

fn not_built(feature: &str) -> anyhow::Error {
    usage(format!(
        "this ghostzoo is built without {feature}; build it with `cargo build --release --features {feature}`, or use \
         --device cpu"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_parse() {
        assert_eq!("cuda:3".parse(), Ok(Choice::Cuda(3)));
        assert_eq!("cuda".parse(), Ok(Choice::Cuda(0)));
        for wrong in ["gpu", "cuda:", "cuda:-1", "CPU"] {
            assert!(wrong.parse::<Choice>().is_err(), "{wrong}");
        }
    }
}
