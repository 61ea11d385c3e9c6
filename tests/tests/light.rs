//! Who may know whom. Only `separate` carries libtorch; only `workflow` and those above it speak
//! NATS; the model is a library that stands alone.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::process::Command;

use tests::tree;

fn dependencies(package: &str) -> Vec<String> {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let tree = Command::new(cargo)
        .current_dir(tree())
        .args(["tree", "--edges", "normal", "--prefix", "none", "--format", "{p}", "--package"])
        .arg(package)
        .output()
        .expect("cargo runs");
    assert!(tree.status.success(), "{}", String::from_utf8_lossy(&tree.stderr));
    let lines = String::from_utf8(tree.stdout).expect("cargo writes UTF-8");
    let names = lines.lines().filter_map(|line| line.split_whitespace().next());
    names.map(str::to_owned).collect()
}

#[test]
fn only_separate_links_libtorch() {
    for package in [
        "gateway",
        "decode",
        "encode",
        "publish",
        "stemflow",
        "workflow",
        "separation",
        "audio",
        "models",
    ] {
        let found = dependencies(package);
        assert!(found.len() > 3, "{package} depends on {found:?}");
        assert!(!found.iter().any(|name| name == "torch-sys"), "{package} links libtorch");
    }
    assert!(dependencies("separate").iter().any(|name| name == "torch-sys"));
}

#[test]
fn arrows_go_down_only() {
    for (package, forbidden) in [
        ("workflow", &["audio", "demucs", "separation", "axum", "symphonia"][..]),
        ("audio", &["workflow", "demucs", "tokio", "async-nats"]),
        ("demucs", &["workflow", "tokio", "async-nats", "separation", "reqwest"]),
        (
            "models",
            &["workflow", "tokio", "async-nats", "separation", "demucs", "audio", "reqwest"],
        ),
        ("gateway", &["audio", "demucs", "symphonia"]),
    ] {
        let found = dependencies(package);
        for name in forbidden {
            assert!(!found.iter().any(|found| found == name), "{package} knows {name}");
        }
    }
}
