use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// A point in what a process says to its nats-server.
///
/// All that a process leaves behind when it dies is what the server has taken from it. So to kill it
/// at every arrow of a hand-over is to kill it before and after each of its messages, and nothing
/// has to be built into it for that.
#[derive(Clone, Copy, Debug)]
pub struct Point {
    /// The subject of the message, with the wildcards of NATS.
    pub subject: &'static str,
    /// What the message must contain.
    pub holding: &'static str,
    /// Which of these messages, from 1.
    pub nth: usize,
    /// On which side of it.
    pub when: When,
}

/// On which side of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// The server does not get it.
    Before,
    /// The server has it and has answered; the process does not get the answer.
    After,
}

impl Point {
    /// Before the first message to `subject`.
    pub const fn before(subject: &'static str) -> Self {
        Self { subject, holding: "", nth: 1, when: When::Before }
    }

    /// After the first message to `subject`.
    pub const fn after(subject: &'static str) -> Self {
        Self { when: When::After, ..Self::before(subject) }
    }

    /// The same at the `nth` such message.
    pub const fn nth(self, nth: usize) -> Self {
        Self { nth, ..self }
    }

    /// The same, counting only messages that contain `text`.
    pub const fn holding(self, text: &'static str) -> Self {
        Self { holding: text, ..self }
    }

    fn is_at(&self, frame: &Frame) -> bool {
        let text = self.holding.as_bytes();
        let holds = text.is_empty() || frame.bytes.windows(text.len()).any(|part| part == text);
        frame.is_publish && holds && matches(self.subject, &frame.subject)
    }
}

/// What a wire does at its point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deed {
    /// Falls silent: whoever holds it kills the process.
    Hang,
    /// Breaks the connection; the next one works.
    Cut,
    /// Keeps what is said from there on to itself, until it is let go.
    Hold,
    /// Keeps this one message to itself, until it is let go; what is said after it overtakes it, as
    /// if it had taken another way.
    Delay,
}

/// A connection to a nats-server with someone listening in.
pub struct Wire {
    url: String,
    struck: watch::Receiver<bool>,
    shared: Arc<Shared>,
    listener: JoinHandle<()>,
}

impl Wire {
    /// Lays a wire to the server at `url`, with or without a point.
    ///
    /// # Panics
    /// If there is no port for it.
    pub async fn lay(url: &str, trap: Option<(Point, Deed)>) -> Self {
        let server = url.trim_start_matches("nats://").to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
        let address = listener.local_addr().expect("it has an address");
        let (sprung, struck) = watch::channel(false);
        let trap = trap.map(|(point, deed)| Trap { point, deed, seen: 0, answer: None });
        let (free, _) = watch::channel(false);
        let shared = Arc::new(Shared { trap: Mutex::new(trap), sprung, free });
        let trap = Arc::clone(&shared);
        let listener = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                if let Ok(server) = TcpStream::connect(&server).await {
                    tokio::spawn(carry(client, server, Arc::clone(&trap)));
                }
            }
        });
        Self { url: format!("nats://{address}"), struck, shared, listener }
    }

    /// What `NATS_URL` is at this end of it.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Lets go what it holds.
    pub fn let_go(&self) {
        self.shared.free.send_replace(true);
    }

    /// Returns when its point has been reached.
    pub async fn struck(&self) {
        let mut struck = self.struck.clone();
        if struck.wait_for(|struck| *struck).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.listener.abort();
    }
}

struct Trap {
    point: Point,
    deed: Deed,
    seen: usize,
    /// Where the answer to the message at the point is going to.
    answer: Option<String>,
}

struct Shared {
    trap: Mutex<Option<Trap>>,
    sprung: watch::Sender<bool>,
    free: watch::Sender<bool>,
}

impl Shared {
    /// The deed that is due at a frame from the process, if one is.
    fn hears(&self, frame: &Frame) -> Option<Deed> {
        let mut trap = self.trap.lock().unwrap_or_else(PoisonError::into_inner);
        let armed = trap.as_mut().filter(|trap| trap.point.is_at(frame))?;
        armed.seen += 1;
        if armed.seen != armed.point.nth {
            return None;
        }
        if armed.point.when == When::Before {
            return trap.take().map(|trap| trap.deed);
        }
        armed.answer.clone_from(&frame.reply);
        assert!(armed.answer.is_some(), "{:?} has no answer to wait for", armed.point);
        None
    }

    /// The deed that is due at a frame from the server, if one is.
    fn answers(&self, frame: &Frame) -> Option<Deed> {
        let mut trap = self.trap.lock().unwrap_or_else(PoisonError::into_inner);
        let is_answer = trap.as_ref()?.answer.as_ref() == Some(&frame.subject);
        if is_answer { trap.take().map(|trap| trap.deed) } else { None }
    }

    async fn is_let_go(&self) {
        // The sender is ours: it is not gone.
        let _ = self.free.subscribe().wait_for(|free| *free).await;
    }
}

async fn carry(client: TcpStream, server: TcpStream, shared: Arc<Shared>) {
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let deed = tokio::select! {
        deed = pass_on(from_client, to_server, &shared, Shared::hears) => deed,
        deed = pass_on(from_server, to_client, &shared, Shared::answers) => deed,
    };
    let Ok(Some(deed)) = deed else { return };
    if deed == Deed::Hang {
        std::future::pending::<()>().await;
    }
}

async fn pass_on(
    from: impl tokio::io::AsyncRead + Unpin,
    mut to: impl tokio::io::AsyncWrite + Unpin,
    shared: &Shared,
    deed: impl Fn(&Shared, &Frame) -> Option<Deed>,
) -> io::Result<Option<Deed>> {
    let mut from = BufReader::with_capacity(1 << 16, from);
    let mut delayed = Vec::new();
    loop {
        tokio::select! {
            () = shared.is_let_go(), if !delayed.is_empty() => {
                to.write_all(&std::mem::take(&mut delayed)).await?;
                continue;
            }
            said = from.fill_buf() => said.map(drop)?,
        }
        let Some(frame) = Frame::read(&mut from).await? else { return Ok(None) };
        if let Some(deed) = deed(shared, &frame) {
            shared.sprung.send_replace(true);
            match deed {
                Deed::Hang | Deed::Cut => return Ok(Some(deed)),
                Deed::Hold => shared.is_let_go().await,
                Deed::Delay => {
                    delayed = frame.bytes;
                    continue;
                }
            }
        }
        to.write_all(&frame.bytes).await?;
    }
}

/// One sentence of the protocol of NATS, in either direction.
struct Frame {
    bytes: Vec<u8>,
    is_publish: bool,
    subject: String,
    reply: Option<String>,
}

impl Frame {
    async fn read(from: &mut (impl AsyncBufRead + Unpin)) -> io::Result<Option<Self>> {
        let mut bytes = Vec::new();
        if from.read_until(b'\n', &mut bytes).await? == 0 {
            return Ok(None);
        }
        let line = String::from_utf8_lossy(&bytes).into_owned();
        let words: Vec<&str> = line.split_whitespace().collect();
        // The lengths stand last: of the headers, where there are any, and of all.
        let (subject, reply, has_payload) = match words[..] {
            ["PUB", subject, _] | ["HPUB", subject, _, _] => (subject, None, true),
            ["PUB", subject, reply, _] | ["HPUB", subject, reply, _, _] => {
                (subject, Some(reply.to_owned()), true)
            }
            ["MSG" | "HMSG", subject, ..] => (subject, None, true),
            _ => ("", None, false),
        };
        if has_payload {
            let length: u64 = words.last().and_then(|word| word.parse().ok()).unwrap_or(0);
            from.take(length + 2).read_to_end(&mut bytes).await?;
        }
        let is_publish = line.starts_with("PUB") || line.starts_with("HPUB");
        Ok(Some(Self { is_publish, subject: subject.to_owned(), reply, bytes }))
    }
}

/// True if `subject` is one of `pattern`.
fn matches(pattern: &str, subject: &str) -> bool {
    let (mut wanted, mut tokens) = (pattern.split('.'), subject.split('.'));
    loop {
        match (wanted.next(), tokens.next()) {
            (Some(">"), Some(_)) | (None, None) => return true,
            (Some(wanted), Some(token)) if wanted == "*" || wanted == token => {}
            _ => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_as_those_of_nats() {
        for (pattern, subject) in [("a.*.c", "a.b.c"), ("a.>", "a.b.c"), ("a.b", "a.b")] {
            assert!(matches(pattern, subject), "{pattern} {subject}");
        }
        for (pattern, subject) in [("a.*", "a.b.c"), ("a.>", "a"), ("a.b", "a"), ("a", "a.b")] {
            assert!(!matches(pattern, subject), "{pattern} {subject}");
        }
    }

    #[tokio::test]
    async fn frames_are_read_whole_with_their_answers_address() {
        let said = b"PING\r\nHPUB to me 12 14\r\nNATS/1.0\r\n\r\n\n\n\r\nPUB to 2\r\nhi\r\n";
        let mut said = &said[..];
        let mut frames = Vec::new();
        while let Some(frame) = Frame::read(&mut said).await.unwrap() {
            frames.push((frame.subject, frame.reply, frame.bytes.len()));
        }
        let to = || "to".to_owned();
        assert_eq!(
            frames,
            [(String::new(), None, 6), (to(), Some("me".to_owned()), 34), (to(), None, 14)]
        );
    }
}
