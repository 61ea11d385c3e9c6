//! The way to NATS: who we are, whom we trust, and in plain words what is wrong if it does not open.

use std::error::Error as StdError;
use std::time::Duration;

use async_nats::{Client, ConnectError, ConnectErrorKind, Event, ServerError};

use crate::access::Access;
use crate::bus::{BusError, During};
use crate::config::Config;
use crate::metrics;
use crate::permissions;

/// How long any one request to NATS may take.
pub(crate) const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
/// A server that is cut off is left after three of these: before the leases of what one has in hand
/// run out.
const PING_INTERVAL: Duration = Duration::from_secs(5);

pub(crate) async fn connect(config: &Config) -> Result<Client, BusError> {
    let what = || format!("connect to NATS at {}", config.nats_url);
    let urls: Vec<&str> = config.nats_url.split(',').map(str::trim).collect();
    let options = config.access.options(&urls).during(what())?;
    let name = config.name.clone();
    let options = options
        .name(&config.name)
        .custom_inbox_prefix(inbox(&config.name))
        .connection_timeout(Duration::from_secs(5))
        .request_timeout(Some(REQUEST_TIMEOUT))
        .ping_interval(PING_INTERVAL)
        .event_callback(move |event| {
            metrics::nats(&event);
            tell(&name, &event);
            std::future::ready(())
        });
    options.connect(urls).await.map_err(|error| match advice(&config.access, &error) {
        Some(advice) => BusError::new(what(), format!("{}: {advice}", error.kind())),
        None => BusError::new(what(), error),
    })
}

/// A process called `stemflow init` is the command `stemflow`; a stage is the user of its name.
fn inbox(name: &str) -> String {
    permissions::inbox(name.split_whitespace().next().unwrap_or(name))
}

/// What the server refuses would else only be seen as an answer that does not come.
fn tell(name: &str, event: &Event) {
    match event {
        Event::ServerError(ServerError::Other(refusal))
            if refusal.to_lowercase().starts_with("permissions violation") =>
        {
            tracing::error!(
                name,
                refusal,
                "NATS does not allow this: is NATS_NKEY the seed of this service, and accounts.conf new?"
            );
        }
        event => tracing::debug!(%event, "nats"),
    }
}

/// The next step, for what can be known from the error.
fn advice(access: &Access, error: &ConnectError) -> Option<String> {
    if let ConnectErrorKind::AuthorizationViolation | ConnectErrorKind::Authentication =
        error.kind()
    {
        return Some(who_is_there(access));
    }
    let causes = causes(error);
    let has = |part: &str| causes.contains(part);
    let advice = match &access.ca {
        Some(ca) if has("UnknownIssuer") || has("BadSignature") => {
            format!("its certificate is not from the CA in NATS_CA, {}", ca.display())
        }
        None if has("UnknownIssuer") => {
            "nobody this machine trusts vouches for its certificate: set NATS_CA to a file with its CA"
                .to_owned()
        }
        _ if has("NotValidForName") => {
            "its certificate is for another name: use that in NATS_URL".to_owned()
        }
        _ if has("CertificateRequired") => {
            "it asks for a certificate: set NATS_CERT and NATS_KEY".to_owned()
        }
        _ if has("InvalidContentType") || has("InvalidMessage") => {
            "it does not speak TLS: unset NATS_CA, or let it".to_owned()
        }
        _ => return None,
    };
    Some(advice)
}

fn who_is_there(access: &Access) -> String {
    match (access.user(), &access.nkey) {
        (Ok(Some(user)), Some(path)) => {
            let path = path.display();
            format!(
                "it does not know the user {user} of NATS_NKEY, {path}: is that in its keys.conf?"
            )
        }
        _ if access.creds.is_some() => "it does not take the user of NATS_CREDS".to_owned(),
        _ => "it asks who is there: set NATS_NKEY to the file with this service's seed".to_owned(),
    }
}

fn causes(error: &ConnectError) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause} {cause:?}");
        source = cause.source();
    }
    text
}
