// What stands around a detector's network.

#define ELEMENT float
#include "cuda.h"

#define TIMES(x, y) __fmul_rn(x, y)
#define BITS(x) __float_as_uint(x)

namespace bodies {
#include "suppress.h"
} // namespace bodies

#define SUPPRESSION                                                                                                  \
    const __grid_constant__ bodies::Suppression s, const float *decoded, uint *scratch, float *output

extern "C" __global__ void __launch_bounds__(GROUP) suppress_candidates(SUPPRESSION) {
    __shared__ uint counts[GROUP + GROUP / 16];
    bodies::candidates(s, decoded, scratch, counts, blockIdx.x, blockIdx.y, threadIdx.x);
}

extern "C" __global__ void __launch_bounds__(GROUP) suppress_rank(SUPPRESSION) {
    __shared__ uint keys[GROUP];
    bodies::rank(s, scratch, keys, blockIdx.x, blockIdx.y, threadIdx.x);
}

extern "C" __global__ void __launch_bounds__(GROUP) suppress_keep(SUPPRESSION) {
    __shared__ float boxes[4 * GROUP];
    __shared__ uint states[2 * GROUP];
    bodies::suppress(s, decoded, scratch, output, boxes, states, blockIdx.x, threadIdx.x);
}
