// Gradients of pooling and of resampling. For elements of type float; after bodies.h.

// Taps of a window that are inside a side of a map.
BODY uint inside(uint window, uint kernel, uint stride, uint dilation, uint padding, uint size) {
    uint count = 0;
    for (uint i = 0; i < kernel; i++) {
        count += tap<false>(window, stride, i, dilation, padding, size) >= 0;
    }
    return count;
}

// The tap at which a window's first largest element is, NaN the largest of all; four channels a thread.
BODY void largest(GIVEN(Step) s, HELD(Memories) m, uint index) {
    const Quad q = quad(s.out, s.images, index);
    if (!q.is_inside) {
        return;
    }
    const uint y = q.position / s.out.width, x = q.position % s.out.width;
    float most[QUAD] = {0.f, 0.f, 0.f, 0.f}, taps[QUAD] = {-1.f, -1.f, -1.f, -1.f};
    for (uint i = 0; i < s.kernel_h; i++) {
        for (uint j = 0; j < s.kernel_w; j++) {
            const int pixel = under<false>(s, y, x, i, j);
            if (pixel >= 0) {
                float values[QUAD];
                load_quad(m, s.input, q.image, uint(pixel), q.channel, values);
                UNROLL for (uint c = 0; c < QUAD; c++) {
                    if (taps[c] < 0.f || values[c] > most[c] || values[c] != values[c]) {
                        most[c] = values[c];
                        taps[c] = float(i * s.kernel_w + j);
                    }
                }
            }
        }
    }
    store_quad(m, s.out, q.image, q.position, q.channel, taps);
}

// The gradient of pooling's input, `out`, from the result's, `input`: each element of it goes to the tap that `second` names,
// or in equal shares to those inside the map. Four channels a thread.
BODY void pool_back(GIVEN(Step) s, HELD(Memories) m, uint index) {
    const Quad q = quad(s.out, s.images, index);
    if (!q.is_inside) {
        return;
    }
    const uint y = q.position / s.out.width, x = q.position % s.out.width;
    float sums[QUAD] = {0.f, 0.f, 0.f, 0.f};
    for (uint i = 0; i < s.kernel_h; i++) {
        for (uint j = 0; j < s.kernel_w; j++) {
            const int window = under<true>(s, y, x, i, j);
            if (window < 0) {
                continue;
            }
            float grads[QUAD], taps[QUAD];
            load_quad(m, s.input, q.image, uint(window), q.channel, grads);
            if (s.is_max) {
                load_quad(m, s.second, q.image, uint(window), q.channel, taps);
            }
            const uint row = uint(window) / s.input.width, column = uint(window) % s.input.width;
            const uint rows = inside(row, s.kernel_h, s.stride_h, s.dilation_h, s.padding_h, s.out.height);
            const uint columns = inside(column, s.kernel_w, s.stride_w, s.dilation_w, s.padding_w, s.out.width);
            UNROLL for (uint c = 0; c < QUAD; c++) {
                if (!s.is_max) {
                    sums[c] += grads[c] / float(rows * columns);
                } else if (taps[c] == float(i * s.kernel_w + j)) {
                    sums[c] += grads[c];
                }
            }
        }
    }
    store_quad(m, s.out, q.image, q.position, q.channel, sums);
}

// The first position whose nearest neighbour is `position` or behind it.
BODY uint first_of(uint position, uint size, uint from_size) {
    const uint near = uint(float(position) * (float(from_size) / float(size)));
    uint from = near < 2 ? 0 : near - 2;
    while (from < from_size && nearest(from, from_size, size) < position) {
        from++;
    }
    return from;
}

// The gradient of resampling's input, `out`, from the result's, `input`; four channels a thread.
BODY void resample_back(GIVEN(Step) s, HELD(Memories) m, uint index) {
    const Quad q = quad(s.out, s.images, index);
    if (!q.is_inside) {
        return;
    }
    const uint y = q.position / s.out.width, x = q.position % s.out.width;
    const uint first_row = first_of(y, s.out.height, s.input.height);
    const uint first_column = first_of(x, s.out.width, s.input.width);
    float sums[QUAD] = {0.f, 0.f, 0.f, 0.f};
    for (uint row = first_row; row < s.input.height && nearest(row, s.input.height, s.out.height) == y; row++) {
        for (uint column = first_column;
             column < s.input.width && nearest(column, s.input.width, s.out.width) == x; column++) {
            float grads[QUAD];
            load_quad(m, s.input, q.image, row * s.input.width + column, q.channel, grads);
            UNROLL for (uint c = 0; c < QUAD; c++) {
                sums[c] += grads[c];
            }
        }
    }
    store_quad(m, s.out, q.image, q.position, q.channel, sums);
}
