// The launches of suppression. Part of emulate.cpp.

#define TIMES(x, y) ((x) * (y))
#define BITS(x) float_bits(x)

static uint float_bits(float x) {
    uint bits;
    std::memcpy(&bits, &x, sizeof bits);
    return bits;
}

#include "suppress.h"

// Memory that a block's threads share. What nobody wrote is garbage.
template <class T>
struct Garbage {
    std::vector<T> elements;
    explicit Garbage(wide len) : elements(len) { std::memset(elements.data(), 0xff, len * sizeof(T)); }
    operator Checked<T>() { return {elements.data(), elements.size()}; }
};

// Reads Suppression, images, the decoded output and the number of elements of the result; writes that.
static int run_suppression() {
    Suppression s;
    read(&s, sizeof s);
    const uint images = word(), blocks = groups(s);
    Buffer decoded;
    Garbage<uint> scratch(wide(images) * (wide(3) * s.anchors + blocks));
    Garbage<float> output(word());
    for (uint image = 0; image < images; image++) {
        for (uint group = 0; group < blocks; group++) {
            Garbage<uint> counts(GROUP + GROUP / 16);
            candidates(s, checked<const float>(decoded), scratch, counts, group, image, 0);
        }
        for (uint group = 0; group < blocks; group++) {
            Garbage<uint> keys(GROUP);
            rank(s, scratch, keys, group, image, 0);
        }
        Garbage<float> boxes(4 * GROUP);
        Garbage<uint> states(2 * GROUP);
        suppress(s, checked<const float>(decoded), scratch, output, boxes, states, image, 0);
    }
    std::fwrite(output.elements.data(), sizeof(float), output.elements.size(), stdout);
    return 0;
}
