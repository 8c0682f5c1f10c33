#define ELEMENT float
#include "cuda.h"

namespace bodies {
#include "bodies.h"
#include "letterbox.h"
} // namespace bodies

KERNELS(f32, float)
