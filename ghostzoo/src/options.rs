//! How a model is loaded.

use std::ffi::OsString;

use candle_core::{DType, Device};
use ghostzoo_kernels::Isa;
use ghostzoo_weights::{NoProgress, ResolveOptions};

use crate::classifier::Classifier;
use crate::detector::Detector;
use crate::error::Result;
use crate::model::{self, Model};

/// The type that suits a device: bf16 on a CPU that multiplies it (AMX, AVX-512 BF16), else f32, whose launches are the faster on a
/// GPU too where images come one at a time. A model with weights in 8 bits computes in those and f32 on every CPU.
pub fn best_dtype(device: &Device) -> DType {
    if device.is_cpu() && Isa::best().multiplies_bf16() { DType::BF16 } else { DType::F32 }
}

/// How a model is loaded: on the CPU, in f32, unless told otherwise.
///
/// ```no_run
/// use candle_core::{DType, Device};
/// use ghostzoo::LoadOptions;
///
/// let detector = LoadOptions::new().device(Device::new_cuda(0)?).dtype(DType::F16).detector("best.pt")?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct LoadOptions {
    pub(crate) device: Device,
    /// None for the one that suits.
    pub(crate) dtype: Option<DType>,
    pub(crate) arch: Option<OsString>,
    pub(crate) resolve: ResolveOptions,
}

impl Default for LoadOptions {
    fn default() -> Self {
        Self { device: Device::Cpu, dtype: Some(DType::F32), arch: None, resolve: ResolveOptions::default() }
    }
}

impl LoadOptions {
    /// On the CPU, in f32.
    pub fn new() -> Self {
        Self::default()
    }

    /// Where to compute.
    #[must_use]
    pub fn device(self, device: Device) -> Self {
        Self { device, ..self }
    }

    /// The type to compute in: f32, f16 or bf16.
    #[must_use]
    pub fn dtype(self, dtype: DType) -> Self {
        Self { dtype: Some(dtype), ..self }
    }

    /// Computes in the type that suits the device and the model, see [`best_dtype`]; [`Model::dtype`] says it.
    #[must_use]
    pub fn best_dtype(self) -> Self {
        Self { dtype: None, ..self }
    }

    /// The architecture of a checkpoint that does not say it: a name such as `yolov8n-ghost`, or a model's yaml file.
    #[must_use]
    pub fn arch(self, arch: impl Into<OsString>) -> Self {
        Self { arch: Some(arch.into()), ..self }
    }

    /// How a name becomes a file: cache, Hub, whether a cached file is replaced.
    #[must_use]
    pub fn resolve(self, resolve: ResolveOptions) -> Self {
        Self { resolve, ..self }
    }

    /// Loads a model by its name, file or `hf://` address, whichever task it is for.
    ///
    /// # Errors
    /// As [`model::find`], [`model::read`] and [`model::load`].
    pub fn model(&self, name: impl AsRef<std::ffi::OsStr>) -> Result<Model> {
        let found = model::find(&name, &self.resolve, &mut NoProgress)?;
        model::load(&crate::shown(&name), &found, self)
    }

    /// [`LoadOptions::model`], which must be a detector.
    ///
    /// # Errors
    /// As [`LoadOptions::model`]; where it is a classifier.
    pub fn detector(&self, name: impl AsRef<std::ffi::OsStr>) -> Result<Detector> {
        Detector::of(self.model(name)?)
    }

    /// [`LoadOptions::model`], which must be a classifier.
    ///
    /// # Errors
    /// As [`LoadOptions::model`]; where it is a detector.
    pub fn classifier(&self, name: impl AsRef<std::ffi::OsStr>) -> Result<Classifier> {
        Classifier::of(self.model(name)?)
    }
}
