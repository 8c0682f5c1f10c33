//! Single launches on tensors of a device.

use candle_core::op::BackpropOp;
use candle_core::{DType, Device, Layout, Result, Shape, Storage, Tensor, bail};

use super::{IMAGE, Kernel, Launch, Map, OUTPUT, Step, THREADS, word};
use crate::is_stock;

/// A buffer of a run: a tensor's storage, or one of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Buffer {
    Input(usize),
    Own(usize),
}

/// The buffers of a launch; those that it does not read are `None`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Memories {
    pub(crate) arena: Option<Buffer>,
    pub(crate) image: Option<Buffer>,
    pub(crate) weights: Option<Buffer>,
    pub(crate) biases: Option<Buffer>,
    pub(crate) output: Buffer,
}

/// Launches one after the other, of kernels for elements of a type.
pub(crate) struct Run {
    dtype: DType,
    inputs: Vec<Tensor>,
    own: Vec<usize>,
    launches: Vec<(Launch, Memories)>,
}

impl Memories {
    /// Those of a launch that writes to `output` alone.
    pub(crate) fn to(output: Buffer) -> Self {
        Self { arena: None, image: None, weights: None, biases: None, output }
    }

    /// As a kernel's arguments: what is not read is any buffer that is not written.
    fn arguments(self) -> [Buffer; 5] {
        let read = [self.arena, self.image, self.weights, self.biases];
        let any = read.into_iter().flatten().next().unwrap_or(self.output);
        let [arena, image, weights, biases] = read.map(|buffer| buffer.unwrap_or(any));
        [arena, image, weights, biases, self.output]
    }
}

impl Launch {
    /// One of `threads` threads, each with an element of its own.
    pub(crate) fn elements(name: &'static str, threads: usize, step: Step) -> Result<Self> {
        let blocks = [word(threads)?.div_ceil(THREADS), 1];
        let kernel = match name {
            "combine" => Kernel::Combine,
            "pool" => Kernel::Pool,
            "letterbox" => Kernel::Letterbox,
            _ => Kernel::Train,
        };
        Ok(Self { kernel, name, blocks, threads: THREADS, step })
    }

    /// One of blocks of `threads`.
    pub(crate) fn blocks(name: &'static str, blocks: [usize; 2], threads: u32, step: Step) -> Result<Self> {
        Ok(Self { kernel: Kernel::Train, name, blocks: [word(blocks[0])?, word(blocks[1])?], threads, step })
    }
}

impl Run {
    pub(crate) fn new() -> Self {
        Self::of(DType::F32)
    }

    /// One whose kernels compute, and whose own buffers lie, in `dtype`.
    pub(crate) fn of(dtype: DType) -> Self {
        Self { dtype, inputs: Vec::new(), own: Vec::new(), launches: Vec::new() }
    }

    /// The storage of a tensor.
    pub(crate) fn input(&mut self, tensor: &Tensor) -> Buffer {
        self.inputs.push(tensor.clone());
        Buffer::Input(self.inputs.len() - 1)
    }

    /// A tensor's elements (n, c, h, w) where they lie.
    pub(crate) fn map(&mut self, tensor: &Tensor) -> Result<(Buffer, Map)> {
        let Some(map) = map(tensor.layout())? else {
            bail!("a kernel got maps at uneven steps: {:?}", tensor.layout())
        };
        Ok((self.input(tensor), map))
    }

    /// A buffer of `len` elements of any content.
    pub(crate) fn own(&mut self, len: usize) -> Buffer {
        self.own.push(len);
        Buffer::Own(self.own.len() - 1)
    }

    pub(crate) fn launch(&mut self, launch: Launch, memories: Memories) {
        self.launches.push((launch, memories));
    }

    /// Runs all launches; gives the own buffers.
    pub(crate) fn run(self) -> Result<Vec<Storage>> {
        let Some(device) = self.inputs.first().map(|input| input.device().clone()) else { bail!("a run of nothing") };
        let launches: Vec<(Launch, [Buffer; 5])> =
            self.launches.into_iter().map(|(launch, memories)| (launch, memories.arguments())).collect();
        let guards: Vec<_> = self.inputs.iter().map(|input| input.storage_and_layout().0).collect();
        match &device {
            #[cfg(feature = "cuda")]
            Device::Cuda(device) => {
                let inputs = guards.iter().map(|storage| match &**storage {
                    Storage::Cuda(storage) => super::cuda::bytes_of(storage),
                    _ => bail!("a kernel got tensors of two devices"),
                });
                super::cuda::launch(device, self.dtype, &inputs.collect::<Result<Vec<_>>>()?, &self.own, &launches)
            }
            #[cfg(feature = "metal")]
            Device::Metal(device) => {
                let inputs = guards.iter().map(|storage| match &**storage {
                    Storage::Metal(storage) => Ok(storage),
                    _ => bail!("a kernel got tensors of two devices"),
                });
                super::metal::launch(device, self.dtype, &inputs.collect::<Result<Vec<_>>>()?, &self.own, &launches)
            }
            #[cfg(feature = "emulate")]
            Device::Cpu => {
                let inputs = guards.iter().map(|storage| match &**storage {
                    Storage::Cpu(storage) => super::emulate::storage_bytes(storage),
                    _ => bail!("a kernel got tensors of two devices"),
                });
                super::emulate::launch_single(self.dtype, inputs.collect::<Result<Vec<_>>>()?, &self.own, &launches)
            }
            device => {
                drop(guards);
                bail!("there are no kernels for {:?}, for {} launches", device.location(), launches.len())
            }
        }
    }
}

/// Whether a device runs kernels of ours that are a GPU's.
pub fn has_kernels(device: &Device) -> bool {
    match device {
        Device::Cuda(_) => cfg!(feature = "cuda"),
        Device::Metal(_) => cfg!(feature = "metal"),
        Device::Cpu => crate::context::is_emulating(),
    }
}

/// Whether the kernels of this module take a tensor, 16-bit ones as `f32`.
pub(crate) fn takes(xs: &Tensor) -> bool {
    let fits = matches!(xs.dtype(), DType::F32 | DType::F16 | DType::BF16) && i32::try_from(xs.elem_count()).is_ok();
    has_kernels(xs.device()) && fits && !is_stock()
}

/// Where (n, c, h, w) lie, if their positions lie at even steps; dense elements of other ranks are channels of one position.
pub(crate) fn map(layout: &Layout) -> Result<Option<Map>> {
    let ([_, c, h, w], [batch, step, row, column]) = (layout.dims(), layout.stride()) else {
        let (start, len) = (layout.start_offset(), layout.shape().elem_count());
        let map = || Map::new(IMAGE, [start, 0, 0, 1], [1, 1, len]);
        return layout.is_contiguous().then(map).transpose();
    };
    let position = match (h, w) {
        (1, 1) => 0,
        (_, 1) => *row,
        (1, _) => *column,
        (_, w) if *row == w * column => *column,
        _ => return Ok(None),
    };
    let step = if *c == 1 { 1 } else { *step };
    Map::new(IMAGE, [layout.start_offset(), *batch, position, step], [*h, *w, *c]).map(Some)
}

/// The tensor itself if a kernel can read it where it lies, else a copy with its channels last.
pub(crate) fn readable(xs: &Tensor) -> Result<Tensor> {
    let xs = xs.detach();
    if xs.rank() != 4 {
        return xs.contiguous();
    }
    Ok(if map(xs.layout())?.is_some() { xs } else { xs.permute((0, 2, 3, 1))?.contiguous()?.permute((0, 3, 1, 2))? })
}

/// Where a result (n, c, h, w) lies in a buffer of its own, its channels last.
pub(crate) fn result_map([_, c, h, w]: [usize; 4]) -> Result<Map> {
    Map::new(OUTPUT, [0, h * w * c, c, 1], [h, w, c])
}

/// The maps (n, c, h, w) in a buffer, their channels last.
pub(crate) fn maps(storage: Storage, [n, c, h, w]: [usize; 4]) -> Result<Tensor> {
    plain(storage, (n, h, w, c)).permute((0, 3, 1, 2))
}

/// A buffer as a tensor.
pub(crate) fn plain(storage: Storage, shape: impl Into<Shape>) -> Tensor {
    Tensor::from_storage(storage, shape.into(), BackpropOp::none(), false)
}
