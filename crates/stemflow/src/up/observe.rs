//! Where each process tells of itself: a port for every stage's, and a file that tells Prometheus of
//! all (`file_sd_configs`).

use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;

use anyhow::Context;
use serde_json::{Value, json};

use super::ports::Reserved;
use super::process::Program;

const LOCALHOST: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// The ports of all stages' processes; none if nobody is to look.
#[derive(Default)]
pub(super) struct Observed(Vec<(String, Reserved)>);

impl Observed {
    /// Gives each of these a port, which it keeps when it is started again.
    pub(super) fn all(programs: &mut [Program]) -> anyhow::Result<Self> {
        let mut ports = Vec::with_capacity(programs.len());
        for program in programs {
            let port = Reserved::new(LOCALHOST, 0, "--observe")?;
            program.env.push(("STEMFLOW_OBSERVE", port.address().to_string().into()));
            ports.push((program.name.clone(), port));
        }
        Ok(Self(ports))
    }

    /// Leaves the ports to the processes.
    pub(super) fn release(&mut self) {
        self.0.iter_mut().for_each(|(_, port)| port.release());
    }

    /// Writes down where the gateway and the stages are to be asked.
    pub(super) fn write(&self, data: &Path, gateway: SocketAddr) -> anyhow::Result<()> {
        if self.0.is_empty() {
            return Ok(());
        }
        let mut gateway = gateway;
        if gateway.ip().is_unspecified() {
            gateway.set_ip(LOCALHOST);
        }
        let mut targets = vec![target("gateway", gateway)];
        targets.extend(self.0.iter().map(|(name, port)| target(name, port.address())));
        let path = data.join("targets.json");
        let text = format!("{:#}\n", Value::from(targets));
        fs::write(&path, text).with_context(|| format!("failed to write {}", path.display()))
    }
}

/// `separate.2` is a process of the job `separate`, as Prometheus calls what we call a stage.
fn target(name: &str, address: SocketAddr) -> Value {
    let job = name.split('.').next().unwrap_or(name);
    json!({ "targets": [address.to_string()], "labels": { "job": job, "namespace": "local", "pod": name } })
}
