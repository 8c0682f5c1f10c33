//! Suppression of overlapping boxes on a GPU: of all that a detector gives, only what is kept comes to the host.

#[cfg(any(feature = "emulate", feature = "cuda", feature = "metal"))]
use candle_core::Storage;
use candle_core::{Result, Tensor};

/// Numbers of a kept box, as in `suppress.h`.
const ROW: usize = 6;
/// Most anchors per image: each candidate is compared with all others.
const MAX_ANCHORS: usize = 1 << 17;
/// Most images, a launch's blocks in the second direction.
const MAX_IMAGES: usize = 65_535;
/// Threads of a block, which has an anchor each, as in `suppress.h`.
#[cfg(any(feature = "cuda", feature = "metal"))]
const GROUP: u32 = 256;

/// What is asked for.
#[derive(Debug, Clone, Copy)]
pub struct Options<'a> {
    /// A candidate counts where its confidence is strictly above this.
    pub conf: f32,
    /// A box goes where it overlaps a better one by strictly more than this.
    pub iou: f32,
    /// Most candidates that take part.
    pub max_candidates: usize,
    /// Most boxes that are kept.
    pub max_det: usize,
    /// Whether boxes suppress those of other classes too.
    pub agnostic: bool,
    /// Only these classes; all where `None`.
    pub classes: Option<&'a [usize]>,
}

/// What is kept of one image's boxes.
#[derive(Debug, Clone, PartialEq)]
pub struct Suppressed {
    /// Left, top, right, bottom, confidence and class, best first.
    pub rows: Vec<[f32; ROW]>,
    /// How many candidates did not take part.
    pub dropped: usize,
}

/// What the launches work on, as in `suppress.h`: 32-bit words alone, in its order.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq)]
struct Suppression {
    classes: u32,
    anchors: u32,
    most_candidates: u32,
    most_kept: u32,
    agnostic: u32,
    filtered: u32,
    conf: f32,
    iou: f32,
    wanted: [u32; 32],
}

impl Suppression {
    /// For a decoded output (images, 4 + classes, anchors); `None` where the kernels do not do what is asked for.
    fn new([images, channels, anchors]: [usize; 3], options: &Options) -> Option<Self> {
        let classes = channels.checked_sub(4)?;
        let mut wanted = [0; 32];
        for class in options.classes.into_iter().flatten().filter(|class| **class < classes) {
            *wanted.get_mut(class / 32)? |= 1 << (class % 32);
        }
        if images * channels * anchors == 0 || images > MAX_IMAGES || anchors > MAX_ANCHORS {
            return None;
        }
        Some(Self {
            classes: u32::try_from(classes).ok()?,
            anchors: u32::try_from(anchors).ok()?,
            most_candidates: u32::try_from(options.max_candidates).ok()?,
            most_kept: options.max_det.min(anchors).min(options.max_candidates) as u32,
            agnostic: options.agnostic.into(),
            filtered: options.classes.is_some().into(),
            conf: options.conf,
            iou: options.iou,
            wanted,
        })
    }

    /// Elements of the result per image: two counts, and the rows.
    fn result_len(&self) -> usize {
        2 + ROW * self.most_kept as usize
    }

    /// The result of the launches on a contiguous output; `None` where there are none for its device.
    fn result(&self, decoded: &Tensor) -> Result<Option<Vec<f32>>> {
        let (storage, layout) = decoded.storage_and_layout();
        match (&*storage, layout) {
            #[cfg(feature = "emulate")]
            (Storage::Cpu(storage), layout) if crate::context::is_emulating() => {
                let rows = &storage.as_slice::<f32>()?[layout.start_offset()..][..decoded.elem_count()];
                self.emulated(rows, decoded.dims()[0]).map(Some)
            }
            #[cfg(feature = "cuda")]
            (Storage::Cuda(storage), layout) => self.on_cuda(storage, layout).map(Some),
            #[cfg(feature = "metal")]
            (Storage::Metal(storage), layout) => self.on_metal(storage, layout).map(Some),
            _ => Ok(None),
        }
    }

    /// The launches on a device, in their order: a kernel, and its blocks.
    #[cfg(any(feature = "cuda", feature = "metal"))]
    fn launches(&self, images: usize) -> [(&'static str, [u32; 2]); 3] {
        let (groups, images) = (self.anchors.div_ceil(GROUP), images as u32);
        [("suppress_candidates", [groups, images]), ("suppress_rank", [groups, images]), ("suppress_keep", [images, 1])]
    }

    /// Words of the memory between the launches.
    #[cfg(any(feature = "cuda", feature = "metal"))]
    fn scratch_len(&self, images: usize) -> usize {
        images * (3 * self.anchors as usize + self.anchors.div_ceil(GROUP) as usize)
    }

    /// What a result says of each image.
    fn kept(&self, result: &[f32]) -> Vec<Suppressed> {
        let kept = |image: &[f32]| {
            let (counts, rows) = image.split_at(2);
            let rows = rows.as_chunks::<ROW>().0.iter().take(counts[0] as usize).copied().collect();
            Suppressed { rows, dropped: counts[1] as usize }
        };
        result.chunks_exact(self.result_len()).map(kept).collect()
    }
}

/// What is kept of a decoded output (images, 4 + classes, anchors) in `f32`, for each image; `None` where that is
/// the host's to say. A row of the output is a number of all anchors: centre x, centre y, width, height, then a probability for
/// each class, of which the best counts.
///
/// # Errors
/// If the output has not three dimensions, or the device fails.
pub fn suppress(decoded: &Tensor, options: &Options) -> Result<Option<Vec<Suppressed>>> {
    let Some(suppression) = Suppression::new(decoded.dims3()?.into(), options) else { return Ok(None) };
    Ok(suppression.result(&decoded.contiguous()?)?.map(|result| suppression.kept(&result)))
}

#[cfg(feature = "emulate")]
impl Suppression {
    fn emulated(&self, decoded: &[f32], images: usize) -> Result<Vec<f32>> {
        let Self { classes, anchors, most_candidates, most_kept, agnostic, filtered, conf, iou, wanted } = *self;
        let bytes = |len: usize| (size_of::<f32>() * len) as u32;
        let mut words = vec![3, classes, anchors, most_candidates, most_kept, agnostic, filtered];
        words.extend([conf.to_bits(), iou.to_bits()]);
        words.extend(wanted);
        words.extend([images as u32, bytes(decoded.len())]);
        words.extend(decoded.iter().map(|x| x.to_bits()));
        words.push((images * self.result_len()) as u32);
        let input: Vec<u8> = words.into_iter().flat_map(u32::to_ne_bytes).collect();
        let output = super::emulate::answer(&input)?;
        Ok(output.as_chunks::<4>().0.iter().map(|bytes| f32::from_ne_bytes(*bytes)).collect())
    }
}

#[cfg(feature = "cuda")]
mod cuda {
    use candle_core::backend::BackendStorage;
    use candle_core::cuda::cudarc::driver::{DeviceRepr, LaunchConfig, PushKernelArg};
    use candle_core::{CudaStorage, Error, Layout, Result};

    use super::super::cuda::detect_function;
    use super::{GROUP, Suppression};

    // SAFETY: 32-bit words alone, laid out as the kernels' `Suppression` is.
    unsafe impl DeviceRepr for Suppression {}

    impl Suppression {
        /// The result, by three launches on the device's stream, which this waits for.
        pub(super) fn on_cuda(&self, decoded: &CudaStorage, layout: &Layout) -> Result<Vec<f32>> {
            let (device, images) = (decoded.device(), layout.dims()[0]);
            let decoded = decoded.as_cuda_slice::<f32>()?.slice(layout.start_offset()..);
            // SAFETY: the launches write what they read of it.
            let scratch = unsafe { device.alloc::<u32>(self.scratch_len(images))? };
            // Rows that are not written come to the host.
            let output = device.alloc_zeros::<f32>(images * self.result_len())?;
            let stream = device.cuda_stream();
            for (name, [x, y]) in self.launches(images) {
                let function = detect_function(device, name)?;
                let config = LaunchConfig { grid_dim: (x, y, 1), block_dim: (GROUP, 1, 1), shared_mem_bytes: 0 };
                let mut builder = stream.launch_builder(&function);
                builder.arg(self).arg(&decoded).arg(&scratch).arg(&output);
                // SAFETY: the arguments are the kernel's, and the memories are as large as `suppress.h` says.
                unsafe { builder.launch(config) }.map_err(Error::wrap)?;
            }
            device.clone_dtoh(&output)
        }
    }
}

#[cfg(feature = "metal")]
mod metal {
    use candle_core::backend::BackendStorage;
    use candle_core::{DType, Layout, MetalStorage, Result, bail};

    use super::super::metal::{Call, dispatch};
    use super::{GROUP, Suppression};

    impl Suppression {
        /// The result, by three launches where candle encodes its own, which this waits for.
        pub(super) fn on_metal(&self, decoded: &MetalStorage, layout: &Layout) -> Result<Vec<f32>> {
            if decoded.dtype() != DType::F32 {
                bail!("suppression is a kernel of f32 alone, and got {:?}", decoded.dtype())
            }
            let (device, images) = (decoded.device(), layout.dims()[0]);
            let len = images * self.result_len();
            let scratch = device.new_buffer(self.scratch_len(images), DType::U32, "scratch")?;
            // Rows that are not written come to the host, which does not look at them.
            let output = device.new_buffer(len, DType::F32, "kept")?;
            let decoded = (decoded.buffer(), layout.start_offset() * size_of::<f32>());
            for (name, blocks) in self.launches(images) {
                let call = Call { module: "detect", name: name.to_owned(), blocks, threads: GROUP };
                dispatch(device, call, self, &[decoded, (&scratch, 0), (&output, 0)], &[1, 2])?;
            }
            let output = MetalStorage::new(output, device.clone(), len, DType::F32).to_cpu_storage()?;
            Ok(output.as_slice::<f32>()?.to_vec())
        }
    }
}
