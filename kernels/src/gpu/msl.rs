//! The kernels in the Metal Shading Language. Metal compiles source where it runs, without files to include: a module is one text.

/// The modules, by name.
pub(super) const MODULES: [(&str, &str); 5] = [
    ("f32", include_str!("f32.metal")),
    ("f16", include_str!("f16.metal")),
    ("bf16", include_str!("bf16.metal")),
    ("train", include_str!("train.metal")),
    ("detect", include_str!("detect.metal")),
];

const HEADERS: [(&str, &str); 13] = [
    ("bodies.h", include_str!("bodies.h")),
    ("boxes.h", include_str!("boxes.h")),
    ("dense.h", include_str!("dense.h")),
    ("gradients.h", include_str!("gradients.h")),
    ("letterbox.h", include_str!("letterbox.h")),
    ("metal.h", include_str!("metal.h")),
    ("norm.h", include_str!("norm.h")),
    ("step.h", include_str!("step.h")),
    ("sums.h", include_str!("sums.h")),
    ("suppress.h", include_str!("suppress.h")),
    ("update.h", include_str!("update.h")),
    ("warps.h", include_str!("warps.h")),
    ("windows.h", include_str!("windows.h")),
];

/// A text, with the headers that it and they include in the place of the lines that name them.
pub(super) fn assemble(text: &str) -> String {
    let mut assembled = String::new();
    for line in text.lines() {
        let name = line.strip_prefix("#include \"").and_then(|rest| rest.strip_suffix('"'));
        match HEADERS.iter().find(|(header, _)| Some(*header) == name) {
            Some((_, header)) => assembled += &assemble(header),
            None => assembled.extend([line, "\n"]),
        }
    }
    assembled
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::process::Command;

    use super::*;

    #[test]
    fn a_module_includes_no_file() {
        for (name, text) in MODULES {
            let assembled = assemble(text);
            let left =
                assembled.lines().find(|line| line.starts_with("#include") && *line != "#include <metal_stdlib>");
            assert_eq!(left, None, "{name}.metal: msl.rs does not have that header");
        }
    }

    /// A compiler that knows address spaces tells where a pointer lacks its own, or is taken for one of another.
    #[test]
    fn pointers_keep_to_their_address_spaces() {
        let compiler = std::env::var("CLANGXX").unwrap_or_else(|_| "clang++".to_owned());
        if let Err(error) = Command::new(&compiler).arg("--version").output() {
            println!("address spaces not checked: {compiler}: {error}");
            return;
        }
        let stand_in = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/gpu/emulate");
        let folder = tempfile::tempdir().expect("a folder");
        for (name, text) in MODULES {
            let source = folder.path().join(name);
            std::fs::write(&source, assemble(text)).expect("a source file");
            let mut command = Command::new(&compiler);
            command.args(["-x", "c++", "-std=c++17", "-fsyntax-only", "-DADDRESS_SPACES", "-Wno-unknown-attributes"]);
            let output = command.arg("-isystem").arg(&stand_in).arg(source).output().expect("a compiler that runs");
            assert!(output.status.success(), "{name}.metal: {}", String::from_utf8_lossy(&output.stderr));
        }
    }
}
