//! Who a process is to NATS, and how it knows that it is NATS that it talks to.

use std::env;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use async_nats::ConnectOptions;
use nkeys::{KeyPair, KeyPairType};

use crate::config::ConfigError;

/// What the help of every process says of [`Access`].
pub const ACCESS_HELP: &str = "\
  NATS_NKEY             file with the seed of this service's user; `stemflow keys` makes it
  NATS_CREDS            credentials file, where users have JWTs
  NATS_CA               file with the CA of the servers' certificates: TLS, and no other CA
  NATS_CERT, NATS_KEY   files with a certificate of our own, where the servers ask for one
";

/// Files that open the door to NATS, by the variables of the `nats` command. None: no user, and
/// TLS only if the servers ask for it.
#[derive(Clone, Debug, Default)]
pub struct Access {
    /// The seed of an NKEY (`NATS_NKEY`).
    pub nkey: Option<PathBuf>,
    /// A JWT and its seed (`NATS_CREDS`).
    pub creds: Option<PathBuf>,
    /// The only CA that is trusted (`NATS_CA`); without it, those that the machine trusts.
    pub ca: Option<PathBuf>,
    /// A certificate of our own (`NATS_CERT`).
    pub cert: Option<PathBuf>,
    /// The key of that certificate (`NATS_KEY`).
    pub key: Option<PathBuf>,
}

impl Access {
    /// The variables; an empty one is as one that is not set.
    pub const VARIABLES: [&str; 5] =
        ["NATS_NKEY", "NATS_CREDS", "NATS_CA", "NATS_CERT", "NATS_KEY"];

    /// Reads the environment, and looks at the files: what is wrong with one of them will not get
    /// better by waiting.
    pub fn from_env() -> Result<Self, ConfigError> {
        let path = |variable| env::var_os(variable).filter(|path| !path.is_empty());
        let [nkey, creds, ca, cert, key] =
            Self::VARIABLES.map(|variable| path(variable).map(PathBuf::from));
        let access = Self { nkey, creds, ca, cert, key };
        access.check()?;
        Ok(access)
    }

    fn check(&self) -> Result<(), ConfigError> {
        self.user()?;
        if let Some(path) = &self.creds {
            let text = read("NATS_CREDS", path)?;
            let what = "which holds no credentials: name the file that `nsc` made";
            ConnectOptions::with_credentials(&text)
                .map_err(|_| ConfigError::new("NATS_CREDS", path.display(), what))?;
            if let Some(nkey) = &self.nkey {
                let what = "and NATS_CREDS is set too: keep the one that the servers know";
                return Err(ConfigError::new("NATS_NKEY", nkey.display(), what));
            }
        }
        for (variable, path) in [("NATS_CA", &self.ca), ("NATS_CERT", &self.cert)] {
            let Some(path) = path else { continue };
            pem(variable, path, "CERTIFICATE")?;
        }
        if let Some(path) = &self.key {
            pem("NATS_KEY", path, "PRIVATE KEY")?;
        }
        match (&self.cert, &self.key) {
            (Some(path), None) => Err(ConfigError::new(
                "NATS_CERT",
                path.display(),
                "and its key is missing: set NATS_KEY",
            )),
            (None, Some(path)) => {
                let what = "and its certificate is missing: set NATS_CERT";
                Err(ConfigError::new("NATS_KEY", path.display(), what))
            }
            _ => Ok(()),
        }
    }

    /// The public key of the user, if an NKEY says who that is.
    pub(crate) fn user(&self) -> Result<Option<String>, ConfigError> {
        let Some(seed) = self.seed()? else { return Ok(None) };
        Ok(KeyPair::from_seed(&seed).ok().map(|key| key.public_key()))
    }

    fn seed(&self) -> Result<Option<String>, ConfigError> {
        let Some(path) = &self.nkey else { return Ok(None) };
        let seed = read("NATS_NKEY", path)?.trim().to_owned();
        match KeyPair::from_seed(&seed) {
            Ok(key) if key.key_pair_type() == KeyPairType::User => Ok(Some(seed)),
            _ => {
                let what = "which holds no user's seed (SU…): `stemflow keys` makes one";
                Err(ConfigError::new("NATS_NKEY", path.display(), what))
            }
        }
    }

    /// These files as options of a connection, read anew: they may have been changed since.
    pub(crate) fn options(&self, urls: &[&str]) -> Result<ConnectOptions, ConfigError> {
        let mut options = match self.seed()? {
            Some(seed) => ConnectOptions::with_nkey(seed),
            None => ConnectOptions::new(),
        };
        if let Some(path) = &self.creds {
            let what = "which holds no credentials";
            options = options
                .credentials(&read("NATS_CREDS", path)?)
                .map_err(|_| ConfigError::new("NATS_CREDS", path.display(), what))?;
        }
        if let Some(ca) = &self.ca {
            options = options.add_root_certificates(ca.clone());
        }
        if let (Some(cert), Some(key)) = (&self.cert, &self.key) {
            options = options.add_client_certificate(cert.clone(), key.clone());
        }
        let tls = self.ca.is_some() || urls.iter().any(|url| url.starts_with("tls://"));
        Ok(options.require_tls(tls))
    }
}

fn read(variable: &'static str, path: &Path) -> Result<String, ConfigError> {
    fs::read_to_string(path).map_err(|error| {
        let what = match error.kind() {
            io::ErrorKind::NotFound => "which is not there: name a file".to_owned(),
            _ => format!("which cannot be read: {error}"),
        };
        ConfigError::new(variable, path.display(), what)
    })
}

fn pem(variable: &'static str, path: &Path, kind: &str) -> Result<(), ConfigError> {
    let text = read(variable, path)?;
    if text.lines().any(|line| line.starts_with("-----BEGIN ") && line.contains(kind)) {
        return Ok(());
    }
    let what = format!("which holds no {}: name a PEM file", kind.to_lowercase());
    Err(ConfigError::new(variable, path.display(), what))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(access: &Access) -> String {
        access.check().unwrap_err().to_string()
    }

    #[test]
    fn each_wrong_file_is_named_with_its_variable_and_the_next_step() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str| {
            let path = folder.path().join(name);
            fs::write(&path, text).unwrap();
            Some(path)
        };
        let account = KeyPair::new_account().seed().unwrap();
        for (access, parts) in [
            (
                Access { nkey: Some(folder.path().join("none")), ..Access::default() },
                ["NATS_NKEY is `", "which is not there"],
            ),
            (
                Access { nkey: file("words", "hello"), ..Access::default() },
                ["words`, which holds no user's seed", "`stemflow keys` makes one"],
            ),
            (
                Access { nkey: file("account", &account), ..Access::default() },
                ["NATS_NKEY is `", "which holds no user's seed"],
            ),
            (
                Access { creds: file("creds", "hello"), ..Access::default() },
                ["NATS_CREDS is `", "which holds no credentials"],
            ),
            (
                Access { ca: file("ca", "hello"), ..Access::default() },
                ["NATS_CA is `", "which holds no certificate: name a PEM file"],
            ),
            (
                Access { cert: file("cert", "-----BEGIN CERTIFICATE-----"), ..Access::default() },
                ["NATS_CERT is `", "set NATS_KEY"],
            ),
        ] {
            let error = error(&access);
            assert!(parts.iter().all(|part| error.contains(part)), "{error}");
        }
    }

    #[test]
    fn a_seed_says_which_user_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("decode.nk");
        let key = KeyPair::new_user();
        fs::write(&path, key.seed().unwrap() + "\n").unwrap();
        let access = Access { nkey: Some(path), ..Access::default() };
        access.check().unwrap();
        assert_eq!(access.user().unwrap(), Some(key.public_key()));
        assert_eq!(Access::default().user().unwrap(), None);
    }
}
