#define ELEMENT float
#include "metal.h"

namespace bodies {
#include "bodies.h"
} // namespace bodies

KERNELS(f32, float)
