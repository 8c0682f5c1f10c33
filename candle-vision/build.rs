//! Compiles the CUDA kernels to PTX, with the toolkit that candle's own are compiled with.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    #[cfg(feature = "cuda")]
    kernels();
}

#[cfg(feature = "cuda")]
fn kernels() {
    let sources = std::path::Path::new("src/kernels/gpu");
    let headers = ["bodies.h", "boxes.h", "dense.h", "step.h", "sums.h", "warps.h"].map(|name| sources.join(name));
    let builder = cudaforge::KernelBuilder::new().source_files([sources.join("kernels.cu")]).watch(headers);
    if let Err(error) = builder.arg("-std=c++17").arg("-O3").build_ptx() {
        panic!("cannot compile {}/kernels.cu with nvcc: {error}", sources.display());
    }
}
