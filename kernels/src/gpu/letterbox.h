// An image of bytes, scaled to fit and centred on grey, as planes of levels / 255, of type ELEMENT: the arithmetic of
// `image::letterbox`. After bodies.h.

#define GREY 114

// Of `Scaling` in letterbox.rs.
enum Scaling : uint { AS_IT_IS, HALVED, FILTERED };

// The image's levels lie in words from `first` on.
BODY int level_at(PTR(const uint) words, uint first, uint index) {
    return int(words[first + index / 4] >> index % 4 * 8 & 255u);
}

// The level of a channel at a pixel of the scaled image, `second`. `words` has first, second, near weight and far weight of each
// of its columns, then of its rows, then the levels of the image, `input`.
BODY int scaled(GIVEN(Step) s, PTR(const uint) words, uint row, uint column, uint channel) {
    const uint first = 4 * (s.second.width + s.second.height), width = s.input.width;
    if (s.operation == AS_IT_IS) {
        return level_at(words, first, (row * width + column) * 3 + channel);
    }
    if (s.operation == HALVED) {
        const uint above = (2 * row * width + 2 * column) * 3 + channel, below = above + 3 * width;
        return (level_at(words, first, above) + level_at(words, first, above + 3) + level_at(words, first, below) +
                level_at(words, first, below + 3) + 2) >> 2;
    }
    const uint across = 4 * column, down = 4 * (s.second.width + row);
    int sum = 2;
    for (uint i = 0; i < 2; i++) {
        const uint start = words[down + i] * width;
        const int left = level_at(words, first, (start + words[across]) * 3 + channel);
        const int right = level_at(words, first, (start + words[across + 1]) * 3 + channel);
        const int filtered = (left * int(words[across + 2]) + right * int(words[across + 3])) >> 4;
        sum += filtered * int(words[down + 2 + i]) >> 16;
    }
    return sum >> 2;
}

// A thread per pixel of a plane of `out`, the first of which lies at its offset; the scaled image begins `padding` from its
// corner.
BODY void letterbox(GIVEN(Step) s, PTR(const uint) words, PTR(ELEMENT) output, uint index) {
    const uint plane = s.out.height * s.out.width;
    if (index >= plane) {
        return;
    }
    const int row = int(index / s.out.width) - int(s.padding_h);
    const int column = int(index % s.out.width) - int(s.padding_w);
    const bool is_inside = row >= 0 && row < int(s.second.height) && column >= 0 && column < int(s.second.width);
    for (uint channel = 0; channel < 3; channel++) {
        const int level = is_inside ? scaled(s, words, uint(row), uint(column), channel) : GREY;
        output[wide(s.out.offset) + wide(channel) * plane + index] = ELEMENT(float(level) / 255.f);
    }
}
