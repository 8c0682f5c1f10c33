// Weights of a convolution in training, and their gradients. For elements of type float; after bodies.h.

// A sum and what its roundings left out (Knuth's two-sum): gradients behind a batch norm are small differences of large sums.
struct Sum {
    float value, rest;
};

BODY Sum nothing() {
    Sum sum;
    sum.value = 0.f;
    sum.rest = 0.f;
    return sum;
}

BODY Sum plus(Sum sum, float x) {
    Sum total;
    total.value = sum.value + x;
    const float added = total.value - sum.value;
    total.rest = sum.rest + ((sum.value - (total.value - added)) + (x - added));
    return total;
}

// `join` with what roundings leave out.
BODY void join_exactly(SHARED(float) parts, uint four, OWNED(float) sums) {
    Sum totals[QUAD];
    UNROLL for (uint i = 0; i < QUAD; i++) {
        totals[i] = nothing();
    }
    for (uint part = 0; part < SUMMANDS; part++) {
        UNROLL for (uint i = 0; i < QUAD; i++) {
            totals[i] = plus(totals[i], parts[SUMMAND(four, part) + i]);
        }
    }
    UNROLL for (uint i = 0; i < QUAD; i++) {
        sums[i] = totals[i].value + totals[i].rest;
    }
}

// Weights as a checkpoint has them, (rows, columns, taps) at any steps, to (taps, rows in fours, columns in fours), filled
// up with zeros; behind them the columns' biases, or zeros. A thread per element.
// `input`: height rows, channels columns, width taps, at `position` between rows, `step` between columns, `batch` between taps.
// `out`: height and channels as filled up.
BODY void pack(GIVEN(Step) s, HELD(Memories) m, uint index) {
    const uint columns = s.out.channels, rows = s.out.height, taps = s.input.width;
    const uint column = index % columns, row = index / columns % rows, tap = index / columns / rows;
    if (tap > taps || (tap == taps && row > 0)) {
        return;
    }
    float value = 0.f;
    if (tap == taps) {
        value = s.has_second && column < s.input.channels ? m.biases[s.bias + column] : 0.f;
    } else if (row < s.input.height && column < s.input.channels) {
        value = m.image[s.input.offset + wide(tap) * s.input.batch + row * s.input.position + column * s.input.step];
    }
    m.output[index] = value;
}

// The sum of the parts of what `pack` packs, back in a checkpoint's order. A thread per element of a part.
BODY void unpack(GIVEN(Step) s, HELD(Memories) m, uint index) {
    const uint columns = s.out.channels, rows = s.out.height, taps = s.input.width;
    const uint column = index % columns, row = index / columns % rows, tap = index / columns / rows;
    if (tap >= taps || row >= s.input.height || column >= s.input.channels) {
        return;
    }
    Sum sum = nothing();
    for (uint part = 0; part < s.parts; part++) {
        sum = plus(sum, m.arena[wide(part) * (taps * rows * columns) + index]);
    }
    m.output[wide(tap) * s.input.batch + row * s.input.position + column * s.input.step] = sum.value + sum.rest;
}

// The positions of all images that part `part` of `parts` sums over.
struct Range {
    uint begin, end;
};

BODY Range range(uint total, uint parts, uint part) {
    const uint each = (total + parts - 1) / parts, begin = part * each < total ? part * each : total;
    Range r;
    r.begin = begin;
    r.end = begin + each < total ? begin + each : total;
    return r;
}

// A part of the weight's gradient of a dense convolution, (taps, input channels in fours) by (output channels in fours): the
// product of `input` under each tap and `second`, the output's gradient, over the positions of all images. A block makes
// 64 x COLUMNS elements of a part; a thread has 4 x 4 sums.
#define GRAD_ROWS 64
#define GRAD_THREADS(COLUMNS) (GRAD_ROWS / QUAD * ((COLUMNS) / QUAD))

template <uint COLUMNS>
BODY void grad_weight(
    GIVEN(Step) s, HELD(Memories) m, SHARED(float) a, SHARED(float) b, uint block_x, uint block_y, uint own) {
    const uint count = GRAD_THREADS(COLUMNS), row_fours = GRAD_ROWS / QUAD, column_fours = COLUMNS / QUAD;
    const uint channels = quads(s.input.channels) * QUAD, columns = quads(s.second.channels) * QUAD;
    const uint rows = s.kernel_h * s.kernel_w * channels, across = (columns + COLUMNS - 1) / COLUMNS;
    const uint first_row = block_x / across * GRAD_ROWS, first_column = block_x % across * COLUMNS;
    const uint positions = s.second.height * s.second.width;
    const Range r = range(s.images * positions, s.parts, block_y);
    PER_THREAD(float, sums, QUAD * QUAD);
    THREADS(t, count) {
        UNROLL for (uint i = 0; i < QUAD * QUAD; i++) {
            OWN(sums, t)[i] = 0.f;
        }
    }
    for (uint start = r.begin; start < r.end; start += DEPTH) {
        THREADS(t, count) {
            for (uint index = t; index < DEPTH * row_fours; index += count) {
                const uint k = index / row_fours, row = first_row + index % row_fours * QUAD;
                const uint image = (start + k) / positions, position = (start + k) % positions;
                float values[QUAD] = {0.f, 0.f, 0.f, 0.f};
                if (start + k < r.end && row < rows) {
                    const uint tap = row / channels;
                    const int pixel = under<false>(
                        s, position / s.second.width, position % s.second.width, tap / s.kernel_w, tap % s.kernel_w);
                    if (pixel >= 0) {
                        load_quad(m, s.input, image, uint(pixel), row % channels, values);
                    }
                }
                STORE4(float, a, k * ROW(GRAD_ROWS) + index % row_fours * QUAD, values);
            }
            for (uint index = t; index < DEPTH * column_fours; index += count) {
                const uint k = index / column_fours, column = first_column + index % column_fours * QUAD;
                float values[QUAD] = {0.f, 0.f, 0.f, 0.f};
                if (start + k < r.end && column < s.second.channels) {
                    load_quad(m, s.second, (start + k) / positions, (start + k) % positions, column, values);
                }
                STORE4(float, b, k * ROW(COLUMNS) + index % column_fours * QUAD, values);
            }
        }
        THREADS(t, count) {
            UNROLL for (uint k = 0; k < DEPTH; k++) {
                float left[QUAD], right[QUAD];
                LOAD4(float, a, k * ROW(GRAD_ROWS) + t / column_fours * QUAD, left);
                LOAD4(float, b, k * ROW(COLUMNS) + t % column_fours * QUAD, right);
                UNROLL for (uint i = 0; i < QUAD; i++) {
                    UNROLL for (uint j = 0; j < QUAD; j++) {
                        OWN(sums, t)[i * QUAD + j] += left[i] * right[j];
                    }
                }
            }
        }
    }
    THREADS(t, count) {
        const uint column = first_column + t % column_fours * QUAD;
        UNROLL for (uint i = 0; i < QUAD; i++) {
            const uint row = first_row + t / column_fours * QUAD + i;
            if (row < rows && column < columns) {
                STORE4(float, m.output, (wide(block_y) * rows + row) * columns + column, OWN(sums, t) + i * QUAD);
            }
        }
    }
}

// A part of the weight's gradient of a depthwise convolution, (taps, channels in fours): block_x has channels of a tap.
// `parts` as in `row`.
BODY void grad_depthwise(
    GIVEN(Step) s, HELD(Memories) m, SHARED(float) parts, uint block_x, uint block_y, uint own) {
    const uint channels = quads(s.input.channels) * QUAD, taps = s.kernel_h * s.kernel_w;
    const uint tap = block_x % taps, first = block_x / taps * FOURS * QUAD;
    const uint positions = s.second.height * s.second.width;
    const Range r = range(s.images * positions, s.parts, block_y);
    THREADS(t, FOURS * SUMMANDS) {
        const uint channel = first + t % FOURS * QUAD;
        Sum sums[QUAD];
        UNROLL for (uint i = 0; i < QUAD; i++) {
            sums[i] = nothing();
        }
        if (channel < channels) {
            for (uint index = r.begin + t / FOURS; index < r.end; index += SUMMANDS) {
                const uint image = index / positions, position = index % positions;
                const int pixel = under<false>(
                    s, position / s.second.width, position % s.second.width, tap / s.kernel_w, tap % s.kernel_w);
                if (pixel >= 0) {
                    float values[QUAD], grads[QUAD];
                    load_quad(m, s.input, image, uint(pixel), channel, values);
                    load_quad(m, s.second, image, position, channel, grads);
                    UNROLL for (uint i = 0; i < QUAD; i++) {
                        sums[i] = plus(sums[i], values[i] * grads[i]);
                    }
                }
            }
        }
        UNROLL for (uint i = 0; i < QUAD; i++) {
            parts[SUMMAND(t % FOURS, t / FOURS) + i] = sums[i].value + sums[i].rest;
        }
    }
    THREADS(t, FOURS * SUMMANDS) {
        const uint channel = first + t * QUAD;
        if (t < FOURS && channel < channels) {
            float sums[QUAD];
            join_exactly(parts, t, sums);
            STORE4(float, m.output, (wide(block_y) * taps + tap) * channels + channel, sums);
        }
    }
}
