//! Suppression of overlapping boxes on a GPU: of all that a detector gives, only what is kept comes to the host.

#[cfg(any(test, feature = "emulate", feature = "cuda"))]
use candle_core::Storage;
use candle_core::{Result, Tensor};

#[cfg(any(test, feature = "emulate"))]
use super::emulate::{Emulated, emulated};
use crate::nms::{Candidate, Kept, MAX_CANDIDATES, NmsOptions};

/// Numbers of a kept box, as in `suppress.h`.
const ROW: usize = 6;
/// Most anchors per image: each candidate is compared with all others.
const MAX_ANCHORS: usize = 1 << 17;
/// Most images, a launch's blocks in the second direction.
const MAX_IMAGES: usize = 65_535;

/// What the launches work on, as in `suppress.h`: 32-bit words alone, in its order.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Suppression {
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
    pub(crate) fn new([images, channels, anchors]: [usize; 3], options: &NmsOptions) -> Option<Self> {
        let classes = channels.checked_sub(4)?;
        let mut wanted = [0; 32];
        for class in options.classes.iter().flatten().filter(|class| **class < classes) {
            *wanted.get_mut(class / 32)? |= 1 << (class % 32);
        }
        if options.multi_label || images * channels * anchors == 0 || images > MAX_IMAGES || anchors > MAX_ANCHORS {
            return None;
        }
        Some(Self {
            classes: u32::try_from(classes).ok()?,
            anchors: u32::try_from(anchors).ok()?,
            most_candidates: MAX_CANDIDATES as u32,
            most_kept: options.max_det.min(anchors).min(MAX_CANDIDATES) as u32,
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
            #[cfg(any(test, feature = "emulate"))]
            (Storage::Cpu(storage), layout) if super::is_emulating() && emulated() == Emulated::Cuda => {
                let rows = &storage.as_slice::<f32>()?[layout.start_offset()..][..decoded.elem_count()];
                self.emulated(rows, decoded.dims()[0]).map(Some)
            }
            #[cfg(feature = "cuda")]
            (Storage::Cuda(storage), layout) => self.on_cuda(storage, layout).map(Some),
            _ => Ok(None),
        }
    }

    /// What a result says of each image.
    fn kept(&self, result: &[f32]) -> Vec<Kept> {
        let kept = |image: &[f32]| {
            let (counts, rows) = image.split_at(2);
            let candidate = |row: &[f32; ROW]| Candidate {
                xyxy: [row[0], row[1], row[2], row[3]],
                confidence: row[4],
                class_id: row[5] as usize,
            };
            let rows = rows.as_chunks::<ROW>().0.iter().take(counts[0] as usize);
            Kept { candidates: rows.map(candidate).collect(), dropped: counts[1] as usize }
        };
        result.chunks_exact(self.result_len()).map(kept).collect()
    }
}

/// What is kept of a decoded output (images, 4 + classes, anchors) in `f32`; `None` where that is the host's to say.
pub(crate) fn suppress(decoded: &Tensor, options: &NmsOptions) -> Result<Option<Vec<Kept>>> {
    let Some(suppression) = Suppression::new(decoded.dims3()?.into(), options) else { return Ok(None) };
    Ok(suppression.result(&decoded.contiguous()?)?.map(|result| suppression.kept(&result)))
}

#[cfg(any(test, feature = "emulate"))]
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
    use super::Suppression;

    /// Anchors of a block, as in `suppress.h`.
    const GROUP: usize = 256;

    // SAFETY: 32-bit words alone, laid out as the kernels' `Suppression` is.
    unsafe impl DeviceRepr for Suppression {}

    impl Suppression {
        /// The result, by three launches on the device's stream, which this waits for.
        pub(super) fn on_cuda(&self, decoded: &CudaStorage, layout: &Layout) -> Result<Vec<f32>> {
            let (device, images) = (decoded.device(), layout.dims()[0]);
            let decoded = decoded.as_cuda_slice::<f32>()?.slice(layout.start_offset()..);
            let anchors = self.anchors as usize;
            let groups = anchors.div_ceil(GROUP);
            // SAFETY: the launches write what they read of it.
            let scratch = unsafe { device.alloc::<u32>(images * (3 * anchors + groups))? };
            // Rows that are not written come to the host.
            let output = device.alloc_zeros::<f32>(images * self.result_len())?;
            let stream = device.cuda_stream();
            for (name, blocks) in [
                ("suppress_candidates", [groups, images]),
                ("suppress_rank", [groups, images]),
                ("suppress_keep", [images, 1]),
            ] {
                let function = detect_function(device, name)?;
                let grid = blocks.map(|count| count as u32);
                let config = LaunchConfig {
                    grid_dim: (grid[0], grid[1], 1),
                    block_dim: (GROUP as u32, 1, 1),
                    shared_mem_bytes: 0,
                };
                let mut builder = stream.launch_builder(&function);
                builder.arg(self).arg(&decoded).arg(&scratch).arg(&output);
                // SAFETY: the arguments are the kernel's, and the memories are as large as `suppress.h` says.
                unsafe { builder.launch(config) }.map_err(Error::wrap)?;
            }
            device.clone_dtoh(&output)
        }
    }
}
