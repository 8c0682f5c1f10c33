//! Sizes of every shipped architecture, as Ultralytics counts them.

use candle_yolov8::{architectures, model_config, summary};

/// Family, then per scale n, s, m, l, x: modules, parameters, GFLOPs at 640 pixels.
/// The operations, exactly, are in `tests/golden/yolov8`.
type LayerSpec = (&'static str, [(usize, usize, f64); 5]);

const SIZES: [LayerSpec; 4] = [
    (
        "yolov8{}",
        [
            (225, 3_157_200, 8.9),
            (225, 11_166_560, 28.8),
            (295, 25_902_640, 79.3),
            (365, 43_691_520, 165.7),
            (365, 68_229_648, 258.5),
        ],
    ),
    (
        "yolov8{}-ghost",
        [
            (403, 1_865_316, 5.8),
            (403, 5_960_072, 16.4),
            (603, 10_336_312, 32.7),
            (803, 14_277_872, 53.7),
            (803, 22_229_308, 83.3),
        ],
    ),
    (
        "yolov8{}-ghostnet",
        [
            (323, 2_502_908, 7.1),
            (323, 8_525_496, 21.6),
            (471, 18_310_504, 52.7),
            (619, 29_555_920, 101.9),
            (619, 46_119_188, 158.6),
        ],
    ),
    (
        "yolov8{}-ghostnet-all",
        [
            (383, 1_970_260, 6.1),
            (383, 6_379_880, 17.5),
            (583, 11_709_448, 37.0),
            (783, 16_956_592, 64.4),
            (783, 26_414_828, 100.0),
        ],
    ),
];

#[test]
fn every_scale_has_the_size_that_ultralytics_counts() {
    for (family, sizes) in SIZES {
        for (scale, (modules, parameters, gflops)) in ["n", "s", "m", "l", "x"].iter().zip(sizes) {
            let name = family.replace("{}", scale);
            let def = model_config(&name, None).expect("shipped");
            let counted = summary(&def, [640; 2]).expect("countable");
            assert_eq!((counted.modules.all, counted.parameters), (modules, parameters), "{name}");
            assert_eq!(counted.gradients, parameters - 16, "{name}");
            assert_eq!((counted.flops as f64 / 1e8).round() / 10., gflops, "{name}: {}", counted.flops);
        }
    }
    assert_eq!(architectures().count(), 40);
}
