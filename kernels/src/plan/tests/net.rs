//! A network as data: traced into a graph, and computed by tensor operations in `f64`.

use candle_core::{D, DType, Result, Tensor};

use super::random;
use crate::plan::{Graph, Traced, Value};
use crate::{Activation, ConvGeometry, avg_pool2d, conv2d, global_avg_pool2d, max_pool2d, upsample_nearest2d};

/// Largest error per unit of what is added up: `Σ|x·w| + |b| + 1` for a convolution.
pub(super) const ROUNDING: f64 = 3e-6;
/// The same for F(4x4, 3x3), whose error goes with the largest input of a tile instead of each window's own products:
/// `Σ_c max|x_c| · Σ|w_c| + |b| + 1`. Its transforms multiply by up to 5 and 8, so that an input's rounding grows.
const ROUNDING_WINOGRAD: f64 = 1.1e-6;
/// The steepest slope of an activation (hard swish at 3).
const STEEPEST: f64 = 1.5;

/// What a value should be, and how far off each element may be.
pub(super) struct Truth {
    pub(super) value: Tensor,
    pub(super) bound: Tensor,
}

/// An operation; operands are numbers of earlier values, the image being 0.
#[derive(Debug, Clone)]
pub(super) enum Step {
    Conv { xs: usize, weight: Tensor, bias: Option<Tensor>, geometry: ConvGeometry, activation: Activation },
    Pool { xs: usize, geometry: ConvGeometry, is_max: bool },
    Mean(usize),
    Resample(usize, [usize; 2]),
    Concat(Vec<usize>),
    Narrow(usize, usize, usize),
    Add(usize, usize),
    Multiply(usize, usize),
}

#[derive(Debug, Clone)]
pub(super) struct Net {
    /// Channels, height, width.
    pub(super) image: [usize; 3],
    steps: Vec<Step>,
    /// Height, width and channels of each value.
    pub(super) shapes: Vec<[usize; 3]>,
    pub(super) outputs: Vec<usize>,
}

impl Net {
    pub(super) fn new([channels, height, width]: [usize; 3]) -> Self {
        let image = [channels, height, width];
        Self { image, steps: Vec::new(), shapes: vec![[height, width, channels]], outputs: Vec::new() }
    }

    fn push(&mut self, step: Step, shape: [usize; 3]) -> usize {
        self.steps.push(step);
        self.shapes.push(shape);
        self.steps.len()
    }

    /// A convolution with weights whose sum of magnitudes is about 1, so that errors do not grow from layer to layer.
    pub(super) fn conv(
        &mut self,
        xs: usize,
        out_c: usize,
        geometry: ConvGeometry,
        activation: Activation,
        has_bias: bool,
    ) -> Result<usize> {
        let ([height, width, channels], [kernel_h, kernel_w]) = (self.shapes[xs], geometry.kernel);
        let [out_h, out_w] = geometry.out_hw([height, width])?;
        let (group_c, seed) = (channels / geometry.groups, 100 + self.steps.len() as u64);
        let scale = 2. / (group_c * kernel_h * kernel_w) as f64;
        let weight = (random((out_c, group_c, kernel_h, kernel_w), seed)? * scale)?;
        let weight = weight.to_dtype(DType::F32)?.to_dtype(DType::F64)?;
        let bias = has_bias.then(|| random(out_c, seed + 1000)).transpose()?;
        Ok(self.push(Step::Conv { xs, weight, bias, geometry, activation }, [out_h, out_w, out_c]))
    }

    pub(super) fn pool(&mut self, xs: usize, geometry: ConvGeometry, is_max: bool) -> Result<usize> {
        let [height, width, channels] = self.shapes[xs];
        let [out_h, out_w] = geometry.out_hw([height, width])?;
        Ok(self.push(Step::Pool { xs, geometry, is_max }, [out_h, out_w, channels]))
    }

    pub(super) fn mean(&mut self, xs: usize) -> usize {
        self.push(Step::Mean(xs), [1, 1, self.shapes[xs][2]])
    }

    pub(super) fn resample(&mut self, xs: usize, [height, width]: [usize; 2]) -> usize {
        self.push(Step::Resample(xs, [height, width]), [height, width, self.shapes[xs][2]])
    }

    pub(super) fn concat(&mut self, parts: &[usize]) -> usize {
        let channels = parts.iter().map(|part| self.shapes[*part][2]).sum();
        let [height, width, _] = self.shapes[parts[0]];
        self.push(Step::Concat(parts.to_vec()), [height, width, channels])
    }

    pub(super) fn narrow(&mut self, xs: usize, start: usize, len: usize) -> usize {
        let [height, width, _] = self.shapes[xs];
        self.push(Step::Narrow(xs, start, len), [height, width, len])
    }

    pub(super) fn add(&mut self, a: usize, b: usize) -> usize {
        self.push(Step::Add(a, b), self.shapes[a])
    }

    pub(super) fn multiply(&mut self, xs: usize, gate: usize) -> usize {
        self.push(Step::Multiply(xs, gate), self.shapes[xs])
    }

    /// The values that no step reads.
    pub(super) fn unread(&self) -> Vec<usize> {
        let reads = |step: &Step| match step {
            Step::Conv { xs, .. } | Step::Pool { xs, .. } => vec![*xs],
            Step::Mean(xs) | Step::Resample(xs, _) | Step::Narrow(xs, ..) => vec![*xs],
            Step::Concat(parts) => parts.clone(),
            Step::Add(a, b) | Step::Multiply(a, b) => vec![*a, *b],
        };
        let read: Vec<usize> = self.steps.iter().flat_map(reads).collect();
        (0..self.shapes.len()).filter(|value| !read.contains(value)).collect()
    }

    /// Every value for an exact image, where each operation rounds `scale` times as much as `f32` does.
    pub(super) fn truths(&self, image: &Tensor, scale: f64) -> Result<Vec<Truth>> {
        let mut made = vec![Truth { value: image.clone(), bound: image.zeros_like()? }];
        for step in &self.steps {
            let truth = self.truth(step, &made, scale)?;
            made.push(truth);
        }
        Ok(made)
    }

    fn truth(&self, step: &Step, made: &[Truth], scale: f64) -> Result<Truth> {
        let rounding = scale * ROUNDING;
        let exact = |op: &dyn Fn(&Tensor) -> Result<Tensor>, xs: &Truth| -> Result<Truth> {
            Ok(Truth { value: op(&xs.value)?, bound: op(&xs.bound)? })
        };
        match step {
            Step::Conv { xs, weight, bias, geometry, activation } => {
                conv(&made[*xs], weight, bias.as_ref(), geometry, *activation, scale)
            }
            Step::Pool { xs, geometry, is_max: true } => exact(&|xs| max_pool2d(xs, geometry), &made[*xs]),
            Step::Pool { xs, geometry, .. } => mean(&made[*xs], &|xs| avg_pool2d(xs, geometry), rounding),
            Step::Mean(xs) => mean(&made[*xs], &|xs| global_avg_pool2d(xs), rounding),
            Step::Resample(xs, size) => exact(&|xs| upsample_nearest2d(xs, *size), &made[*xs]),
            Step::Concat(parts) => {
                let join = |of: fn(&Truth) -> &Tensor| {
                    Tensor::cat(&parts.iter().map(|part| of(&made[*part])).collect::<Vec<_>>(), 1)
                };
                Ok(Truth { value: join(|part| &part.value)?, bound: join(|part| &part.bound)? })
            }
            Step::Narrow(xs, start, len) => exact(&|xs| xs.narrow(1, *start, *len)?.contiguous(), &made[*xs]),
            Step::Add(a, b) => {
                let value = (&made[*a].value + &made[*b].value)?;
                let bound = ((&made[*a].bound + &made[*b].bound)? + (value.abs()? * rounding)?)?;
                Ok(Truth { value, bound })
            }
            Step::Multiply(xs, gate) => {
                let (_, _, height, width) = made[*xs].value.dims4()?;
                let (xs, gate) = (&made[*xs], exact(&|gate| upsample_nearest2d(gate, [height, width]), &made[*gate])?);
                let value = (&xs.value * &gate.value)?;
                let off_by_gate = ((xs.value.abs()? + &xs.bound)? * &gate.bound)?;
                let bound = ((off_by_gate + (&xs.bound * gate.value.abs()?)?)? + (value.abs()? * rounding)?)?;
                Ok(Truth { value, bound })
            }
        }
    }
}

impl Traced for Net {
    type Endpoint = ();

    fn trace(&self, (): (), graph: &mut Graph, image: Value) -> Result<()> {
        let mut made = vec![image];
        for step in &self.steps {
            let value = match step {
                Step::Conv { xs, weight, bias, geometry, activation } => {
                    graph.conv2d(made[*xs], weight, bias.as_ref(), geometry, *activation, "conv")?
                }
                Step::Pool { xs, geometry, is_max: true } => graph.max_pool2d(made[*xs], geometry)?,
                Step::Pool { xs, geometry, is_max: false } => graph.avg_pool2d(made[*xs], geometry)?,
                Step::Mean(xs) => graph.global_avg_pool2d(made[*xs]),
                Step::Resample(xs, size) => graph.upsample_nearest2d(made[*xs], *size),
                Step::Concat(parts) => graph.concat(&parts.iter().map(|part| made[*part]).collect::<Vec<_>>())?,
                Step::Narrow(xs, start, len) => graph.narrow(made[*xs], *start, *len)?,
                Step::Add(a, b) => graph.add(made[*a], made[*b])?,
                Step::Multiply(xs, gate) => graph.multiply(made[*xs], made[*gate])?,
            };
            made.push(value);
        }
        self.outputs.iter().for_each(|output| graph.output(made[*output]));
        Ok(())
    }
}

fn mean(xs: &Truth, op: &dyn Fn(&Tensor) -> Result<Tensor>, rounding: f64) -> Result<Truth> {
    Ok(Truth { value: op(&xs.value)?, bound: (op(&xs.bound)? + (op(&xs.value.abs()?)? * rounding)?)? })
}

fn conv(
    xs: &Truth,
    weight: &Tensor,
    bias: Option<&Tensor>,
    geometry: &ConvGeometry,
    f: Activation,
    scale: f64,
) -> Result<Truth> {
    let value = conv2d(&xs.value, weight, bias, geometry, f)?;
    let (size, bias_size) = (weight.abs()?, bias.map(Tensor::abs).transpose()?);
    let (out_c, group_c, ..) = weight.dims4()?;
    let is_winograd = *geometry == ConvGeometry::square(3).padding(geometry.padding).groups(geometry.groups)
        && group_c >= 8
        && out_c / geometry.groups >= 8;
    let rounding = if is_winograd {
        let (batch, channels, ..) = xs.value.dims4()?;
        let most = xs.value.abs()?.max_keepdim(D::Minus1)?.max_keepdim(D::Minus2)?;
        let most = most.broadcast_as((batch, channels, 3, 3))?.contiguous()?;
        let geometry = geometry.padding([0, 0]);
        let sum = conv2d(&most, &size, bias_size.as_ref(), &geometry, Activation::Identity)?;
        ((sum + 1.)? * (scale * ROUNDING_WINOGRAD))?
    } else {
        let sum = conv2d(&xs.value.abs()?, &size, bias_size.as_ref(), geometry, Activation::Identity)?;
        ((sum + 1.)? * (scale * ROUNDING))?
    };
    let carried = (conv2d(&xs.bound, &size, None, geometry, Activation::Identity)? * STEEPEST)?;
    Ok(Truth { value, bound: carried.broadcast_add(&rounding)? })
}
