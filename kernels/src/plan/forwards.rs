//! A network's programs on a GPU, by image size.

use std::sync::Arc;
use std::time::Duration;

use candle_core::{DType, Device, DeviceLocation, Result, Tensor, TensorId};

use super::graph::{Conv, Graph, Output, Traced};
use super::launches::{Lowered, lower, pack};
use super::lower::OpInfo;
use super::session::OpTiming;
use crate::gpu::{Forward, QUAD, Workspace};

/// Programs that are kept: networks on images of many shapes rebuild the oldest.
const KEPT: usize = 8;

/// The endpoint, for which images, and where the weights are.
type Key<E> = (E, [usize; 3], DeviceLocation, DType);

/// A launch of a program, without running it.
#[derive(Debug, Clone, PartialEq)]
pub struct KernelLaunch {
    /// The layer's path, or the operation.
    pub name: String,
    /// The kernel.
    pub kernel: &'static str,
    /// Multiply-accumulates that the layer is defined by.
    pub macs: usize,
    /// Elements of weights and maps that it reads and writes.
    pub elements: usize,
    /// Whether it is a convolution's, with whatever is fused into it.
    pub is_conv: bool,
}

/// A program, the dimensions of its outputs for one image, and what its launches are.
#[derive(Clone)]
struct Plan {
    forward: Forward,
    dims: Arc<[Vec<usize>]>,
    launches: Arc<[KernelLaunch]>,
}

/// Programs, the oldest first, and the packed weights and the memory that those of one network share.
pub(super) struct Forwards<E> {
    plans: Vec<(Key<E>, Plan)>,
    packs: Vec<(Vec<TensorId>, DType, [Tensor; 2])>,
    workspace: Workspace,
}

impl<E> Default for Forwards<E> {
    fn default() -> Self {
        Self { plans: Vec::new(), packs: Vec::new(), workspace: Workspace::default() }
    }
}

impl<E: Copy + Eq> Forwards<E> {
    /// Runs a network on images (images, channels, height, width), on their device and in their type. Gives the
    /// endpoint's outputs in `f32`; maps are (images, channels, height, width), their channels last in memory.
    pub(super) fn run<N: Traced<Endpoint = E>>(&mut self, net: &N, endpoint: E, xs: &Tensor) -> Result<Vec<Tensor>> {
        let plan = self.plan(net, endpoint, xs)?;
        let all = aligned(xs)?.apply_op1_no_bwd(&plan.forward)?;
        let mut start = 0;
        let mut outputs = Vec::with_capacity(plan.dims.len());
        for dims in plan.dims.iter() {
            let dims: Vec<usize> = [xs.dim(0)?].into_iter().chain(dims.iter().copied()).collect();
            let len = dims.iter().product();
            let output = all.narrow(0, start, len)?.reshape(dims)?;
            outputs.push(if output.rank() == 4 { output.permute((0, 3, 1, 2))? } else { output });
            start += len;
        }
        Ok(outputs)
    }

    /// [`Forwards::run`], with the time of each launch.
    pub(super) fn profile<N: Traced<Endpoint = E>>(
        &mut self,
        net: &N,
        endpoint: E,
        xs: &Tensor,
    ) -> Result<Vec<OpTiming>> {
        let plan = self.plan(net, endpoint, xs)?;
        let times = plan.forward.profile(&aligned(xs)?)?;
        let size = xs.dtype().size_in_bytes() * xs.dim(0)?;
        let step = |(launch, time): (&KernelLaunch, Duration)| OpTiming {
            name: launch.name.clone(),
            kernel: launch.kernel.to_owned(),
            macs: launch.macs * xs.dims()[0],
            bytes: launch.elements * size,
            time,
        };
        Ok(plan.launches.iter().zip(times).map(step).collect())
    }

    fn plan<N: Traced<Endpoint = E>>(&mut self, net: &N, endpoint: E, xs: &Tensor) -> Result<Plan> {
        let (_, c, h, w) = xs.dims4()?;
        let key = (endpoint, [c, h, w], xs.device().location(), xs.dtype());
        if let Some((_, plan)) = self.plans.iter().find(|(other, _)| *other == key) {
            return Ok(plan.clone());
        }
        let (lowered, dims) = lowered(net, endpoint, key.1)?;
        let launches = infos(&lowered)?.into();
        let Lowered { program, convs, .. } = lowered;
        let [weights, biases] = self.packed(&convs, key.3, xs.device())?;
        let forward = Forward { program: Arc::new(program), weights, biases, workspace: self.workspace.clone() };
        let plan = Plan { forward, dims: dims.into(), launches };
        if self.plans.len() == KEPT {
            self.plans.remove(0);
        }
        self.plans.push((key, plan.clone()));
        Ok(plan)
    }

    fn packed(&mut self, convs: &[Conv], dtype: DType, device: &Device) -> Result<[Tensor; 2]> {
        let ids: Vec<TensorId> = convs.iter().map(|conv| conv.weight.id()).collect();
        if let Some((.., packed)) =
            self.packs.iter().find(|(other, other_dtype, _)| (other, *other_dtype) == (&ids, dtype))
        {
            return Ok(packed.clone());
        }
        let packed = pack(convs, dtype, device)?;
        if self.packs.len() == KEPT {
            self.packs.remove(0);
        }
        self.packs.push((ids, dtype, packed.clone()));
        Ok(packed)
    }
}

/// The images, contiguous from an element on at which a GPU may read four at once.
fn aligned(xs: &Tensor) -> Result<Tensor> {
    let is_aligned = xs.is_contiguous() && xs.layout().start_offset().is_multiple_of(QUAD);
    if is_aligned { Ok(xs.clone()) } else { xs.force_contiguous() }
}

/// The launches that a GPU runs for a network on one image of `[channels, height, width]`. Needs no GPU.
pub fn launches<N: Traced>(net: &N, endpoint: N::Endpoint, image: [usize; 3]) -> Result<Vec<KernelLaunch>> {
    infos(&lowered(net, endpoint, image)?.0)
}

/// What the launches for one image are.
fn infos(Lowered { program, notes, convs }: &Lowered) -> Result<Vec<KernelLaunch>> {
    let mut weights = convs.iter().map(|conv| conv.weight.elem_count() + conv.weight.dims()[0]);
    let info = |(launch, OpInfo { name, macs }): (crate::gpu::Launch, &OpInfo)| {
        let maps = launch.maps();
        let is_conv = launch.reads_weights();
        let own = if is_conv { weights.next().unwrap_or(0) } else { 0 };
        KernelLaunch { name: name.clone(), kernel: launch.name, macs: *macs, elements: maps + own, is_conv }
    };
    Ok(program.launches(1, false)?.into_iter().zip(notes).map(info).collect())
}

/// A network's program, and the dimensions of its outputs.
fn lowered<N: Traced>(net: &N, endpoint: N::Endpoint, image: [usize; 3]) -> Result<(Lowered, Vec<Vec<usize>>)> {
    let graph = Graph::of(net, endpoint, image)?;
    let dims = graph.outputs.iter().map(|output| output.dims(&graph)).collect();
    Ok((lower(graph)?, dims))
}

impl Output {
    /// Dimensions for one image.
    pub(super) fn dims(&self, graph: &Graph) -> Vec<usize> {
        match self {
            Self::Map(xs) => graph.shape(*xs).to_vec(),
            Self::Boxes(levels) => {
                let anchors = levels.iter().map(|(level, _)| graph.shape(*level)[..2].iter().product::<usize>()).sum();
                vec![levels.first().map_or(0, |(level, _)| graph.shape(*level)[2] - 60), anchors]
            }
        }
    }
}
