// The kernels by the names of their functions. Part of driver.cpp.

// A kernel's arguments as they are when it is launched.
struct Arguments {
    int device;
    uint blocks_x, blocks_y, threads;
    std::vector<uintptr_t> memories;

    template <class T>
    Checked<T> memory(size_t index) const {
        const uintptr_t address = memories[index];
        return {reinterpret_cast<T *>(address), driver().bytes_from(address, device) / sizeof(T)};
    }
};

typedef std::function<Work(void **, Arguments)> Function;

template <class T>
static T argument(void **arguments, uint index) {
    T value;
    std::memcpy(&value, arguments[index], sizeof value);
    return value;
}

#include "candle.h"

template <class F>
static void for_blocks(const Arguments &a, F f) {
    for (uint y = 0; y < a.blocks_y; y++) {
        for (uint x = 0; x < a.blocks_x; x++) f(x, y);
    }
}

template <class Memories, class T>
static void list(std::map<std::string, Function> &functions, const Kernels<Memories> &kernels, const char *type) {
    for (const auto &[name, block] : kernels) {
        functions[name + type] = [&block = block](void **arguments, Arguments a) -> Work {
            const Step s = argument<Step>(arguments, 0);
            for (uint i = 1; i < 6; i++) a.memories.push_back(argument<uintptr_t>(arguments, i));
            return [&block, a, s] {
                const Memories m = {
                    a.memory<T>(0), a.memory<T>(1), a.memory<T>(2), a.memory<float>(3), a.memory<float>(4)};
                for_blocks(a, [&](uint x, uint y) { block(s, m, x, y, a.threads); });
            };
        };
    }
}

template <class F>
static Function suppression(F f) {
    return [f](void **arguments, Arguments a) -> Work {
        const auto s = argument<of_detect::Suppression>(arguments, 0);
        for (uint i = 1; i < 4; i++) a.memories.push_back(argument<uintptr_t>(arguments, i));
        return [f, a, s] {
            OnMemory on = {s, a.memory<const float>(0), a.memory<uint>(1), a.memory<float>(2)};
            for_blocks(a, [&](uint x, uint y) { f(on, x, y); });
        };
    };
}

static const std::map<std::string, Function> &functions() {
    static const std::map<std::string, Function> all = [] {
        std::map<std::string, Function> all;
        list<of_f32::Memories, float>(all, KERNELS_OF_F32, "_f32");
        list<of_f16::Memories, _Float16>(all, KERNELS_OF_F16, "_f16");
        list<of_bf16::Memories, Bf16>(all, KERNELS_OF_BF16, "_bf16");
        all["suppress_candidates"] = suppression(suppress_candidates);
        all["suppress_rank"] = suppression(suppress_rank);
        all["suppress_keep"] = suppression(suppress_keep);
        list_of_candle(all);
        return all;
    }();
    return all;
}
