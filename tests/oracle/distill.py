"""Golden values of the loss by which a detector learns from another, by PyTorch in float64.

pip install torch==2.15.0 numpy
usage: distill.py     writes tests/golden/train/distill.json

The raw levels of a case are 3 · u(distill NAME student|teacher LEVEL) of seeded.py, whose class logits are moved by the case's
shifts. Classes: binary cross entropy with the teacher's probabilities, weighted by their distance, which is a constant (Yang et
al., arXiv 2308.14286). Boxes: divergence of the distributions over 16 bins, weighted by the teacher's highest probability
(Zheng et al., arXiv 2102.12252).
"""
import pathlib

import torch
import torch.nn.functional as F

import seeded
from common import rounded, write

GOLDEN = pathlib.Path(__file__).resolve().parents[1] / "golden" / "train"
BINS, SAMPLES, DIGITS = 16, 24, 12
CLASS_GAIN, BOX_GAIN = 0.5, 1.5


def levels(who, sizes, images, classes, shift):
    """Raw levels (images, 64 + classes, h, w)."""
    found = []
    for index, (h, w) in enumerate(sizes):
        shape = (images, 4 * BINS + classes, h, w)
        values = torch.from_numpy(seeded.uniform(f"distill {who} {index}", images * shape[1] * h * w)).reshape(shape) * 3
        values[:, 4 * BINS :] += shift
        found.append(values)
    return found


def joint(levels):
    """Box logits (images, anchors, 4, 16) and class logits (images, anchors, classes) of all levels."""
    rows = torch.cat([level.flatten(2) for level in levels], 2).transpose(1, 2)
    return rows[..., : 4 * BINS].unflatten(-1, (4, BINS)), rows[..., 4 * BINS :]


def parts(student, teacher):
    """Class and box part, without gains."""
    (boxes, scores), (boxes_of_teacher, scores_of_teacher) = joint(student), joint(teacher)
    targets = scores_of_teacher.sigmoid()
    distance = (targets - scores.sigmoid()).abs().detach()
    classes = F.binary_cross_entropy_with_logits(scores, targets, weight=distance, reduction="sum")
    confidence = targets.amax(-1)
    divergence = F.kl_div(boxes.log_softmax(-1), boxes_of_teacher.log_softmax(-1), reduction="none", log_target=True)
    sides = divergence.sum(-1).mean(-1)
    norm = confidence.sum().clamp(min=1)
    return classes / norm, (sides * confidence).sum() / norm


def description(gradient):
    """Norm, largest magnitude, product with a fixed direction, and samples spread over the tensor in row-major order."""
    flat = gradient.flatten()
    direction = torch.from_numpy(seeded.uniform("direction", flat.numel()))
    count = min(SAMPLES, flat.numel())
    samples = [rounded(flat[index * flat.numel() // count], DIGITS) for index in range(count)]
    numbers = {"norm": flat.norm(), "max": flat.abs().max(), "product": flat @ direction}
    return {**{name: rounded(number, DIGITS) for name, number in numbers.items()}, "samples": samples}


def case(name, sizes, images, classes, shifts, weight):
    student, teacher = (levels(f"{name} {who}", sizes, images, classes, s) for who, s in zip(("student", "teacher"), shifts))
    student = [level.requires_grad_() for level in student]
    of_classes, of_boxes = (weight * gain * part for gain, part in zip((CLASS_GAIN, BOX_GAIN), parts(student, teacher)))
    total = (of_classes + of_boxes) * images
    total.backward()
    return {
        "name": name,
        "sizes": sizes,
        "images": images,
        "classes": classes,
        "shifts": shifts,
        "weight": weight,
        "parts": [rounded(part.detach(), DIGITS) for part in (of_classes, of_boxes)],
        "total": rounded(total.detach(), DIGITS),
        "gradients": [description(level.grad) for level in student],
    }


def main():
    torch.set_num_threads(1)
    cases = [
        case("three levels", [[8, 12], [4, 6], [2, 3]], 2, 3, [0.0, 0.0], 1.0),
        case("one level", [[5, 1]], 1, 1, [0.0, 0.0], 0.25),
        case("many classes", [[4, 4], [2, 2]], 1, 80, [-4.0, -2.0], 1.0),
        case("nothing seen", [[4, 6], [2, 3]], 3, 2, [0.0, -12.0], 1.0),
        case("sure", [[9, 9]], 1, 2, [-6.0, 9.0], 3.0),
    ]
    write(GOLDEN / "distill.json", {"gains": [CLASS_GAIN, BOX_GAIN], "cases": cases})


if __name__ == "__main__":
    main()
