#define ELEMENT bfloat
#include "metal.h"

namespace bodies {
#include "bodies.h"
} // namespace bodies

KERNELS(bf16, bfloat)
