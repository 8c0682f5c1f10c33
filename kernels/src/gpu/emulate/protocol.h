// How an emulator is told what to run.
//
// Reads from stdin, in the machine's byte order, all counts as 32-bit words: the type of elements (0 f32, 1 f16, 2 bf16); the
// number of buffers, then each (bytes, then content); the number of launches, then each (letters of the kernel's name, the
// name, blocks x, blocks y, threads, the numbers of five buffers: arena, image, weights, biases, output, then Step); the
// number of results, then the number of the buffer of each, which it writes. A type 3 stands for suppression, whose input
// emulate_detect.h reads.

#pragma once

#include <cstdio>
#include <cstdlib>
#include <functional>
#include <map>
#include <string>
#include <vector>

typedef unsigned int uint;

#include "../step.h"

static void read(void *to, size_t bytes) {
    if (bytes > 0 && std::fread(to, bytes, 1, stdin) != 1) {
        std::fprintf(stderr, "the input ends early\n");
        std::exit(2);
    }
}

static uint word() {
    uint value;
    read(&value, sizeof value);
    return value;
}

// An allocation of its own. What a kernel does not write before it is read is NaN, as in memory that another kernel left.
struct Buffer {
    std::vector<char> bytes;
    Buffer() : bytes(word()) { read(bytes.data(), bytes.size()); }
    template <class T>
    T *elements() {
        return reinterpret_cast<T *>(bytes.data());
    }
};

// A block of a kernel: (step, memories, block x, block y, threads).
template <class Memories>
using Block = std::function<void(const Step &, const Memories &, uint, uint, uint)>;
template <class Memories>
using Kernels = std::map<std::string, Block<Memories>>;

// Runs kernels on what `memories(arena, image, weights, biases, output)` gives of the buffers.
template <class Memories, class F>
int run(const Kernels<Memories> &kernels, F memories) {
    std::vector<Buffer> buffers(word());
    for (uint launches = word(); launches > 0; launches--) {
        std::string name(word(), ' ');
        read(&name[0], name.size());
        const uint blocks_x = word(), blocks_y = word(), threads = word();
        uint of[5];
        read(of, sizeof of);
        Step s;
        read(&s, sizeof s);
        const auto kernel = kernels.find(name);
        if (kernel == kernels.end()) {
            std::fprintf(stderr, "there is no kernel %s\n", name.c_str());
            return 2;
        }
        const Memories m =
            memories(buffers[of[0]], buffers[of[1]], buffers[of[2]], buffers[of[3]], buffers[of[4]]);
        for (uint y = 0; y < blocks_y; y++) {
            for (uint x = 0; x < blocks_x; x++) kernel->second(s, m, x, y, threads);
        }
    }
    for (uint results = word(); results > 0; results--) {
        const Buffer &buffer = buffers[word()];
        std::fwrite(buffer.bytes.data(), 1, buffer.bytes.size(), stdout);
    }
    return 0;
}
