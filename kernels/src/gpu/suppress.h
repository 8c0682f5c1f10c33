// Suppression of overlapping boxes: what is kept of a network's decoded output, with the arithmetic of `nms` on the host.
//
// Beside what bodies.h lists, whoever includes this file defines:
//   TIMES(x, y)  a product of floats that is rounded by itself, never fused with a sum
//   BITS(x)      the bits of a float as uint
// The barrier at the end of THREADS is one for memory of the device too.
//
// Three launches, each of blocks of GROUP threads: `candidates` and `rank` with a block per group of anchors and image,
// `suppress` with a block per image.

#define GROUP 256
#define WANTED_WORDS 32

// The same words as `Suppression` in suppress.rs, in the same order.
struct Suppression {
    uint classes, anchors;
    // Most candidates that take part, and most boxes that are kept.
    uint most_candidates, most_kept;
    // Whether boxes suppress those of other classes too; whether only classes with a bit in `wanted` count.
    uint agnostic, filtered;
    float conf, iou;
    uint wanted[WANTED_WORDS];
};

// Memory between the launches. Per image: a key for each anchor, 0 where it is no candidate, and its class; candidates in order;
// the number of candidates of each group.
struct Ranking {
    PTR(uint) words;
    wide keys, labels, order, counts;
};

BODY uint groups(GIVEN(Suppression) s) { return (s.anchors + GROUP - 1) / GROUP; }

BODY Ranking ranking(GIVEN(Suppression) s, PTR(uint) words, uint image) {
    const wide keys = wide(image) * (wide(3) * s.anchors + groups(s));
    const Ranking r = {words, keys, keys + s.anchors, keys + wide(2) * s.anchors, keys + wide(3) * s.anchors};
    return r;
}

// Keys are in the order of floats.
BODY uint key(float score) {
    const uint bits = BITS(score);
    return bits >> 31 ? ~bits : bits | 0x80000000u;
}

BODY bool is_finite(float x) { return (BITS(x) & 0x7f800000u) != 0x7f800000u; }

BODY bool is_wanted(GIVEN(Suppression) s, uint label) {
    return !s.filtered || (label < 32 * WANTED_WORDS && (s.wanted[label / 32] >> label % 32 & 1));
}

struct Corners {
    float x1, y1, x2, y2;
};

// The box of an anchor, of rows of centre x, centre y, width and height. `image` is where the image's rows begin.
BODY Corners corners(GIVEN(Suppression) s, PTR(const float) decoded, wide image, uint anchor) {
    const float x = decoded[image + anchor], y = decoded[image + s.anchors + anchor];
    const float half_width = TIMES(decoded[image + wide(2) * s.anchors + anchor], 0.5f);
    const float half_height = TIMES(decoded[image + wide(3) * s.anchors + anchor], 0.5f);
    const Corners box = {x - half_width, y - half_height, x + half_width, y + half_height};
    return box;
}

BODY float area(HELD(Corners) box) { return TIMES(box.x2 - box.x1, box.y2 - box.y1); }

// Whether two boxes overlap by more than the threshold.
BODY bool overlap(GIVEN(Suppression) s, HELD(Corners) a, HELD(Corners) b) {
    const float width = MOST(LEAST(a.x2, b.x2) - MOST(a.x1, b.x1), 0.f);
    const float height = MOST(LEAST(a.y2, b.y2) - MOST(a.y1, b.y1), 0.f);
    const float both = TIMES(width, height);
    const float either = area(a) + area(b) - both;
    return (either > 0.f ? both / either : 0.f) > s.iou;
}

// Finds each anchor's best class. `counts` has GROUP + GROUP / 16 elements.
BODY void candidates(
    GIVEN(Suppression) s, PTR(const float) decoded, PTR(uint) scratch, SHARED(uint) counts, uint group, uint image, uint own) {
    const Ranking r = ranking(s, scratch, image);
    const wide from = wide(image) * (4 + s.classes) * s.anchors;
    THREADS(t, GROUP) {
        const uint anchor = group * GROUP + t;
        counts[t] = 0;
        if (anchor < s.anchors) {
            // The first of the largest that is above the threshold; NaN never is.
            float score = s.conf;
            uint label = s.classes;
            for (uint i = 0; i < s.classes; i++) {
                const float other = decoded[from + wide(4 + i) * s.anchors + anchor];
                if (other > score) {
                    score = other;
                    label = i;
                }
            }
            if (label < s.classes && is_wanted(s, label)) {
                const Corners box = corners(s, decoded, from, anchor);
                counts[t] = is_finite(box.x1) && is_finite(box.y1) && is_finite(box.x2) && is_finite(box.y2);
            }
            r.words[r.keys + anchor] = counts[t] ? key(score) : 0;
            r.words[r.labels + anchor] = label;
        }
    }
    THREADS(t, GROUP) {
        if (t < GROUP / 16) {
            uint sum = 0;
            for (uint i = 0; i < 16; i++) {
                sum += counts[t * 16 + i];
            }
            counts[GROUP + t] = sum;
        }
    }
    THREADS(t, GROUP) {
        if (t == 0) {
            uint sum = 0;
            for (uint i = 0; i < GROUP / 16; i++) {
                sum += counts[GROUP + i];
            }
            r.words[r.counts + group] = sum;
        }
    }
}

// Puts each candidate in its place: behind those of higher scores, and of equal scores at earlier anchors. `keys` has GROUP
// elements.
BODY void rank(GIVEN(Suppression) s, PTR(uint) scratch, SHARED(uint) keys, uint group, uint image, uint own) {
    const Ranking r = ranking(s, scratch, image);
    if (r.words[r.counts + group] == 0) {
        return;
    }
    PER_THREAD(uint, mine, 1);
    PER_THREAD(uint, place, 1);
    THREADS(t, GROUP) {
        const uint anchor = group * GROUP + t;
        OWN(mine, t)[0] = anchor < s.anchors ? r.words[r.keys + anchor] : 0;
        OWN(place, t)[0] = 0;
    }
    for (uint other = 0; other < groups(s); other++) {
        if (r.words[r.counts + other] == 0) {
            continue;
        }
        THREADS(t, GROUP) {
            const uint anchor = other * GROUP + t;
            keys[t] = anchor < s.anchors ? r.words[r.keys + anchor] : 0;
        }
        THREADS(t, GROUP) {
            const uint own_key = OWN(mine, t)[0];
            // Equal keys count where they are earlier.
            const uint earlier = other < group ? GROUP : other == group ? t : 0;
            for (uint i = 0; i < GROUP && own_key != 0; i++) {
                OWN(place, t)[0] += keys[i] > own_key || (keys[i] == own_key && i < earlier);
            }
        }
    }
    THREADS(t, GROUP) {
        if (OWN(mine, t)[0] != 0 && OWN(place, t)[0] < s.most_candidates) {
            r.words[r.order + OWN(place, t)[0]] = group * GROUP + t;
        }
    }
}

#define BOX_ROW 6

BODY Corners corners_at(SHARED(const float) boxes, uint index) {
    const Corners box = {boxes[4 * index], boxes[4 * index + 1], boxes[4 * index + 2], boxes[4 * index + 3]};
    return box;
}

// Keeps the best of overlapping candidates. The output has per image the number of boxes kept, the number of candidates that
// were left out, and a row for each box: left, top, right, bottom, score, class. `boxes` has 4 * GROUP elements, `states` twice
// GROUP: the classes of a group of candidates, and which of them are not suppressed.
BODY void suppress(
    GIVEN(Suppression) s, PTR(const float) decoded, PTR(uint) scratch, PTR(float) output, SHARED(float) boxes,
    SHARED(uint) states, uint image, uint own) {
    const Ranking r = ranking(s, scratch, image);
    const wide from = wide(image) * (4 + s.classes) * s.anchors, out = wide(image) * (2 + wide(BOX_ROW) * s.most_kept);
    uint found = 0;
    for (uint group = 0; group < groups(s); group++) {
        found += r.words[r.counts + group];
    }
    const uint count = found < s.most_candidates ? found : s.most_candidates;
    uint kept = 0;
    for (uint start = 0; start < count && kept < s.most_kept; start += GROUP) {
        // Those that no box kept so far suppresses.
        THREADS(t, GROUP) {
            states[GROUP + t] = start + t < count;
            if (start + t < count) {
                const uint anchor = r.words[r.order + start + t], label = r.words[r.labels + anchor];
                const Corners box = corners(s, decoded, from, anchor);
                boxes[4 * t] = box.x1;
                boxes[4 * t + 1] = box.y1;
                boxes[4 * t + 2] = box.x2;
                boxes[4 * t + 3] = box.y2;
                states[t] = label;
                for (uint i = 0; i < kept && states[GROUP + t]; i++) {
                    const wide row = out + 2 + wide(BOX_ROW) * i;
                    const Corners better = {output[row], output[row + 1], output[row + 2], output[row + 3]};
                    const bool same = s.agnostic || uint(output[row + 5]) == label;
                    states[GROUP + t] = !(same && overlap(s, better, box));
                }
            }
        }
        // Each that is left is kept, and suppresses those behind it.
        for (uint i = 0; i < GROUP && kept < s.most_kept; i++) {
            if (!states[GROUP + i]) {
                continue;
            }
            THREADS(t, GROUP) {
                const Corners better = corners_at(boxes, i);
                if (t == i) {
                    const wide row = out + 2 + wide(BOX_ROW) * kept;
                    output[row] = better.x1;
                    output[row + 1] = better.y1;
                    output[row + 2] = better.x2;
                    output[row + 3] = better.y2;
                    output[row + 4] = decoded[from + wide(4 + states[i]) * s.anchors + r.words[r.order + start + i]];
                    output[row + 5] = float(states[i]);
                }
                if (t > i && states[GROUP + t] && (s.agnostic || states[t] == states[i])) {
                    const Corners other = corners_at(boxes, t);
                    states[GROUP + t] = !overlap(s, better, other);
                }
            }
            kept++;
        }
        // All have read the states before the next candidates have them.
        THREADS(t, GROUP) {}
    }
    THREADS(t, GROUP) {
        if (t == 0) {
            output[out] = float(kept);
            output[out + 1] = float(found - count);
        }
    }
}
