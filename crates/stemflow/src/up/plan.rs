//! What is to be started, with all checked that can be checked before anything is.

use std::ffi::OsString;
use std::fs::{self, File, TryLockError};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};
use separation::Catalogue;
use workflow::{Access, Config, Graph};

use super::nats_server;
use super::observe::Observed;
use super::ports::Reserved;
use super::process::Program;
use super::{Args, Scale};
use crate::error::Usage;

const LOCALHOST: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
/// Whether callbacks may lead to this machine and private networks.
const CALLBACK_PRIVATE: &str = "STEMFLOW_CALLBACK_PRIVATE";
/// What a process may take to end once its work has.
const GRACE_MARGIN: Duration = Duration::from_secs(5);

/// A stack that can be started.
pub(super) struct Plan {
    pub(super) nats_server: Program,
    pub(super) gateway: Program,
    pub(super) stages: Vec<Program>,
    /// How many processes each stage has.
    pub(super) scale: Vec<Scale>,
    /// How long a process may take to stop.
    pub(super) grace: Duration,
    nats: Reserved,
    http: Reserved,
    observed: Observed,
    data: PathBuf,
    /// Held for as long as the data are in use.
    _lock: File,
}

impl Plan {
    pub(super) fn new(args: &Args) -> anyhow::Result<Self> {
        let graph = args.stages.read()?;
        let scale = scale_of(&graph, &args.scale)?;
        Catalogue::read(&args.models)?;
        let folder = args.bin.clone().map_or_else(own_folder, Ok)?;
        let http = Reserved::new(args.listen, args.port, "--port")?;
        let nats = Reserved::new(LOCALHOST, args.nats_port, "--nats-port")?;
        let grace = Config::from_env("stemflow")?.grace + GRACE_MARGIN;
        let environment = Environment::new(args, &nats, &http)?;
        let gateway = program("gateway", &folder, environment.gateway())?;
        let mut stages = Vec::new();
        for scale in &scale {
            stages.extend(processes(scale, &folder, &environment)?);
        }
        let observed = if args.observe { Observed::all(&mut stages)? } else { Observed::default() };
        let path = nats_server::find(args.nats_server.as_deref(), &folder)?;
        let _lock = lock_data(&args.data)?;
        let nats_server = nats_program(path, args, &nats);
        let data = args.data.clone();
        observed.write(&data, http.address())?;
        Ok(Self { nats_server, gateway, stages, scale, nats, http, observed, grace, data, _lock })
    }

    /// Everything, in the order of starting.
    pub(super) fn programs(&self) -> impl Iterator<Item = &Program> {
        [&self.nats_server, &self.gateway].into_iter().chain(&self.stages)
    }

    /// Leaves the ports to nats-server and the gateway.
    pub(super) fn release_ports(&mut self) {
        self.nats.release();
        self.http.release();
        self.observed.release();
    }

    /// Where the gateway answers.
    pub(super) fn url(&self) -> String {
        let mut address = self.http.address();
        if address.ip().is_unspecified() {
            address.set_ip(LOCALHOST);
        }
        format!("http://{address}")
    }

    pub(super) fn nats_address(&self) -> SocketAddr {
        self.nats.address()
    }

    pub(super) fn nats_url(&self) -> String {
        nats_url(&self.nats)
    }

    /// What to tell when all is ready. Scripts read it: a line begins with its name.
    pub(super) fn welcome(&self) -> String {
        let (url, nats, data) = (self.url(), self.nats_url(), self.data.display());
        format!(
            "\
Stemflow is up.

  url   {url}
  try   curl -F mp3=@song.mp3 {url}/apiv1/separate
  nats  {nats}
  data  {data}

Ctrl-C stops it.
"
        )
    }
}

fn nats_url(nats: &Reserved) -> String {
    format!("nats://{}", nats.address())
}

/// How many processes each stage has, in the order of the workflow.
fn scale_of(graph: &Graph, wanted: &[Scale]) -> anyhow::Result<Vec<Scale>> {
    if let Some(unknown) = wanted.iter().find(|scale| graph.stage(&scale.stage).is_none()) {
        let names: Vec<_> = graph.stages().iter().map(|stage| stage.name.as_str()).collect();
        let (stage, known) = (&unknown.stage, names.join(", "));
        return Err(
            Usage(format!("--scale: there is no stage `{stage}`, there are {known}")).into()
        );
    }
    let processes = |name: &str| {
        let given = wanted.iter().rfind(|scale| scale.stage == name);
        given.map_or(1, |scale| scale.processes)
    };
    let scale = |name: &String| Scale { stage: name.clone(), processes: processes(name) };
    Ok(graph.stages().iter().map(|stage| scale(&stage.name)).collect())
}

fn own_folder() -> anyhow::Result<PathBuf> {
    let own = std::env::current_exe().context("failed to find out where this program is")?;
    Ok(own.parent().unwrap_or(Path::new(".")).to_owned())
}

/// What the processes are told by their environment.
struct Environment {
    common: Vec<(&'static str, OsString)>,
    listen: OsString,
    cores: usize,
    /// Someone has set the number of threads; then we do not.
    threads_are_set: bool,
}

impl Environment {
    fn new(args: &Args, nats: &Reserved, http: &Reserved) -> anyhow::Result<Self> {
        let absolute = |path: &Path| {
            path.canonicalize().with_context(|| format!("failed to find {}", path.display()))
        };
        let mut common = vec![
            ("NATS_URL", nats_url(nats).into()),
            ("STEMFLOW_WORKFLOW", absolute(&args.stages.workflow)?.into()),
            ("STEMFLOW_MODELS", absolute(&args.models)?.into()),
        ];
        // Keys and certificates of another server are none of this one's.
        common.extend(Access::VARIABLES.map(|variable| (variable, OsString::new())));
        let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
        let threads_are_set = std::env::var_os("STEMFLOW_THREADS").is_some();
        Ok(Self { common, listen: http.address().to_string().into(), cores, threads_are_set })
    }

    fn gateway(&self) -> Vec<(&'static str, OsString)> {
        let mut env = self.common.clone();
        env.push(("STEMFLOW_LISTEN", self.listen.clone()));
        // On one machine, who wants to be called is mostly there as well.
        let private = std::env::var_os(CALLBACK_PRIVATE);
        env.push((CALLBACK_PRIVATE, private.unwrap_or_else(|| "true".into())));
        env
    }

    /// Processes of one stage share the cores; with all of them for each they would only wait for
    /// each other.
    fn stage(&self, processes: usize) -> Vec<(&'static str, OsString)> {
        let mut env = self.common.clone();
        if processes > 1 && !self.threads_are_set {
            let threads = (self.cores / processes).max(1);
            env.push(("STEMFLOW_THREADS", threads.to_string().into()));
        }
        env
    }
}

/// `separate`, or `separate.1` and `separate.2`.
fn processes(
    scale: &Scale,
    folder: &Path,
    environment: &Environment,
) -> anyhow::Result<Vec<Program>> {
    let Scale { stage, processes } = scale;
    if *processes == 0 {
        return Ok(Vec::new());
    }
    let one = program(stage, folder, environment.stage(*processes))?;
    if *processes == 1 {
        return Ok(vec![one]);
    }
    let numbered = |number| Program { name: format!("{stage}.{number}"), ..one.clone() };
    Ok((1..=*processes).map(numbered).collect())
}

fn program(
    name: &str,
    folder: &Path,
    env: Vec<(&'static str, OsString)>,
) -> anyhow::Result<Program> {
    let path = find(name, folder)?;
    Ok(Program { name: name.to_owned(), path, args: Vec::new(), env })
}

fn find(name: &str, folder: &Path) -> anyhow::Result<PathBuf> {
    let path = folder.join(name);
    if !path.is_file() {
        bail!(
            "the program `{name}` is not in {}: build it (cargo build --release), or use --bin",
            folder.display()
        );
    }
    // Absolute, for a name without a slash would be looked for on PATH.
    std::path::absolute(&path).with_context(|| format!("failed to find {}", path.display()))
}

fn nats_program(path: PathBuf, args: &Args, nats: &Reserved) -> Program {
    let address = nats.address();
    let mut words: Vec<OsString> = vec![
        // Else it is called by its key, in dashboards too, and has another one after each start.
        "--name".into(),
        "nats".into(),
        "--jetstream".into(),
        "--store_dir".into(),
        args.data.clone().into(),
        "--addr".into(),
        address.ip().to_string().into(),
        "--port".into(),
        address.port().to_string().into(),
    ];
    if let Some(port) = args.nats_monitor_port {
        words.extend(["--http_port".into(), port.to_string().into()]);
    }
    Program { name: "nats".to_owned(), path, args: words, env: Vec::new() }
}

/// Two nats-servers on the same files would destroy them.
fn lock_data(data: &Path) -> anyhow::Result<File> {
    let shown = data.display();
    fs::create_dir_all(data).with_context(|| format!("failed to make {shown}"))?;
    let lock =
        File::create(data.join("lock")).with_context(|| format!("failed to write {shown}"))?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => {
            bail!("{shown} is in use by another `stemflow up`: stop it or use --data")
        }
        Err(TryLockError::Error(error)) => {
            Err(error).with_context(|| format!("failed to lock {shown}"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scale(stage: &str, processes: usize) -> Scale {
        Scale { stage: stage.to_owned(), processes }
    }

    fn environment() -> Environment {
        Environment { common: vec![], listen: "".into(), cores: 8, threads_are_set: false }
    }

    #[test]
    fn a_stage_has_one_process_unless_it_is_scaled() {
        let graph = Graph::parse("[[stage]]\nname = \"a\"\n[[stage]]\nname = \"b\"").unwrap();
        let found = scale_of(&graph, &[scale("b", 2), scale("b", 3)]).unwrap();
        assert_eq!(found, [scale("a", 1), scale("b", 3)]);
        let error = scale_of(&graph, &[scale("c", 2)]).unwrap_err();
        assert_eq!(error.to_string(), "--scale: there is no stage `c`, there are a, b");
        assert!(error.is::<Usage>());
    }

    #[test]
    fn processes_of_one_stage_are_numbered_and_share_the_cores() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("separate"), "").unwrap();
        let found = processes(&scale("separate", 3), folder.path(), &environment()).unwrap();
        let names: Vec<_> = found.iter().map(|program| program.name.as_str()).collect();
        assert_eq!(names, ["separate.1", "separate.2", "separate.3"]);
        assert_eq!(found[2].env, [("STEMFLOW_THREADS", OsString::from("2"))]);
        let found = processes(&scale("separate", 1), folder.path(), &environment()).unwrap();
        assert_eq!((found[0].name.as_str(), found[0].env.len()), ("separate", 0));
        assert!(
            processes(&scale("separate", 0), folder.path(), &environment()).unwrap().is_empty()
        );
    }

    #[test]
    fn a_missing_program_is_named() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("encode")).unwrap();
        for name in ["loudness", "encode"] {
            let error = find(name, folder.path()).unwrap_err().to_string();
            assert!(error.starts_with(&format!("the program `{name}` is not in")), "{error}");
        }
    }

    #[test]
    fn data_are_in_use_once() {
        let data = tempfile::tempdir().unwrap();
        let held = lock_data(data.path()).unwrap();
        let error = lock_data(data.path()).unwrap_err().to_string();
        assert!(error.contains("stop it or use --data"), "{error}");
        drop(held);
        assert!(lock_data(data.path()).is_ok());
    }
}
