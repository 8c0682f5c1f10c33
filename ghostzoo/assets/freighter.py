"""Draws freighter.jpg, the picture that `ghostzoo classify` shows where none is given: our own work, from nothing.

pip install pillow==13.0; python freighter.py OUT.jpg
"""

import random
import sys

from PIL import Image, ImageDraw, ImageFilter

SIZE, SIDE, HORIZON = 256, 1024, 0.56
WHITE, SHADE, WINDOW, MAST = (232, 232, 228), (222, 222, 220), (60, 70, 85), (70, 60, 55)
CONTAINERS = [(60, 110, 70), (190, 150, 60), (70, 95, 150), (170, 80, 60), (120, 120, 125)]

rng = random.Random(7)
picture = Image.new("RGB", (SIDE, SIDE))
draw = ImageDraw.Draw(picture)


def mixed(a, b, t):
    return tuple(int(x + (y - x) * t) for x, y in zip(a, b))


def shape(points, fill):
    draw.polygon([(x * SIDE, y * SIDE) for x, y in points], fill=fill)


def block(x0, y0, x1, y1, fill):
    shape([(x0, y0), (x1, y0), (x1, y1), (x0, y1)], fill)


def line(x0, y0, x1, y1, fill, width):
    draw.line([(x0 * SIDE, y0 * SIDE), (x1 * SIDE, y1 * SIDE)], fill=fill, width=width)


for row in range(SIDE):  # sky and sea
    y = row / SIDE
    sky = mixed((140, 175, 215), (210, 220, 235), min(y / HORIZON, 1))
    sea = mixed((70, 110, 140), (35, 65, 95), max(y - HORIZON, 0) / (1 - HORIZON))
    line(0, y, 1, y, sky if y < HORIZON else sea, 1)
for _ in range(260):  # waves
    depth, x, light = rng.random() ** 1.5, rng.random(), 20 + int(45 * rng.random())
    y = HORIZON + depth * (1 - HORIZON)
    line(x, y, x + 0.02 + 0.09 * depth, y, (60 + light, 95 + light, 120 + light), 3)

shape([(0.10, 0.56), (0.92, 0.54), (0.86, 0.68), (0.16, 0.68)], (150, 35, 30))  # hull
shape([(0.155, 0.655), (0.872, 0.655), (0.86, 0.69), (0.17, 0.69)], (70, 20, 22))
shape([(0.10, 0.56), (0.92, 0.54), (0.915, 0.565), (0.11, 0.585)], WHITE)
block(0.20, 0.40, 0.40, 0.57, WHITE)  # bridge and funnel
block(0.23, 0.33, 0.37, 0.41, SHADE)
for x in (0.215, 0.26, 0.305, 0.35):
    block(x, 0.44, x + 0.025, 0.465, WINDOW)
    block(x, 0.50, x + 0.025, 0.525, WINDOW)
block(0.26, 0.22, 0.33, 0.33, (40, 45, 60))
block(0.26, 0.25, 0.33, 0.275, (210, 60, 40))
for i, color in enumerate(CONTAINERS):
    x = 0.45 + 0.085 * i
    block(x, 0.475, x + 0.075, 0.556, color)
    block(x, 0.513, x + 0.075, 0.518, (40, 40, 45))
line(0.52, 0.47, 0.52, 0.28, MAST, 10)
line(0.78, 0.47, 0.78, 0.30, MAST, 10)
line(0.52, 0.29, 0.63, 0.46, MAST, 5)
line(0.78, 0.31, 0.69, 0.46, MAST, 5)
for _ in range(60):  # foam at the water line
    x, y = 0.13 + 0.74 * rng.random(), 0.685 + 0.02 * rng.random()
    line(x, y, x + 0.04, y + 0.005, (200, 212, 218), 4)

picture = picture.filter(ImageFilter.GaussianBlur(2)).resize((SIZE, SIZE), Image.Resampling.LANCZOS)
picture.save(sys.argv[1], quality=90)
