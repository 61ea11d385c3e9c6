//! What the processes tell of themselves while a song goes through: metrics and probes.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::BTreeMap;
use std::fs;
use std::process::{Command, Stdio};

use serde_json::Value;
use tests::{Deadline, Metrics, PATIENCE, Port, Stack, binary, song};

const STAGES: [&str; 4] = ["decode", "separate", "encode", "publish"];

/// Where each process is to be asked, by its name, as Prometheus is told.
fn targets(stack: &Stack) -> BTreeMap<String, String> {
    let text = fs::read_to_string(stack.path("data/targets.json")).unwrap();
    let targets: Vec<Value> = serde_json::from_str(&text).unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    targets.iter().map(|t| (text(&t["labels"]["job"]), text(&t["targets"][0]))).collect()
}

async fn get(address: &str, path: &str) -> (u16, String) {
    let answer = reqwest::get(format!("http://{address}{path}")).await.unwrap();
    (answer.status().as_u16(), answer.text().await.unwrap())
}

async fn metrics(address: &str) -> Metrics {
    let (code, text) = get(address, "/metrics").await;
    assert_eq!(code, 200, "{text}");
    Metrics::read(&text)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_process_tells_what_it_has_done() {
    let stack = Stack::with(&["--observe"]);
    let targets = targets(&stack);
    assert_eq!(targets.len(), 1 + STAGES.len(), "{targets:?}");
    for (name, address) in &targets {
        assert_eq!(get(address, "/livez").await.0, 200, "{name}");
        assert_eq!(get(address, "/readyz").await.0, 200, "{name}");
    }
    let before = metrics(&targets["publish"]).await;
    for outcome in ["ok", "retry", "failed", "dead", "moot", "interrupted"] {
        let labels = [("stage", "publish"), ("outcome", outcome)];
        assert_eq!(before.sum("stemflow_tasks_total", &labels), Some(0.0), "{outcome}");
    }
    let hash = stack.submit(song(), "").await;
    assert_eq!(stack.wait_for(&hash).await["state"], "done");

    for (stage, tasks, times) in
        [("decode", 1.0, 1.0), ("separate", 3.0, 1.0), ("encode", 4.0, 4.0), ("publish", 1.0, 1.0)]
    {
        let deadline = Deadline::after(PATIENCE);
        let ok = [("stage", stage), ("outcome", "ok")];
        // The job is done a moment before its last task is acknowledged.
        let found = loop {
            let found = metrics(&targets[stage]).await;
            if found.sum("stemflow_tasks_total", &ok) == Some(tasks) {
                break found;
            }
            deadline.pause_async(|| format!("{stage}: {found:?}")).await;
        };
        let sum = |name: &str| found.sum(name, &[("stage", stage)]);
        assert_eq!(sum("stemflow_task_seconds_count"), Some(tasks), "{stage}");
        assert_eq!(sum("stemflow_task_wait_seconds_count"), Some(tasks), "{stage}");
        assert_eq!(sum("stemflow_tasks_in_progress"), Some(0.0), "{stage}");
        assert_eq!(sum("stemflow_redeliveries_total"), Some(0.0), "{stage}");
        assert!(sum("stemflow_task_slots") >= Some(1.0), "{stage}");
        let (busy, worked) = (sum("stemflow_busy_seconds_total"), sum("stemflow_task_seconds_sum"));
        let (busy, worked) = (busy.unwrap(), worked.unwrap());
        assert!(worked > 0.0 && (busy - worked).abs() < 0.1, "{stage}: {busy} {worked}");
        let audio = sum("stemflow_audio_seconds_total").unwrap();
        assert!((audio - times * 23.6).abs() < 1.0, "{stage}: {audio}");
        assert!(found.sum("stemflow_object_bytes_total", &[("direction", "get")]) > Some(1e5));
        assert!(found.sum("stemflow_object_seconds_total", &[]) > Some(0.0), "{stage}");
        assert_eq!(found.sum("stemflow_nats_connected", &[]), Some(1.0), "{stage}");
        check_process(&found, &hash);
    }
    let separate = metrics(&targets["separate"]).await;
    assert!(separate.sum("stemflow_model_load_seconds", &[("model", "mini")]) > Some(0.0));
    let device = [("device", "cpu"), ("precision", "f32")];
    assert_eq!(separate.sum("stemflow_device_info", &device), Some(1.0));
    let publish = metrics(&targets["publish"]).await;
    let done = [("outcome", "done")];
    assert_eq!(publish.sum("stemflow_job_seconds_count", &done), Some(1.0));
    check_gateway(&metrics(&targets["gateway"]).await, &hash);
}

fn check_process(found: &Metrics, hash: &str) {
    assert_eq!(found.sum("stemflow_build_info", &[]), Some(1.0));
    assert!(found.sum("process_resident_memory_bytes", &[]) > Some(1e6));
    for label in ["stage", "outcome", "lane", "bucket", "route", "stream"] {
        assert!(!found.values_of(label).contains(&hash), "a job as a label");
    }
}

fn check_gateway(found: &Metrics, hash: &str) {
    check_process(found, hash);
    let begun = [("outcome", "begun")];
    assert_eq!(found.sum("stemflow_jobs_submitted_total", &begun), Some(1.0));
    assert_eq!(found.sum("stemflow_jobs", &[]), None, "none is under way");
    assert_eq!(found.sum("stemflow_oldest_job_seconds", &[]), Some(0.0));
    assert_eq!(found.sum("stemflow_dead_letters", &[]), Some(0.0));
    for stage in STAGES {
        let lane = [("stage", stage), ("lane", "interactive")];
        assert_eq!(found.sum("stemflow_tasks_waiting", &lane), Some(0.0), "{stage}");
        assert!(found.sum("stemflow_tasks_in_hand", &lane).is_some(), "{stage}");
        assert!(found.sum("stemflow_workers_idle", &lane).is_some(), "{stage}");
        assert!(found.sum("stemflow_oldest_task_seconds", &lane) < Some(60.0), "{stage}");
    }
    for stream in
        ["STEMFLOW", "STEMFLOW_DEAD", "STEMFLOW_CALLBACKS", "KV_jobs", "KV_workflows", "OBJ_output"]
    {
        assert!(found.sum("stemflow_stream_bytes", &[("stream", stream)]).is_some(), "{stream}");
    }
    assert!(found.sum("stemflow_stream_bytes", &[("stream", "OBJ_output")]) > Some(1e6));
    let limit = found.sum("stemflow_stream_limit_bytes", &[("stream", "STEMFLOW")]);
    assert_eq!(limit, Some(f64::from(2_u32 << 30)));
}

/// Nobody works on what waits: it is counted, and grows old.
#[tokio::test(flavor = "multi_thread")]
async fn what_waits_is_counted_and_grows_old() {
    let stack = Stack::with(&["--observe", "--scale", "decode=0"]);
    let gateway = &targets(&stack)["gateway"];
    stack.submit(song(), "").await;
    let deadline = Deadline::after(PATIENCE);
    let lane = [("stage", "decode"), ("lane", "interactive")];
    loop {
        let found = metrics(gateway).await;
        assert_eq!(found.sum("stemflow_tasks_waiting", &lane), Some(1.0));
        let ages = ["stemflow_oldest_job_seconds", "stemflow_oldest_task_seconds"];
        let ages = ages.map(|name| found.sum(name, &[]).unwrap());
        if ages.iter().all(|age| (1.0..60.0).contains(age)) {
            break;
        }
        deadline.pause_async(|| format!("{ages:?}")).await;
    }
}

/// A stage that cannot reach NATS is alive and not ready, and says why.
#[tokio::test(flavor = "multi_thread")]
async fn a_stage_without_nats_is_alive_and_not_ready() {
    let port = Port::reserve();
    let url = port.address().to_string();
    let mut stage = Command::new(binary("decode"))
        .env("NATS_URL", "nats://127.0.0.1:1")
        .env("STEMFLOW_OBSERVE", &url)
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let deadline = Deadline::after(PATIENCE);
    let (code, reason) = loop {
        if let Ok(answer) = reqwest::get(format!("http://{url}/readyz")).await {
            let code = answer.status().as_u16();
            let text = answer.text().await.unwrap();
            if text.contains("NATS") {
                break (code, text);
            }
        }
        deadline.pause_async(|| "no answer".to_owned()).await;
    };
    let alive = get(&url, "/livez").await.0;
    stage.kill().unwrap();
    stage.wait().unwrap();
    assert_eq!((code, alive), (503, 200), "{reason}");
}

#[test]
fn an_address_that_is_none_is_refused_with_one_that_is() {
    let refused = Command::new(binary("decode")).env("STEMFLOW_OBSERVE", "9100").output().unwrap();
    assert!(!refused.status.success());
    let log = String::from_utf8_lossy(&refused.stderr);
    assert!(log.contains("STEMFLOW_OBSERVE is `9100`") && log.contains("0.0.0.0:9100"), "{log}");
}
