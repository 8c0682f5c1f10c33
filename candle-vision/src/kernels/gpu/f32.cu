#define ELEMENT float
#include "cuda.h"

namespace bodies {
#include "bodies.h"
#include "letterbox.h"
} // namespace bodies

KERNELS(f32, float)

extern "C" __global__ void __launch_bounds__(256) letterbox_f32(
    const __grid_constant__ Step s, const float *, const uint *words, const float *, const float *, float *output) {
    bodies::letterbox(s, words, output, blockIdx.x * blockDim.x + threadIdx.x);
}
