//! Ports, taken before anything starts, so that a port in use is told first and not by a log.

use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr, TcpListener};

use anyhow::{Context, bail};

/// A port that nobody else can take, until it is given to the process that it is for.
pub(super) struct Reserved {
    address: SocketAddr,
    listener: Option<TcpListener>,
}

impl Reserved {
    /// Takes `port`, or one that is free if it is 0. `option` is how another can be chosen.
    pub(super) fn new(address: IpAddr, port: u16, option: &str) -> anyhow::Result<Self> {
        let listener = match TcpListener::bind((address, port)) {
            Ok(listener) => listener,
            Err(error) if error.kind() == ErrorKind::AddrInUse => {
                bail!("port {port} is in use: stop what listens there or use {option}")
            }
            Err(error) => {
                return Err(error).with_context(|| format!("failed to listen on {address}:{port}"));
            }
        };
        Ok(Self { address: listener.local_addr()?, listener: Some(listener) })
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Leaves the port to the process that it is for.
    pub(super) fn release(&mut self) {
        self.listener = None;
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    #[test]
    fn a_port_in_use_is_told_with_what_to_do() {
        let localhost = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let mut first = Reserved::new(localhost, 0, "--port").unwrap();
        let port = first.address().port();
        let second = Reserved::new(localhost, port, "--port").err().unwrap();
        assert_eq!(
            second.to_string(),
            format!("port {port} is in use: stop what listens there or use --port")
        );
        first.release();
        assert!(Reserved::new(localhost, port, "--port").is_ok());
    }
}
