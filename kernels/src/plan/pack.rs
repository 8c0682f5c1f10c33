//! Packed weights, made once per layer and shared by the plans for different image sizes.

use std::collections::HashMap;
use std::sync::Arc;

use candle_core::{DType, Result, Storage, TensorId, bail};
use rayon::prelude::*;

use super::choose::{Choice, ConvAlgorithm};
use super::graph::Conv;
use super::quantization::integers;
use crate::Isa;
use crate::infer::{
    Aligned, Bias, LINE, Packed, PackedDepthwise, PackedDots, PackedWinograd, Winograd2Int8, Winograd4Int8,
};
use crate::simd::pairs::{bf16_pair, pair, quad};

/// Packed weights.
#[derive(Clone)]
pub(super) enum Weights {
    Matrix(Arc<Packed>),
    Depthwise(Arc<PackedDepthwise>),
    Winograd(Arc<PackedWinograd>),
    Dots(Arc<PackedDots>),
}

/// Packed weights and padded biases by the tensor they are made of.
#[derive(Default)]
pub(super) struct Packs {
    weights: HashMap<(TensorId, Choice), Weights>,
    biases: HashMap<TensorId, Bias>,
}

impl Packs {
    /// Packs what is not packed yet, on all threads.
    pub(super) fn prepare(&mut self, convs: &[(&Conv, Choice)], isa: Isa) -> Result<()> {
        let mut missing: HashMap<(TensorId, Choice), &Conv> = HashMap::new();
        for (conv, choice) in convs {
            let key = (conv.weight.id(), *choice);
            if !self.weights.contains_key(&key) {
                missing.insert(key, *conv);
            }
        }
        let packed: Vec<_> =
            missing.into_par_iter().map(|(key, conv)| Ok((key, pack(conv, key.1, isa)?))).collect::<Result<_>>()?;
        self.weights.extend(packed);
        Ok(())
    }

    /// Forgets what no plan uses any more.
    pub(super) fn retain_used(&mut self) {
        self.biases.retain(|_, bias| Arc::strong_count(bias) > 1);
        self.weights.retain(|_, weights| match weights {
            Weights::Matrix(weights) => Arc::strong_count(weights) > 1,
            Weights::Depthwise(weights) => Arc::strong_count(weights) > 1,
            Weights::Winograd(weights) => Arc::strong_count(weights) > 1,
            Weights::Dots(weights) => Arc::strong_count(weights) > 1,
        });
    }

    /// Weights that were prepared.
    pub(super) fn weights(&self, conv: &Conv, choice: Choice) -> Option<Weights> {
        self.weights.get(&(conv.weight.id(), choice)).cloned()
    }

    /// The bias, or zeros, padded to whole vectors.
    pub(super) fn bias(&mut self, conv: &Conv) -> Result<Bias> {
        let id = conv.bias.as_ref().map_or(conv.weight.id(), |bias| bias.id());
        if let Some(found) = self.biases.get(&id) {
            return Ok(found.clone());
        }
        let bias = match &conv.bias {
            Some(bias) => padded(&bias.to_dtype(DType::F32)?.to_vec1::<f32>()?),
            None => padded(&vec![0.; conv.weight.dims()[0]]),
        };
        self.biases.insert(id, bias.clone());
        Ok(bias)
    }
}

/// Values of channels, and zeros to whole vectors.
pub(super) fn padded(values: &[f32]) -> Bias {
    let mut padded = Aligned::zeroed(values.len().next_multiple_of(LINE));
    padded[..values.len()].copy_from_slice(values);
    Arc::new(padded)
}

/// The integers, as bits, by which sums of an input in bytes are too large: each channel's weights times the input's zero point.
pub(super) fn offsets(conv: &Conv, zero_point: u8) -> Result<Bias> {
    let values = conv.weight.to_dtype(DType::F32)?.flatten_all()?.to_vec1::<f32>()?;
    let [out_c, in_c, kernel_h, kernel_w] = conv.weight.dims4().map(|(a, b, c, d)| [a, b, c, d])?;
    let integer = integers(conv, &values)?;
    let sum = |out| -> i32 {
        let taps = (0..kernel_h * kernel_w).flat_map(|tap| (0..in_c).map(move |channel| (channel, tap)));
        taps.map(|(channel, tap)| i32::from(integer(out, channel, tap))).sum()
    };
    let offsets: Vec<f32> = (0..out_c).map(|out| f32::from_bits((sum(out) * i32::from(zero_point)) as u32)).collect();
    Ok(padded(&offsets))
}

fn pack(conv: &Conv, (form, width): Choice, isa: Isa) -> Result<Weights> {
    let (out_c, in_c, kernel_h, kernel_w) = conv.weight.dims4()?;
    let values = conv.weight.to_dtype(DType::F32)?.contiguous()?;
    let (storage, layout) = values.storage_and_layout();
    let Storage::Cpu(storage) = &*storage else { bail!("{}: weights on {:?}", conv.path, values.device()) };
    let weight = &storage.as_slice::<f32>()?[layout.start_offset()..][..values.elem_count()];
    let (taps, most) = (kernel_h * kernel_w, isa.max_vectors());
    let matrix = |weight: &dyn Fn(usize, usize) -> f32| {
        Weights::Matrix(Arc::new(Packed::new([out_c, in_c * taps], isa, width, most, weight)))
    };
    Ok(match form {
        ConvAlgorithm::Dense if taps == 1 => matrix(&|out, depth| weight[out * in_c + depth]),
        ConvAlgorithm::Dense => matrix(&|out, depth| weight[(out * in_c + depth % in_c) * taps + depth / in_c]),
        ConvAlgorithm::Int8 => {
            let (integer, pairs) = (integers(conv, weight)?, in_c.div_ceil(2));
            let weight = |out, depth: usize| {
                let (tap, channel) = (depth / pairs, depth % pairs * 2);
                pair(integer(out, channel, tap), integer(out, channel + 1, tap))
            };
            Weights::Matrix(Arc::new(Packed::new([out_c, taps * pairs], isa, width, most, weight)))
        }
        ConvAlgorithm::DotsInt8 => {
            let (integer, quads) = (integers(conv, weight)?, in_c.div_ceil(4));
            let weight = |out, depth: usize| {
                let (tap, channel) = (depth / quads, depth % quads * 4);
                quad(std::array::from_fn(|i| integer(out, channel + i, tap) as i8 as u8))
            };
            Weights::Dots(Arc::new(PackedDots::new([out_c, taps * quads], kernel_w * quads, weight)))
        }
        ConvAlgorithm::DotsBf16 => {
            let pairs = in_c.div_ceil(2);
            let weight = |out: usize, depth: usize| {
                let (tap, channel) = (depth / pairs, depth % pairs * 2);
                let at = |channel| if channel < in_c { weight[(out * in_c + channel) * taps + tap] } else { 0. };
                bf16_pair(at(channel), at(channel + 1))
            };
            Weights::Dots(Arc::new(PackedDots::new([out_c, taps * pairs], kernel_w * pairs, weight)))
        }
        ConvAlgorithm::Winograd2Int8 => {
            let (points, weight) = (Winograd2Int8::weight_points, integers(conv, weight)?);
            Weights::Winograd(Arc::new(PackedWinograd::of_integers([out_c, in_c], isa, width, points, weight)))
        }
        ConvAlgorithm::Winograd4Int8 => {
            let (points, weight) = (Winograd4Int8::weight_points, integers(conv, weight)?);
            Weights::Winograd(Arc::new(PackedWinograd::of_integers([out_c, in_c], isa, width, points, weight)))
        }
        ConvAlgorithm::Planar => matrix(&|out, depth| weight[out * in_c * taps + depth]),
        ConvAlgorithm::Depthwise => {
            let packed = PackedDepthwise::new([out_c, taps], isa, width, |channel, tap| weight[channel * taps + tap]);
            Weights::Depthwise(Arc::new(packed))
        }
        ConvAlgorithm::Winograd => {
            let weight = |out, channel, tap| weight[(out * in_c + channel) * taps + tap];
            Weights::Winograd(Arc::new(PackedWinograd::of_floats([out_c, in_c], isa, width, weight)))
        }
    })
}
