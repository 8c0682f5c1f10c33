// The kernels on the CPU: blocks one after the other, the threads of a block as loops, every index checked.
//
// Reads from stdin, in the machine's byte order, all counts as 32-bit words: the type of elements (0 f32, 1 f16), then five
// buffers (elements, then content): arena, picture, weights, biases, output; then the launches: kernel, blocks x, blocks y,
// threads, Step. Writes the output.

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <vector>

typedef unsigned int uint;
typedef unsigned long long wide;

#include "step.h"

template <class T>
struct Checked {
    T *data;
    wide len;
    T &operator[](wide index) const {
        if (index >= len) {
            std::fprintf(stderr, "index %llu of %llu\n", index, len);
            std::exit(3);
        }
        return data[index];
    }
    operator Checked<const T>() const { return {data, len}; }
};

template <class T>
struct Four {
    T at[4] = {};
};

// What a warp's threads have together: its first thread has it all.
struct Sums {
    float at[16][16] = {};
};

template <class T>
static void multiply(uint t, Sums &sums, const T *a, uint row, const T *b, uint column) {
    if (t % 32 != 0) {
        return;
    }
    for (uint i = 0; i < 16; i++) {
        for (uint k = 0; k < 16; k++) {
            for (uint j = 0; j < 16; j++) sums.at[i][j] += float(a[i * row + k]) * float(b[k * column + j]);
        }
    }
}

static void keep(uint t, const Sums &sums, float *to, uint row) {
    for (uint i = 0; i < 16 && t % 32 == 0; i++) {
        for (uint j = 0; j < 16; j++) to[i * row + j] = sums.at[i][j];
    }
}

// Checks that four elements may be moved at once.
static void aligned(wide index) {
    if (index % 4 != 0) {
        std::fprintf(stderr, "four elements at %llu\n", index);
        std::exit(3);
    }
}

#define BODY static inline
#define CALLED static
#define PTR(T) Checked<T>
#define OWNED(T) T*
#define GIVEN(T) const T &
#define HELD(T) const T &
#define SHARED(T) Checked<T>
#define THREADS(t, count) for (uint t = 0; t < (count); t++)
#define PER_THREAD(type, name, elements) type name[256][elements]
#define OWN(name, t) name[t]
#define UNROLL
#define LOAD4(T, from, index, to)                                                                                    \
    do {                                                                                                             \
        aligned(index);                                                                                              \
        for (uint e = 0; e < 4; e++) (to)[e] = float((from)[(index) + e]);                                           \
    } while (0)
#define STORE4(T, to, index, from)                                                                                   \
    do {                                                                                                             \
        aligned(index);                                                                                              \
        for (uint e = 0; e < 4; e++) (to)[(index) + e] = T((from)[e]);                                               \
    } while (0)
#define TAKE4(from, index, four)                                                                                     \
    do {                                                                                                             \
        aligned(index);                                                                                              \
        for (uint e = 0; e < 4; e++) (four).at[e] = (from)[(index) + e];                                             \
    } while (0)
#define PUT4(to, index, four)                                                                                        \
    do {                                                                                                             \
        aligned(index);                                                                                              \
        for (uint e = 0; e < 4; e++) (to)[(index) + e] = (four).at[e];                                               \
    } while (0)
#define FRAGMENT Sums
#define CLEAR(t, sums) (sums) = Sums()
#define MULTIPLY(t, sums, a, row, b, column) multiply(t, sums, a, row, b, column)
#define KEEP(t, sums, to, row) keep(t, sums, to, row)
#define EXP(x) std::exp(x)
#define ERF(x) std::erf(x)
#define MOST(x, y) std::fmax(x, y)
#define LEAST(x, y) std::fmin(x, y)

namespace of_f32 {
#define ELEMENT float
#include "bodies.h"
#undef ELEMENT
} // namespace of_f32

namespace of_f16 {
#define ELEMENT _Float16
#include "bodies.h"
#undef ELEMENT
} // namespace of_f16

static void read(void *to, size_t bytes) {
    if (bytes > 0 && std::fread(to, bytes, 1, stdin) != 1) {
        std::fprintf(stderr, "the input ends early\n");
        std::exit(2);
    }
}

static uint word() {
    uint value;
    read(&value, sizeof value);
    return value;
}

// What a kernel without a barrier does not write before it is read is NaN, as in memory that another kernel left.
template <class T>
struct Buffer {
    std::vector<T> elements;
    Buffer() : elements(word()) { read(elements.data(), elements.size() * sizeof(T)); }
    operator Checked<T>() { return {elements.data(), elements.size()}; }
    operator Checked<const T>() { return {elements.data(), elements.size()}; }
};

enum Kernel : uint { DENSE_32X32, DENSE_64X64, DENSE_128X16, DENSE_128X32, DENSE_128X128, WARPS_128X64, WARPS_128X32, WARPS_64X32, ROW_SUMS, MEAN, DEPTHWISE, POOL, COMBINE, BOXES };

#define DENSE(SPACE, ROWS, COLUMNS, OWN_SIDE, PARTS)                                                                 \
    SPACE::dense<ROWS, COLUMNS, OWN_SIDE, PARTS>(s, m, {a, TILE(ROWS, PARTS)}, {b, TILE(COLUMNS, PARTS)}, x, y, 0)

#define WARPS(SPACE, ELEMENT, ROWS, COLUMNS, PARTS_R, PARTS_C)                                                       \
    warps<ELEMENT>(ROWS *WARP_ROW, WARP_DEPTH *WARP_COLUMN(COLUMNS), ROWS *WARP_SUMS(COLUMNS), [&](auto a, auto b, auto c) { \
        SPACE::dense_of_warps<ROWS, COLUMNS, PARTS_R, PARTS_C>(s, m, a, b, c, x, y, 0);                              \
    })

// Runs a block with memory for its tiles and its sums.
template <class T, class Block>
static void warps(wide len_a, wide len_b, wide len_sums, Block block) {
    std::vector<T> a(len_a), b(len_b);
    std::vector<float> sums(len_sums);
    block(Checked<T>{a.data(), len_a}, Checked<T>{b.data(), len_b}, Checked<float>{sums.data(), len_sums});
}

#define RUN(SPACE, ELEMENT)                                                                                          \
    static int run_##SPACE() {                                                                                       \
        Buffer<ELEMENT> arena, picture, weights;                                                                     \
        Buffer<float> biases, output;                                                                                \
        const SPACE::Memories m = {arena, picture, weights, biases, output};                                         \
        for (uint launches = word(); launches > 0; launches--) {                                                     \
            const uint kernel = word(), blocks_x = word(), blocks_y = word(), threads = word();                      \
            Step s;                                                                                                  \
            read(&s, sizeof s);                                                                                      \
            for (uint y = 0; y < blocks_y; y++) {                                                                    \
                for (uint x = 0; x < blocks_x; x++) {                                                                \
                    block_##SPACE(kernel, s, m, x, y, threads);                                                      \
                }                                                                                                    \
            }                                                                                                        \
        }                                                                                                            \
        std::fwrite(output.elements.data(), sizeof(float), output.elements.size(), stdout);                          \
        return 0;                                                                                                    \
    }                                                                                                                \
    static void block_##SPACE(uint kernel, const Step &s, const SPACE::Memories &m, uint x, uint y, uint threads) {  \
        float a[4096], b[4096];                                                                                      \
        switch (kernel) {                                                                                            \
        case DENSE_32X32: return DENSE(SPACE, 32, 32, 4, 4);                                                         \
        case DENSE_64X64: return DENSE(SPACE, 64, 64, 4, 1);                                                         \
        case DENSE_128X16: return DENSE(SPACE, 128, 16, 4, 1);                                                       \
        case DENSE_128X32: return DENSE(SPACE, 128, 32, 4, 1);                                                       \
        case DENSE_128X128: return DENSE(SPACE, 128, 128, 8, 1);                                                     \
        case WARPS_128X64: return WARPS(SPACE, ELEMENT, 128, 64, 4, 2);                                              \
        case WARPS_128X32: return WARPS(SPACE, ELEMENT, 128, 32, 4, 2);                                              \
        case WARPS_64X32: return WARPS(SPACE, ELEMENT, 64, 32, 2, 2);                                                \
        case ROW_SUMS: return SPACE::row(s, m, {a, FOURS * SUMMANDS * QUAD}, x, y, 0);                               \
        case MEAN: return SPACE::mean(s, m, {a, FOURS * SUMMANDS * QUAD}, x, y, 0);                                  \
        }                                                                                                            \
        for (uint t = 0; t < threads; t++) {                                                                         \
            const uint index = x * threads + t;                                                                      \
            switch (kernel) {                                                                                        \
            case DEPTHWISE: SPACE::depthwise(s, m, index); break;                                                    \
            case POOL: SPACE::pool(s, m, index); break;                                                              \
            case COMBINE: SPACE::combine(s, m, index); break;                                                        \
            case BOXES: SPACE::boxes(s, m, index); break;                                                            \
            default: std::fprintf(stderr, "kernel %u\n", kernel); std::exit(2);                                      \
            }                                                                                                        \
        }                                                                                                            \
    }

static void block_of_f32(uint, const Step &, const of_f32::Memories &, uint, uint, uint);
static void block_of_f16(uint, const Step &, const of_f16::Memories &, uint, uint, uint);
RUN(of_f32, float)
RUN(of_f16, _Float16)

int main() { return word() == 0 ? run_of_f32() : run_of_f16(); }
