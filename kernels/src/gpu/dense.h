// Convolutions as matrix products whose threads multiply. Part of bodies.h.

// Depth of a tile of a matrix product.
#define DEPTH 16
// Elements between its rows in shared memory.
#define ROW(SIDE) ((SIDE) + 4)
#define TILE(SIDE, PARTS) (DEPTH * (PARTS) * ROW(SIDE))
#define THREADS_OF(ROWS, COLUMNS, OWN_SIDE, PARTS) ((ROWS) / (OWN_SIDE) * ((COLUMNS) / (OWN_SIDE)) * (PARTS))

// Element `i` of a thread's OWN_SIDE along a side of a tile: fours that lie side by side across the threads.
template <uint SIDE, uint OWN_SIDE>
BODY uint along(uint lane, uint i) {
    return i / QUAD * (SIDE / (OWN_SIDE / QUAD)) + lane * QUAD + i % QUAD;
}

// A convolution as a matrix product: positions of all images by (tap, input channel) by output channel. A block makes
// ROWS x COLUMNS elements. PARTS groups of its threads divide the depth of each tile between them; a thread has OWN_SIDE x
// OWN_SIDE sums. `a` has TILE(ROWS, PARTS) elements, `b` TILE(COLUMNS, PARTS).
// Weights: (kernel_h, kernel_w, input channels in fours, output channels in fours). BACK: the convolution's transpose, whose
// input is the gradient of its result.
template <uint ROWS, uint COLUMNS, uint OWN_SIDE, uint PARTS, bool BACK>
BODY void dense(
    GIVEN(Step) s, HELD(Memories) m, SHARED(float) a, SHARED(float) b, uint block_x, uint block_y, uint own) {
    const uint count = THREADS_OF(ROWS, COLUMNS, OWN_SIDE, PARTS), lanes = count / PARTS, across = COLUMNS / OWN_SIDE;
    const uint depth = DEPTH * PARTS, depth_fours = depth / QUAD, column_fours = COLUMNS / QUAD;
    // Fours of each tile that a thread fetches.
    const uint fours_a = ROWS * depth_fours / count, fours_b = (column_fours * depth + count - 1) / count;
    const uint positions = s.out.height * s.out.width, rows = s.images * positions;
    const uint columns = quads(s.out.channels) * QUAD, channels = quads(s.input.channels) * QUAD;
    const uint end = s.kernel_h * s.kernel_w * channels;
    const uint first_row = block_x * ROWS, first_column = block_y * COLUMNS;
    PER_THREAD(float, sums, OWN_SIDE * OWN_SIDE);
    PER_THREAD(float, fetched_a, fours_a * QUAD);
    PER_THREAD(float, fetched_b, fours_b * QUAD);
    // Of the rows that a thread fetches: image, y and x. Of their elements: row and column of the tap, and the channel.
    PER_THREAD(uint, image_of, fours_a);
    PER_THREAD(uint, y_of, fours_a);
    PER_THREAD(uint, x_of, fours_a);
    PER_THREAD(uint, tap_of, 3);
    THREADS(t, count) {
        UNROLL for (uint i = 0; i < OWN_SIDE * OWN_SIDE; i++) {
            OWN(sums, t)[i] = 0.f;
        }
        UNROLL for (uint i = 0; i < fours_a; i++) {
            const uint row = first_row + (t + i * count) / depth_fours, position = row % positions;
            OWN(image_of, t)[i] = row / positions;
            OWN(y_of, t)[i] = position / s.out.width;
            OWN(x_of, t)[i] = position % s.out.width;
        }
        const uint k = t % depth_fours * QUAD, index = k / channels;
        OWN(tap_of, t)[0] = index / s.kernel_w;
        OWN(tap_of, t)[1] = index % s.kernel_w;
        OWN(tap_of, t)[2] = k % channels;
    }
    // Each turn multiplies what the turn before has fetched.
    for (uint start = 0; start < end + depth; start += depth) {
        if (start > 0) {
            THREADS(t, count) {
                UNROLL for (uint i = 0; i < fours_a; i++) {
                    const uint index = t + i * count;
                    UNROLL for (uint j = 0; j < QUAD; j++) {
                        a[(index % depth_fours * QUAD + j) * ROW(ROWS) + index / depth_fours] =
                            OWN(fetched_a, t)[i * QUAD + j];
                    }
                }
                UNROLL for (uint i = 0; i < fours_b; i++) {
                    const uint index = t + i * count, row = index / column_fours;
                    if (row < depth) {
                        STORE4(
                            float, b, row * ROW(COLUMNS) + index % column_fours * QUAD, OWN(fetched_b, t) + i * QUAD);
                    }
                }
            }
        }
        THREADS(t, count) {
            const uint y = OWN(tap_of, t)[0], x = OWN(tap_of, t)[1], channel = OWN(tap_of, t)[2];
            UNROLL for (uint i = 0; i < fours_a; i++) {
                const uint image = OWN(image_of, t)[i];
                int pixel = -1;
                if (image < s.images && y < s.kernel_h) {
                    pixel = under<BACK>(s, OWN(y_of, t)[i], OWN(x_of, t)[i], y, x);
                }
                if (pixel >= 0) {
                    load_quad(m, s.input, image, uint(pixel), channel, OWN(fetched_a, t) + i * QUAD);
                } else {
                    UNROLL for (uint j = 0; j < QUAD; j++) {
                        OWN(fetched_a, t)[i * QUAD + j] = 0.f;
                    }
                }
            }
            OWN(tap_of, t)[2] += depth;
            while (OWN(tap_of, t)[2] >= channels) {
                OWN(tap_of, t)[2] -= channels;
                OWN(tap_of, t)[1]++;
                if (OWN(tap_of, t)[1] == s.kernel_w) {
                    OWN(tap_of, t)[1] = 0;
                    OWN(tap_of, t)[0]++;
                }
            }
            UNROLL for (uint i = 0; i < fours_b; i++) {
                const uint index = t + i * count, k = start + index / column_fours;
                const uint column = first_column + index % column_fours * QUAD;
                if (index / column_fours < depth && k < end && column < columns) {
                    LOAD4(ELEMENT, m.weights, s.weight + wide(k) * columns + column, OWN(fetched_b, t) + i * QUAD);
                } else {
                    UNROLL for (uint j = 0; j < QUAD; j++) {
                        OWN(fetched_b, t)[i * QUAD + j] = 0.f;
                    }
                }
            }
            if (start > 0) {
                const uint lane = t % lanes, part = t / lanes;
                UNROLL for (uint k = 0; k < DEPTH; k++) {
                    const uint row = part * DEPTH + k;
                    float left[OWN_SIDE], right[OWN_SIDE];
                    UNROLL for (uint i = 0; i < OWN_SIDE; i += QUAD) {
                        LOAD4(float, a, row * ROW(ROWS) + (along<ROWS, OWN_SIDE>(lane / across, i)), left + i);
                        LOAD4(float, b, row * ROW(COLUMNS) + (along<COLUMNS, OWN_SIDE>(lane % across, i)), right + i);
                    }
                    UNROLL for (uint i = 0; i < OWN_SIDE; i++) {
                        UNROLL for (uint j = 0; j < OWN_SIDE; j++) {
                            OWN(sums, t)[i * OWN_SIDE + j] += left[i] * right[j];
                        }
                    }
                }
            }
        }
    }
    for (uint part = 1; part < PARTS; part++) {
        THREADS(t, count) {
            if (t / lanes == part) {
                UNROLL for (uint i = 0; i < OWN_SIDE * OWN_SIDE; i++) {
                    a[t % lanes + i * lanes] = OWN(sums, t)[i];
                }
            }
        }
        THREADS(t, count) {
            if (t < lanes) {
                UNROLL for (uint i = 0; i < OWN_SIDE * OWN_SIDE; i++) {
                    OWN(sums, t)[i] += a[t + i * lanes];
                }
            }
        }
    }
    THREADS(t, count) {
        UNROLL for (uint i = 0; i < OWN_SIDE; i++) {
            const uint row = first_row + along<ROWS, OWN_SIDE>(t / across, i);
            UNROLL for (uint j = 0; j < OWN_SIDE; j += QUAD) {
                const uint column = first_column + along<COLUMNS, OWN_SIDE>(t % across, j);
                if (t < lanes && row < rows && column < s.out.channels) {
                    const uint at = i * OWN_SIDE + j;
                    finish(
                        s, m, row / positions, row % positions, column, OWN(sums, t)[at], OWN(sums, t)[at + 1],
                        OWN(sums, t)[at + 2], OWN(sums, t)[at + 3]);
                }
            }
        }
    }
}
