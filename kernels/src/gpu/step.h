// What a launch works on. The same words as `Step` in mod.rs, in the same order.

#ifndef GHOSTZOO_STEP_H
#define GHOSTZOO_STEP_H

// Elements (image, y, x, channel) of a map are at
//   offset + image * batch + (y * width + x) * position + channel * step
// of the buffer that `memory` names: the arena, the image or the output.
struct Map {
    uint memory, offset, batch, position, step;
    uint height, width, channels;
    // Four channels from a multiple of four on lie together, and may be read and written as one.
    uint wide;
};

enum Memory : uint { ARENA = 0, IMAGE = 1, OUTPUT = 2 };
enum Activation : uint { IDENTITY, RELU, RELU6, LEAKY_RELU, SIGMOID, SILU, HARD_SIGMOID, HARD_SWISH, GELU };
enum Operation : uint { COPY, ADD, MULTIPLY };

struct Level {
    Map map;
    // Pixels per cell.
    float pixels;
};

#define LEVELS 5

struct Step {
    // Read, and written. `second` is a residual, or the other operand; `plain` gets a sum before its residual.
    Map input, second, out, plain;
    uint has_second, has_plain;
    uint kernel_h, kernel_w, stride_h, stride_w, padding_h, padding_w, dilation_h, dilation_w;
    uint activation;
    float slope;
    uint operation, is_max;
    // First elements among the weights and the biases.
    uint weight, bias;
    uint images;
    // Parts that a sum over positions is divided into.
    uint parts;
    float eps;
    // Of an update.
    float factors[5];
    uint levels, anchors;
    Level level[LEVELS];
};

#endif
