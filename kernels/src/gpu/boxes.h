// Decoding of boxes. Part of bodies.h.

#define BINS 16

// The expected bin of a side of a box: the softmax over its bins is the distribution.
BODY float mean_bin(HELD(Memories) m, GIVEN(Map) map, uint image, uint position, uint side) {
    float logits[BINS];
    UNROLL for (uint bin = 0; bin < BINS; bin += QUAD) {
        load_quad(m, map, image, position, side * BINS + bin, logits + bin);
    }
    float most = logits[0];
    UNROLL for (uint bin = 1; bin < BINS; bin++) {
        most = MOST(most, logits[bin]);
    }
    float total = 0.f, sum = 0.f;
    UNROLL for (uint bin = 0; bin < BINS; bin++) {
        const float weight = EXP(logits[bin] - most);
        total += weight;
        sum += weight * float(bin);
    }
    return sum / total;
}

// Raw levels to boxes and probabilities, (4 + classes, anchors) per image of the output; a thread per image and anchor.
BODY void boxes(GIVEN(Step) s, HELD(Memories) m, uint index) {
    const uint anchor = index % s.anchors, image = index / s.anchors;
    if (image >= s.images) {
        return;
    }
    uint level = 0, position = anchor;
    while (level + 1 < s.levels && position >= s.level[level].map.height * s.level[level].map.width) {
        position -= s.level[level].map.height * s.level[level].map.width;
        level++;
    }
    GIVEN(Map) map = s.level[level].map;
    const float pixels = s.level[level].pixels;
    for (uint axis = 0; axis < 2; axis++) {
        const float centre = float(axis == 0 ? position % map.width : position / map.width) + 0.5f;
        const float low = centre - mean_bin(m, map, image, position, axis);
        const float high = centre + mean_bin(m, map, image, position, axis + 2);
        store(m, s.out, image, anchor, axis, (low + high) * 0.5f * pixels);
        store(m, s.out, image, anchor, axis + 2, (high - low) * pixels);
    }
    for (uint channel = 4 * BINS; channel < map.channels; channel += QUAD) {
        float logits[QUAD];
        load_quad(m, map, image, position, channel, logits);
        UNROLL for (uint i = 0; i < QUAD; i++) {
            if (channel + i < map.channels) {
                const float score = activate(SIGMOID, 0.f, logits[i]);
                store(m, s.out, image, anchor, channel + i - 4 * BINS + 4, score);
            }
        }
    }
}
