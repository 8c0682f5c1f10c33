//! Which kernel computes a convolution: a rule, and where that was measured to be slower, a table per instruction set.
//!
//! The tables are written by `ghostzoo bench --tune`, one line per shape and tab-separated: window, stride, input channels,
//! output channels, output height and width, form, vector width.

use std::collections::HashMap;
use std::sync::OnceLock;

use candle_core::{DType, Result};

use super::graph::Conv;
use super::quantization::ConvQuantization;
use crate::infer::{MAX_CHANNELS, MAX_WEIGHTS, Packed};
use crate::{ConvGeometry, Isa, Width};

/// What a convolution's kernel is chosen by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConvShape {
    /// Height and width of the window.
    pub kernel: [usize; 2],
    /// Step along each axis.
    pub stride: [usize; 2],
    /// Input and output channels.
    pub channels: [usize; 2],
    /// Height and width of the output.
    pub out: [usize; 2],
}

/// How a convolution's weights are packed, which is how it is computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum ConvAlgorithm {
    /// Depth by window position, then channel.
    Dense,
    /// Depth by channel, then window position.
    Planar,
    Depthwise,
    Winograd,
    /// Depth by window position, then pair of channels, of integers.
    Int8,
    /// F(2x2, 3x3) of pairs of integers.
    Winograd2Int8,
    /// F(4x4, 3x3) of pairs of integers.
    Winograd4Int8,
    /// Depth by window position, then four channels, of bytes.
    DotsInt8,
    /// Depth by window position, then pair of channels, of `bf16`.
    DotsBf16,
}

/// A form and the vectors it is computed with.
pub(super) type Choice = (ConvAlgorithm, Width);

/// How to compute a convolution whose output is `out`; `of_image` where it reads the image's planes.
pub(super) fn choose(conv: &Conv, of_image: bool, out: [usize; 2], isa: Isa) -> Choice {
    let ConvGeometry { kernel, stride, dilation, groups, .. } = conv.geometry;
    let [out_c, in_c] = [conv.weight.dims()[0], conv.weight.dims()[1]];
    let width = Packed::best_width(out_c, isa);
    if groups > 1 {
        return (ConvAlgorithm::Depthwise, width);
    }
    // Rows of few channels are too short to gather.
    if of_image && in_c <= 4 {
        return (ConvAlgorithm::Planar, width);
    }
    if dilation == [1, 1] {
        let shape = ConvShape { kernel, stride, channels: [in_c, out_c], out };
        return table(isa).get(&shape).copied().unwrap_or_else(|| rule(&shape, isa));
    }
    (ConvAlgorithm::Dense, width)
}

/// How to compute a convolution in 8 bits.
pub(super) fn choose_int8(conv: &Conv, found: &ConvQuantization, isa: Isa) -> Result<Choice> {
    if isa.int8().is_some() {
        return Ok((ConvAlgorithm::DotsInt8, Width::Full));
    }
    let [out_c, in_c] = [conv.weight.dims()[0], conv.weight.dims()[1]];
    let ConvGeometry { kernel, stride, dilation, .. } = conv.geometry;
    let may_be_winograd = kernel == [3, 3] && stride == [1, 1] && dilation == [1, 1] && in_c.min(out_c) >= 8;
    let form = if may_be_winograd && fits_winograd4(conv, found)? {
        ConvAlgorithm::Winograd4Int8
    } else if may_be_winograd && in_c <= MAX_CHANNELS {
        ConvAlgorithm::Winograd2Int8
    } else {
        ConvAlgorithm::Int8
    };
    Ok((form, Packed::best_width(out_c, isa)))
}

/// Whether the weights of three by three windows are small enough for [`ConvAlgorithm::Winograd4Int8`].
fn fits_winograd4(conv: &Conv, found: &ConvQuantization) -> Result<bool> {
    /// The sums of magnitudes round.
    const MOST: f32 = 0.999 * MAX_WEIGHTS as f32;
    if 9 * 127 * conv.weight.dims()[1] <= MAX_WEIGHTS {
        return Ok(true);
    }
    let sums = conv.weight.to_dtype(DType::F32)?.abs()?.flatten_from(1)?.sum(1)?.to_vec1::<f32>()?;
    Ok(sums.iter().zip(&found.weight_scale).all(|(sum, scale)| sum / scale <= MOST))
}

/// The choice without a table.
pub(super) fn rule(shape: &ConvShape, isa: Isa) -> Choice {
    let width = Packed::best_width(shape.channels[1], isa);
    if may_be_winograd(shape) && shape.channels.iter().all(|channels| *channels >= 8) {
        (ConvAlgorithm::Winograd, width)
    } else {
        (ConvAlgorithm::Dense, width)
    }
}

/// Every choice that gives the convolution.
pub(super) fn candidates(shape: &ConvShape, isa: Isa) -> Vec<Choice> {
    let mut widths = vec![Width::Full];
    if isa.lanes(Width::Half) != isa.lanes(Width::Full) {
        widths.push(Width::Half);
    }
    let forms: &[ConvAlgorithm] =
        if may_be_winograd(shape) { &[ConvAlgorithm::Dense, ConvAlgorithm::Winograd] } else { &[ConvAlgorithm::Dense] };
    forms.iter().flat_map(|form| widths.iter().map(move |width| (*form, *width))).collect()
}

fn may_be_winograd(shape: &ConvShape) -> bool {
    shape.kernel == [3, 3] && shape.stride == [1, 1]
}

fn table(isa: Isa) -> &'static HashMap<ConvShape, Choice> {
    static AVX2: OnceLock<HashMap<ConvShape, Choice>> = OnceLock::new();
    static AVX512: OnceLock<HashMap<ConvShape, Choice>> = OnceLock::new();
    static NONE: OnceLock<HashMap<ConvShape, Choice>> = OnceLock::new();
    match isa.vectors() {
        Isa::Avx2 => AVX2.get_or_init(|| parse(include_str!("tables/avx2.tsv"))),
        Isa::Avx512 => AVX512.get_or_init(|| parse(include_str!("tables/avx512.tsv"))),
        _ => NONE.get_or_init(HashMap::new),
    }
}

fn parse(text: &str) -> HashMap<ConvShape, Choice> {
    text.lines().filter_map(parse_line).collect()
}

fn parse_line(line: &str) -> Option<(ConvShape, Choice)> {
    let pair = |text: &str| {
        let (a, b) = text.split_once('x')?;
        Some([a.parse().ok()?, b.parse().ok()?])
    };
    let mut cells = line.split('\t');
    let mut next = || cells.next();
    let shape =
        ConvShape { kernel: pair(next()?)?, stride: pair(next()?)?, channels: pair(next()?)?, out: pair(next()?)? };
    let form = match next()? {
        "dense" => ConvAlgorithm::Dense,
        "winograd" => ConvAlgorithm::Winograd,
        _ => return None,
    };
    let width = match next()? {
        "full" => Width::Full,
        "half" => Width::Half,
        _ => return None,
    };
    Some((shape, (form, width)))
}

/// The line of a table.
pub(super) fn line(shape: &ConvShape, (form, width): Choice) -> String {
    let pair = |[a, b]: [usize; 2]| format!("{a}x{b}");
    let form = if form == ConvAlgorithm::Winograd { "winograd" } else { "dense" };
    let width = if width == Width::Full { "full" } else { "half" };
    let ConvShape { kernel, stride, channels, out } = *shape;
    [&pair(kernel), &pair(stride), &pair(channels), &pair(out), form, width].join("\t")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tables_read_as_they_were_written() {
        for text in [include_str!("tables/avx2.tsv"), include_str!("tables/avx512.tsv")] {
            for text in text.lines() {
                let (shape, choice) = parse_line(text).expect("a line of a table");
                assert_eq!(line(&shape, choice), text);
                for isa in Isa::available().into_iter().filter(|isa| isa.lanes(Width::Full) == 16) {
                    assert!(candidates(&shape, isa).contains(&choice), "{text}");
                }
            }
        }
        assert_eq!(parse_line("3x3\t1x1\t64x64\t80x80\tfft\tfull"), None);
    }
}
