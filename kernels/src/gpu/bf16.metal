#define ELEMENT bfloat
#include "metal.h"

namespace bodies {
#include "bodies.h"
#include "letterbox.h"
} // namespace bodies

KERNELS(bf16, bfloat)
