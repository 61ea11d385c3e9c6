use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// A stretch of network that can be cut: while it is, connections stay and nothing comes through,
/// as with a pulled cable. What was sent meanwhile arrives once it is healed.
pub(crate) struct Link {
    address: SocketAddr,
    shared: Arc<Shared>,
    listener: JoinHandle<()>,
}

struct Shared {
    /// Where it leads to at present.
    target: watch::Sender<Option<SocketAddr>>,
    whole: watch::Sender<bool>,
    /// How often all connections were broken.
    breaks: watch::Sender<usize>,
}

impl Link {
    /// Lays a link that leads nowhere yet.
    pub(crate) async fn lay() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
        let address = listener.local_addr().expect("it has an address");
        let shared = Arc::new(Shared {
            target: watch::Sender::new(None),
            whole: watch::Sender::new(true),
            breaks: watch::Sender::new(0),
        });
        let carried = Arc::clone(&shared);
        let listener = tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                let shared = Arc::clone(&carried);
                tokio::spawn(async move { shared.carry(near).await });
            }
        });
        Self { address, shared, listener }
    }

    /// Where it begins.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Leads new connections to that port.
    pub(crate) fn lead_to(&self, port: u16) {
        self.shared.target.send_replace(Some(SocketAddr::from(([127, 0, 0, 1], port))));
    }

    pub(crate) fn cut(&self) {
        self.shared.whole.send_replace(false);
    }

    /// Breaks all connections there are; new ones can be made.
    pub(crate) fn break_all(&self) {
        self.shared.breaks.send_modify(|breaks| *breaks += 1);
    }

    pub(crate) fn heal(&self) {
        self.shared.whole.send_replace(true);
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.listener.abort();
        // What waits in it comes to its end.
        self.heal();
    }
}

impl Shared {
    async fn carry(&self, near: TcpStream) -> io::Result<()> {
        self.is_whole().await;
        let target = *self.target.borrow();
        let Some(target) = target else { return Ok(()) };
        let far = TcpStream::connect(target).await?;
        near.set_nodelay(true)?;
        far.set_nodelay(true)?;
        let mut breaks = self.breaks.subscribe();
        let (from_near, to_near) = near.into_split();
        let (from_far, to_far) = far.into_split();
        // Each way ends by itself: what a client had sent before it left still arrives.
        let both = async {
            let (out, back) =
                tokio::join!(self.pass_on(from_near, to_far), self.pass_on(from_far, to_near));
            out.and(back)
        };
        tokio::select! {
            ended = both => ended,
            _ = breaks.changed() => Ok(()),
        }
    }

    async fn pass_on(
        &self,
        mut from: impl AsyncRead + Unpin,
        mut to: impl AsyncWrite + Unpin,
    ) -> io::Result<()> {
        let mut buffer = vec![0; 1 << 16];
        loop {
            let length = from.read(&mut buffer).await?;
            // The end of a connection does not get through either.
            self.is_whole().await;
            if length == 0 {
                return Ok(());
            }
            to.write_all(&buffer[..length]).await?;
        }
    }

    async fn is_whole(&self) {
        // The sender is ours: it is not gone.
        let _ = self.whole.subscribe().wait_for(|whole| *whole).await;
    }
}
