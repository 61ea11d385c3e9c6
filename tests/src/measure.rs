//! What the processes of a stack hold, after songs long and short, many and few.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::{Duration, Instant};

use async_nats::jetstream;
use futures::TryStreamExt;
use serde_json::Value;
use tokio::time::sleep;

use crate::chaos::{Fleet, Member};
use crate::{NatsServer, song};

/// Between two looks at a job.
const LOOK: Duration = Duration::from_millis(100);
/// How long the longest song may take.
const PATIENCE: Duration = Duration::from_secs(2 * 60 * 60);
/// Jobs that are under way at a time, of the small ones.
const AT_A_TIME: usize = 4;
/// What ends after all jobs have: leases, the reconciler's rounds, the janitor's.
pub const SETTLE: Duration = Duration::from_secs(150);
/// Whose memory is told, in the order of the data; `nats` is the server.
const NAMES: [&str; 6] = ["gateway", "decode", "separate", "encode", "publish", "nats"];

struct Stand {
    server: NatsServer,
    fleet: Fleet,
    http: reqwest::Client,
    _folder: tempfile::TempDir,
}

impl Stand {
    async fn start() -> Self {
        let folder = tempfile::tempdir().expect("a directory can be made");
        let server = NatsServer::start();
        let fleet = Fleet::start(&server.url(), 1, folder.path());
        let stand = Self { server, fleet, http: reqwest::Client::new(), _folder: folder };
        while stand.get("/readyz").await.is_none() {
            sleep(LOOK).await;
        }
        stand
    }

    async fn get(&self, path: &str) -> Option<Value> {
        let reply = self.http.get(format!("{}{path}", self.fleet.gateway(0))).send().await.ok()?;
        if !reply.status().is_success() {
            return None;
        }
        Some(reply.json().await.unwrap_or(Value::Null))
    }

    async fn send(&self, query: &str, body: impl Into<reqwest::Body>) -> String {
        let url = format!("{}/apiv1/separate?{query}", self.fleet.gateway(0));
        let reply = self.http.post(url).body(body).send().await.expect("the gateway answers");
        let reply: Value = reply.json().await.expect("the reply is JSON");
        reply["hash"].as_str().unwrap_or_else(|| panic!("refused: {reply}")).to_owned()
    }

    async fn wait_for(&self, hash: &str) -> Value {
        let start = Instant::now();
        loop {
            let status = self.get(&format!("/apiv1/status/{hash}")).await.unwrap_or_default();
            match status["state"].as_str() {
                Some("done") => return status,
                Some(state @ ("failed" | "cancelled")) => panic!("{state}: {status}"),
                _ => assert!(start.elapsed() < PATIENCE, "not done in time: {status}"),
            }
            sleep(LOOK).await;
        }
    }

    async fn delete(&self, hash: &str) {
        let url = format!("{}/apiv1/job/{hash}", self.fleet.gateway(0));
        self.http.delete(url).send().await.expect("the gateway answers");
    }

    /// A line of `/proc/PID/status` for each kind of process, in kB: the most of those of its kind.
    fn memory(&self, line: &str) -> BTreeMap<&'static str, u64> {
        let mut found = BTreeMap::from([("nats", kilobytes(self.server.pid(), line))]);
        for member in Member::all() {
            let size = self.fleet.pid(member).map_or(0, |pid| kilobytes(pid, line));
            let most = found.entry(member.name).or_default();
            *most = size.max(*most);
        }
        found
    }

    /// Messages and bytes of every stream.
    async fn streams(&self) -> BTreeMap<String, (u64, u64)> {
        let client = async_nats::connect(self.server.url()).await.expect("the server is up");
        let js = jetstream::new(client);
        let names: Vec<String> = js.stream_names().try_collect().await.expect("it tells");
        let mut streams = BTreeMap::new();
        for name in names {
            let stream = js.get_stream(&name).await.expect("it is there");
            let state = &stream.cached_info().state;
            streams.insert(name, (state.messages, state.bytes));
        }
        streams
    }
}

fn kilobytes(pid: u32, line: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let found = status.lines().find_map(|found| found.strip_prefix(line)?.strip_prefix(':'));
    found.and_then(|value| value.split_whitespace().next()?.parse().ok()).unwrap_or_default()
}

/// Prints the peak memory of each process for songs of so many minutes, and for an upload of 1 GB;
/// each with a stack of its own, for a peak stays.
pub async fn memory(minutes: &[usize]) {
    print_row("peak memory, MiB", NAMES.map(str::to_owned));
    for minutes in minutes {
        let stand = Stand::start().await;
        let start = Instant::now();
        // 23.6 s each.
        let long = song().repeat((minutes * 60).div_ceil(23));
        let hash = stand.send("stems=vocals", long).await;
        let seconds = stand.wait_for(&hash).await["manifest"]["seconds"].as_f64().unwrap_or(0.0);
        let title =
            format!("{:.1} min of music in {:.0} s", seconds / 60.0, start.elapsed().as_secs_f64());
        print_row(&title, peaks(&stand));
        stand.fleet.stop().await;
    }
    let stand = Stand::start().await;
    let start = Instant::now();
    let hash = stand.send("stems=vocals", gigabyte()).await;
    let title = format!("1 GB uploaded in {:.0} s", start.elapsed().as_secs_f64());
    print_row(&title, peaks(&stand));
    stand.delete(&hash).await;
    stand.fleet.stop().await;
}

fn peaks(stand: &Stand) -> [String; 6] {
    let peaks = stand.memory("VmHWM");
    NAMES.map(|name| format!("{:.1}", peaks.get(name).copied().unwrap_or_default() as f64 / 1024.0))
}

/// A WAV file of 1 GB, piece by piece.
fn gigabyte() -> reqwest::Body {
    const PIECE: usize = 1 << 20;
    const PIECES: usize = 954;
    let mut head = b"RIFF".to_vec();
    head.extend(((PIECES * PIECE) as u32 + 36).to_le_bytes());
    head.extend(b"WAVEfmt \x10\0\0\0\x01\0\x02\0\x44\xac\0\0\x10\xb1\x02\0\x04\0\x10\0data");
    head.extend(((PIECES * PIECE) as u32).to_le_bytes());
    let pieces = std::iter::once(bytes::Bytes::from(head))
        .chain(std::iter::repeat_n(bytes::Bytes::from(vec![0; PIECE]), PIECES));
    reqwest::Body::wrap_stream(futures::stream::iter(pieces.map(Ok::<_, std::io::Error>)))
}

/// Prints what the streams and the processes hold after few small jobs and after many, each of them
/// done, fetched and deleted, and after the stack has been idle for so long.
pub async fn growth(few: usize, many: usize, idle: Duration) {
    let stand = Stand::start().await;
    let mut done = 0;
    let mut columns = Vec::new();
    for until in [few, many] {
        small_jobs(&stand, done..until).await;
        done = until;
        sleep(idle).await;
        let mut column = BTreeMap::new();
        for (name, (messages, bytes)) in stand.streams().await {
            column.insert(format!("{name}, messages"), messages.to_string());
            column.insert(format!("{name}, bytes"), bytes.to_string());
        }
        for (name, size) in stand.memory("VmRSS") {
            column.insert(format!("{name}, MiB"), format!("{:.1}", size as f64 / 1024.0));
        }
        columns.push(column);
    }
    print_row("after so many jobs", [few.to_string(), many.to_string()]);
    for name in columns[1].keys() {
        print_row(
            name,
            [0, 1].map(|column| columns[column].get(name).cloned().unwrap_or_default()),
        );
    }
    stand.fleet.stop().await;
}

async fn small_jobs(stand: &Stand, numbers: std::ops::Range<usize>) {
    use futures::StreamExt;
    let file = crate::chaos::small_song();
    let file = &file;
    futures::stream::iter(numbers)
        .for_each_concurrent(AT_A_TIME, |number| async move {
            let hash = stand.send("stems=vocals", file(number as u64)).await;
            stand.wait_for(&hash).await;
            stand.delete(&hash).await;
        })
        .await;
}

fn print_row<const N: usize>(title: &str, values: [String; N]) {
    let mut row = format!("{title:<32}");
    for value in values {
        let _ = write!(row, " {value:>10}");
    }
    println!("{row}");
}
