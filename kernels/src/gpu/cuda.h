// The kernels for CUDA, of a type of elements each: what bodies.h asks for, and entry points.

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <mma.h>

typedef unsigned int uint;
typedef unsigned long long wide;

#include "step.h"

// Not each loop over threads names its thread here.
#pragma nv_diag_suppress 177

// Four elements that a thread moves at once.
template <class T>
struct alignas(4 * sizeof(T)) Four {
    T at[4];
};

#define BODY static __device__ __forceinline__
#define CALLED static __device__ __noinline__
#define PTR(T) T*
#define OWNED(T) T*
#define GIVEN(T) const T &
#define HELD(T) const T &
#define SHARED(T) T*
#define THREADS(t, count) for (uint t = own, once = 1; once; once = 0, __syncthreads())
#define PER_THREAD(type, name, elements) type name[elements]
#define OWN(name, t) name
#define UNROLL _Pragma("unroll")
#define LOAD4(T, from, index, to)                                                                                    \
    do {                                                                                                             \
        const Four<T> four = *reinterpret_cast<const Four<T> *>(&(from)[index]);                                     \
        UNROLL for (uint e = 0; e < 4; e++) (to)[e] = float(four.at[e]);                                             \
    } while (0)
#define STORE4(T, to, index, from)                                                                                   \
    do {                                                                                                             \
        Four<T> four;                                                                                                \
        UNROLL for (uint e = 0; e < 4; e++) four.at[e] = T((from)[e]);                                               \
        *reinterpret_cast<Four<T> *>(&(to)[index]) = four;                                                           \
    } while (0)
#define TAKE4(from, index, four) four = *reinterpret_cast<const Four<ELEMENT> *>(&(from)[index])
#define PUT4(to, index, four) *reinterpret_cast<Four<ELEMENT> *>(&(to)[index]) = four
#define FRAGMENT nvcuda::wmma::fragment<nvcuda::wmma::accumulator, 16, 16, 16, float>
#define CLEAR(t, sums) nvcuda::wmma::fill_fragment(sums, 0.f)
#define MULTIPLY(t, sums, a, row, b, column) multiply(sums, a, row, b, column)
#define KEEP(t, sums, to, row) nvcuda::wmma::store_matrix_sync(to, sums, row, nvcuda::wmma::mem_row_major)
#define EXP(x) expf(x)
#define ERF(x) erff(x)
#define MOST(x, y) fmaxf(x, y)
#define SQRT(x) sqrtf(x)
#define LEAST(x, y) fminf(x, y)

template <class T>
BODY void multiply(FRAGMENT &sums, const T *a, uint row, const T *b, uint column) {
    using namespace nvcuda::wmma;
    fragment<matrix_a, 16, 16, 16, T, row_major> left;
    fragment<matrix_b, 16, 16, 16, T, row_major> right;
    load_matrix_sync(left, a, row);
    load_matrix_sync(right, b, column);
    mma_sync(sums, left, right, sums);
}

#define ARGUMENTS(TYPE)                                                                                              \
    const __grid_constant__ Step s, TYPE *arena, const TYPE *image, const TYPE *weights, const float *biases,      \
        float *output
#define MEMORIES                                                                                                     \
    { arena, image, weights, biases, output }

// A kernel whose blocks share tiles.
#define DENSE(KERNEL, TYPE, ROWS, COLUMNS, OWN_SIDE, PARTS, BACK)                                                    \
    extern "C" __global__ void __launch_bounds__(THREADS_OF(ROWS, COLUMNS, OWN_SIDE, PARTS))                         \
        KERNEL(ARGUMENTS(TYPE)) {                                                                                    \
        __shared__ __align__(16) float a[TILE(ROWS, PARTS)], b[TILE(COLUMNS, PARTS)];                                \
        bodies::dense<ROWS, COLUMNS, OWN_SIDE, PARTS, BACK>(                                                         \
            s, MEMORIES, a, b, blockIdx.x, blockIdx.y, threadIdx.x);                                                 \
    }

#define MOST_OF(X, Y) ((X) > (Y) ? (X) : (Y))

// A kernel whose blocks share tiles and whose warps multiply.
#define DENSE_OF_WARPS(NAME, TYPE, ROWS, COLUMNS, PARTS_R, PARTS_C)                                                  \
    extern "C" __global__ void __launch_bounds__(32 * PARTS_R * PARTS_C)                                             \
        warps_##ROWS##x##COLUMNS##_##NAME(ARGUMENTS(TYPE)) {                                                         \
        const uint tiles = 2 * (ROWS * WARP_ROW + WARP_DEPTH * WARP_COLUMN(COLUMNS));                                \
        __shared__ __align__(32) char memory[MOST_OF(tiles, 4 * ROWS * WARP_SUMS(COLUMNS))];                         \
        TYPE *a = reinterpret_cast<TYPE *>(memory);                                                                  \
        bodies::dense_of_warps<ROWS, COLUMNS, PARTS_R, PARTS_C>(                                                     \
            s, MEMORIES, a, a + ROWS * WARP_ROW, reinterpret_cast<float *>(memory), blockIdx.x, blockIdx.y,          \
            threadIdx.x);                                                                                            \
    }

// A kernel whose blocks sum channels in parts, SUMS sums of each.
#define SUMMED(ENTRY, TYPE, KERNEL, SUMS)                                                                            \
    extern "C" __global__ void __launch_bounds__(FOURS * SUMMANDS) ENTRY(ARGUMENTS(TYPE)) {                          \
        __shared__ __align__(16) float parts[SUMS * FOURS * SUMMANDS * QUAD];                                        \
        bodies::KERNEL(s, MEMORIES, parts, blockIdx.x, blockIdx.y, threadIdx.x);                                     \
    }

// A kernel whose threads have an element each.
#define ELEMENTS(ENTRY, TYPE, ...)                                                                                   \
    extern "C" __global__ void __launch_bounds__(256) ENTRY(ARGUMENTS(TYPE)) {                                       \
        bodies::__VA_ARGS__(s, MEMORIES, blockIdx.x * blockDim.x + threadIdx.x);                                     \
    }

// Reads bytes, four to a word, and writes planes.
#define LETTERBOX(ENTRY, TYPE)                                                                                       \
    extern "C" __global__ void __launch_bounds__(256) ENTRY(const __grid_constant__ Step s, const TYPE *,            \
        const uint *words, const TYPE *, const float *, TYPE *output) {                                              \
        bodies::letterbox(s, words, output, blockIdx.x * blockDim.x + threadIdx.x);                                  \
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

#define WARPS(NAME, TYPE)                                                                                            \
    DENSE_OF_WARPS(NAME, TYPE, 128, 64, 4, 2)                                                                        \
    DENSE_OF_WARPS(NAME, TYPE, 128, 32, 4, 2)                                                                        \
    DENSE_OF_WARPS(NAME, TYPE, 64, 32, 2, 2)
