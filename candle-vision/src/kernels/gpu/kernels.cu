// The kernels for CUDA: bodies.h for three types of elements.

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <mma.h>

typedef unsigned int uint;
typedef unsigned long long wide;

#include "step.h"

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

namespace of_f32 {
#define ELEMENT float
#include "bodies.h"
#undef ELEMENT
} // namespace of_f32

namespace of_f16 {
#define ELEMENT __half
#include "bodies.h"
#undef ELEMENT
} // namespace of_f16

namespace of_bf16 {
#define ELEMENT __nv_bfloat16
#include "bodies.h"
#undef ELEMENT
} // namespace of_bf16

#define ARGUMENTS(TYPE)                                                                                              \
    const __grid_constant__ Step s, TYPE *arena, const TYPE *picture, const TYPE *weights, const float *biases,      \
        float *output
#define MEMORIES                                                                                                     \
    { arena, picture, weights, biases, output }

// A kernel whose blocks share tiles.
#define DENSE(NAME, TYPE, ROWS, COLUMNS, OWN_SIDE, PARTS)                                                            \
    extern "C" __global__ void __launch_bounds__(THREADS_OF(ROWS, COLUMNS, OWN_SIDE, PARTS))                         \
        dense_##ROWS##x##COLUMNS##_##NAME(ARGUMENTS(TYPE)) {                                                         \
        __shared__ __align__(16) float a[TILE(ROWS, PARTS)], b[TILE(COLUMNS, PARTS)];                                \
        of_##NAME::dense<ROWS, COLUMNS, OWN_SIDE, PARTS>(s, MEMORIES, a, b, blockIdx.x, blockIdx.y, threadIdx.x);    \
    }

#define MOST_OF(X, Y) ((X) > (Y) ? (X) : (Y))

// A kernel whose blocks share tiles and whose warps multiply.
#define DENSE_OF_WARPS(NAME, TYPE, ROWS, COLUMNS, PARTS_R, PARTS_C)                                                  \
    extern "C" __global__ void __launch_bounds__(32 * PARTS_R * PARTS_C)                                             \
        warps_##ROWS##x##COLUMNS##_##NAME(ARGUMENTS(TYPE)) {                                                         \
        const uint tiles = 2 * (ROWS * WARP_ROW + WARP_DEPTH * WARP_COLUMN(COLUMNS));                                \
        __shared__ __align__(32) char memory[MOST_OF(tiles, 4 * ROWS * WARP_SUMS(COLUMNS))];                         \
        TYPE *a = reinterpret_cast<TYPE *>(memory);                                                                  \
        of_##NAME::dense_of_warps<ROWS, COLUMNS, PARTS_R, PARTS_C>(                                                  \
            s, MEMORIES, a, a + ROWS * WARP_ROW, reinterpret_cast<float *>(memory), blockIdx.x, blockIdx.y,          \
            threadIdx.x);                                                                                            \
    }

// A kernel whose blocks sum channels in parts.
#define SUMS(NAME, TYPE, KERNEL)                                                                                     \
    extern "C" __global__ void __launch_bounds__(FOURS * SUMMANDS) KERNEL##_##NAME(ARGUMENTS(TYPE)) {                \
        __shared__ __align__(16) float parts[FOURS * SUMMANDS * QUAD];                                               \
        of_##NAME::KERNEL(s, MEMORIES, parts, blockIdx.x, blockIdx.y, threadIdx.x);                                  \
    }

// A kernel whose threads have an element each.
#define ELEMENTS(NAME, TYPE, KERNEL)                                                                                 \
    extern "C" __global__ void __launch_bounds__(256) KERNEL##_##NAME(ARGUMENTS(TYPE)) {                             \
        of_##NAME::KERNEL(s, MEMORIES, blockIdx.x * blockDim.x + threadIdx.x);                                       \
    }

#define KERNELS(NAME, TYPE)                                                                                          \
    DENSE(NAME, TYPE, 32, 32, 4, 4)                                                                                  \
    DENSE(NAME, TYPE, 64, 64, 4, 1)                                                                                  \
    DENSE(NAME, TYPE, 128, 16, 4, 1)                                                                                 \
    DENSE(NAME, TYPE, 128, 32, 4, 1)                                                                                 \
    DENSE(NAME, TYPE, 128, 128, 8, 1)                                                                                \
    SUMS(NAME, TYPE, row)                                                                                            \
    SUMS(NAME, TYPE, mean)                                                                                           \
    ELEMENTS(NAME, TYPE, depthwise)                                                                                  \
    ELEMENTS(NAME, TYPE, pool)                                                                                       \
    ELEMENTS(NAME, TYPE, combine)                                                                                    \
    ELEMENTS(NAME, TYPE, boxes)

KERNELS(f32, float)
KERNELS(f16, __half)
KERNELS(bf16, __nv_bfloat16)

#define WARPS(NAME, TYPE)                                                                                            \
    DENSE_OF_WARPS(NAME, TYPE, 128, 64, 4, 2)                                                                        \
    DENSE_OF_WARPS(NAME, TYPE, 128, 32, 4, 2)                                                                        \
    DENSE_OF_WARPS(NAME, TYPE, 64, 32, 2, 2)

WARPS(f16, __half)
WARPS(bf16, __nv_bfloat16)
