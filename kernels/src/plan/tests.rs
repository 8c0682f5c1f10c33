//! Plans against the tensor operations in `f64`, for every instruction set of the machine.

mod bf16;
mod boxes;
mod convs;
mod graphs;
mod int8;

mod low_precision;
mod net;
mod random;

use std::sync::LazyLock;

use candle_core::{DType, Device, Result, Shape, Tensor};
use proptest::prelude::*;

use super::graph::Graph;
use super::lower::{Precision, lower};
use super::pack::Packs;
use super::session::Session;
use crate::gpu::place::{PLACES, Place};
use crate::infer::Aligned;
use crate::{Isa, ThreadPool};
use net::Net;

/// Teams of one, two and three threads.
static POOLS: LazyLock<[ThreadPool; 3]> = LazyLock::new(|| [1, 2, 3].map(ThreadPool::new));

/// Values in [-1, 1) that `f32` holds, as `f64`.
fn random(shape: impl Into<Shape>, seed: u64) -> Result<Tensor> {
    let (shape, mut state) = (shape.into(), seed);
    let values: Vec<f64> = (0..shape.elem_count()).map(|_| crate::seeded::splitmix(&mut state)).collect();
    Tensor::from_vec(values, shape, &Device::Cpu)
}

fn values(xs: &Tensor) -> Result<Vec<f64>> {
    xs.to_dtype(DType::F64)?.flatten_all()?.to_vec1()
}

fn bits(xs: &Tensor) -> Result<Vec<u32>> {
    Ok(xs.flatten_all()?.to_vec1::<f32>()?.into_iter().map(f32::to_bits).collect())
}

fn failed(error: candle_core::Error) -> TestCaseError {
    TestCaseError::fail(error.to_string())
}

/// Every element of `got` is within its own bound, and `least`, of the truth.
fn assert_close(got: &Tensor, truth: &net::Truth, least: f64, what: &str) -> Result<()> {
    assert_eq!(got.dims(), truth.value.dims(), "{what}");
    let (got, value, bound) = (values(&got.to_device(&Device::Cpu)?)?, values(&truth.value)?, values(&truth.bound)?);
    for (index, ((got, value), bound)) in got.iter().zip(&value).zip(&bound).enumerate() {
        let bound = bound + least;
        assert!((got - value).abs() <= bound, "{what}: element {index} is {got}, not {value} (bound {bound:e})");
    }
    Ok(())
}

/// Where launches run, and the types that they compute in.
static LAUNCHERS: LazyLock<Vec<(&Place, DType)>> = LazyLock::new(|| {
    let gpus = PLACES.iter().filter(|place| !matches!(place, Place::Cpu));
    gpus.flat_map(|place| [DType::F32, DType::F16, DType::BF16].map(|dtype| (place, dtype))).collect()
});

/// How much more than `f32` another type rounds, weights and each map to half of a unit each, and the least that it tells
/// from 0: `f16` has nothing between 0 and 2⁻²⁴.
fn rounding_of(dtype: DType) -> [f64; 2] {
    match dtype {
        DType::F16 => [2. / 1024. / net::ROUNDING, 0.5f64.powi(23)],
        DType::BF16 => [2. / 128. / net::ROUNDING, 0.],
        _ => [1., 0.],
    }
}

/// Runs a network on a batch: the outputs are true, and one image's bits are those of a run on it alone, for
/// any number of threads, in memory full of NaN.
fn check(net: &Net, batch: usize) -> Result<()> {
    let [channels, height, width] = net.image;
    // Every type holds these.
    let exact = random((batch, channels, height, width), 5)?.to_dtype(DType::BF16)?.to_dtype(DType::F64)?;
    let xs = exact.to_dtype(DType::F32)?;
    for (place, dtype) in LAUNCHERS.iter() {
        let [scale, least] = rounding_of(*dtype);
        let truths = net.truths(&exact, scale)?;
        let (session, xs) = (Session::new(Isa::Portable)?, xs.to_device(place.device())?.to_dtype(*dtype)?);
        if place.device().is_cuda() {
            // The run after the first is captured, and later ones are replayed.
            for _ in 0..2 {
                session.forward(net, (), &(&xs * 0.5)?)?;
            }
        }
        let got = place.run(|| session.forward(net, (), &xs))?;
        for (got, output) in got.iter().zip(&net.outputs) {
            let what = format!("launches in {dtype:?} on {place:?}, value {output} of {net:?}");
            assert_close(got, &truths[*output], least, &what)?;
        }
    }
    let wide = Isa::available().into_iter().map(|isa| (isa, DType::F32));
    let dots = Isa::available().into_iter().chain(Isa::EMULATED).filter(|isa| isa.bf16().is_some());
    for (isa, dtype) in wide.chain(dots.map(|isa| (isa, DType::BF16))) {
        let [scale, least] = rounding_of(dtype);
        let truths = net.truths(&exact, scale)?;
        let got = Session::new(isa)?.run(net, (), &xs.to_dtype(dtype)?)?;
        for (got, output) in got.iter().zip(&net.outputs) {
            assert_close(got, &truths[*output], least, &format!("{dtype:?} on {isa}, value {output} of {net:?}"))?;
        }
        for (threads, pool) in [(1, 0), (2, 1), (3, 2), (5, 1)] {
            let image = threads % batch;
            let alone = run_alone(net, (isa, dtype), threads, &POOLS[pool], &xs.narrow(0, image, 1)?)?;
            for (index, alone) in alone.iter().enumerate() {
                let alone: Vec<u32> = alone.iter().map(|x| x.to_bits()).collect();
                let together = got[index].narrow(0, image, 1)?;
                // In the order of memory: a map's channels are last.
                let together = if together.rank() == 4 { together.permute((0, 2, 3, 1))? } else { together };
                let together = bits(&together)?;
                assert!(
                    alone == together,
                    "{dtype:?} on {isa}, {threads} threads, output {index} of image {image} of {net:?}"
                );
            }
        }
    }
    Ok(())
}

/// A program lowered for `threads` on one image.
fn run_alone(
    net: &Net,
    (isa, dtype): (Isa, DType),
    threads: usize,
    pool: &ThreadPool,
    image: &Tensor,
) -> Result<Vec<Vec<f32>>> {
    let graph = Graph::of(net, (), net.image)?;
    let precision = Precision { is_bf16: dtype == DType::BF16, ..Default::default() };
    let (program, _) = lower(graph, isa, threads, &mut Packs::default(), precision)?;
    let mut memory = Aligned::zeroed(program.memory(pool));
    memory.fill(f32::NAN);
    let len = |output: &usize| net.shapes[*output].iter().product::<usize>();
    let mut outputs: Vec<Vec<f32>> = net.outputs.iter().map(|output| vec![f32::NAN; len(output)]).collect();
    let mut parts: Vec<&mut [f32]> = outputs.iter_mut().map(Vec::as_mut_slice).collect();
    program.run(pool, &mut memory, &image.flatten_all()?.to_vec1::<f32>()?, &mut parts, None);
    Ok(outputs)
}

/// What each step of a network's program is for, and its kernel. With `is_bf16`, dense convolutions multiply `bf16` if `isa` does.
fn steps(net: &Net, isa: Isa, is_bf16: bool) -> Result<Vec<(String, String)>> {
    let graph = Graph::of(net, (), net.image)?;
    let (program, notes) = lower(graph, isa, 2, &mut Packs::default(), Precision { is_bf16, ..Default::default() })?;
    let kernels = program.steps().iter().map(|step| step.describe());
    Ok(notes.iter().map(|note| note.name.clone()).zip(kernels).collect())
}
