// Convolutions as matrix products whose warps multiply, for elements of 16 bits. Part of bodies.h.

// Depth of a tile of a matrix product of warps, and the elements between the rows of both tiles and of the sums.
#define WARP_DEPTH 32
#define WARP_ROW (WARP_DEPTH + 8)
#define WARP_COLUMN(COLUMNS) ((COLUMNS) + 8)
#define WARP_SUMS(COLUMNS) ((COLUMNS) + 4)
#define FRAGMENT_SIDE 16

// `dense` by products of warps: PARTS_R x PARTS_C warps share a tile. `a` has ROWS * WARP_ROW elements, `b` WARP_DEPTH *
// WARP_COLUMN(COLUMNS), `sums` ROWS * WARP_SUMS(COLUMNS), which may lie where `a` and `b` do.
template <uint ROWS, uint COLUMNS, uint PARTS_R, uint PARTS_C>
BODY void dense_of_warps(
    GIVEN(Step) s, HELD(Memories) m, SHARED(ELEMENT) a, SHARED(ELEMENT) b, SHARED(float) sums, uint block_x,
    uint block_y, uint own) {
    const uint count = 32 * PARTS_R * PARTS_C, depth_fours = WARP_DEPTH / QUAD, column_fours = COLUMNS / QUAD;
    const uint fours_a = ROWS * depth_fours / count, fours_b = (column_fours * WARP_DEPTH + count - 1) / count;
    // Fragments of a warp.
    const uint own_rows = ROWS / FRAGMENT_SIDE / PARTS_R, own_columns = COLUMNS / FRAGMENT_SIDE / PARTS_C;
    const uint positions = s.out.height * s.out.width, rows = s.images * positions;
    const uint columns = quads(s.out.channels) * QUAD, channels = quads(s.input.channels) * QUAD;
    const uint end = s.kernel_h * s.kernel_w * channels;
    const uint first_row = block_x * ROWS, first_column = block_y * COLUMNS;
    PER_THREAD(FRAGMENT, products, own_rows * own_columns);
    PER_THREAD(Four<ELEMENT>, fetched_a, fours_a);
    PER_THREAD(Four<ELEMENT>, fetched_b, fours_b);
    PER_THREAD(uint, image_of, fours_a);
    PER_THREAD(uint, y_of, fours_a);
    PER_THREAD(uint, x_of, fours_a);
    PER_THREAD(uint, tap_of, 3);
    THREADS(t, count) {
        UNROLL for (uint i = 0; i < own_rows * own_columns; i++) {
            CLEAR(t, OWN(products, t)[i]);
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
    for (uint start = 0; start < end + WARP_DEPTH; start += WARP_DEPTH) {
        if (start > 0) {
            THREADS(t, count) {
                UNROLL for (uint i = 0; i < fours_a; i++) {
                    const uint index = t + i * count;
                    PUT4(a, index / depth_fours * WARP_ROW + index % depth_fours * QUAD, OWN(fetched_a, t)[i]);
                }
                UNROLL for (uint i = 0; i < fours_b; i++) {
                    const uint index = t + i * count, row = index / column_fours;
                    if (row < WARP_DEPTH) {
                        PUT4(b, row * WARP_COLUMN(COLUMNS) + index % column_fours * QUAD, OWN(fetched_b, t)[i]);
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
                    pixel = under<false>(s, OWN(y_of, t)[i], OWN(x_of, t)[i], y, x);
                }
                OWN(fetched_a, t)[i] = Four<ELEMENT>();
                if (pixel >= 0) {
                    if (s.input.wide && s.input.memory == ARENA) {
                        TAKE4(m.arena, at(s.input, image, uint(pixel), channel), OWN(fetched_a, t)[i]);
                    } else {
                        UNROLL for (uint j = 0; j < QUAD; j++) {
                            if (channel + j < s.input.channels) {
                                OWN(fetched_a, t)[i].at[j] =
                                    ELEMENT(load(m, s.input, image, uint(pixel), channel + j));
                            }
                        }
                    }
                }
            }
            OWN(tap_of, t)[2] += WARP_DEPTH;
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
                OWN(fetched_b, t)[i] = Four<ELEMENT>();
                if (index / column_fours < WARP_DEPTH && k < end && column < columns) {
                    TAKE4(m.weights, s.weight + wide(k) * columns + column, OWN(fetched_b, t)[i]);
                }
            }
            if (start > 0) {
                const uint warp = t / 32, row = warp / PARTS_C * own_rows * FRAGMENT_SIDE;
                const uint column = warp % PARTS_C * own_columns * FRAGMENT_SIDE;
                UNROLL for (uint k = 0; k < WARP_DEPTH; k += FRAGMENT_SIDE) {
                    UNROLL for (uint i = 0; i < own_rows; i++) {
                        UNROLL for (uint j = 0; j < own_columns; j++) {
                            MULTIPLY(
                                t, OWN(products, t)[i * own_columns + j], &a[(row + i * FRAGMENT_SIDE) * WARP_ROW + k], WARP_ROW,
                                &b[k * WARP_COLUMN(COLUMNS) + column + j * FRAGMENT_SIDE], WARP_COLUMN(COLUMNS));
                        }
                    }
                }
            }
        }
    }
    THREADS(t, count) {
        const uint warp = t / 32, row = warp / PARTS_C * own_rows * FRAGMENT_SIDE;
        const uint column = warp % PARTS_C * own_columns * FRAGMENT_SIDE;
        UNROLL for (uint i = 0; i < own_rows * own_columns; i++) {
            const uint at = (row + i / own_columns * FRAGMENT_SIDE) * WARP_SUMS(COLUMNS) + column + i % own_columns * FRAGMENT_SIDE;
            KEEP(t, OWN(products, t)[i], &sums[at], WARP_SUMS(COLUMNS));
        }
    }
    THREADS(t, count) {
        for (uint index = t; index < ROWS * column_fours; index += count) {
            const uint row = first_row + index / column_fours, column = first_column + index % column_fours * QUAD;
            if (row < rows && column < s.out.channels) {
                float own[QUAD];
                LOAD4(float, sums, index / column_fours * WARP_SUMS(COLUMNS) + index % column_fours * QUAD, own);
                finish(s, m, row / positions, row % positions, column, own[0], own[1], own[2], own[3]);
            }
        }
    }
}
