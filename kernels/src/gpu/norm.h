// Batch normalisation in training, activations and their gradients. For elements of type float; after gradients.h.
//
// What a channel is normalised by lies as (5, channels in fours): mean, variance, factor, summand, and what rounding left of the
// mean.

enum Statistic : uint { SUM, MOMENTS, PRODUCTS };
enum Row : uint { MEAN_ROW, VARIANCE_ROW, SCALE_ROW, SHIFT_ROW, REST_ROW };
// What follows from PRODUCTS: gradients of weight and bias; the input's is `passed` * factor + (x - mean) * OF_X + CONSTANT.
enum GradientRow : uint { WEIGHT_ROW, BIAS_ROW, OF_X_ROW, CONSTANT_ROW };

// The derivative of an activation; at kinks it is PyTorch's.
BODY float derivative(uint activation, float slope, float x) {
    const float sigmoid = activation == SIGMOID || activation == SILU ? 1.f / (1.f + EXP(-x)) : 0.f;
    switch (activation) {
    case RELU: return x > 0.f ? 1.f : 0.f;
    case RELU6: return x > 0.f && x < 6.f ? 1.f : 0.f;
    case LEAKY_RELU: return x > 0.f ? 1.f : slope;
    case SIGMOID: return sigmoid * (1.f - sigmoid);
    case SILU: return sigmoid * (1.f + x * (1.f - sigmoid));
    case HARD_SIGMOID: return x > -3.f && x < 3.f ? 1.f / 6.f : 0.f;
    case HARD_SWISH: return x <= -3.f ? 0.f : x < 3.f ? x / 3.f + 0.5f : 1.f;
    // 1 / sqrt(2), and 1 / sqrt(2 pi).
    case GELU: return 0.5f * (1.f + ERF(x * 0.70710678f)) + x * 0.39894228f * EXP(-0.5f * x * x);
    default: return 1.f;
    }
}

// A value of a channel that a sum of squares is taken about, so that a large mean does not cancel it.
BODY float about(GIVEN(Step) s, HELD(Memories) m, uint channel) { return load(m, s.input, 0, 0, channel); }

// A part of two sums per channel, (2, channels in fours), over the positions of all images; of `input`:
// SUM itself; MOMENTS the distance from `about` and its square; PRODUCTS the gradient `second` behind the activation, and its
// product with the distance from the mean, which `weights` has. `parts` has twice the elements of that in `row`.
BODY void channels(GIVEN(Step) s, HELD(Memories) m, SHARED(float) parts, uint block_x, uint block_y, uint own) {
    const uint count = quads(s.input.channels) * QUAD, positions = s.input.height * s.input.width;
    const uint second_parts = FOURS * SUMMANDS * QUAD;
    const Range r = range(s.images * positions, s.parts, block_y);
    THREADS(t, FOURS * SUMMANDS) {
        const uint channel = (block_x * FOURS + t % FOURS) * QUAD;
        Sum sums[QUAD], products[QUAD];
        UNROLL for (uint i = 0; i < QUAD; i++) {
            sums[i] = nothing();
            products[i] = nothing();
        }
        if (channel < count) {
            float base[QUAD], rest[QUAD] = {0.f, 0.f, 0.f, 0.f}, scale[QUAD], shift[QUAD];
            if (s.operation == PRODUCTS) {
                LOAD4(float, m.weights, MEAN_ROW * count + channel, base);
                LOAD4(float, m.weights, REST_ROW * count + channel, rest);
                LOAD4(float, m.weights, SCALE_ROW * count + channel, scale);
                LOAD4(float, m.weights, SHIFT_ROW * count + channel, shift);
            } else {
                UNROLL for (uint i = 0; i < QUAD; i++) {
                    const bool is_one = s.operation == MOMENTS && channel + i < s.input.channels;
                    base[i] = is_one ? about(s, m, channel + i) : 0.f;
                }
            }
            for (uint index = r.begin + t / FOURS; index < r.end; index += SUMMANDS) {
                const uint image = index / positions, position = index % positions;
                float values[QUAD], grads[QUAD];
                load_quad(m, s.input, image, position, channel, values);
                if (s.operation == PRODUCTS) {
                    load_quad(m, s.second, image, position, channel, grads);
                }
                UNROLL for (uint i = 0; i < QUAD; i++) {
                    const float distance = values[i] - base[i] - rest[i];
                    if (s.operation == PRODUCTS) {
                        const float passed =
                            grads[i] * derivative(s.activation, s.slope, values[i] * scale[i] + shift[i]);
                        sums[i] = plus(sums[i], passed);
                        products[i] = plus(products[i], passed * distance);
                    } else {
                        sums[i] = plus(sums[i], distance);
                        products[i] = plus(products[i], distance * distance);
                    }
                }
            }
        }
        UNROLL for (uint i = 0; i < QUAD; i++) {
            const uint index = SUMMAND(t % FOURS, t / FOURS) + i;
            parts[index] = sums[i].value + sums[i].rest;
            parts[second_parts + index] = products[i].value + products[i].rest;
        }
    }
    THREADS(t, FOURS * SUMMANDS) {
        const uint channel = (block_x * FOURS + t % FOURS) * QUAD;
        if (t < 2 * FOURS && channel < count) {
            float sums[QUAD];
            join_exactly(parts + t / FOURS * second_parts, t % FOURS, sums);
            STORE4(float, m.output, (wide(block_y) * 2 + t / FOURS) * count + channel, sums);
        }
    }
}

// What follows from the parts of `channels` in the arena; a thread per channel. Of SUM the sums; of MOMENTS what a channel is
// normalised by; of PRODUCTS the rows of gradients. `input` has the channels of the map, and is it for MOMENTS; `weights` and
// `biases` are batch norm's; `image` is what the channels were normalised by, for PRODUCTS.
BODY void settle(GIVEN(Step) s, HELD(Memories) m, uint channel) {
    const uint count = quads(s.input.channels) * QUAD;
    if (channel >= count) {
        return;
    }
    const float elements = float(s.images) * float(s.input.height * s.input.width);
    Sum of_sums = nothing(), of_products = nothing();
    for (uint part = 0; part < s.parts; part++) {
        of_sums = plus(of_sums, m.arena[wide(part) * 2 * count + channel]);
        of_products = plus(of_products, m.arena[(wide(part) * 2 + 1) * count + channel]);
    }
    const float sum = of_sums.value + of_sums.rest, product = of_products.value + of_products.rest;
    float rows[5] = {0.f, 0.f, 0.f, 0.f, 0.f};
    if (s.operation == SUM) {
        if (channel < s.input.channels) {
            m.output[channel] = sum;
        }
        return;
    }
    if (channel < s.input.channels) {
        const float weight = m.weights[s.weight + channel];
        if (s.operation == MOMENTS) {
            const float mean = sum / elements, variance = MOST(product / elements - mean * mean, 0.f);
            rows[MEAN_ROW] = about(s, m, channel) + mean;
            rows[REST_ROW] = mean - (rows[MEAN_ROW] - about(s, m, channel));
            rows[VARIANCE_ROW] = variance;
            rows[SCALE_ROW] = weight / SQRT(variance + s.eps);
            rows[SHIFT_ROW] = m.biases[s.bias + channel] - rows[MEAN_ROW] * rows[SCALE_ROW];
        } else {
            const float inverse = 1.f / SQRT(m.image[VARIANCE_ROW * count + channel] + s.eps);
            rows[WEIGHT_ROW] = product * inverse;
            rows[BIAS_ROW] = sum;
            rows[OF_X_ROW] = -weight * inverse * inverse * inverse * product / elements;
            rows[CONSTANT_ROW] = -weight * inverse * sum / elements;
        }
    }
    const uint last = s.operation == MOMENTS ? uint(REST_ROW) : uint(CONSTANT_ROW);
    for (uint row = 0; row <= last; row++) {
        m.output[row * count + channel] = rows[row];
    }
}

// `input` normalised by `weights`, unless the operation is COPY, and activated; four channels a thread.
BODY void normalise(GIVEN(Step) s, HELD(Memories) m, uint index) {
    const Quad q = quad(s.out, s.images, index);
    if (!q.is_inside) {
        return;
    }
    const uint count = quads(s.input.channels) * QUAD;
    float values[QUAD];
    load_quad(m, s.input, q.image, q.position, q.channel, values);
    if (s.operation != COPY) {
        float scale[QUAD], shift[QUAD];
        LOAD4(float, m.weights, SCALE_ROW * count + q.channel, scale);
        LOAD4(float, m.weights, SHIFT_ROW * count + q.channel, shift);
        UNROLL for (uint i = 0; i < QUAD; i++) {
            values[i] = values[i] * scale[i] + shift[i];
        }
    }
    UNROLL for (uint i = 0; i < QUAD; i++) {
        values[i] = activate(s.activation, s.slope, values[i]);
    }
    store_quad(m, s.out, q.image, q.position, q.channel, values);
}

// The gradient of `normalise`'s `input` from the result's, `second`; `biases` has the rows of gradients. Of a COPY, that of the
// activation alone.
BODY void normalise_back(GIVEN(Step) s, HELD(Memories) m, uint index) {
    const Quad q = quad(s.out, s.images, index);
    if (!q.is_inside) {
        return;
    }
    const uint count = quads(s.input.channels) * QUAD;
    float values[QUAD], grads[QUAD];
    load_quad(m, s.input, q.image, q.position, q.channel, values);
    load_quad(m, s.second, q.image, q.position, q.channel, grads);
    if (s.operation == COPY) {
        UNROLL for (uint i = 0; i < QUAD; i++) {
            grads[i] *= derivative(s.activation, s.slope, values[i]);
        }
    } else {
        float mean[QUAD], rest[QUAD], scale[QUAD], shift[QUAD], of_x[QUAD], summand[QUAD];
        LOAD4(float, m.weights, MEAN_ROW * count + q.channel, mean);
        LOAD4(float, m.weights, REST_ROW * count + q.channel, rest);
        LOAD4(float, m.weights, SCALE_ROW * count + q.channel, scale);
        LOAD4(float, m.weights, SHIFT_ROW * count + q.channel, shift);
        LOAD4(float, m.biases, OF_X_ROW * count + q.channel, of_x);
        LOAD4(float, m.biases, CONSTANT_ROW * count + q.channel, summand);
        UNROLL for (uint i = 0; i < QUAD; i++) {
            const float passed = grads[i] * derivative(s.activation, s.slope, values[i] * scale[i] + shift[i]);
            grads[i] = scale[i] * passed + (of_x[i] * (values[i] - mean[i] - rest[i]) + summand[i]);
        }
    }
    store_quad(m, s.out, q.image, q.position, q.channel, grads);
}

// Adds `second` to the elements of `out`; four channels a thread.
BODY void accumulate(GIVEN(Step) s, HELD(Memories) m, uint index) {
    const Quad q = quad(s.out, s.images, index);
    if (!q.is_inside) {
        return;
    }
    float values[QUAD];
    load_quad(m, s.second, q.image, q.position, q.channel, values);
    UNROLL for (uint i = 0; i < QUAD; i++) {
        if (q.channel + i < s.out.channels) {
            m.output[at(s.out, q.image, q.position, q.channel + i)] += values[i];
        }
    }
}
