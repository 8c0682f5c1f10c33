#define ELEMENT float
#include "metal.h"

namespace bodies {
#include "bodies.h"
#include "letterbox.h"
} // namespace bodies

KERNELS(f32, float)

ENTRY(letterbox_f32, 256)(constant Step &s [[buffer(0)]], device const uint *words [[buffer(2)]],
    device float *output [[buffer(5)]], uint index [[thread_position_in_grid]]) {
    bodies::letterbox(s, words, output, index);
}
