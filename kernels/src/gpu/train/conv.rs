//! Convolution and its gradients.

use candle_core::{Result, Shape, Storage, Tensor};

use super::super::run::{Buffer, Memories, Run, maps, plain, readable, result_map};
use super::super::{ARENA, IMAGE, Kernel, Launch, Map, Step, THREADS, TRANSPOSED, Tile, Window, activation, word};
use super::{dims, fours, parts};
use crate::autograd::{Gradient, KernelOutput, differentiate};
use crate::{Activation, ConvGeometry};

/// Rows of a block of `grad_weight`.
const GRAD_ROWS: usize = 64;
/// Channels of a block that sums them in parts.
const SUMMED: usize = 32;

/// What the launches of a convolution share.
#[derive(Debug, Clone)]
struct Conv {
    geometry: ConvGeometry,
    window: Window,
    input: [usize; 4],
    output: [usize; 4],
}

/// Where a checkpoint's weight has what [`Conv::pack`] packs.
#[derive(Debug, Clone, Copy)]
struct Packing {
    taps: usize,
    /// Rows and columns, and the elements from one to the next.
    rows: [usize; 2],
    columns: [usize; 2],
    /// Rows as filled up.
    filled: usize,
}

/// A convolution of each channel by itself, or of all by all; `None` for other groups. With gradients where the activation is
/// the identity.
pub(crate) fn conv2d(
    xs: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
    geometry: &ConvGeometry,
    activation: Activation,
) -> Result<Option<Tensor>> {
    let (input, out_c) = (dims(xs)?, weight.dim(0)?);
    let is_depthwise = geometry.groups == input[1] && geometry.groups == out_c;
    if geometry.groups != 1 && !is_depthwise {
        return Ok(None);
    }
    let [h, w] = geometry.out_hw([input[2], input[3]])?;
    let conv = Conv { geometry: *geometry, window: Window::new(geometry)?, input, output: [input[0], out_c, h, w] };
    let (kept, kept_weight) = (readable(xs)?, weight.detach().contiguous()?);
    let ys = conv.forward(&kept, &kept_weight, bias.map(Tensor::detach).as_ref(), activation)?;
    let mut operands = vec![xs, weight];
    operands.extend(bias);
    let weight_shape = weight.shape().clone();
    let ys = differentiate(KernelOutput::channels_last(ys, conv.output), &operands, move |grad, needs| {
        let grad = readable(grad)?;
        let of_xs = needs[0].then(|| conv.grad_input(&grad, &kept_weight)).transpose()?;
        let of_weight = needs[1].then(|| conv.grad_weight(&kept, &grad, &weight_shape)).transpose()?;
        let of_bias = needs.get(2).map(|_| super::norm::channel_sums(&grad)).transpose()?;
        let grads = [of_xs, of_weight, of_bias].into_iter().take(needs.len());
        Ok(grads.map(|grad| grad.map(Gradient::Own)).collect())
    })?;
    Ok(Some(ys))
}

impl Packing {
    fn columns_filled(&self) -> usize {
        fours(self.columns[0])
    }

    /// Elements before the biases.
    fn len(&self) -> usize {
        self.taps * self.filled * self.columns_filled()
    }

    fn step(&self, offset: usize) -> Result<Step> {
        let ([rows, row], [columns, column]) = (self.rows, self.columns);
        let input = Map {
            offset: word(offset)?,
            batch: 1,
            position: word(row)?,
            step: word(column)?,
            height: word(rows)?,
            width: word(self.taps)?,
            channels: word(columns)?,
            ..Map::default()
        };
        let out = Map { height: word(self.filled)?, channels: word(self.columns_filled())?, ..Map::default() };
        Ok(Step { input, out, ..Step::default() })
    }
}

impl Conv {
    fn is_depthwise(&self) -> bool {
        self.geometry.groups > 1
    }

    /// The weight's (output channels, input channels, taps) as rows of what is summed over and columns of the result.
    fn packing(&self, is_back: bool) -> Packing {
        let (taps, [in_c, out_c]) = (self.geometry.kernel.iter().product(), [self.input[1], self.output[1]]);
        if self.is_depthwise() {
            return Packing { taps, rows: [1, 0], columns: [out_c, taps], filled: 1 };
        }
        let (input, output) = ([in_c, taps], [out_c, in_c * taps]);
        let (rows, columns) = if is_back { (output, input) } else { (input, output) };
        Packing { taps, rows, columns, filled: fours(rows[0]) }
    }

    /// Adds the packed weight and bias to a run; the buffer, and where its biases begin.
    fn pack(&self, run: &mut Run, weight: &Tensor, bias: Option<&Tensor>, is_back: bool) -> Result<(Buffer, u32)> {
        let packing = self.packing(is_back);
        let mut step = packing.step(weight.layout().start_offset())?;
        let biases = match bias {
            Some(bias) => {
                let bias = bias.contiguous()?;
                (step.has_second, step.bias) = (1, word(bias.layout().start_offset())?);
                Some(run.input(&bias))
            }
            None => None,
        };
        let (image, len) = (run.input(weight), packing.len());
        let output = run.own(len + packing.columns_filled());
        // A row behind the last tap is the biases'.
        let launch = Launch::elements("pack", len + packing.columns_filled(), step)?;
        run.launch(launch, Memories { image: Some(image), biases, ..Memories::to(output) });
        Ok((output, word(len)?))
    }

    fn forward(&self, xs: &Tensor, weight: &Tensor, bias: Option<&Tensor>, kind: Activation) -> Result<Storage> {
        let mut run = Run::new();
        let (packed, biases) = self.pack(&mut run, weight, bias, false)?;
        let (image, input) = run.map(xs)?;
        let (activation, slope) = activation(kind);
        let step = Step { window: self.window, activation, slope, bias: biases, ..Step::default() };
        self.product(run, image, [input, result_map(self.output)?], packed, step, false)
    }

    fn grad_input(&self, grad: &Tensor, weight: &Tensor) -> Result<Tensor> {
        let mut run = Run::new();
        let (packed, biases) = self.pack(&mut run, weight, None, true)?;
        let (image, input) = run.map(grad)?;
        let step = Step { window: self.window, bias: biases, ..Step::default() };
        let grad = self.product(run, image, [input, result_map(self.input)?], packed, step, true)?;
        maps(grad, self.input)
    }

    /// Runs the product of a map with packed weights.
    fn product(
        &self,
        mut run: Run,
        image: Buffer,
        [input, out]: [Map; 2],
        packed: Buffer,
        step: Step,
        is_back: bool,
    ) -> Result<Storage> {
        let output = run.own(out.elements() * self.input[0]);
        let step = Step { input, out, ..step };
        let kernel = if self.is_depthwise() { Kernel::Depthwise } else { Kernel::Dense };
        let mut launch = kernel.launch(&step, self.input[0], false)?;
        if is_back {
            launch = launch.back();
        }
        let (image, weights) = (Some(image), Some(packed));
        run.launch(launch, Memories { arena: None, image, weights, biases: weights, output });
        let mut buffers = run.run()?;
        Ok(buffers.remove(1))
    }

    fn grad_weight(&self, xs: &Tensor, grad: &Tensor, shape: &Shape) -> Result<Tensor> {
        let mut run = Run::new();
        let ((arena, input), (image, second)) = (run.map(xs)?, run.map(grad)?);
        let packing = self.packing(false);
        let [n, out_c, h, w] = self.output;
        let (name, blocks, threads) = if self.is_depthwise() {
            ("grad_depthwise", packing.taps * out_c.div_ceil(SUMMED), THREADS)
        } else {
            let rows = (packing.taps * packing.filled).div_ceil(GRAD_ROWS);
            if out_c <= 16 {
                ("grad_weight_16", rows, 64)
            } else {
                ("grad_weight_64", rows * out_c.div_ceil(64), THREADS)
            }
        };
        let parts = parts(n * h * w, blocks);
        let step = Step {
            input: Map { memory: ARENA, ..input },
            second: Map { memory: IMAGE, ..second },
            window: self.window,
            images: word(n)?,
            parts: word(parts)?,
            ..Step::default()
        };
        let summed = run.own(parts * packing.len());
        let launch = Launch::blocks(name, [blocks, parts], threads, step)?;
        run.launch(launch, Memories { arena: Some(arena), image: Some(image), ..Memories::to(summed) });
        let output = run.own(shape.elem_count());
        let step = Step { parts: word(parts)?, ..packing.step(0)? };
        let launch = Launch::elements("unpack", packing.len(), step)?;
        run.launch(launch, Memories { arena: Some(summed), ..Memories::to(output) });
        Ok(plain(run.run()?.remove(1), shape))
    }
}

impl Launch {
    /// The transpose of a convolution.
    fn back(self) -> Self {
        let (rows, columns) = (self.step.out.height * self.step.out.width * self.step.images, self.step.out.channels);
        if self.kernel == Kernel::Depthwise {
            return Self { kernel: Kernel::Train, name: "depthwise_back", ..self };
        }
        let fits = |(_, tile): &&(&str, usize)| {
            let tile = &Tile::ALL[*tile];
            tile.columns[0] <= columns && tile.blocks(rows, columns).iter().product::<u32>() >= tile.fills
        };
        let (name, tile) = TRANSPOSED.iter().find(fits).unwrap_or(&TRANSPOSED[2]);
        let tile = &Tile::ALL[*tile];
        Self { kernel: Kernel::Train, name, blocks: tile.blocks(rows, columns), threads: tile.threads, ..self }
    }
}
