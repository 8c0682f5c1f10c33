//! Maps that are stored as integers because nobody reads anything else of them.

use candle_core::{Device, Result, Tensor};
use proptest::prelude::*;

use super::{POOLS, failed};
use crate::infer::Aligned;
use crate::plan::graph::{Graph, Value};
use crate::plan::lower::{Precision, lower};
use crate::plan::pack::Packs;
use crate::plan::quantization::{ConvQuantization, Quantization};
use crate::seeded::splitmix;
use crate::{Activation, ConvGeometry, Isa};

/// A network in 8 bits with every operation between convolutions.
struct Net {
    graph: Graph,
    values: Vec<Value>,
    quantization: Quantization,
    state: u64,
}

impl Net {
    /// Adds a convolution, in 8 bits if it has a `scale`.
    fn conv(&mut self, xs: Value, out_c: usize, geometry: ConvGeometry, scale: Option<f32>) -> Result<Value> {
        let [kernel_h, kernel_w] = geometry.kernel;
        let group_c = self.graph.shape(xs)[2] / geometry.groups;
        let values = (0..out_c * group_c * kernel_h * kernel_w)
            .map(|_| (splitmix(&mut self.state) * 100.).round() as f32 * 0.002)
            .collect();
        let weight = Tensor::from_vec(values, (out_c, group_c, kernel_h, kernel_w), &Device::Cpu)?;
        let path = format!("conv.{}", self.values.len());
        let ys = self.graph.conv2d(xs, &weight, None, &geometry, Activation::Silu, &path)?;
        if let Some(input_scale) = scale {
            let weight_scale = vec![0.002; out_c];
            self.quantization.insert(path, ConvQuantization { weight_scale, input_scale, input_zero_point: 9 });
        }
        self.values.push(ys);
        Ok(ys)
    }

    fn new([height, width]: [usize; 2], [a, b, c]: [usize; 3], seed: u64) -> Result<Self> {
        let (graph, image) = Graph::new([3, height, width]);
        let mut net = Self { graph, values: Vec::new(), quantization: Quantization::new(), state: seed };
        let (one, three) = (ConvGeometry::square(1), ConvGeometry::square(3).same());
        let stem = net.conv(image, a, three.stride([2, 2]), None)?;
        let down = net.conv(stem, b, three.stride([2, 2]), Some(0.03))?;
        let mixed = net.conv(down, b, three, Some(0.02))?;
        let wide = net.conv(mixed, c, one, Some(0.02))?;
        let [stem_h, stem_w, _] = net.graph.shape(stem);
        let up = net.graph.upsample_nearest2d(wide, [stem_h, stem_w]);
        let cheap = net.conv(stem, a, three.groups(a), None)?;
        let joined = net.graph.concat(&[up, cheap, stem])?;
        let narrow = net.conv(joined, b, one, Some(0.04))?;
        // Two scales of one map.
        let (left, right) = (net.conv(narrow, c, three, Some(0.01))?, net.conv(narrow, c, one, Some(0.05))?);
        let sum = net.graph.add(left, right)?;
        let pooled = net.graph.max_pool2d(sum, &three)?;
        let pair = net.graph.concat(&[pooled, sum])?;
        let last = net.conv(pair, a, one, Some(0.03))?;
        net.values.extend([up, joined, sum, pooled, pair, last]);
        Ok(net)
    }

    /// The last map, and how many steps there are; `all` makes every map an output, so that none is only read as integers.
    fn run(mut self, isa: Isa, image: &[f32], all: bool) -> Result<(Vec<f32>, usize)> {
        let last = self.values[self.values.len() - 1];
        self.graph.output(last);
        let mut lens = vec![self.graph.shape(last).iter().product::<usize>()];
        for value in self.values.iter().filter(|_| all) {
            self.graph.output(*value);
            lens.push(self.graph.shape(*value).iter().product());
        }
        let precision = Precision { quantization: Some(&self.quantization), ..Default::default() };
        let (program, _) = lower(self.graph, isa, 2, &mut Packs::default(), precision)?;
        let pool = &POOLS[1];
        let mut memory = Aligned::zeroed(program.memory(pool));
        memory.fill(f32::NAN);
        let mut outputs: Vec<Vec<f32>> = lens.iter().map(|len| vec![f32::NAN; *len]).collect();
        let mut parts: Vec<&mut [f32]> = outputs.iter_mut().map(Vec::as_mut_slice).collect();
        program.run(pool, &mut memory, image, &mut parts, None);
        let quantize = program.steps().iter().filter(|step| step.describe().starts_with("quantize")).count();
        Ok((outputs.swap_remove(0), quantize))
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn integers_stored_are_those_made_of_stored_numbers(
        size in [4..40usize, 4..40usize],
        channels in [1..=40usize, 1..=40usize, 1..=40usize],
        seed in any::<u64>(),
    ) {
        let mut state = seed;
        let image: Vec<f32> = (0..3 * size[0] * size[1]).map(|_| splitmix(&mut state) as f32).collect();
        for isa in Isa::available().into_iter().chain([Isa::EmulatedAmx]) {
            let (apart, steps) = Net::new(size, channels, seed).and_then(|net| net.run(isa, &image, true)).map_err(failed)?;
            let (stored, fewer) = Net::new(size, channels, seed).and_then(|net| net.run(isa, &image, false)).map_err(failed)?;
            prop_assert!(stored.iter().all(|x| x.is_finite()));
            // Products of bytes convert maps without a step where nobody else reads them so.
            prop_assert!(fewer < steps || isa.int8().is_some(), "{fewer} of {steps}");
            prop_assert!(apart == stored, "{isa}: {size:?} {channels:?}");
        }
    }
}
