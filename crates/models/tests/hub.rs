//! Models from a hub, which is a server of the test's own.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use models::Model;
use models::hub::{Hub, HubError, HubSettings, Pulled};
use support::{COMMIT, HubServer};
use tempfile::TempDir;
use tokio::time::timeout;

const DEADLINE: Duration = Duration::from_secs(30);
const REPOSITORY: &str = "adefossez/Demucs-tiny";
const NET: &str = "0a1b2c3d.safetensors";

/// A server and a cache.
struct Stand {
    server: HubServer,
    cache: TempDir,
}

impl Stand {
    async fn start() -> Self {
        Self { server: server().await, cache: tempfile::tempdir().unwrap() }
    }

    fn settings(&self) -> HubSettings {
        HubSettings {
            endpoint: self.server.url.clone(),
            token: None,
            cache: self.cache.path().to_owned(),
            offline: false,
        }
    }

    async fn pull(&self) -> Result<Pulled, HubError> {
        pull(self.settings()).await
    }

    /// All files in the cache by that name, wherever they are.
    fn blobs(&self) -> Vec<String> {
        let folder = self.cache.path().join("models--adefossez--Demucs-tiny/blobs");
        let entries = fs::read_dir(folder).into_iter().flatten();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }
}

async fn server() -> HubServer {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/repository");
    HubServer::start(REPOSITORY, &folder).await
}

async fn pull(settings: HubSettings) -> Result<Pulled, HubError> {
    let hub = Hub::new(settings).unwrap();
    timeout(DEADLINE, hub.pull("tiny", &mut |_| {})).await.expect("a pull comes to its end")
}

fn names(files: &[PathBuf]) -> Vec<&str> {
    files.iter().map(|path| path.file_name().unwrap().to_str().unwrap()).collect()
}

#[tokio::test]
async fn a_model_is_pulled_into_the_cache_that_python_keeps() {
    let stand = Stand::start().await;
    let hub = Hub::new(stand.settings()).unwrap();
    let mut told = Vec::new();
    let mut tell = |progress: models::hub::Progress| {
        told.push((progress.file.to_owned(), progress.bytes, progress.of));
    };
    let pulled = timeout(DEADLINE, hub.pull("tiny", &mut tell)).await.unwrap().unwrap();
    assert_eq!((pulled.commit.as_str(), pulled.unasked), (COMMIT, None));
    assert_eq!(names(&pulled.files), ["tiny.yaml", NET, "4e5f6071.safetensors"]);
    let size = stand.server.file(NET).len() as u64;
    assert!(told.contains(&(NET.to_owned(), size, size)), "{told:?}");

    let repository = stand.cache.path().join("models--adefossez--Demucs-tiny");
    let snapshot = repository.join("snapshots").join(COMMIT);
    assert_eq!(pulled.files[1], snapshot.join(NET));
    let blob = fs::read_link(snapshot.join(NET)).unwrap();
    assert!(blob.starts_with("../../blobs"), "{}", blob.display());
    assert_eq!(fs::read(&pulled.files[1]).unwrap(), stand.server.file(NET));
    assert_eq!(fs::read_to_string(repository.join("refs/main")).unwrap(), COMMIT);
    assert_eq!(stand.blobs().len(), 3);

    let model = Model::find(&snapshot, None).unwrap();
    assert_eq!(model.summary().unwrap().sources, ["drums", "vocals"]);

    // What is there is not fetched again.
    assert_eq!(stand.server.asked_for_weights().len(), 2);
    stand.pull().await.unwrap();
    assert!(stand.server.asked_for_weights().is_empty());
}

#[tokio::test]
async fn after_a_cut_only_the_rest_is_fetched() {
    let stand = Stand::start().await;
    stand.server.cut_after(&[5000, 700]);
    let pulled = stand.pull().await.unwrap();
    assert_eq!(fs::read(&pulled.files[1]).unwrap(), stand.server.file(NET));
    let ranges: Vec<_> =
        stand.server.asked_for_weights().into_iter().map(|asked| asked.range).collect();
    let range = |from: &str| Some(format!("bytes={from}-"));
    assert_eq!(ranges, [None, range("5000"), range("5700"), None]);
}

#[tokio::test]
async fn a_pull_goes_on_where_the_one_before_it_was_cut() {
    let stand = Stand::start().await;
    // The second answer brings nothing: then it is given up.
    stand.server.cut_after(&[5000, 0]);
    let error = stand.pull().await.unwrap_err();
    assert!(matches!(error, HubError::Unreachable { .. }), "{error}");
    assert!(!error.to_string().contains("signature"), "{error}");
    assert!(stand.blobs().iter().any(|name| name.ends_with(".incomplete")));
    stand.server.asked();

    stand.pull().await.unwrap();
    let asked = stand.server.asked_for_weights();
    assert_eq!(asked[0].range.as_deref(), Some("bytes=5000-"));
    assert!(!stand.blobs().iter().any(|name| name.ends_with(".incomplete")));
}

#[tokio::test]
async fn what_is_not_what_the_hub_says_is_not_kept() {
    let stand = Stand::start().await;
    stand.server.be_wrong(true);
    match stand.pull().await.unwrap_err() {
        HubError::Digest { file, expected, found } => {
            assert_eq!(file, NET);
            assert_ne!(expected, found);
        }
        other => panic!("{other}"),
    }
    // The bag is there, and no trace of the network.
    assert_eq!(stand.blobs().len(), 1);
    let snapshots = stand.cache.path().join("models--adefossez--Demucs-tiny/snapshots");
    assert_eq!(fs::read_dir(snapshots.join(COMMIT)).unwrap().count(), 1);

    stand.server.be_wrong(false);
    stand.pull().await.unwrap();
}

#[tokio::test]
async fn what_went_bad_in_the_cache_is_fetched_again() {
    let stand = Stand::start().await;
    let pulled = stand.pull().await.unwrap();
    fs::write(&pulled.files[1], "rubbish").unwrap();
    let offline = HubSettings { offline: true, ..stand.settings() };
    assert!(matches!(pull(offline).await, Err(HubError::Digest { .. })));
    let pulled = stand.pull().await.unwrap();
    assert_eq!(fs::read(&pulled.files[1]).unwrap(), stand.server.file(NET));
}

#[tokio::test]
async fn without_the_hub_the_cache_is_taken() {
    let stand = Stand::start().await;
    let error = pull(HubSettings { offline: true, ..stand.settings() }).await.unwrap_err();
    assert!(error.to_string().contains("HF_HUB_OFFLINE"), "{error}");
    assert!(stand.server.asked().is_empty());

    let pulled = stand.pull().await.unwrap();
    stand.server.asked();
    let offline = pull(HubSettings { offline: true, ..stand.settings() }).await.unwrap();
    assert_eq!((offline.files, offline.commit), (pulled.files.clone(), pulled.commit));
    assert_eq!(offline.unasked.as_deref(), Some("HF_HUB_OFFLINE is set"));
    assert!(stand.server.asked().is_empty());

    stand.server.be_down(true);
    let unasked = stand.pull().await.unwrap();
    assert_eq!(unasked.files, pulled.files);
    assert!(unasked.unasked.unwrap().contains("503"));
    // A port where nobody listens.
    let endpoint = "http://127.0.0.1:1".to_owned();
    assert!(pull(HubSettings { endpoint, ..stand.settings() }).await.unwrap().unasked.is_some());
}

#[tokio::test]
async fn a_model_that_is_not_there_is_told_with_those_that_are() {
    let stand = Stand::start().await;
    let hub = Hub::new(stand.settings()).unwrap();
    let error = timeout(DEADLINE, hub.pull("htdemucz", &mut |_| {})).await.unwrap().unwrap_err();
    let told = error.to_string();
    assert!(told.contains("no htdemucz.yaml in adefossez/Demucs-htdemucz"), "{told}");
    assert!(told.contains("published are htdemucs, htdemucs_ft") && told.contains("HF_TOKEN"));
    let error = timeout(DEADLINE, hub.pull("../tiny", &mut |_| {})).await.unwrap().unwrap_err();
    assert!(matches!(error, HubError::Name(_)));
}

#[tokio::test]
async fn the_token_goes_to_the_hub_and_no_further() {
    let (stand, other) = (Stand::start().await, server().await);
    stand.server.refer_to(&other);
    let token = Some("secret".to_owned());
    pull(HubSettings { token, ..stand.settings() }).await.unwrap();
    let token = Some("Bearer secret".to_owned());
    assert!(stand.server.asked().iter().all(|asked| asked.token == token));
    let asked = other.asked();
    assert_eq!(asked.len(), 2);
    assert!(asked.iter().all(|asked| asked.token.is_none()));
}

#[tokio::test]
async fn two_pulls_at_a_time_fetch_once_and_do_no_harm() {
    let stand = Stand::start().await;
    let (first, second) = tokio::join!(stand.pull(), stand.pull());
    assert_eq!(first.unwrap(), second.unwrap());
    assert_eq!(stand.server.asked_for_weights().len(), 2);
    assert_eq!(stand.blobs().len(), 3);
}
