//! Memory for packed weights and maps: on cache lines, and on huge pages where the system has them, since a small network
//! streams its weights once per image and waits for page tables otherwise.

use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, PoisonError};

use memmap2::MmapMut;

/// Elements per cache line.
pub(crate) const LINE: usize = 16;

/// Bytes of a huge page.
const HUGE_PAGE: usize = 2 << 20;
/// Elements of a region that buffers are cut from; its pages are taken from the system when they are touched.
const REGION: usize = (32 << 20) / size_of::<f32>();
/// The region that is being cut, and how much of it is taken.
static OPEN: Mutex<Option<(Arc<Region>, usize)>> = Mutex::new(None);

/// Zeros from the system, on a huge page's boundary.
struct Region {
    start: *mut f32,
    len: usize,
    _map: MmapMut,
}

// SAFETY: the pointer is into the map, which the region owns; elements are reached through `Aligned` alone, each of which
// has its own.
unsafe impl Send for Region {}
// SAFETY: as above.
unsafe impl Sync for Region {}

impl Region {
    fn new(len: usize) -> std::io::Result<Self> {
        let mut map = MmapMut::map_anon(len * size_of::<f32>() + HUGE_PAGE)?;
        #[cfg(target_os = "linux")]
        map.advise(memmap2::Advice::HugePage).ok();
        let start = map.as_mut_ptr();
        let start = start.wrapping_add(start.align_offset(HUGE_PAGE).min(HUGE_PAGE)).cast();
        Ok(Self { start, len, _map: map })
    }
}

/// Zero-initialised `f32` whose first element starts a cache line.
pub(crate) struct Aligned {
    region: Arc<Region>,
    start: usize,
    len: usize,
}

impl Aligned {
    /// Fails like every allocation where memory is out.
    pub(crate) fn zeroed(len: usize) -> Self {
        let taken = len.next_multiple_of(LINE);
        let mut open = OPEN.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((region, used)) = open.as_mut()
            && taken <= region.len - *used
        {
            *used += taken;
            return Self { region: region.clone(), start: *used - taken, len };
        }
        let Ok(region) = Region::new(taken.max(REGION)) else {
            std::alloc::handle_alloc_error(std::alloc::Layout::new::<f32>())
        };
        let region = Arc::new(region);
        if taken < REGION {
            *open = Some((region.clone(), taken));
        }
        Self { region, start: 0, len }
    }
}

impl Deref for Aligned {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        // SAFETY: `zeroed` gave these elements of the region to this buffer alone; every bit pattern is an `f32`.
        unsafe { std::slice::from_raw_parts(self.region.start.add(self.start), self.len) }
    }
}

impl DerefMut for Aligned {
    fn deref_mut(&mut self) -> &mut [f32] {
        // SAFETY: as above, and this buffer is exclusively borrowed.
        unsafe { std::slice::from_raw_parts_mut(self.region.start.add(self.start), self.len) }
    }
}
