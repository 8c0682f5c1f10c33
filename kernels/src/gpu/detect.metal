// What stands around a detector's network.

#include "metal.h"

#define TIMES(x, y) rounded(x, y)
#define BITS(x) as_type<uint>(x)

namespace bodies {
// A product: what is read of a volatile variable is no operand that a compiler may fuse with a sum.
BODY float rounded(float x, float y) {
    volatile float product = x * y;
    return product;
}

#include "suppress.h"
} // namespace bodies

#define SUPPRESSION                                                                                                  \
    constant bodies::Suppression &s [[buffer(0)]], device const float *decoded [[buffer(1)]],                        \
        device uint *scratch [[buffer(2)]], device float *output [[buffer(3)]]
#define UINTS(name) reinterpret_cast<threadgroup uint *>(name)

ENTRY(suppress_candidates, GROUP)(SUPPRESSION, BLOCK) {
    BLOCK_MEMORY(counts, GROUP + GROUP / 16);
    bodies::candidates(s, decoded, scratch, UINTS(counts), block.x, block.y, own);
}

ENTRY(suppress_rank, GROUP)(SUPPRESSION, BLOCK) {
    BLOCK_MEMORY(keys, GROUP);
    bodies::rank(s, scratch, UINTS(keys), block.x, block.y, own);
}

ENTRY(suppress_keep, GROUP)(SUPPRESSION, BLOCK) {
    BLOCK_MEMORY(boxes, 4 * GROUP);
    BLOCK_MEMORY(states, 2 * GROUP);
    bodies::suppress(s, decoded, scratch, output, FLOATS(boxes), UINTS(states), block.x, own);
}
