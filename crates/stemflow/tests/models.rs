//! `stemflow models`, as it is called, with a hub of the test's own.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

#[path = "../../models/tests/support/mod.rs"]
mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::Duration;

use separation::Catalogue;
use support::HubServer;
use tempfile::TempDir;
use tokio::process::Command;
use tokio::time::timeout;

const DEADLINE: Duration = Duration::from_secs(60);
const NET: &str = "tiny/4e5f6071.safetensors";

/// A hub, a cache, and a folder of models with `mini` in it.
struct Stand {
    hub: HubServer,
    home: TempDir,
}

impl Stand {
    async fn start() -> Self {
        let home = tempfile::tempdir().unwrap();
        let models = home.path().join("models");
        fs::create_dir(&models).unwrap();
        for file in ["models.toml", "mini.safetensors"] {
            fs::copy(tree("models").join(file), models.join(file)).unwrap();
        }
        let hub = HubServer::start("adefossez/Demucs-tiny", &repository()).await;
        Self { hub, home }
    }

    fn models(&self) -> PathBuf {
        self.home.path().join("models")
    }

    async fn stemflow(&self, args: &[&str]) -> (Option<i32>, String, String) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_stemflow"));
        command
            .arg("models")
            .args(args)
            .env("STEMFLOW_MODELS", self.models())
            .env("HF_ENDPOINT", &self.hub.url)
            .env("HF_HOME", self.home.path().join("hf"))
            .env_remove("HF_HUB_CACHE")
            .env_remove("HF_TOKEN")
            .env_remove("HF_HUB_OFFLINE")
            .kill_on_drop(true);
        let output = timeout(DEADLINE, command.output()).await.expect("it comes to its end");
        let Output { status, stdout, stderr } = output.unwrap();
        let [stdout, stderr] = [stdout, stderr].map(|text| String::from_utf8(text).unwrap());
        (status.code(), stdout, stderr)
    }

    /// What has to work.
    async fn told(&self, args: &[&str]) -> String {
        let (code, stdout, stderr) = self.stemflow(args).await;
        assert_eq!(code, Some(0), "{args:?}: {stderr}");
        stdout
    }

    /// What must not work.
    async fn refused(&self, args: &[&str]) -> (Option<i32>, String) {
        let (code, stdout, stderr) = self.stemflow(args).await;
        assert_ne!(code, Some(0), "{args:?}: {stdout}");
        (code, stderr)
    }
}

fn tree(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(path)
}

fn repository() -> PathBuf {
    tree("crates/models/fixtures/repository")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_is_pulled_listed_and_verified() {
    let stand = Stand::start().await;
    let told = stand.told(&["pull", "tiny"]).await;
    let licence = told.find("licence: for research use, by their author's word").unwrap();
    assert!(licence < told.find("drums, vocals").unwrap(), "{told}");
    assert!(told.contains("stemflow submit song.mp3 --model tiny"), "{told}");

    let catalogue = Catalogue::read(&stand.models()).unwrap();
    let tiny = catalogue.find("tiny").unwrap();
    assert_eq!(tiny.sources, ["drums", "vocals"]);
    assert_eq!((tiny.segment_frames, tiny.reach_frames), (88_200, [17, 18]));
    let path = catalogue.verified_weights(tiny).unwrap();
    assert_eq!(path, stand.models().join("tiny/tiny.yaml"));
    assert!(models::Model::find(&path, None).is_ok());

    let told = stand.told(&["list"]).await;
    assert!(told.contains("  mini ") && told.contains("  tiny "), "{told}");
    assert!(told.contains("  htdemucs_ft ") && told.contains("research use"), "{told}");
    let told = stand.told(&["verify"]).await;
    assert_eq!(told, "mini: right, 1 file\ntiny: right, 3 files\n");

    let damaged = stand.models().join(NET);
    let mut bytes = fs::read(&damaged).unwrap();
    bytes[5000] ^= 1;
    fs::write(&damaged, bytes).unwrap();
    let (code, told) = stand.refused(&["verify"]).await;
    assert_eq!(code, Some(1));
    assert!(told.contains(NET) && told.contains("stemflow models pull"), "{told}");
    assert!(stand.told(&["verify", "mini"]).await.starts_with("mini: right"));

    stand.told(&["pull", "tiny"]).await;
    stand.told(&["verify", "tiny"]).await;
    let left = fs::read_dir(stand.models()).unwrap();
    assert_eq!(left.count(), 3, "nothing is left but what belongs there");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_is_taken_from_a_folder() {
    let stand = Stand::start().await;
    let folder = repository();
    let told = stand.told(&["pull", "tiny", "--from", folder.to_str().unwrap()]).await;
    assert!(told.contains("licence: what its author says"), "{told}");
    // One network of it, which nobody has a bag for.
    stand.told(&["pull", "0a1b2c3d", "--from", folder.to_str().unwrap()]).await;
    let told = stand.told(&["verify"]).await;
    assert!(told.contains("0a1b2c3d: right, 1 file\ntiny: right, 3 files"), "{told}");
    assert!(stand.hub.asked().is_empty());

    let (_, told) = stand.refused(&["pull", "other", "--from", folder.to_str().unwrap()]).await;
    assert!(told.contains("no model other; it has tiny, 0a1b2c3d, 4e5f6071"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_pulled_says_what_can_be_done() {
    let stand = Stand::start().await;
    let (code, told) = stand.refused(&["pull", "htdemucz"]).await;
    assert!(told.contains("published are htdemucs, htdemucs_ft"), "{told}");
    assert_eq!(code, Some(1));
    let (_, told) = stand.refused(&["pull", "mini"]).await;
    assert!(told.contains("`mini` is built in"), "{told}");
    let (code, told) = stand.refused(&["pull", "../tiny"]).await;
    assert!(told.contains("not the name of a model"), "{told}");
    assert_eq!(code, Some(2));
    let (code, told) = stand.refused(&["verify", "tiny"]).await;
    assert!(told.contains("no model `tiny` here, there are mini"), "{told}");
    assert_eq!(code, Some(2));

    stand.hub.be_wrong(true);
    let (_, told) = stand.refused(&["pull", "tiny"]).await;
    assert!(told.contains("safetensors has SHA-256") && told.contains("not taken"), "{told}");
    assert!(!stand.models().join("tiny").exists());
}
