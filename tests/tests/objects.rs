//! Objects: what was put is what is got, whole and verified, and nothing stays of what was not.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use async_nats::jetstream;
use futures::StreamExt;
use tests::{Cluster, Deadline, Deed, NatsServer, PATIENCE, Point, Wire};
use workflow::{Bucket, Bus, Config, Graph, ObjectError, ObjectRef, layout};

const CHUNK: usize = 512 * 1024;
const CHUNKS: &str = "$O.work.C.>";

async fn bus(server: &NatsServer) -> Bus {
    lay_out(&server.config(), 1).await
}

async fn lay_out(config: &Config, replicas: usize) -> Bus {
    let graph = Graph::parse("[[stage]]\nname = \"only\"").unwrap();
    layout::ensure(config, &graph, replicas).await.unwrap()
}

fn noise(length: usize) -> Vec<u8> {
    let mut state = 1_u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    (0..length).map(|_| next()).collect()
}

async fn put(bus: &Bus, name: &str, bytes: &[u8]) -> ObjectRef {
    let mut object = bus.put(Bucket::Work, name.to_owned(), None);
    // In pieces of an odd size, as a body or a pipe gives them.
    for piece in bytes.chunks(100_003) {
        object.write(piece).await.unwrap();
    }
    object.finish().await.unwrap()
}

async fn get(bus: &Bus, object: &ObjectRef) -> Result<Vec<u8>, ObjectError> {
    let mut reader = bus.get(object);
    let mut bytes = Vec::new();
    while let Some(chunk) = reader.next().await? {
        bytes.extend_from_slice(&chunk);
    }
    assert!(reader.next().await?.is_none(), "the end stays the end");
    Ok(bytes)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_put_is_what_is_got_by_us_and_by_the_library() {
    let server = NatsServer::start();
    let bus = bus(&server).await;
    let client = async_nats::connect(server.url()).await.unwrap();
    let library = jetstream::new(client).get_object_store("work").await.unwrap();
    for length in [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 9 * CHUNK, 20 * CHUNK + 7] {
        let bytes = noise(length);
        let name = format!("{length} bytes");
        let object = put(&bus, &name, &bytes).await;
        assert_eq!(object.size, length as u64);
        assert!(get(&bus, &object).await.unwrap() == bytes, "{name}");
        assert_eq!(bus.find(Bucket::Work, &name).await.unwrap(), object);

        let mut theirs = library.get(&name).await.unwrap();
        let mut read = Vec::new();
        tokio::io::AsyncReadExt::read_to_end(&mut theirs, &mut read).await.unwrap();
        assert!(read == bytes, "{name}, read by the library");

        let name = format!("{length} bytes of theirs");
        library.put(name.as_str(), &mut bytes.as_slice()).await.unwrap();
        let object = bus.find(Bucket::Work, &name).await.unwrap();
        assert!(get(&bus, &object).await.unwrap() == bytes, "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_get_ends_with_an_error_when_chunks_are_gone_or_others() {
    let server = NatsServer::start();
    let bus = bus(&server).await;
    let object = put(&bus, "song", &noise(3_000_000)).await;

    let other = ObjectRef { digest: "SHA-256=other".to_owned(), ..object.clone() };
    assert!(matches!(get(&bus, &other).await, Err(ObjectError::Damaged { .. })));
    let longer = ObjectRef { chunks: object.chunks + 1, ..object.clone() };
    assert!(matches!(get(&bus, &longer).await, Err(ObjectError::Missing { .. })));
    bus.delete(&object).await.unwrap();
    assert!(matches!(get(&bus, &object).await, Err(ObjectError::Missing { .. })));
    assert!(matches!(bus.find(Bucket::Work, "song").await, Err(ObjectError::Missing { .. })));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_put_that_is_not_finished_leaves_nothing() {
    let server = NatsServer::start();
    let bus = bus(&server).await;
    let mut object = bus.put(Bucket::Work, "half".to_owned(), None);
    object.write(&noise(8_000_000)).await.unwrap();
    drop(object);
    wait_for_messages(&bus, 0).await;
}

/// Waits until the bucket holds so many chunks and names.
async fn wait_for_messages(bus: &Bus, number: u64) {
    let stream = jetstream::new(bus.client().clone()).get_stream("OBJ_work").await.unwrap();
    let deadline = Deadline::after(PATIENCE);
    loop {
        let messages = stream.get_info().await.unwrap().state.messages;
        if messages == number {
            return;
        }
        deadline.pause_async(|| format!("{messages} messages, not {number}")).await;
    }
}

/// A way to the server at `url` on which something befalls the message to `CHUNKS` of that number.
async fn wire_to(url: &str, nth: usize, deed: Deed) -> Wire {
    Wire::lay(url, Some((Point::before(CHUNKS).nth(nth), deed))).await
}

async fn bus_by(wire: &Wire, config: Config) -> Bus {
    Bus::open(&Config { nats_url: wire.url().to_owned(), ..config }).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chunk_that_comes_after_it_was_stored_again_is_not_taken() {
    let server = NatsServer::start();
    let bus = bus(&server).await;
    let wire = wire_to(&server.url(), 2, Deed::Delay).await;
    // Whoever publishes a chunk is heard, whether the bucket takes it or not.
    let mut heard = bus.client().subscribe(CHUNKS).await.unwrap();
    let bytes = noise(7 * CHUNK);
    let mut object =
        bus_by(&wire, server.config()).await.put(Bucket::Work, "song".to_owned(), None);
    // The fifth is sent when the second is known to be stored: the second time.
    object.write(&bytes[..5 * CHUNK]).await.unwrap();
    wire.let_go();
    for _ in ["again", "late"] {
        let second =
            async { while heard.next().await.unwrap().payload != bytes[CHUNK..2 * CHUNK] {} };
        tokio::time::timeout(PATIENCE, second).await.unwrap();
    }
    object.write(&bytes[5 * CHUNK..]).await.unwrap();
    let object = object.finish().await.unwrap();
    assert!(get(&bus, &object).await.unwrap() == bytes);
    // Its chunks, and its name.
    wait_for_messages(&bus, 8).await;
}

/// The second chunk arrives when the first is about to be sent again; and behind it the first, if
/// that is not lost.
async fn come_in_disorder(config: Config, replicas: usize, is_lost: bool) {
    let bus = lay_out(&config, replicas).await;
    let first = wire_to(&config.nats_url, 1, Deed::Delay).await;
    let second = wire_to(first.url(), 2, Deed::Delay).await;
    let again = wire_to(second.url(), 3, Deed::Hold).await;
    let by_wire = bus_by(&again, config).await;
    let bytes = noise(2 * CHUNK);
    let written = bytes.clone();
    let putting = tokio::spawn(async move { put(&by_wire, "song", &written).await });
    again.struck().await;
    second.let_go();
    wait_for_messages(&bus, 1).await;
    if !is_lost {
        first.let_go();
        wait_for_messages(&bus, 2).await;
    }
    again.let_go();
    let object = putting.await.unwrap();
    assert!(get(&bus, &object).await.unwrap() == bytes);
    // Its chunks, and its name.
    wait_for_messages(&bus, 3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chunk_that_comes_before_its_predecessor_is_stored_again_behind_it() {
    let server = NatsServer::start();
    come_in_disorder(server.config(), 1, true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn chunks_that_come_late_and_in_disorder_are_put_in_order() {
    // One server looks at the condition of a message first, and several at its id.
    let server = NatsServer::start();
    come_in_disorder(server.config(), 1, false).await;
    let cluster = Cluster::start().await;
    come_in_disorder(cluster.config_of(0), Cluster::NODES, false).await;
}
