//! Compiles the CUDA kernels to PTX, with the toolkit that candle's own are compiled with.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    #[cfg(feature = "cuda")]
    kernels();
}

#[cfg(feature = "cuda")]
fn kernels() {
    let sources = std::path::Path::new("src/gpu");
    let headers = [
        "bodies",
        "boxes",
        "cuda",
        "dense",
        "gradients",
        "letterbox",
        "norm",
        "step",
        "suppress",
        "sums",
        "update",
        "warps",
        "windows",
    ];
    let headers = headers.map(|name| sources.join(name).with_extension("h"));
    let kernels = ["bf16", "detect", "f16", "f32", "train"].map(|name| sources.join(name).with_extension("cu"));
    let builder = cudaforge::KernelBuilder::new().source_files(kernels).watch(headers);
    if let Err(error) = builder.arg("-std=c++17").arg("-O3").build_ptx() {
        panic!("cannot compile {}/*.cu with nvcc: {error}", sources.display());
    }
}
