//! A stage more is a table in `workflow.toml` and a binary. Nothing else knows of it.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::fs;

use tests::{Stack, song, tree};
use workflow::Graph;

const LOUDNESS: &str = r#"
[[stage]]
name = "loudness"
after = ["decode"]
each = "shard"
state = "measuring"
"#;

#[tokio::test(flavor = "multi_thread")]
async fn a_fifth_stage_takes_its_place_beside_the_others() {
    let directory = tempfile::tempdir().unwrap();
    let workflow = directory.path().join("workflow.toml");
    let four = fs::read_to_string(tree().join("workflow.toml")).unwrap();
    fs::write(&workflow, four + LOUDNESS).unwrap();

    let stack = Stack::with(&["--workflow", workflow.to_str().unwrap()]);
    let hash = stack.submit(song(), "stems=bass").await;
    let status = stack.wait_for(&hash).await;
    assert_eq!(status["state"], "done", "{status:#}");
    let stages = status["stages"].as_array().unwrap();
    let loudness = stages.iter().find(|stage| stage["name"] == "loudness").unwrap();
    assert_eq!(loudness["finished"], true);
    assert!(loudness["tasks"].as_u64().unwrap() > 1, "{loudness}");

    let client = async_nats::connect(stack.nats_url()).await.unwrap();
    let jobs = async_nats::jetstream::new(client).get_key_value("jobs").await.unwrap();
    let job = jobs.get(&hash).await.unwrap().unwrap();
    let job: serde_json::Value = serde_json::from_slice(&job).unwrap();
    for level in job["results"]["loudness"].as_array().unwrap() {
        let level = level.as_f64().unwrap();
        assert!((-60.0..0.0).contains(&level), "{level} dB");
    }
}

#[test]
fn the_workflow_in_the_tree_is_the_four_stages() {
    let graph = Graph::parse(&fs::read_to_string(tree().join("workflow.toml")).unwrap())
        .unwrap_or_else(|errors| panic!("{errors}"));
    let names: Vec<_> = graph.stages().iter().map(|stage| stage.name.as_str()).collect();
    assert_eq!(names, ["decode", "separate", "encode", "publish"]);
    let states: Vec<_> = graph.stages().iter().map(workflow::StageSpec::state).collect();
    assert_eq!(states, ["decoding", "separating", "encoding", "publishing"]);
}
