//! What a model may ask for: refused before anything is allocated.

use super::row::{CspVariant, LayerKind, LayerSpec};
use crate::YamlError;
use crate::modules::REG_MAX;

/// Most parameters of a model: fifteen times those of the largest YOLOv8.
const MAX_PARAMETERS: f64 = 1e9;
/// Most modules, with each repeat counted.
const MAX_MODULES: usize = 10_000;
/// Most channels of a layer.
const MAX_CHANNELS: usize = 1 << 20;
/// Pixels of the image per element of a layer's output, the least and the most.
const STRIDES: [f64; 2] = [1. / 64., 1024.];
/// Most pixels that a kernel spans along an axis, with its dilation.
const MAX_SPAN: usize = 256;
/// Most elements of a layer's output for the smallest image that the model takes.
const MAX_MAP: f64 = (1_u64 << 22) as f64;

/// What the rows so far ask for.
#[derive(Debug, Default)]
pub(super) struct Budget {
    parameters: f64,
    modules: usize,
    /// What the yaml calls each row's module.
    names: Vec<String>,
}

impl Budget {
    /// Counts the next row, whose module the yaml calls `name`, and refuses one that goes beyond a limit.
    pub(super) fn add(&mut self, name: &str, row: &LayerSpec) -> Result<(), YamlError> {
        let index = self.names.len();
        let fail = |problem: String| Err(YamlError::Layer { index, module: name.to_owned(), problem });
        let inner = if let LayerKind::CspVariant { n, .. } = row.module { n } else { 1 };
        self.modules = self.modules.saturating_add(row.repeats.saturating_mul(inner));
        if self.modules > MAX_MODULES {
            return fail(format!(
                "up to here the model has {} modules and can have at most {MAX_MODULES}",
                self.modules
            ));
        }
        if row.channels > MAX_CHANNELS {
            return fail(format!("it gives {} channels and can give at most {MAX_CHANNELS}", row.channels));
        }
        if !(STRIDES[0]..=STRIDES[1]).contains(&row.stride) {
            return fail(format!("its stride is {:e} and must lie between 1/64 and 1024", row.stride));
        }
        let span = span(&row.module);
        if span > MAX_SPAN {
            return fail(format!("its kernel spans {span} pixels and can span at most {MAX_SPAN}"));
        }
        self.parameters += row.repeats as f64 * parameters(&row.module);
        if self.parameters > MAX_PARAMETERS {
            return fail(format!(
                "up to here the model has about {:.1e} parameters and can have at most {MAX_PARAMETERS:e}",
                self.parameters
            ));
        }
        self.names.push(name.to_owned());
        Ok(())
    }

    /// Refuses a row whose output is too large for the smallest image that the rows, all of them counted, take. A detection layer
    /// gives boxes and `nc` classes for each element of its levels.
    pub(super) fn check_maps(&self, rows: &[LayerSpec], nc: usize) -> Result<(), YamlError> {
        let side = rows.iter().map(|row| row.stride).fold(32., f64::max);
        let mut padded = 0.;
        for (index, row) in rows.iter().enumerate() {
            if let LayerKind::Conv { p: Some(p), .. } = row.module {
                padded += (2 * p * row.repeats) as f64;
            }
            let elements = if let LayerKind::Detect { .. } = row.module {
                let strides = row.from.iter().map(|from| from.map_or(1., |from| rows[from].stride));
                strides.map(|stride| (side / stride).powi(2)).sum::<f64>() * (4 * REG_MAX + nc) as f64
            } else {
                let side = side / row.stride + padded + span(&row.module) as f64;
                row.channels as f64 * side * side
            };
            if elements > MAX_MAP {
                let problem = format!(
                    "its output has about {elements:.1e} elements at the smallest image and can have at most {MAX_MAP:.1e}"
                );
                return Err(YamlError::Layer { index, module: self.names[index].clone(), problem });
            }
        }
        Ok(())
    }
}

/// Pixels that the kernel spans along the longer axis.
fn span(module: &LayerKind) -> usize {
    match *module {
        LayerKind::Conv { k, d, .. } | LayerKind::DwConv { k, d, .. } => {
            k[0].max(k[1]).saturating_sub(1).saturating_mul(d).saturating_add(1)
        }
        LayerKind::GhostConv { k, .. } => k[0].max(k[1]),
        LayerKind::GhostBottleneck { k, .. } | LayerKind::Sppf { k, .. } => k,
        _ => 1,
    }
}

/// About how many weights a module has; floating-point numbers, which cannot overflow here.
fn parameters(module: &LayerKind) -> f64 {
    let of = |n: usize| n as f64;
    match *module {
        LayerKind::Conv { c1, c2, k, g, .. } => of(c1) / of(g) * of(c2) * of(k[0]) * of(k[1]),
        LayerKind::DwConv { c1, c2, k, .. } => {
            of(c1) / of(crate::net::greatest_common_divisor(c1, c2)) * of(c2) * of(k[0]) * of(k[1])
        }
        LayerKind::GhostConv { c1, c2, k, g, .. } => of(c2) / 2. * (of(c1) / of(g) * of(k[0]) * of(k[1]) + 25.),
        LayerKind::Bottleneck { c1, c2, g, e, .. } => 9. * of(c2) * e * (of(c1) + of(c2) / of(g)),
        LayerKind::GhostBottleneck { c1, c2, k, s } => {
            let shortcut = if s > 1 { of(c1) * (of(c2) + of(k) * of(k)) } else { 0. };
            of(c2) / 4. * (of(c1) + of(c2)) + of(c2) * of(k) * of(k) + shortcut
        }
        LayerKind::CspVariant { kind, c1, c2, n, g, e, .. } => {
            let hidden = of(c2) * e;
            let inner = match kind {
                CspVariant::C2fGhost | CspVariant::C3Ghost => hidden * hidden / 2.,
                CspVariant::C3 => hidden * hidden * (1. + 9. / of(g)),
                CspVariant::C2f | CspVariant::C2 => hidden * hidden * (9. + 9. / of(g)),
            };
            2. * of(c1) * hidden + (2. + of(n)) * hidden * of(c2) + of(n) * inner
        }
        LayerKind::Sppf { c1, c2, .. } => of(c1) * (of(c1) / 2. + 2. * of(c2)),
        LayerKind::Upsample { .. } | LayerKind::Concat => 0.,
        LayerKind::Detect { ref ch, class_channels } => {
            let boxes = of(ch.first().copied().unwrap_or(0) / 4).max(64.);
            let level = |channels: &usize| {
                let branch = |width: f64| 9. * width * (of(*channels) + width);
                branch(boxes) + branch(of(class_channels)) + 64. * boxes
            };
            ch.iter().map(level).sum()
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::yaml::ModelConfig;

    #[test]
    fn rows_beyond_a_limit_are_named() {
        let many = ["[-1, 1000, Conv, [16]]"; 11].join(", ");
        for (rows, expected) in [
            (
                "[-1, 1, Conv, [65536, 1, 2]], [-1, 1, Conv, [65536]]",
                "layer 2 (Conv): up to here the model has about 4.3e9",
            ),
            ("[-1, 1, Conv, [16, 60000]]", "layer 1 (Conv): its kernel spans 60000 pixels and can span at most 256"),
            ("[-1, 1, Conv, [16, 3, 1, None, 1, 65536]]", "layer 1 (Conv): its kernel spans 131073 pixels"),
            ("[-1, 1, SPPF, [16, 65535]]", "layer 1 (SPPF): its kernel spans 65535 pixels and can span at most 256"),
            (
                "[-1, 1, Conv, [16, 1, 65536]]",
                "layer 1 (Conv): its stride is 6.5536e4 and must lie between 1/64 and 1024",
            ),
            (
                "[-1, 1000, Conv, [16, 1, 65536]]",
                "layer 1 (Conv): its stride is inf and must lie between 1/64 and 1024",
            ),
            ("[-1, 1, nn.Upsample, [None, 1.0e-60]]", "layer 1 (nn.Upsample): its stride is 1e60"),
            (
                "[-1, 1, C2f, [16, True, 1, 64.0]], [-1, 1, C2f, [16384, True, 1, 64.0]]",
                "layer 2 (C2f): up to here the model",
            ),
            (
                "[-1, 1, Conv, [65536, 6, 2]], [-1, 1, Conv, [16]]",
                "layer 1 (Conv): its output has about 3.2e7 elements at the smallest image",
            ),
            ("[-1, 1, Conv, [65536]], [-1, 1, Conv, [16, 1, 128]]", "layer 1 (Conv): its output has about"),
            (many.as_str(), "layer 10 (Conv): up to here the model has 10001 modules and can have at most 10000"),
        ] {
            let text = format!("nc: 1\nbackbone: [[-1, 1, Conv, [16]], {rows}]\nhead: [[[-1], 1, Detect, [nc]]]");
            let error = ModelConfig::from_yaml(&text, None, None).expect_err("beyond a limit").to_string();
            assert!(error.starts_with(expected) && !error.contains('\n'), "{error} for {rows}");
        }
        let text = "nc: 65536\nbackbone: [[-1, 1, Conv, [16, 3, 2]]]\nhead: [[[-1], 1, Detect, [nc]]]";
        let error = ModelConfig::from_yaml(text, None, None).expect_err("many classes at many places").to_string();
        assert!(error.starts_with("layer 1 (Detect): its output has about 1.7e7 elements"), "{error}");
        let doubled = vec!["-1"; 2000].join(", ");
        let rows = format!("[[{doubled}], 1, Concat, [1]], [[{doubled}], 1, Concat, [1]]");
        let text = format!("nc: 1\nbackbone: [[-1, 1, Conv, [16]], {rows}]\nhead: [[[-1], 1, Detect, [nc]]]");
        let error = ModelConfig::from_yaml(&text, None, None).expect_err("too many channels").to_string();
        assert_eq!(error, "layer 2 (Concat): it gives 64000000 channels and can give at most 1048576");
    }
}
