//! Three servers, of which one may be lost at any time.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use async_nats::jetstream::{self, consumer::pull};
use futures::TryStreamExt;
use tests::{Diamond, SUM};
use workflow::JobState;

#[tokio::test(flavor = "multi_thread")]
async fn a_job_goes_through_and_everything_is_on_three_servers() {
    let diamond = Diamond::replicated().await;
    diamond.work_all();
    let id = diamond.submit("200").await.job().hash.clone();
    let job = diamond.wait_for_end(&id).await;
    assert_eq!((job.state, &job.results["join"]), (JobState::Done, &SUM.into()));
    diamond.wait_for_calm(1).await;

    let js = jetstream::new(diamond.bus.client().clone());
    let mut streams: Vec<_> = js.streams().try_collect().await.unwrap();
    streams.sort_by(|a, b| a.config.name.cmp(&b.config.name));
    let names: Vec<&str> = streams.iter().map(|stream| stream.config.name.as_str()).collect();
    let all = [
        "KV_jobs",
        "KV_workflows",
        "OBJ_output",
        "OBJ_queue",
        "OBJ_work",
        "STEMFLOW",
        "STEMFLOW_DEAD",
    ];
    assert_eq!(names, all);
    for stream in streams {
        let name = stream.config.name;
        assert_eq!(stream.cluster.map(|cluster| cluster.replicas.len()), Some(2), "{name}");
        let stream = js.get_stream(&name).await.unwrap();
        let consumers: Vec<_> = stream.consumers().try_collect().await.unwrap();
        for consumer in consumers {
            let replicas = consumer.cluster.map(|cluster| cluster.replicas.len());
            assert_eq!(replicas, Some(2), "{name} {}", consumer.name);
        }
    }
    let stream = js.get_stream("STEMFLOW").await.unwrap();
    for stage in tests::STAGES {
        assert!(stream.get_consumer::<pull::Config>(stage).await.is_ok(), "{stage}");
    }
}
