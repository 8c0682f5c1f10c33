// The launches of suppression: what the emulators have in common. Whoever includes this file has included suppress.h.

#pragma once

#include <cstring>

#include "emulate/protocol.h"

// Memory of a launch or of a block. What nobody wrote is garbage.
template <class T>
struct Garbage {
    std::vector<T> elements;
    explicit Garbage(size_t len) : elements(len) { std::memset(elements.data(), 0xff, len * sizeof(T)); }
};

template <class T>
static T given() {
    T value;
    read(&value, sizeof value);
    return value;
}

// What the launches work on, read in this order. Each memory is an allocation of its own, of exactly the size that it has on
// a GPU.
template <class Suppression>
struct Suppressing {
    const Suppression s = given<Suppression>();
    const uint images = word(), groups = (s.anchors + GROUP - 1) / GROUP;
    Buffer decoded;
    Garbage<uint> scratch{size_t(images) * (size_t(3) * s.anchors + groups)};
    Garbage<float> output{word()};
};

// Reads Suppression, images, the decoded output and the number of elements of the result; writes that. Each kernel is a
// function of (what it works on, block x, block y).
template <class Suppression, class Candidates, class Rank, class Keep>
static int run_suppression(Candidates candidates, Rank rank, Keep keep) {
    Suppressing<Suppression> on;
    const auto launch = [&](auto block, uint blocks_x, uint blocks_y) {
        for (uint y = 0; y < blocks_y; y++) {
            for (uint x = 0; x < blocks_x; x++) block(on, x, y);
        }
    };
    launch(candidates, on.groups, on.images);
    launch(rank, on.groups, on.images);
    launch(keep, on.images, 1);
    std::fwrite(on.output.elements.data(), sizeof(float), on.output.elements.size(), stdout);
    return 0;
}
