//! The trace of a job, as a collector sees it.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::process::Command;
use std::time::Duration;

use opentelemetry::trace::FutureExt;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use tests::{Collector, Deadline, Deed, Diamond, PATIENCE, Point, Seen, Stack, Wire, binary, song};
use workflow::JobState;

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const CLIENT: &str = "b7ad6b7169203331";

fn traceparent() -> String {
    format!("00-{TRACE}-{CLIENT}-01")
}

fn ids(spans: &[Seen]) -> Vec<String> {
    spans.iter().map(Seen::id).collect()
}

fn keys(spans: &[Seen]) -> Vec<String> {
    let mut keys: Vec<_> =
        spans.iter().map(|seen| seen.attribute("stemflow.key").unwrap()).collect();
    keys.sort();
    keys
}

/// From the client's own span through every stage and shard to the end.
#[tokio::test(flavor = "multi_thread")]
async fn a_song_is_one_trace() {
    let collector = Collector::start().await;
    let environment = collector.environment();
    let environment = environment.each_ref().map(|(name, value)| (*name, value.as_str()));
    let stack = Stack::with_env(&environment);
    let request = reqwest::Client::new().post(stack.url("/apiv1/separate"));
    let request = request.header("traceparent", traceparent()).body(song());
    let (code, reply) = tests::answer(request.send().await).await;
    assert_eq!(code, 200, "{reply}");
    let hash = reply["hash"].as_str().unwrap();
    assert_eq!(stack.wait_for(hash).await["state"], "done");

    let deadline = Deadline::after(PATIENCE);
    let upload = collector.wait_for("POST /apiv1/separate", 1, deadline).await;
    assert_eq!((upload[0].parent(), upload[0].span.kind()), (CLIENT.to_owned(), SpanKind::Server));
    assert_eq!(upload[0].attribute("stemflow.job").as_deref(), Some(hash));

    let mut before = upload;
    let mut processed: Vec<Vec<Seen>> = Vec::new();
    for (stage, tasks) in [("decode", 1), ("separate", 3), ("encode", 4), ("publish", 1)] {
        let done = collector.wait_for(&format!("process {stage}"), tasks, deadline).await;
        let received = collector.wait_for(&format!("receive {stage}"), tasks, deadline).await;
        let released = collector.wait_for(&format!("publish {stage}"), 1, deadline).await;
        assert_eq!((done.len(), keys(&done)), (tasks, keys(&received)), "{stage}");
        // Who has recorded the last fact releases, and two may think they have.
        assert!(released.iter().all(|seen| ids(&before).contains(&seen.parent())), "{stage}");
        for seen in done.iter().chain(&received) {
            assert!(ids(&released).contains(&seen.parent()), "{stage}: {seen:#?}");
            assert_eq!(seen.service, stage);
            check_attributes(seen, stage, hash);
        }
        assert!(done.iter().all(|seen| seen.span.kind() == SpanKind::Consumer));
        // What is laid together links to all its parts.
        if let Some(parts) = processed.last() {
            for whole in &done {
                let links = whole.links();
                assert!(ids(parts).iter().all(|part| links.contains(part)), "{stage}: {whole:#?}");
            }
        }
        processed.push(done.clone());
        before = done;
    }
    let all = collector.all();
    assert!(all.iter().all(|seen| seen.trace() == TRACE), "another trace: {all:#?}");
    let log = stack.log();
    let line = log.lines().find(|line| line.contains("task done")).unwrap();
    assert!(line.contains(hash) && line.contains(TRACE), "{line}");
}

fn check_attributes(seen: &Seen, stage: &str, hash: &str) {
    for (name, value) in [
        ("messaging.system", "nats"),
        ("messaging.consumer.group.name", stage),
        ("messaging.nats.stream", "STEMFLOW"),
        ("messaging.nats.delivery_count", "1"),
        ("stemflow.job", hash),
    ] {
        assert_eq!(seen.attribute(name).as_deref(), Some(value), "{name} of {seen:#?}");
    }
    let template = seen.attribute("messaging.destination.template").unwrap();
    assert!(!template.contains(hash) && template.contains(stage), "{template}");
}

fn square(url: &str, collector: &Collector) -> tokio::process::Child {
    let mut command = Command::new(binary("diamond"));
    command.env("NATS_URL", url).env("STAGE", "square").env("STEMFLOW_LOG", "error");
    command.envs(collector.environment());
    let mut command = tokio::process::Command::from(command);
    command.kill_on_drop(true).spawn().unwrap()
}

/// The worker that dies tells nothing more; that it had the task, it has told before.
#[tokio::test(flavor = "multi_thread")]
async fn a_task_whose_worker_was_killed_has_a_second_span_below_the_same_parent() {
    let collector = Collector::start().await;
    let diamond = Diamond::start().await;
    diamond.shorten_leases(Duration::from_secs(3)).await;
    diamond.work_all_but("square");
    let point = Point::before("stemflow.fact.*.square.*");
    let wire = Wire::lay(&diamond.server.url(), Some((point, Deed::Hang))).await;
    let mut first = square(wire.url(), &collector);
    let context = telemetry::context::below(Some(&traceparent()));
    let id = diamond.submit("4").with_context(context).await.job().hash.clone();
    let deadline = Deadline::after(PATIENCE);
    wire.struck().await;
    let lost = collector.wait_for("receive square", 1, deadline).await.remove(0);
    first.kill().await.unwrap();
    assert!(collector.spans("process square").is_empty());

    let mut second = square(&diamond.server.url(), &collector);
    assert_eq!(diamond.wait_for_end(&id).await.state, JobState::Done);
    let done = collector.wait_for("process square", 4, deadline).await;
    let key = lost.attribute("stemflow.key");
    let again: Vec<_> = done.iter().filter(|seen| seen.attribute("stemflow.key") == key).collect();
    assert_eq!(again.len(), 1);
    assert_eq!((again[0].parent(), again[0].trace()), (lost.parent(), lost.trace()));
    assert_eq!(lost.attribute("messaging.nats.delivery_count").as_deref(), Some("1"));
    assert_eq!(again[0].attribute("messaging.nats.delivery_count").as_deref(), Some("2"));
    assert_ne!(again[0].instance, lost.instance);
    assert_eq!((lost.parent(), lost.trace()), (CLIENT.to_owned(), TRACE.to_owned()));
    second.kill().await.unwrap();
}

#[test]
fn a_protocol_that_cannot_be_had_is_told() {
    let refused = Command::new(binary("decode"))
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", "http://localhost:4317")
        .env("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")
        .output()
        .unwrap();
    assert!(!refused.status.success());
    let log = String::from_utf8_lossy(&refused.stderr);
    assert!(log.contains("http/protobuf is what can be had"), "{log}");
}
