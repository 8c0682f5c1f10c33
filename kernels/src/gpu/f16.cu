#define ELEMENT __half
#include "cuda.h"

namespace bodies {
#include "bodies.h"
#include "letterbox.h"
} // namespace bodies

KERNELS(f16, __half)
WARPS(f16, __half)
