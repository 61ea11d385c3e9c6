//! Links libtorch as the crate `demucs` says.

fn main() {
    let args = std::env::var("DEP_DEMUCS_LINK_ARGS").expect("demucs says how to link libtorch");
    for arg in args.split('\x1f') {
        println!("cargo::rustc-link-arg={arg}");
    }
    println!("cargo::rerun-if-changed=build.rs");
}
