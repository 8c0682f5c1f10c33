// The upper half of a float, for C++ compilers without one.

#pragma once

#include <cstdint>
#include <cstring>

struct Bf16 {
    uint16_t bits;
    Bf16() = default;
    // To the nearest, ties to even; a NaN stays one.
    explicit Bf16(float value) {
        uint32_t word;
        std::memcpy(&word, &value, sizeof word);
        bits = uint16_t(value != value ? word >> 16 | 0x40 : (word + 0x7fff + (word >> 16 & 1)) >> 16);
    }
    operator float() const {
        const uint32_t word = uint32_t(bits) << 16;
        float value;
        std::memcpy(&value, &word, sizeof value);
        return value;
    }
};
