//! `stemflow check`, as it is called.

use std::ffi::OsStr;
use std::process::{Command, Output};

fn check(workflow: &str) -> Output {
    let folder = tempfile::tempdir().expect("a directory can be made");
    let file = folder.path().join("workflow.toml");
    std::fs::write(&file, workflow).expect("it can be written to");
    stemflow(&[OsStr::new("check"), file.as_os_str()])
}

fn stemflow(args: &[impl AsRef<OsStr>]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_stemflow"));
    command.args(args).output().expect("stemflow can be run")
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
    let exit_code = |args: &[&str]| stemflow(args).status.code();
    assert_eq!(exit_code(&["check", "no/such/file.toml"]), Some(1));
    assert_eq!(exit_code(&["check", "--no-such-option"]), Some(2));
    assert_eq!(exit_code(&["status", "not-a-hash"]), Some(2));
    assert_eq!(exit_code(&["--help"]), Some(0));
}
