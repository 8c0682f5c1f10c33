#define ELEMENT half
#include "metal.h"

namespace bodies {
#include "bodies.h"
} // namespace bodies

KERNELS(f16, half)
