// Updates of a tensor in place, of which optimizers and averages are made. For elements of type float; after bodies.h.

enum Update : uint { LINEAR, STEP_BY, PRODUCT, QUOTIENT, LARGEST, RATIO };

// Replaces `channels` elements of `out` by what follows from them, `input` and `second`; a thread each.
BODY void update(GIVEN(Step) s, HELD(Memories) m, uint index) {
    if (index >= s.out.channels) {
        return;
    }
    const float x = m.output[s.out.offset + index], y = m.arena[s.input.offset + index];
    const float z = m.image[s.second.offset + index];
    const float a = s.factors[0], b = s.factors[1], c = s.factors[2], d = s.factors[3], e = s.factors[4];
    float updated = 0.f;
    switch (s.operation) {
    case LINEAR: updated = a * x + b * y + c * z; break;
    case STEP_BY: updated = x + d * (a * x + b * y + c * z); break;
    case PRODUCT: updated = x + d * (y * z - x); break;
    case QUOTIENT: updated = a * x + b * y / (SQRT(z + c) * d + e); break;
    case LARGEST: {
        const float scaled = a * x, floored = (y < 0.f ? -y : y) + e;
        updated = scaled > floored ? scaled : floored;
        break;
    }
    case RATIO: updated = x + b * y / z; break;
    }
    m.output[s.out.offset + index] = updated;
}
