use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;
use workflow::{Access, Config};

use crate::nats;
use crate::port::Port;
use crate::process::Process;
use crate::stack::{binary, tree};

/// A nats-server, or three, with the accounts of a workflow, a key for each user, and TLS: made by
/// the commands and from the files with which one makes real ones. Killed and cleaned up when
/// dropped.
pub struct Guarded {
    directory: TempDir,
    _processes: Vec<Process>,
    ports: Vec<u16>,
}

impl Guarded {
    /// Starts a server for that workflow.
    ///
    /// # Panics
    /// If it does not come up.
    pub fn start(workflow: &str) -> Self {
        Self::with(workflow, |accounts| accounts)
    }

    /// The same, with other accounts than these.
    ///
    /// # Panics
    /// If it does not come up.
    pub fn with(workflow: &str, change: impl Fn(String) -> String) -> Self {
        let directory = prepare(workflow, change);
        let settings =
            "jetstream { store_dir: $STORE_DIR }\ninclude tls.conf\ninclude accounts.conf\n";
        write(&directory.path().join("server.conf"), settings);
        let process = start(directory.path(), "server.conf", "server", &[], &[]);
        Self::of(directory, vec![process])
    }

    /// Starts three servers, each with `nats/cluster.conf`; they may not have found each other yet.
    ///
    /// # Panics
    /// If one does not come up.
    pub fn three(workflow: &str) -> Self {
        let directory = prepare(workflow, |accounts| accounts);
        let reserved = [(); 3].map(|()| Port::reserve());
        let routes = reserved.each_ref().map(|port| format!("nats://{}", port.address()));
        let servers = routes.iter().enumerate().map(|(number, route)| {
            let name = format!("nats-{number}");
            let environment = [
                ("SERVER_NAME", name.clone()),
                ("ROUTES", format!("{routes:?}")),
                ("MAX_FILE_STORE", "10GB".to_owned()),
            ];
            let more = ["--http_port", "-1", "--cluster", route];
            start(directory.path(), "cluster.conf", &name, &more, &environment)
        });
        let servers = servers.collect();
        Self::of(directory, servers)
    }

    fn of(directory: TempDir, processes: Vec<Process>) -> Self {
        let ports = processes.iter().map(|process| process.wait_for_ports().of("nats")).collect();
        Self { directory, _processes: processes, ports }
    }

    /// What `NATS_URL` is for it.
    pub fn url(&self) -> String {
        let urls: Vec<String> =
            self.ports.iter().map(|port| format!("tls://localhost:{port}")).collect();
        urls.join(",")
    }

    /// A file of its folder, such as `decode.nk` or `ca.crt`.
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// How a user reaches it.
    pub fn config(&self, user: &str) -> Config {
        let access = Access {
            nkey: Some(self.path(&format!("{user}.nk"))),
            ca: Some(self.path("ca.crt")),
            ..Access::default()
        };
        Config { name: user.to_owned(), access, ..nats::config(self.url()) }
    }

    /// What a process of that user has in its environment.
    pub fn environment(&self, user: &str) -> [(&'static str, OsString); 3] {
        [
            ("NATS_URL", self.url().into()),
            ("NATS_NKEY", self.path(&format!("{user}.nk")).into()),
            ("NATS_CA", self.path("ca.crt").into()),
        ]
    }

    /// What the server has logged so far.
    pub fn log(&self) -> String {
        fs::read_to_string(self.path("nats.log")).unwrap_or_default()
    }

    /// What it has refused so far: lines of its log.
    pub fn refused(&self) -> Vec<String> {
        let log = self.log();
        log.lines().filter(|line| line.contains("Violation")).map(str::to_owned).collect()
    }
}

/// A folder with all that the servers of a workflow need.
fn prepare(workflow: &str, change: impl Fn(String) -> String) -> TempDir {
    let directory = tempfile::tempdir().expect("a directory can be made");
    let folder = directory.path();
    write(&folder.join("workflow.toml"), workflow);
    let stemflow = |words: &[&str]| {
        let mut command = Command::new(binary("stemflow"));
        output(command.args(words).arg("--workflow").arg(folder.join("workflow.toml")))
    };
    stemflow(&["keys", "--out", text(folder)]);
    write(&folder.join("accounts.conf"), &change(stemflow(&["accounts"])));
    for name in ["cluster.conf", "tls.conf"] {
        fs::copy(tree().join("nats").join(name), folder.join(name)).expect("it is in the tree");
    }
    let mut certificates = Command::new(tree().join("nats/certificates"));
    output(certificates.arg(folder).args(["localhost", "127.0.0.1"]));
    directory
}

/// Starts a server with that configuration, told by its environment what it has to be told.
fn start(
    folder: &Path,
    conf: &str,
    store: &str,
    more: &[&str],
    environment: &[(&str, String)],
) -> Process {
    let file = |name: &str| text(&folder.join(name)).to_owned();
    let (conf, store) = (file(conf), file(store));
    let files = [
        ("TLS_CERT", file("tls.crt")),
        ("TLS_KEY", file("tls.key")),
        ("TLS_CA", file("ca.crt")),
        ("STORE_DIR", store),
    ];
    let arguments = ["-c", &conf, "--addr", "127.0.0.1", "--port", "-1"];
    let arguments = arguments.into_iter().chain(more.iter().copied());
    Process::start_with(folder, arguments, &[&files, environment].concat())
}

fn write(path: &Path, text: &str) {
    fs::write(path, text).expect("a file can be written");
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a temporary path is text")
}

fn output(command: &mut Command) -> String {
    let ran = command.output().expect("it can be run");
    assert!(ran.status.success(), "{command:?}: {}", String::from_utf8_lossy(&ran.stderr));
    String::from_utf8(ran.stdout).expect("it prints text")
}
