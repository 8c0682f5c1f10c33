// The kernels for Metal, of a type of elements each: what bodies.h asks for, and entry points. msl.rs puts the files together
// that Metal compiles where it runs.

#ifndef GHOSTZOO_METAL_H
#define GHOSTZOO_METAL_H

#include <metal_stdlib>

using namespace metal;

typedef ulong wide;

#include "step.h"

#define BODY static inline __attribute__((always_inline))
#define CALLED static __attribute__((noinline))
#define PTR(T) device T*
#define OWNED(T) thread T*
#define GIVEN(T) constant T &
#define HELD(T) thread const T &
#define SHARED(T) threadgroup T*
// Whoever runs the threads of a block one after the other defines these first.
#ifndef THREADS
#define THREADS(t, count)                                                                                            \
    for (uint t = own, once = 1; once;                                                                               \
         once = 0, threadgroup_barrier(mem_flags::mem_threadgroup | mem_flags::mem_device))
#define PER_THREAD(type, name, elements) type name[elements]
#define OWN(name, t) name
#endif
// Floats that a block's threads share.
#ifndef BLOCK_MEMORY
#define BLOCK_MEMORY(name, elements) threadgroup float4 name[(elements) / 4]
#endif
#define UNROLL _Pragma("clang loop unroll(full)")
#define LOAD4(T, from, index, to) load4<T>(&(from)[index], to)
#define STORE4(T, to, index, from) store4<T>(&(to)[index], from)
#define EXP(x) precise::exp(x)
#define ERF(x) error_function(x)
#define SQRT(x) precise::sqrt(x)
#define MOST(x, y) fmax(x, y)
#define LEAST(x, y) fmin(x, y)

#define MOVES(SPACE)                                                                                                 \
    template <class T>                                                                                               \
    BODY void load4(SPACE const T *from, thread float *to) {                                                         \
        const vec<T, 4> four = *reinterpret_cast<SPACE const vec<T, 4> *>(from);                                     \
        UNROLL for (uint e = 0; e < 4; e++) to[e] = float(four[e]);                                                  \
    }                                                                                                                \
    template <class T>                                                                                               \
    BODY void store4(SPACE T *to, thread const float *from) {                                                        \
        vec<T, 4> four;                                                                                              \
        UNROLL for (uint e = 0; e < 4; e++) four[e] = T(from[e]);                                                    \
        *reinterpret_cast<SPACE vec<T, 4> *>(to) = four;                                                             \
    }

MOVES(device)
MOVES(threadgroup)

// The error function, which the language lacks, within 1.3 units of the last place. Below 0.875, x + x P(x^2); from there on,
// 1 - exp(-x - x Q(x)): P interpolates erf(x) / x - 1 and Q (-log(1 - erf(x)) - x) / x at Chebyshev's nodes.
BODY float error_function(float x) {
    const float size = fabs(x), square = x * x;
    if (size < 0.875f) {
        float p = -5.921957836e-4f;
        p = fma(p, square, 4.979958233e-3f);
        p = fma(p, square, -2.675788791e-2f);
        p = fma(p, square, 1.128158646e-1f);
        p = fma(p, square, -3.761247324e-1f);
        p = fma(p, square, 1.283791468e-1f);
        return fma(p, x, x);
    }
    float q = 1.665478899e-5f;
    q = fma(q, size, -3.744390535e-4f);
    q = fma(q, size, 3.83758424e-3f);
    q = fma(q, size, -2.413483804e-2f);
    q = fma(q, size, 1.066147698e-1f);
    q = fma(q, size, 6.349594999e-1f);
    q = fma(q, size, 1.286863517e-1f);
    return copysign(1.f - precise::exp(-fma(q, size, size)), x);
}

#define ENTRY(KERNEL, COUNT) [[kernel, max_total_threads_per_threadgroup(COUNT)]] void KERNEL
#define ARGUMENTS(TYPE)                                                                                              \
    constant Step &s [[buffer(0)]], device TYPE *arena [[buffer(1)]], device const TYPE *image [[buffer(2)]],      \
        device const TYPE *weights [[buffer(3)]], device const float *biases [[buffer(4)]],                          \
        device float *output [[buffer(5)]]
#define BLOCK uint3 block [[threadgroup_position_in_grid]], uint own [[thread_index_in_threadgroup]]
#define MEMORIES const bodies::Memories m = {arena, image, weights, biases, output}
#define FLOATS(name) reinterpret_cast<threadgroup float *>(name)

// A kernel of COUNT threads whose blocks share `LEN_A` and `LEN_B` floats.
#define SHARING(KERNEL, TYPE, COUNT, LEN_A, LEN_B, ...)                                                              \
    ENTRY(KERNEL, COUNT)(ARGUMENTS(TYPE), BLOCK) {                                                                   \
        BLOCK_MEMORY(a, LEN_A);                                                                                      \
        BLOCK_MEMORY(b, LEN_B);                                                                                      \
        MEMORIES;                                                                                                    \
        bodies::__VA_ARGS__(s, m, FLOATS(a), FLOATS(b), block.x, block.y, own);                                      \
    }

#define DENSE(KERNEL, TYPE, ROWS, COLUMNS, OWN_SIDE, PARTS, BACK)                                                    \
    SHARING(KERNEL, TYPE, THREADS_OF(ROWS, COLUMNS, OWN_SIDE, PARTS), TILE(ROWS, PARTS), TILE(COLUMNS, PARTS),       \
            dense<ROWS, COLUMNS, OWN_SIDE, PARTS, BACK>)

// A kernel whose blocks sum channels in parts, SUMS sums of each.
#define SUMMED(KERNEL, TYPE, FUNCTION, SUMS)                                                                         \
    ENTRY(KERNEL, FOURS * SUMMANDS)(ARGUMENTS(TYPE), BLOCK) {                                                        \
        BLOCK_MEMORY(parts, SUMS * FOURS * SUMMANDS * QUAD);                                                         \
        MEMORIES;                                                                                                    \
        bodies::FUNCTION(s, m, FLOATS(parts), block.x, block.y, own);                                                \
    }

// A kernel whose threads have an element each.
#define ELEMENTS(KERNEL, TYPE, ...)                                                                                  \
    ENTRY(KERNEL, 256)(ARGUMENTS(TYPE), uint index [[thread_position_in_grid]]) {                                    \
        MEMORIES;                                                                                                    \
        bodies::__VA_ARGS__(s, m, index);                                                                            \
    }

// Reads bytes, four to a word, and writes planes.
#define LETTERBOX(KERNEL, TYPE)                                                                                      \
    ENTRY(KERNEL, 256)(constant Step &s [[buffer(0)]], device const uint *words [[buffer(2)]],                       \
        device TYPE *output [[buffer(5)]], uint index [[thread_position_in_grid]]) {                                 \
        bodies::letterbox(s, words, output, index);                                                                  \
    }

#define KERNELS(NAME, TYPE)                                                                                          \
    DENSE(dense_32x32_##NAME, TYPE, 32, 32, 4, 4, false)                                                             \
    DENSE(dense_64x64_##NAME, TYPE, 64, 64, 4, 1, false)                                                             \
    DENSE(dense_128x16_##NAME, TYPE, 128, 16, 4, 1, false)                                                           \
    DENSE(dense_128x32_##NAME, TYPE, 128, 32, 4, 1, false)                                                           \
    DENSE(dense_128x128_##NAME, TYPE, 128, 128, 8, 1, false)                                                         \
    SUMMED(row_##NAME, TYPE, row, 1)                                                                                 \
    SUMMED(mean_##NAME, TYPE, mean, 1)                                                                               \
    ELEMENTS(depthwise_##NAME, TYPE, depthwise<false>)                                                               \
    ELEMENTS(pool_##NAME, TYPE, pool)                                                                                \
    ELEMENTS(combine_##NAME, TYPE, combine)                                                                          \
    ELEMENTS(boxes_##NAME, TYPE, boxes)                                                                              \
    LETTERBOX(letterbox_##NAME, TYPE)

#endif
