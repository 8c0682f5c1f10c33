//! Words on their way to a device.
//!
//! To CUDA they go from pinned memory, which the GPU reads by itself: the copy runs beside the launches of other threads, each
//! of which has a stream of its own.

#[cfg(feature = "cuda")]
use std::sync::Arc;

#[cfg(feature = "cuda")]
use candle_core::cuda::cudarc::driver::CudaEvent;
use candle_core::{Device, Result, Tensor};

/// Words that a device has, or will have when it needs them.
#[derive(Debug)]
pub struct Staged {
    words: Tensor,
    /// The end of their copy, on the stream of the thread that made it.
    #[cfg(feature = "cuda")]
    copied: Option<Arc<CudaEvent>>,
}

impl Staged {
    /// `len` words, all of which `fill` writes. On CUDA they may hold anything before.
    ///
    /// # Errors
    /// If the device has no memory left.
    pub fn new(device: &Device, len: usize, fill: impl FnOnce(&mut [u32])) -> Result<Self> {
        #[cfg(feature = "cuda")]
        if let Device::Cuda(device) = device {
            let (words, copied) = cuda::stage(device, len, fill)?;
            return Ok(Self { words, copied: Some(copied) });
        }
        let mut words = vec![0; len];
        fill(&mut words);
        Ok(Self {
            words: Tensor::from_vec(words, len, device)?,
            #[cfg(feature = "cuda")]
            copied: None,
        })
    }

    /// The words, for launches of this thread: they wait for the copy, the host does not.
    ///
    /// # Errors
    /// If the device fails.
    pub fn words(&self) -> Result<&Tensor> {
        #[cfg(feature = "cuda")]
        self.wait()?;
        Ok(&self.words)
    }

    #[cfg(feature = "cuda")]
    fn wait(&self) -> Result<()> {
        if let (Some(copied), Device::Cuda(device)) = (&self.copied, self.words.device()) {
            device.cuda_stream().wait(copied).map_err(candle_core::Error::wrap)?;
        }
        Ok(())
    }
}

#[cfg(feature = "cuda")]
impl Drop for Staged {
    /// Memory is given back where this thread's stream is: behind the copy.
    fn drop(&mut self) {
        // What fails here fails again in the next call, which says so.
        let _ = self.wait();
    }
}

#[cfg(feature = "cuda")]
mod cuda {
    use std::sync::{Arc, Mutex, PoisonError};

    use candle_core::cuda::cudarc::driver::{CudaContext, CudaEvent, PinnedHostSlice};
    use candle_core::op::BackpropOp;
    use candle_core::{CudaDevice, CudaStorage, Error, Result, Storage, Tensor};

    /// Pinned buffers that are kept, and the words that their lengths are multiples of.
    const KEPT: usize = 16;
    const GRAIN: usize = 1 << 18;

    /// Pinned memory, and the end of the copy that reads it.
    struct Pinned {
        memory: PinnedHostSlice<u32>,
        copied: Arc<CudaEvent>,
    }

    static BUFFERS: Mutex<Vec<Pinned>> = Mutex::new(Vec::new());

    /// A buffer that nothing reads any more; `None` where one may be made.
    fn take(context: &Arc<CudaContext>, len: usize) -> Result<Option<PinnedHostSlice<u32>>> {
        let mut buffers = BUFFERS.lock().unwrap_or_else(PoisonError::into_inner);
        let fits = |pinned: &Pinned| pinned.memory.len() >= len && pinned.memory.context() == context;
        let is_free = |pinned: &Pinned| fits(pinned) && pinned.copied.is_complete();
        if let Some(index) = buffers.iter().position(is_free) {
            return Ok(Some(buffers.remove(index).memory));
        }
        if buffers.len() < KEPT {
            return Ok(None);
        }
        // The one that was used first.
        let oldest = buffers.remove(0);
        drop(buffers);
        oldest.copied.synchronize().map_err(Error::wrap)?;
        Ok(fits(&oldest).then_some(oldest.memory))
    }

    pub(super) fn stage(
        device: &CudaDevice,
        len: usize,
        fill: impl FnOnce(&mut [u32]),
    ) -> Result<(Tensor, Arc<CudaEvent>)> {
        let stream = device.cuda_stream();
        let context = stream.context();
        // SAFETY: the copy below writes it.
        let mut words = unsafe { device.alloc::<u32>(len)? };
        let memory = match take(context, len)? {
            Some(memory) => Some(memory),
            // SAFETY: any bits are words. Where there is none left, pageable memory does.
            None => unsafe { context.alloc_pinned(len.next_multiple_of(GRAIN)) }.ok(),
        };
        let event = || stream.record_event(None).map(Arc::new).map_err(Error::wrap);
        let copied = match memory {
            Some(mut memory) => {
                let pinned = &mut memory.as_mut_slice().map_err(Error::wrap)?[..len];
                fill(pinned);
                device.memcpy_htod(pinned, &mut words)?;
                let copied = event()?;
                let buffer = Pinned { memory, copied: copied.clone() };
                BUFFERS.lock().unwrap_or_else(PoisonError::into_inner).push(buffer);
                copied
            }
            None => {
                let mut pageable = vec![0; len];
                fill(&mut pageable);
                device.memcpy_htod(&pageable, &mut words)?;
                event()?
            }
        };
        let storage = Storage::Cuda(CudaStorage::wrap_cuda_slice(words, device.clone()));
        Ok((Tensor::from_storage(storage, len, BackpropOp::none(), false), copied))
    }
}
