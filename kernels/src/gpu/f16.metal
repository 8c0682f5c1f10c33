#define ELEMENT half
#include "metal.h"

namespace bodies {
#include "bodies.h"
#include "letterbox.h"
} // namespace bodies

KERNELS(f16, half)
