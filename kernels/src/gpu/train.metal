// What training needs besides the kernels of f32.metal.

#define ELEMENT float
#include "metal.h"

namespace bodies {
#include "bodies.h"
#include "gradients.h"
#include "norm.h"
#include "update.h"
#include "windows.h"
} // namespace bodies

DENSE(back_32x32_f32, float, 32, 32, 4, 4, true)
DENSE(back_64x64_f32, float, 64, 64, 4, 1, true)
DENSE(back_128x128_f32, float, 128, 128, 8, 1, true)

#define GRAD_WEIGHT(COLUMNS)                                                                                         \
    SHARING(grad_weight_##COLUMNS##_f32, float, GRAD_THREADS(COLUMNS), DEPTH * ROW(GRAD_ROWS), DEPTH * ROW(COLUMNS), \
            grad_weight<COLUMNS>)

GRAD_WEIGHT(16)
GRAD_WEIGHT(64)

SUMMED(grad_depthwise_f32, float, grad_depthwise, 1)
SUMMED(channels_f32, float, channels, 2)
ELEMENTS(depthwise_back_f32, float, depthwise<true>)
ELEMENTS(pack_f32, float, pack)
ELEMENTS(unpack_f32, float, unpack)
ELEMENTS(settle_f32, float, settle)
ELEMENTS(normalise_f32, float, normalise)
ELEMENTS(normalise_back_f32, float, normalise_back)
ELEMENTS(largest_f32, float, largest)
ELEMENTS(pool_back_f32, float, pool_back)
ELEMENTS(resample_back_f32, float, resample_back)
ELEMENTS(accumulate_f32, float, accumulate)
ELEMENTS(update_f32, float, update)
