// The kernels for Metal on the CPU: all of their text but THREADS and what goes with it is compiled as it is, by what stands in
// for metal_stdlib. Indices outside of a buffer are a sanitizer's to find. Reads and writes as emulate/protocol.h says.

#include <cstring>

#include "emulate/protocol.h"

#define THREADS(t, count) for (uint t = 0; t < (count); t++)
#define PER_THREAD(type, name, elements) type name[256][elements]
#define OWN(name, t) name[t]
// What nobody wrote is garbage.
#define BLOCK_MEMORY(name, elements)                                                                                 \
    float4 name[(elements) / 4];                                                                                     \
    std::memset(static_cast<void *>(name), 0xff, sizeof name)

#define bodies bodies_of_f32
#include "f32.msl"
#undef bodies
#undef ELEMENT

#define bodies bodies_of_f16
#include "f16.msl"
#undef bodies
#undef ELEMENT

#define bodies bodies_of_bf16
#include "bf16.msl"
#undef bodies
#undef ELEMENT

#define bodies bodies_of_training
#include "train.msl"
#undef bodies
#undef ELEMENT

#define bodies bodies_of_detect
#include "detect.msl"
#undef bodies

#include "emulate_detect.h"

template <class T>
struct Pointers {
    T *arena;
    const T *image, *weights;
    const float *biases;
    float *output;
};

template <class T>
static Pointers<T> pointers(Buffer &arena, Buffer &image, Buffer &weights, Buffer &biases, Buffer &output) {
    return {arena.elements<T>(), image.elements<T>(), weights.elements<T>(), biases.elements<float>(),
            output.elements<float>()};
}

#define MEMORY s, m.arena, m.image, m.weights, m.biases, m.output

// A kernel of blocks, and one whose threads have an element each.
#define BLOCKS(NAME, TYPE, KERNEL)                                                                                   \
    {#KERNEL, [](const Step &s, const Pointers<TYPE> &m, uint x, uint y, uint) {                                     \
         KERNEL##_##NAME(MEMORY, uint3{x, y, 0}, 0);                                                                 \
     }},
#define EACH(NAME, TYPE, KERNEL)                                                                                     \
    {#KERNEL, [](const Step &s, const Pointers<TYPE> &m, uint x, uint, uint threads) {                               \
         for (uint t = 0; t < threads; t++) KERNEL##_##NAME(MEMORY, x * threads + t);                                \
     }},

// Reads words, and writes elements of its type.
#define PLANES(NAME, TYPE)                                                                                           \
    {"letterbox", [](const Step &s, const Pointers<TYPE> &m, uint x, uint, uint threads) {                           \
         const uint *words = reinterpret_cast<const uint *>(m.image);                                              \
         TYPE *output = reinterpret_cast<TYPE *>(m.output);                                                          \
         for (uint t = 0; t < threads; t++) letterbox_##NAME(s, words, output, x * threads + t);                     \
     }},

#define ALL(NAME, TYPE)                                                                                              \
    BLOCKS(NAME, TYPE, dense_32x32)                                                                                  \
    BLOCKS(NAME, TYPE, dense_64x64)                                                                                  \
    BLOCKS(NAME, TYPE, dense_128x16)                                                                                 \
    BLOCKS(NAME, TYPE, dense_128x32)                                                                                 \
    BLOCKS(NAME, TYPE, dense_128x128)                                                                                \
    BLOCKS(NAME, TYPE, row)                                                                                          \
    BLOCKS(NAME, TYPE, mean)                                                                                         \
    EACH(NAME, TYPE, depthwise)                                                                                      \
    EACH(NAME, TYPE, pool)                                                                                           \
    EACH(NAME, TYPE, combine)                                                                                        \
    EACH(NAME, TYPE, boxes)                                                                                          \
    PLANES(NAME, TYPE)

static const Kernels<Pointers<float>> KERNELS_OF_F32 = {
    ALL(f32, float)
    BLOCKS(f32, float, back_32x32)
    BLOCKS(f32, float, back_64x64)
    BLOCKS(f32, float, back_128x128)
    BLOCKS(f32, float, grad_weight_16)
    BLOCKS(f32, float, grad_weight_64)
    BLOCKS(f32, float, grad_depthwise)
    BLOCKS(f32, float, channels)
    EACH(f32, float, depthwise_back)
    EACH(f32, float, pack)
    EACH(f32, float, unpack)
    EACH(f32, float, settle)
    EACH(f32, float, normalise)
    EACH(f32, float, normalise_back)
    EACH(f32, float, largest)
    EACH(f32, float, pool_back)
    EACH(f32, float, resample_back)
    EACH(f32, float, accumulate)
    EACH(f32, float, update)
};
static const Kernels<Pointers<half>> KERNELS_OF_F16 = {ALL(f16, half)};
static const Kernels<Pointers<bfloat>> KERNELS_OF_BF16 = {ALL(bf16, bfloat)};

using Suppressed = Suppressing<bodies_of_detect::Suppression>;

// A kernel of suppression.
#define SUPPRESS(KERNEL)                                                                                             \
    [](Suppressed &on, uint x, uint y) {                                                                             \
        KERNEL(on.s, on.decoded.elements<float>(), on.scratch.elements.data(), on.output.elements.data(),            \
               uint3{x, y, 0}, 0);                                                                                   \
    }

int main() {
    switch (word()) {
    case 0: return run(KERNELS_OF_F32, pointers<float>);
    case 1: return run(KERNELS_OF_F16, pointers<half>);
    case 2: return run(KERNELS_OF_BF16, pointers<bfloat>);
    default:
        return run_suppression<bodies_of_detect::Suppression>(
            SUPPRESS(suppress_candidates), SUPPRESS(suppress_rank), SUPPRESS(suppress_keep));
    }
}
