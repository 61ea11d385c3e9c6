//! Says how a binary links libtorch: to this crate's own tests and examples, and, as
//! `DEP_DEMUCS_LINK_ARGS`, to the build script of any crate that depends on this one and makes a
//! binary. Cargo hands link arguments to no one but the package that printed them.

fn main() {
    let lib = std::env::var("DEP_TCH_LIBTORCH_LIB").expect("torch-sys says where libtorch is");
    let args = [
        // The CPU half is linked by name; CUDA only comes along with libtorch.so, which no symbol
        // asks for. Named in spite of that, it is whatever libtorch the binary is started with.
        "-Wl,--push-state,--no-as-needed".to_owned(),
        "-ltorch".to_owned(),
        "-Wl,--pop-state".to_owned(),
        // RUNPATH, not RPATH: LD_LIBRARY_PATH goes before it.
        "-Wl,--enable-new-dtags".to_owned(),
        format!("-Wl,-rpath,{lib}"),
    ];
    for arg in &args {
        println!("cargo::rustc-link-arg={arg}");
    }
    println!("cargo::metadata=LINK_ARGS={}", args.join("\x1f"));
    println!("cargo::rerun-if-changed=build.rs");
}
