//! Objects put and got by us and by the library's own object store, by turns, on one server and on
//! three that hold a copy each.
//!
//! ```text
//! cargo bench -p tests --bench objects
//! ```
//!
//! The library stores as one chunk whatever a read of its source gives, so it is measured twice:
//! with a source that fills its buffer, and with one that gives 8 KiB at a time, as a connection
//! may.

use std::io::Cursor;
use std::time::Instant;

use async_nats::jetstream::{self, object_store::ObjectStore};
use tests::{Cluster, DIAMOND, NatsServer};
use tokio::io::{AsyncRead, AsyncReadExt};
use workflow::{Bucket, Bus, Config, Graph, layout};

const MIB: usize = 1 << 20;
const SIZE: usize = 64 * MIB;
const ROUNDS: usize = 7;
/// What a source gives at a time that does not fill a buffer.
const PIECE: usize = 8 * 1024;

/// Seconds of each round.
#[derive(Default)]
struct Seconds {
    put: Vec<f64>,
    get: Vec<f64>,
}

struct Bench {
    bus: Bus,
    store: ObjectStore,
    song: Vec<u8>,
}

impl Bench {
    async fn on(config: &Config, replicas: usize) -> Self {
        let graph = Graph::parse(DIAMOND).expect("the workflow is valid");
        let bus = layout::ensure(config, &graph, replicas).await.expect("the servers are up");
        let js = jetstream::new(bus.client().clone());
        let store = js.get_object_store(Bucket::Work.name()).await.expect("the bucket is there");
        // Nothing on the way may find it easier than a song.
        let song = (0..SIZE).map(|_| fastrand::u8(..)).collect();
        Self { bus, store, song }
    }

    async fn ours(&self, seconds: &mut Seconds) {
        let start = Instant::now();
        let mut writer = self.bus.put(Bucket::Work, "song".to_owned(), None);
        for piece in self.song.chunks(PIECE) {
            writer.write(piece).await.expect("it is taken");
        }
        let object = writer.finish().await.expect("it is stored");
        seconds.put.push(start.elapsed().as_secs_f64());
        let start = Instant::now();
        let mut reader = self.bus.get(&object);
        let mut size = 0;
        while let Some(chunk) = reader.next().await.expect("it is read") {
            size += chunk.len();
        }
        assert_eq!(size, SIZE);
        seconds.get.push(start.elapsed().as_secs_f64());
        self.bus.delete(&object).await.expect("it is there");
    }

    async fn theirs(&self, source: &mut (impl AsyncRead + Unpin), seconds: &mut Seconds) {
        let start = Instant::now();
        self.store.put("song", source).await.expect("it is stored");
        seconds.put.push(start.elapsed().as_secs_f64());
        let start = Instant::now();
        let mut object = self.store.get("song").await.expect("it is there");
        let mut buffer = vec![0; MIB];
        let mut size = 0;
        loop {
            match object.read(&mut buffer).await.expect("it is read") {
                0 => break,
                read => size += read,
            }
        }
        assert_eq!(size, SIZE);
        seconds.get.push(start.elapsed().as_secs_f64());
        self.store.delete("song").await.expect("it is there");
    }

    async fn run(&self, servers: &str) {
        let (mut ours, mut whole, mut pieces) = <(Seconds, Seconds, Seconds)>::default();
        for _ in 0..ROUNDS {
            self.ours(&mut ours).await;
            self.theirs(&mut Cursor::new(&self.song), &mut whole).await;
            self.theirs(&mut Pieces(Cursor::new(&self.song)), &mut pieces).await;
        }
        println!("{servers}, {} MiB, MiB/s, medians of {ROUNDS} rounds", SIZE / MIB);
        let rows = [
            ("ours, from 8 KiB reads", &ours),
            ("the library's, from full reads", &whole),
            ("the library's, from 8 KiB reads", &pieces),
        ];
        for (what, Seconds { put, get }) in rows {
            println!("  {what:<32} put {:>5.0}  get {:>5.0}", speed(put), speed(get));
        }
    }
}

fn speed(seconds: &[f64]) -> f64 {
    let mut seconds = seconds.to_vec();
    seconds.sort_by(f64::total_cmp);
    (SIZE / MIB) as f64 / seconds[seconds.len() / 2]
}

/// Gives [`PIECE`] bytes at a time, however many are asked for.
struct Pieces<R>(R);

impl<R: AsyncRead + Unpin> AsyncRead for Pieces<R> {
    fn poll_read(
        mut self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
        buffer: &mut tokio::io::ReadBuf<'_>,
    ) -> std::task::Poll<std::io::Result<()>> {
        let room = buffer.remaining().min(PIECE);
        let mut piece = tokio::io::ReadBuf::new(buffer.initialize_unfilled_to(room));
        let read = std::pin::Pin::new(&mut self.0).poll_read(context, &mut piece);
        let filled = piece.filled().len();
        buffer.advance(filled);
        read
    }
}

fn main() {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime can be made");
    runtime.block_on(async {
        let server = NatsServer::start();
        Bench::on(&server.config(), 1).await.run("one server").await;
        let cluster = Cluster::start().await;
        Bench::on(&cluster.config(), Cluster::NODES).await.run("three replicas").await;
    });
    runtime.shutdown_background();
}
