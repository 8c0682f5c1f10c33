#define ELEMENT __nv_bfloat16
#include "cuda.h"

namespace bodies {
#include "bodies.h"
#include "letterbox.h"
} // namespace bodies

KERNELS(bf16, __nv_bfloat16)
WARPS(bf16, __nv_bfloat16)
