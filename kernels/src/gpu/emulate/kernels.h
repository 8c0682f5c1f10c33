// The kernels on the CPU: blocks one after the other, the threads of a block as loops, every index checked.

#pragma once

#include <cmath>
#include <cstring>

#include "emulate/bf16.h"
#include "emulate/protocol.h"

typedef unsigned long long wide;

template <class T>
struct Checked {
    T *data;
    wide len;
    // What lies from `first` on.
    Checked operator+(wide first) const {
        if (first > len) {
            std::fprintf(stderr, "index %llu of %llu\n", first, len);
            std::exit(3);
        }
        return {data + first, len - first};
    }
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
#define SQRT(x) std::sqrt(x)
#define LEAST(x, y) std::fmin(x, y)

namespace of_f32 {
#define ELEMENT float
#include "bodies.h"
#include "gradients.h"
#include "letterbox.h"
#include "norm.h"
#include "update.h"
#include "windows.h"
#undef ELEMENT
} // namespace of_f32

namespace of_f16 {
#define ELEMENT _Float16
#include "bodies.h"
#include "letterbox.h"
#undef ELEMENT
} // namespace of_f16

namespace of_bf16 {
#define ELEMENT Bf16
#include "bodies.h"
#include "letterbox.h"
#undef ELEMENT
} // namespace of_bf16

#define TIMES(x, y) ((x) * (y))
#define BITS(x) float_bits(x)

static uint float_bits(float x) {
    uint bits;
    std::memcpy(&bits, &x, sizeof bits);
    return bits;
}

namespace of_detect {
#include "suppress.h"
} // namespace of_detect

#include "emulate_detect.h"

#define BLOCK(SPACE) [](const Step &s, const SPACE::Memories &m, uint x, uint y, [[maybe_unused]] uint threads)

// A kernel whose threads have an element each.
#define ELEMENTS(SPACE, ...)                                                                                         \
    BLOCK(SPACE) {                                                                                                   \
        for (uint t = 0; t < threads; t++) SPACE::__VA_ARGS__(s, m, x * threads + t);                                \
        (void)y;                                                                                                     \
    }

// A kernel whose blocks share `LEN_A` and `LEN_B` floats.
#define SHARING(SPACE, LEN_A, LEN_B, ...)                                                                            \
    BLOCK(SPACE) {                                                                                                   \
        std::vector<float> a(LEN_A), b(LEN_B);                                                                       \
        SPACE::__VA_ARGS__(s, m, Checked<float>{a.data(), LEN_A}, Checked<float>{b.data(), LEN_B}, x, y, 0);         \
    }

#define DENSE(SPACE, ROWS, COLUMNS, OWN_SIDE, PARTS, BACK)                                                           \
    SHARING(SPACE, TILE(ROWS, PARTS), TILE(COLUMNS, PARTS), dense<ROWS, COLUMNS, OWN_SIDE, PARTS, BACK>)

#define SUMMED(SPACE, KERNEL, SUMS)                                                                                  \
    BLOCK(SPACE) {                                                                                                   \
        const uint len = SUMS * FOURS * SUMMANDS * QUAD;                                                             \
        std::vector<float> parts(len);                                                                               \
        SPACE::KERNEL(s, m, Checked<float>{parts.data(), len}, x, y, 0);                                             \
    }

#define WARPS(SPACE, ELEMENT, ROWS, COLUMNS, PARTS_R, PARTS_C)                                                       \
    BLOCK(SPACE) {                                                                                                   \
        const uint len_a = ROWS * WARP_ROW, len_b = WARP_DEPTH * WARP_COLUMN(COLUMNS);                               \
        const uint len_sums = ROWS * WARP_SUMS(COLUMNS);                                                             \
        std::vector<ELEMENT> a(len_a), b(len_b);                                                                     \
        std::vector<float> sums(len_sums);                                                                           \
        SPACE::dense_of_warps<ROWS, COLUMNS, PARTS_R, PARTS_C>(                                                      \
            s, m, Checked<ELEMENT>{a.data(), len_a}, Checked<ELEMENT>{b.data(), len_b},                              \
            Checked<float>{sums.data(), len_sums}, x, y, 0);                                                         \
    }

// Reads words, and writes elements of its type.
#define LETTERBOX(SPACE, ELEMENT)                                                                                    \
    BLOCK(SPACE) {                                                                                                   \
        const Checked<const uint> words = {                                                                          \
            reinterpret_cast<const uint *>(m.image.data), m.image.len * sizeof(ELEMENT) / sizeof(uint)};         \
        const Checked<ELEMENT> output = {                                                                            \
            reinterpret_cast<ELEMENT *>(m.output.data), m.output.len * sizeof(float) / sizeof(ELEMENT)};             \
        for (uint t = 0; t < threads; t++) SPACE::letterbox(s, words, output, x * threads + t);                      \
        (void)y;                                                                                                     \
    }

#define KERNELS(SPACE, ELEMENT)                                                                                      \
    {"dense_32x32", DENSE(SPACE, 32, 32, 4, 4, false)}, {"dense_64x64", DENSE(SPACE, 64, 64, 4, 1, false)},          \
        {"dense_128x16", DENSE(SPACE, 128, 16, 4, 1, false)}, {"dense_128x32", DENSE(SPACE, 128, 32, 4, 1, false)},  \
        {"dense_128x128", DENSE(SPACE, 128, 128, 8, 1, false)},                                                      \
        {"warps_128x64", WARPS(SPACE, ELEMENT, 128, 64, 4, 2)},                                                      \
        {"warps_128x32", WARPS(SPACE, ELEMENT, 128, 32, 4, 2)},                                                      \
        {"warps_64x32", WARPS(SPACE, ELEMENT, 64, 32, 2, 2)}, {"row", SUMMED(SPACE, row, 1)},                        \
        {"mean", SUMMED(SPACE, mean, 1)}, {"depthwise", ELEMENTS(SPACE, depthwise<false>)},                          \
        {"pool", ELEMENTS(SPACE, pool)}, {"combine", ELEMENTS(SPACE, combine)}, {"boxes", ELEMENTS(SPACE, boxes)},    \
        {"letterbox", LETTERBOX(SPACE, ELEMENT)},

static const Kernels<of_f32::Memories> KERNELS_OF_F32 = {
    KERNELS(of_f32, float)
    {"back_32x32", DENSE(of_f32, 32, 32, 4, 4, true)},
    {"back_64x64", DENSE(of_f32, 64, 64, 4, 1, true)},
    {"back_128x128", DENSE(of_f32, 128, 128, 8, 1, true)},
    {"grad_weight_16", SHARING(of_f32, DEPTH * ROW(GRAD_ROWS), DEPTH * ROW(16), grad_weight<16>)},
    {"grad_weight_64", SHARING(of_f32, DEPTH * ROW(GRAD_ROWS), DEPTH * ROW(64), grad_weight<64>)},
    {"grad_depthwise", SUMMED(of_f32, grad_depthwise, 1)},
    {"channels", SUMMED(of_f32, channels, 2)},
    {"depthwise_back", ELEMENTS(of_f32, depthwise<true>)},
    {"pack", ELEMENTS(of_f32, pack)},
    {"unpack", ELEMENTS(of_f32, unpack)},
    {"settle", ELEMENTS(of_f32, settle)},
    {"normalise", ELEMENTS(of_f32, normalise)},
    {"normalise_back", ELEMENTS(of_f32, normalise_back)},
    {"largest", ELEMENTS(of_f32, largest)},
    {"pool_back", ELEMENTS(of_f32, pool_back)},
    {"resample_back", ELEMENTS(of_f32, resample_back)},
    {"accumulate", ELEMENTS(of_f32, accumulate)},
    {"update", ELEMENTS(of_f32, update)},
};
static const Kernels<of_f16::Memories> KERNELS_OF_F16 = {KERNELS(of_f16, _Float16)};

static const Kernels<of_bf16::Memories> KERNELS_OF_BF16 = {KERNELS(of_bf16, Bf16)};

template <class T>
static Checked<T> checked(Buffer &buffer) {
    return {buffer.elements<T>(), buffer.bytes.size() / sizeof(T)};
}

template <class Memories, class T>
static Memories memories(Buffer &arena, Buffer &image, Buffer &weights, Buffer &biases, Buffer &output) {
    return {checked<T>(arena), checked<T>(image), checked<T>(weights), checked<float>(biases), checked<float>(output)};
}

template <class T>
static Checked<T> checked(Garbage<T> &memory) {
    return {memory.elements.data(), memory.elements.size()};
}

// What the launches of suppression work on.
struct OnMemory {
    of_detect::Suppression s;
    Checked<const float> decoded;
    Checked<uint> scratch;
    Checked<float> output;
};

static void suppress_candidates(const OnMemory &on, uint x, uint y) {
    Garbage<uint> counts(GROUP + GROUP / 16);
    of_detect::candidates(on.s, on.decoded, on.scratch, checked(counts), x, y, 0);
}

static void suppress_rank(const OnMemory &on, uint x, uint y) {
    Garbage<uint> keys(GROUP);
    of_detect::rank(on.s, on.scratch, checked(keys), x, y, 0);
}

static void suppress_keep(const OnMemory &on, uint x, uint) {
    Garbage<float> boxes(4 * GROUP);
    Garbage<uint> states(2 * GROUP);
    of_detect::suppress(on.s, on.decoded, on.scratch, on.output, checked(boxes), checked(states), x, 0);
}
