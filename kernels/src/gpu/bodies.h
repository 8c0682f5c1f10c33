// The kernels' bodies, the same on every device: no name in them is a keyword of one (`constant`, `device`, `kernel`, `thread`).
// Whoever includes this file defines:
//   BODY, CALLED what stands before a function of the device that is inlined, or called
//   PTR(T)       a pointer to memory of the device
//   OWNED(T)     a pointer to memory of a thread
//   GIVEN(T)     a reference to what a launch was given
//   HELD(T)      a reference to what a thread has
//   SHARED(T)    a pointer to memory that a block's threads share
//   ELEMENT      the type of maps and weights; sums are float
//   wide         an unsigned integer of 64 bits
//   THREADS(t, count)  a loop in which each of the block's `count` threads, of which this is `own`, is `t` once; the block meets
//                at its end, and then sees what its threads wrote
//   OWN(name, t) the part of thread `t` of an array that PER_THREAD(type, name, elements) declares
//   UNROLL       what stands before a loop that is to be unrolled
//   LOAD4(T, from, index, to), STORE4(T, to, index, from)  four elements of type T, `index` a multiple of four, as floats
//   EXP(x), ERF(x), SQRT(x), MOST(x, y), LEAST(x, y)
// Where warps multiply, also:
//   TAKE4(from, index, four), PUT4(to, index, four)  four elements without conversion
//   Four<T>      four elements of type T, `at`, that are moved at once
//   FRAGMENT     16 x 16 sums that the 32 threads of a warp have together
//   CLEAR(t, sums), MULTIPLY(t, sums, a, row, b, column), KEEP(t, sums, to, row)  zero; add the product of 16 x 16 elements
//                each from `a`, whose rows lie `row` apart, and from `b`; store, likewise. All threads of a warp do so.

typedef PTR(const ELEMENT) Source;
typedef PTR(ELEMENT) Target;

// The memory of a run.
struct Memories {
    Target arena;
    Source image, weights;
    PTR(const float) biases;
    PTR(float) output;
};

// Channels that a thread has of a position. Weights and biases have a multiple of it, filled up with zeros.
#define QUAD 4

BODY uint quads(uint channels) { return (channels + QUAD - 1) / QUAD; }

BODY wide at(GIVEN(Map) map, uint image, uint position, uint channel) {
    return map.offset + wide(image) * map.batch + position * map.position + channel * map.step;
}

BODY float load(HELD(Memories) m, GIVEN(Map) map, uint image, uint position, uint channel) {
    const wide index = at(map, image, position, channel);
    return map.memory == IMAGE ? float(m.image[index]) : float(m.arena[index]);
}

BODY void store(HELD(Memories) m, GIVEN(Map) map, uint image, uint position, uint channel, float value) {
    const wide index = at(map, image, position, channel);
    if (map.memory == OUTPUT) {
        m.output[index] = value;
    } else {
        m.arena[index] = ELEMENT(value);
    }
}

// Four channels from `channel` on; zero behind the last.
BODY void load_quad(HELD(Memories) m, GIVEN(Map) map, uint image, uint position, uint channel, OWNED(float) values) {
    if (map.wide) {
        const wide index = at(map, image, position, channel);
        if (map.memory == IMAGE) {
            LOAD4(ELEMENT, m.image, index, values);
        } else {
            LOAD4(ELEMENT, m.arena, index, values);
        }
        return;
    }
    UNROLL for (uint i = 0; i < QUAD; i++) {
        values[i] = channel + i < map.channels ? load(m, map, image, position, channel + i) : 0.f;
    }
}

// Four channels from `channel` on; none behind the last.
BODY void store_quad(HELD(Memories) m, GIVEN(Map) map, uint image, uint position, uint channel, OWNED(const float) values) {
    if (map.wide) {
        const wide index = at(map, image, position, channel);
        if (map.memory == OUTPUT) {
            STORE4(float, m.output, index, values);
        } else {
            STORE4(ELEMENT, m.arena, index, values);
        }
        return;
    }
    UNROLL for (uint i = 0; i < QUAD; i++) {
        if (channel + i < map.channels) {
            store(m, map, image, position, channel + i, values[i]);
        }
    }
}

BODY float activate(uint activation, float slope, float x) {
    switch (activation) {
    case RELU: return MOST(x, 0.f);
    case RELU6: return LEAST(MOST(x, 0.f), 6.f);
    case LEAKY_RELU: return x < 0.f ? x * slope : x;
    case SIGMOID: return 1.f / (1.f + EXP(-x));
    case SILU: return x / (1.f + EXP(-x));
    case HARD_SIGMOID: return LEAST(MOST(x + 3.f, 0.f), 6.f) / 6.f;
    case HARD_SWISH: return x * (LEAST(MOST(x + 3.f, 0.f), 6.f) / 6.f);
    case GELU: return 0.5f * x * (1.f + ERF(x * 0.70710678f));
    default: return x;
    }
}

// Bias, activation, residual and store of a convolution's sums of four channels.
CALLED void finish(
    GIVEN(Step) s, HELD(Memories) m, uint image, uint position, uint channel, float a, float b, float c, float d) {
    float sums[QUAD] = {a, b, c, d}, biases[QUAD];
    LOAD4(float, m.biases, s.bias + channel, biases);
    UNROLL for (uint i = 0; i < QUAD; i++) {
        sums[i] = activate(s.activation, s.slope, sums[i] + biases[i]);
    }
    if (s.has_plain) {
        store_quad(m, s.plain, image, position, channel, sums);
    }
    if (s.has_second) {
        float residual[QUAD];
        load_quad(m, s.second, image, position, channel, residual);
        UNROLL for (uint i = 0; i < QUAD; i++) {
            sums[i] += residual[i];
        }
    }
    store_quad(m, s.out, image, position, channel, sums);
}

// The input position of a tap of a window, or -1 where it is outside. BACK: the window whose tap is at a position, or -1.
template <bool BACK>
BODY int tap(uint out, uint stride, uint index, uint dilation, uint padding, uint size) {
    if (BACK) {
        const int reach = int(out + padding) - int(index * dilation), window = reach / int(stride);
        return reach < 0 || reach % int(stride) != 0 || window >= int(size) ? -1 : window;
    }
    const int position = int(out * stride + index * dilation) - int(padding);
    return position < 0 || position >= int(size) ? -1 : position;
}

// Pixel of the input under the tap (i, j) of the window at output (y, x), or -1. BACK: the input is the map of windows.
template <bool BACK>
BODY int under(GIVEN(Step) s, uint y, uint x, uint i, uint j) {
    const int row = tap<BACK>(y, s.stride_h, i, s.dilation_h, s.padding_h, s.input.height);
    const int column = tap<BACK>(x, s.stride_w, j, s.dilation_w, s.padding_w, s.input.width);
    return row < 0 || column < 0 ? -1 : row * int(s.input.width) + column;
}

// Four channels of an output position, of a step whose threads have those each.
struct Quad {
    uint image, position, channel;
    bool is_inside;
};

BODY Quad quad(GIVEN(Map) map, uint images, uint index) {
    const uint positions = map.height * map.width, count = quads(map.channels);
    Quad q;
    q.channel = index % count * QUAD;
    q.position = index / count % positions;
    q.image = index / count / positions;
    q.is_inside = q.image < images;
    return q;
}

#include "dense.h"
#ifdef FRAGMENT
#include "warps.h"
#endif
#include "sums.h"

// A convolution of each channel by itself, four channels a thread. Weights: (kernel_h, kernel_w, channels in fours). BACK: its
// transpose, from the gradient of a result to that of the map.
template <bool BACK>
BODY void depthwise(GIVEN(Step) s, HELD(Memories) m, uint index) {
    const Quad q = quad(s.out, s.images, index);
    if (!q.is_inside) {
        return;
    }
    const uint y = q.position / s.out.width, x = q.position % s.out.width;
    const uint channels = quads(s.out.channels) * QUAD;
    float sums[QUAD] = {0.f, 0.f, 0.f, 0.f};
    for (uint i = 0; i < s.kernel_h; i++) {
        for (uint j = 0; j < s.kernel_w; j++) {
            const int pixel = under<BACK>(s, y, x, i, j);
            if (pixel >= 0) {
                float values[QUAD], weights[QUAD];
                load_quad(m, s.input, q.image, uint(pixel), q.channel, values);
                LOAD4(ELEMENT, m.weights, s.weight + wide(i * s.kernel_w + j) * channels + q.channel, weights);
                UNROLL for (uint c = 0; c < QUAD; c++) {
                    sums[c] += values[c] * weights[c];
                }
            }
        }
    }
    finish(s, m, q.image, q.position, q.channel, sums[0], sums[1], sums[2], sums[3]);
}

// Maximum of a window, NaN if there is one, or mean of what of it is inside the map; four channels a thread.
BODY void pool(GIVEN(Step) s, HELD(Memories) m, uint index) {
    const Quad q = quad(s.out, s.images, index);
    if (!q.is_inside) {
        return;
    }
    const uint y = q.position / s.out.width, x = q.position % s.out.width;
    float most[QUAD] = {0.f, 0.f, 0.f, 0.f}, sums[QUAD] = {0.f, 0.f, 0.f, 0.f};
    uint count = 0;
    for (uint i = 0; i < s.kernel_h; i++) {
        for (uint j = 0; j < s.kernel_w; j++) {
            const int pixel = under<false>(s, y, x, i, j);
            if (pixel >= 0) {
                float values[QUAD];
                load_quad(m, s.input, q.image, uint(pixel), q.channel, values);
                UNROLL for (uint c = 0; c < QUAD; c++) {
                    most[c] = count == 0 || values[c] > most[c] || values[c] != values[c] ? values[c] : most[c];
                    sums[c] += values[c];
                }
                count++;
            }
        }
    }
    UNROLL for (uint c = 0; c < QUAD; c++) {
        sums[c] = s.is_max ? most[c] : sums[c] / float(count);
    }
    store_quad(m, s.out, q.image, q.position, q.channel, sums);
}

// Position of the nearest neighbour, as PyTorch rounds it.
BODY uint nearest(uint out, uint out_size, uint size) {
    const uint source = uint(float(out) * (float(size) / float(out_size)));
    return source < size ? source : size - 1;
}

// Copy, sum or product with a map that is resampled to the output's size; four channels a thread.
BODY void combine(GIVEN(Step) s, HELD(Memories) m, uint index) {
    const Quad q = quad(s.out, s.images, index);
    if (!q.is_inside) {
        return;
    }
    const uint y = nearest(q.position / s.out.width, s.out.height, s.second.height);
    const uint x = nearest(q.position % s.out.width, s.out.width, s.second.width);
    float values[QUAD];
    load_quad(m, s.second, q.image, y * s.second.width + x, q.channel, values);
    if (s.operation != COPY) {
        float first[QUAD];
        load_quad(m, s.input, q.image, q.position, q.channel, first);
        UNROLL for (uint i = 0; i < QUAD; i++) {
            values[i] = s.operation == ADD ? first[i] + values[i] : first[i] * values[i];
        }
    }
    store_quad(m, s.out, q.image, q.position, q.channel, values);
}

#include "boxes.h"
