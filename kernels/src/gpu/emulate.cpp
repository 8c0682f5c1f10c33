// Runs kernels on the CPU. Reads and writes as emulate/protocol.h says.

#include "emulate/kernels.h"

typedef Suppressing<of_detect::Suppression> Suppressed;

template <void (*BLOCK_OF)(const OnMemory &, uint, uint)>
static void of(Suppressed &on, uint x, uint y) {
    BLOCK_OF({on.s, checked<const float>(on.decoded), checked(on.scratch), checked(on.output)}, x, y);
}

int main() {
    switch (word()) {
    case 0: return run(KERNELS_OF_F32, memories<of_f32::Memories, float>);
    case 1: return run(KERNELS_OF_F16, memories<of_f16::Memories, _Float16>);
    case 2: return run(KERNELS_OF_BF16, memories<of_bf16::Memories, Bf16>);
    default: return run_suppression<of_detect::Suppression>(
        of<suppress_candidates>, of<suppress_rank>, of<suppress_keep>);
    }
}
