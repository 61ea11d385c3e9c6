//! Objects: what was put is what is got, whole and verified, and nothing stays of what was not.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use async_nats::jetstream;
use tests::{Deadline, NatsServer, PATIENCE};
use workflow::{Bucket, Bus, Graph, ObjectError, ObjectRef, layout};

async fn bus(server: &NatsServer) -> Bus {
    let graph = Graph::parse("[[stage]]\nname = \"only\"").unwrap();
    layout::ensure(&server.config(), &graph, 1).await.unwrap()
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
    const CHUNK: usize = 512 * 1024;
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
    let client = async_nats::connect(server.url()).await.unwrap();
    let stream = jetstream::new(client).get_stream("OBJ_work").await.unwrap();
    let deadline = Deadline::after(PATIENCE);
    loop {
        let left = stream.get_info().await.unwrap().state.messages;
        if left == 0 {
            return;
        }
        deadline.pause_async(|| format!("{left} chunks are left")).await;
    }
}
