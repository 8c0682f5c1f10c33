// Products and means of few rows, summed in parts. Part of bodies.h.

// Fours of channels that a block of `row` or `mean` has, and parts that it sums them in.
#define FOURS 8
#define SUMMANDS 32
#define SUMMAND(FOUR, INDEX) (((FOUR) * SUMMANDS + (INDEX)) * QUAD)

// The sum of all parts of four channels, by thread `four`.
BODY void join(SHARED(float) parts, uint four, OWNED(float) sums) {
    UNROLL for (uint i = 0; i < QUAD; i++) {
        sums[i] = 0.f;
    }
    for (uint part = 0; part < SUMMANDS; part++) {
        UNROLL for (uint i = 0; i < QUAD; i++) {
            sums[i] += parts[SUMMAND(four, part) + i];
        }
    }
}

// A 1x1 convolution of maps of one position each. `parts` has FOURS * SUMMANDS * QUAD elements.
BODY void row(GIVEN(Step) s, HELD(Memories) m, SHARED(float) parts, uint block_x, uint block_y, uint own) {
    const uint columns = quads(s.out.channels) * QUAD;
    THREADS(t, FOURS * SUMMANDS) {
        const uint column = (block_x * FOURS + t % FOURS) * QUAD;
        float sums[QUAD] = {0.f, 0.f, 0.f, 0.f};
        if (column < columns) {
            for (uint k = t / FOURS; k < s.input.channels; k += SUMMANDS) {
                float weights[QUAD];
                LOAD4(ELEMENT, m.weights, s.weight + wide(k) * columns + column, weights);
                const float x = load(m, s.input, block_y, 0, k);
                UNROLL for (uint i = 0; i < QUAD; i++) {
                    sums[i] += x * weights[i];
                }
            }
        }
        STORE4(float, parts, SUMMAND(t % FOURS, t / FOURS), sums);
    }
    THREADS(t, FOURS * SUMMANDS) {
        const uint column = (block_x * FOURS + t) * QUAD;
        if (t < FOURS && column < columns) {
            float sums[QUAD];
            join(parts, t, sums);
            finish(s, m, block_y, 0, column, sums[0], sums[1], sums[2], sums[3]);
        }
    }
}

// The mean of each channel, or the sum of its products with `second`. `parts` as in `row`.
BODY void mean(GIVEN(Step) s, HELD(Memories) m, SHARED(float) parts, uint block_x, uint block_y, uint own) {
    const uint positions = s.input.height * s.input.width;
    THREADS(t, FOURS * SUMMANDS) {
        const uint channel = (block_x * FOURS + t % FOURS) * QUAD;
        float sums[QUAD] = {0.f, 0.f, 0.f, 0.f};
        if (channel < s.input.channels) {
            for (uint position = t / FOURS; position < positions; position += SUMMANDS) {
                float values[QUAD];
                load_quad(m, s.input, block_y, position, channel, values);
                if (s.has_second) {
                    float factors[QUAD];
                    load_quad(m, s.second, block_y, position, channel, factors);
                    UNROLL for (uint i = 0; i < QUAD; i++) {
                        values[i] *= factors[i];
                    }
                }
                UNROLL for (uint i = 0; i < QUAD; i++) {
                    sums[i] += values[i];
                }
            }
        }
        STORE4(float, parts, SUMMAND(t % FOURS, t / FOURS), sums);
    }
    THREADS(t, FOURS * SUMMANDS) {
        const uint channel = (block_x * FOURS + t) * QUAD;
        if (t < FOURS && channel < s.input.channels) {
            float sums[QUAD];
            join(parts, t, sums);
            UNROLL for (uint i = 0; i < QUAD; i++) {
                sums[i] /= s.has_second ? 1.f : float(positions);
            }
            store_quad(m, s.out, block_y, 0, channel, sums);
        }
    }
}
