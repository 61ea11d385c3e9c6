use std::net::{Ipv4Addr, SocketAddr};

use tokio::net::TcpSocket;

/// A port of this machine that a process is to listen on, once or again and again.
///
/// It is bound here, but not listened on: so long as this lives the system gives it to nobody who
/// asks for any port, be it to listen or to connect from; who asks for this one gets it.
pub struct Port {
    socket: TcpSocket,
}

impl Port {
    /// Takes a free one.
    ///
    /// # Panics
    /// If there is none.
    #[must_use]
    pub fn reserve() -> Self {
        let socket = TcpSocket::new_v4().expect("a socket can be made");
        socket.set_reuseaddr(true).expect("an address can be shared");
        socket.bind((Ipv4Addr::LOCALHOST, 0).into()).expect("a port is free");
        Self { socket }
    }

    /// What to listen on.
    ///
    /// # Panics
    /// If the system does not say.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.socket.local_addr().expect("it has an address")
    }
}

#[cfg(test)]
mod tests {
    use std::io::ErrorKind;
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn a_port_is_for_who_asks_for_it_again_and_again_and_taken_for_all_others() {
        let port = Port::reserve();
        for _ in 0..3 {
            let listener = TcpListener::bind(port.address()).expect("it is kept for us");
            let client = TcpStream::connect(port.address()).expect("somebody listens");
            drop((listener.accept().expect("it is there"), client));
        }
        let other = TcpSocket::new_v4().expect("a socket can be made");
        let refused = other.bind(port.address()).expect_err("it does not share");
        assert_eq!(refused.kind(), ErrorKind::AddrInUse);
    }
}
