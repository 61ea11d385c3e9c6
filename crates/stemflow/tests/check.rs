//! `stemflow check`, as it is called.

use std::process::{Command, Output};

fn check(workflow: &str) -> Output {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("workflow.toml");
    std::fs::write(&file, workflow).unwrap();
    Command::new(env!("CARGO_BIN_EXE_stemflow")).arg("check").arg(file).output().unwrap()
}

#[test]
fn a_cycle_is_named_together_with_all_else() {
    let output = check(
        r#"
        [[stage]]
        name = "decode"
        after = ["publish"]
        [[stage]]
        name = "separate"
        after = ["decode"]
        retries = 3
        [[stage]]
        name = "publish"
        after = ["separate"]
        "#,
    );
    let told = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{told}");
    assert!(told.contains("circle: decode -> separate -> publish -> decode"), "{told}");
    assert!(told.contains("unknown key `retries`"), "{told}");
    assert!(output.stdout.is_empty());
}

#[test]
fn the_workflow_of_this_repository_is_shown_as_arrows() {
    let output = check(include_str!("../../../workflow.toml"));
    assert!(output.status.success());
    assert_eq!(
        String::from_utf8(output.stdout).unwrap(),
        "decode ─► separate ×shard ─► encode ×stem ─► publish\n"
    );
}

#[test]
fn a_wrong_call_is_told_from_a_wrong_workflow() {
    let stemflow = |args: &[&str]| {
        Command::new(env!("CARGO_BIN_EXE_stemflow")).args(args).output().unwrap().status.code()
    };
    assert_eq!(stemflow(&["check", "no/such/file.toml"]), Some(1));
    assert_eq!(stemflow(&["check", "--no-such-option"]), Some(2));
    assert_eq!(stemflow(&["status", "not-a-hash"]), Some(2));
    assert_eq!(stemflow(&["--help"]), Some(0));
}
