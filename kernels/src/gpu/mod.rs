//! Kernels on a GPU. Inference is a program of launches over one arena, each with its epilogue fused.
//!
//! The kernels' bodies (`bodies.h` and what it includes) are one text for CUDA (`cuda.h`), for Metal (`metal.h`) and for the
//! emulators (`emulate.cpp`, `emulate_metal.cpp`), which run them on the CPU for the tests. A launch is a kernel and its
//! [`Step`], the words of `step.h`. Training launches them one by one, on tensors ([`train`]).

pub(crate) mod ability;
#[cfg(feature = "cuda")]
mod cuda;
#[cfg(feature = "emulate")]
pub(crate) mod emulate;
mod forward;
pub mod letterbox;
#[cfg(feature = "metal")]
mod metal;
#[cfg(any(feature = "emulate", feature = "metal"))]
mod msl;
#[cfg(feature = "emulate")]
pub(crate) mod place;
mod run;
pub mod staging;
#[cfg(test)]
mod suite;
pub mod suppress;
pub(crate) mod train;

use candle_core::{Result, bail};

pub(crate) use forward::{Forward, Workspace};
pub use run::has_kernels;

use super::infer::View;
use super::{Activation, ConvGeometry};

/// Where a map lies: `Memory` of `step.h`.
pub(crate) const ARENA: u32 = 0;
pub(crate) const IMAGE: u32 = 1;
pub(crate) const OUTPUT: u32 = 2;
/// Most levels of boxes.
pub(crate) const LEVELS: usize = 5;
/// Channels that a thread has of a position, and that weights and biases are filled up to a multiple of.
pub(crate) const QUAD: usize = 4;
/// Threads of a block.
const THREADS: u32 = 256;
/// Channels that a block of `row` or `mean` has.
const SUMMED_CHANNELS: u32 = 32;
/// Most images for which a convolution of single positions reads its weights image by image.
const FEW_IMAGES: u32 = 8;

/// A map of a run, as in `step.h`.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Map {
    pub(crate) memory: u32,
    pub(crate) offset: u32,
    /// Elements from one image to the next.
    pub(crate) batch: u32,
    /// Elements from one position to the next.
    pub(crate) position: u32,
    /// Elements from one channel to the next.
    pub(crate) step: u32,
    pub(crate) height: u32,
    pub(crate) width: u32,
    pub(crate) channels: u32,
    pub(crate) wide: u32,
}

/// A level of boxes, as in `step.h`.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Level {
    pub(crate) map: Map,
    pub(crate) pixels: f32,
}

/// What a launch works on, as in `step.h`: 32-bit words alone, in its order.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Step {
    pub(crate) input: Map,
    pub(crate) second: Map,
    pub(crate) out: Map,
    pub(crate) plain: Map,
    pub(crate) has_second: u32,
    pub(crate) has_plain: u32,
    pub(crate) window: Window,
    pub(crate) activation: u32,
    pub(crate) slope: f32,
    pub(crate) operation: u32,
    pub(crate) is_max: u32,
    pub(crate) weight: u32,
    pub(crate) bias: u32,
    pub(crate) images: u32,
    pub(crate) parts: u32,
    pub(crate) eps: f32,
    pub(crate) factors: [f32; 5],
    pub(crate) levels: u32,
    pub(crate) anchors: u32,
    pub(crate) level: [Level; LEVELS],
}

/// A [`ConvGeometry`] in words.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Window {
    kernel: [u32; 2],
    stride: [u32; 2],
    padding: [u32; 2],
    dilation: [u32; 2],
}

/// A kernel of `bodies.h`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kernel {
    /// In tiles that fit the shape and fill a GPU.
    Dense,
    Mean,
    Depthwise,
    Pool,
    Combine,
    Boxes,
    /// One that reads bytes.
    Letterbox,
    /// One of those that training alone needs.
    Train,
}

/// A launch for a batch.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Launch {
    pub(crate) kernel: Kernel,
    /// The function's name, without its type.
    pub(crate) name: &'static str,
    pub(crate) blocks: [u32; 2],
    pub(crate) threads: u32,
    pub(crate) step: Step,
}

/// A network's launches for images of one size.
#[derive(Debug)]
pub(crate) struct Program {
    pub(crate) steps: Vec<(Kernel, Step)>,
    /// Elements of the arena per image.
    pub(crate) arena: usize,
    /// Elements of each output per image.
    pub(crate) outputs: Vec<usize>,
}

impl Map {
    /// A view of the arena, of `arena` elements per image.
    pub(crate) fn of(view: View, arena: usize) -> Result<Self> {
        Self::new(ARENA, [view.offset, arena, view.stride, 1], [view.height, view.width, view.channels])
    }

    /// A map of `memory` by its offset and its steps from image to image, from position to position, and from channel to
    /// channel.
    pub(crate) fn new(
        memory: u32,
        [offset, batch, position, step]: [usize; 4],
        [height, width, channels]: [usize; 3],
    ) -> Result<Self> {
        let wide = step == 1 && [offset, batch, position, channels].iter().all(|x| x % QUAD == 0);
        let [offset, batch, position, step] = [word(offset)?, word(batch)?, word(position)?, word(step)?];
        let [height, width, channels] = [word(height)?, word(width)?, word(channels)?];
        Ok(Self { memory, offset, batch, position, step, height, width, channels, wide: u32::from(wide) })
    }

    /// Elements per image.
    pub(crate) fn elements(&self) -> usize {
        self.height as usize * self.width as usize * self.channels as usize
    }
}

/// A length as a word.
pub(crate) fn word(len: usize) -> Result<u32> {
    match u32::try_from(len) {
        Ok(word) => Ok(word),
        Err(_) => bail!("{len} elements are too many for a GPU's indices: give smaller images"),
    }
}

impl Window {
    pub(crate) fn new(geometry: &ConvGeometry) -> Result<Self> {
        let words = |[a, b]: [usize; 2]| Ok::<_, candle_core::Error>([word(a)?, word(b)?]);
        Ok(Self {
            kernel: words(geometry.kernel)?,
            stride: words(geometry.stride)?,
            padding: words(geometry.padding)?,
            dilation: words(geometry.dilation)?,
        })
    }
}

/// An activation's number in `step.h`, and its slope.
pub(crate) fn activation(activation: Activation) -> (u32, f32) {
    match activation {
        Activation::Identity => (0, 0.),
        Activation::Relu => (1, 0.),
        Activation::Relu6 => (2, 0.),
        Activation::LeakyRelu(slope) => (3, slope),
        Activation::Sigmoid => (4, 0.),
        Activation::Silu => (5, 0.),
        Activation::HardSigmoid => (6, 0.),
        Activation::HardSwish => (7, 0.),
        Activation::Gelu => (8, 0.),
    }
}

impl Program {
    /// The launches for a batch; `has_warps`: where warps multiply.
    ///
    /// # Errors
    /// More images than the indices of a launch can count.
    pub(crate) fn launches(&self, images: usize, has_warps: bool) -> Result<Vec<Launch>> {
        self.steps.iter().map(|(kernel, step)| kernel.launch(step, images, has_warps)).collect()
    }

    /// Elements of all outputs of a batch: those of the first output for all images come first.
    pub(crate) fn output_len(&self, images: usize) -> usize {
        self.outputs.iter().sum::<usize>() * images
    }
}

impl Launch {
    /// The same product in another tile; any other launch as it is.
    #[cfg(feature = "emulate")]
    fn tiled(&self, number: usize, has_warps: bool) -> Self {
        if let Some(back) = TRANSPOSED.iter().position(|(name, _)| *name == self.name) {
            let (name, tile) = TRANSPOSED[(back + number) % TRANSPOSED.len()];
            let (tile, out) = (&Tile::ALL[tile], &self.step.out);
            let blocks = tile.blocks(out.height * out.width * self.step.images, out.channels);
            return Self { name, blocks, threads: tile.threads, ..*self };
        }
        let tiles: Vec<&Tile> = Tile::ALL.iter().filter(|tile| has_warps || !tile.is_of_warps).collect();
        if self.kernel != Kernel::Dense || (self.name == "row" && number.is_multiple_of(2)) {
            return *self;
        }
        let (tile, out) = (tiles[number % tiles.len()], &self.step.out);
        let blocks = tile.blocks(out.height * out.width * self.step.images, out.channels);
        Self { name: tile.name, blocks, threads: tile.threads, ..*self }
    }

    /// Elements per image of the maps that it reads and writes.
    pub(crate) fn maps(&self) -> usize {
        let Step { input, second, out, plain, level, .. } = &self.step;
        let levels = level.iter().map(|level| level.map.elements()).sum::<usize>();
        [input, second, out, plain].into_iter().map(Map::elements).sum::<usize>() + levels
    }

    /// Whether it is a convolution's.
    pub(crate) fn reads_weights(&self) -> bool {
        matches!(self.kernel, Kernel::Dense | Kernel::Depthwise)
    }
}

impl Step {
    /// Whether it is a matrix product of one row per image.
    fn is_row(&self) -> bool {
        let single = |map: &Map| map.height * map.width == 1;
        single(&self.input) && single(&self.out) && self.window.kernel == [1, 1] && self.window.padding == [0, 0]
    }
}

/// A kernel that makes a tile of a matrix product per block.
struct Tile {
    name: &'static str,
    sides: [u32; 2],
    threads: u32,
    /// Whether warps multiply: on CUDA, in 16 bits.
    is_of_warps: bool,
    /// Columns of the products that it is for.
    columns: [u32; 2],
    /// Blocks from which on it fills a GPU.
    fills: u32,
}

impl Tile {
    /// Those of `cuda.h` and `metal.h`, each preferred to those behind it.
    const ALL: [Self; 8] = [
        Self::new("warps_128x64", [128, 64], 256, true, [33, u32::MAX], 132),
        Self::new("warps_128x32", [128, 32], 256, true, [1, u32::MAX], 132),
        Self::new("warps_64x32", [64, 32], 128, true, [1, u32::MAX], 64),
        Self::new("dense_128x16", [128, 16], 128, false, [1, 16], 132),
        Self::new("dense_128x32", [128, 32], 256, false, [17, 32], 132),
        Self::new("dense_128x128", [128, 128], 256, false, [97, u32::MAX], 264),
        Self::new("dense_64x64", [64, 64], 256, false, [33, u32::MAX], 132),
        Self::new("dense_32x32", [32, 32], 256, false, [1, u32::MAX], 0),
    ];

    const fn new(
        name: &'static str,
        sides: [u32; 2],
        threads: u32,
        is_of_warps: bool,
        columns: [u32; 2],
        fills: u32,
    ) -> Self {
        Self { name, sides, threads, is_of_warps, columns, fills }
    }

    fn of(rows: u32, columns: u32, has_warps: bool) -> &'static Self {
        let fits = |tile: &&Self| {
            (has_warps || !tile.is_of_warps)
                && (tile.columns[0]..=tile.columns[1]).contains(&columns)
                && tile.blocks(rows, columns).iter().product::<u32>() >= tile.fills
        };
        Self::ALL.iter().find(fits).unwrap_or(&Self::ALL[7])
    }

    fn blocks(&self, rows: u32, columns: u32) -> [u32; 2] {
        [rows.div_ceil(self.sides[0]), columns.div_ceil(self.sides[1])]
    }
}

/// Kernels of transposed convolutions, each preferred to those behind it, and the tile of [`Tile::ALL`] that they make.
const TRANSPOSED: [(&str, usize); 3] = [("back_128x128", 5), ("back_64x64", 6), ("back_32x32", 7)];

impl Kernel {
    fn launch(self, step: &Step, images: usize, has_warps: bool) -> Result<Launch> {
        let mut step = Step { images: word(images)?, ..*step };
        if step.out.memory == OUTPUT {
            // Each output follows those before it, of all images.
            step.out.offset = word(step.out.offset as usize * images)?;
        }
        let (out, quads) = (step.out, step.out.channels.div_ceil(QUAD as u32));
        let threads = match self {
            Self::Boxes => step.anchors as usize * images,
            _ => out.height as usize * out.width as usize * quads as usize * images,
        };
        let Ok(threads) = u32::try_from(threads * QUAD) else {
            bail!("a batch of {images} images is too large for a launch: give a smaller one")
        };
        let (each, sums) =
            ([(threads / QUAD as u32).div_ceil(THREADS), 1], [out.channels.div_ceil(SUMMED_CHANNELS), step.images]);
        let (name, blocks, threads) = match self {
            Self::Dense if step.is_row() && step.images <= FEW_IMAGES => ("row", sums, THREADS),
            Self::Dense => {
                let tile = Tile::of(out.height * out.width * step.images, out.channels, has_warps);
                (tile.name, tile.blocks(out.height * out.width * step.images, out.channels), tile.threads)
            }
            Self::Mean => ("mean", sums, THREADS),
            Self::Depthwise => ("depthwise", each, THREADS),
            Self::Pool => ("pool", each, THREADS),
            Self::Combine => ("combine", each, THREADS),
            Self::Boxes => ("boxes", each, THREADS),
            Self::Letterbox | Self::Train => bail!("a program has no {self:?}"),
        };
        Ok(Launch { kernel: self, name, blocks, threads, step })
    }
}
