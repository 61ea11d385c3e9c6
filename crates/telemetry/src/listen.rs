//! The port of a process that has none of its own: `/metrics`, `/livez`, `/readyz`.
//!
//! It is served by the same threads as everything else the process waits for, so that whoever gets
//! an answer knows that these turn.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context;
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::CONTENT_TYPE;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};

use crate::{Readiness, metrics};

/// How long a client may take to say what it wants.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long to wait when there are no more files to be had for connections.
const PAUSE: Duration = Duration::from_millis(100);

/// Answers where `STEMFLOW_OBSERVE` says, if it says anything.
///
/// # Errors
/// If it is no address, or one that cannot be had.
pub async fn listen_as_told(readiness: Readiness) -> anyhow::Result<()> {
    let Ok(told) = std::env::var("STEMFLOW_OBSERVE") else { return Ok(()) };
    let address = told.parse().ok();
    let address = address.with_context(|| {
        format!("STEMFLOW_OBSERVE is `{told}`: an address and a port such as 0.0.0.0:9100 is")
    })?;
    let address = listen(address, readiness).await?;
    tracing::info!(%address, "metrics and probes");
    Ok(())
}

/// Answers at `address` for as long as the runtime lives. Returns the port that was taken.
///
/// # Errors
/// If the address cannot be had.
pub async fn listen(address: SocketAddr, readiness: Readiness) -> anyhow::Result<SocketAddr> {
    let listener = TcpListener::bind(address).await;
    let listener = listener.with_context(|| format!("failed to listen on {address}"))?;
    let address = listener.local_addr()?;
    tokio::spawn(async move {
        loop {
            match listener.accept().await {
                Ok((client, _)) => drop(tokio::spawn(serve(client, readiness.clone()))),
                Err(_) => tokio::time::sleep(PAUSE).await,
            }
        }
    });
    Ok(address)
}

async fn serve(client: TcpStream, readiness: Readiness) {
    let answer = service_fn(move |request| {
        let response = answer(&request, &readiness);
        async move { Ok::<_, Infallible>(response) }
    });
    let mut server = http1::Builder::new();
    server.timer(TokioTimer::new()).header_read_timeout(PATIENCE);
    // A client that goes away in between is no error of ours.
    let _ = server.serve_connection(TokioIo::new(client), answer).await;
}

fn answer(request: &Request<Incoming>, readiness: &Readiness) -> Response<Full<Bytes>> {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return text(StatusCode::METHOD_NOT_ALLOWED, "GET is\n");
    }
    match request.uri().path() {
        "/livez" => text(StatusCode::OK, "ok\n"),
        "/readyz" => match readiness.check() {
            Ok(()) => text(StatusCode::OK, "ready\n"),
            Err(reason) => text(StatusCode::SERVICE_UNAVAILABLE, format!("{reason}\n")),
        },
        "/metrics" => match metrics::render() {
            Ok(metrics) => text(StatusCode::OK, metrics),
            Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")),
        },
        _ => text(StatusCode::NOT_FOUND, "there are /metrics, /livez and /readyz\n"),
    }
}

fn text(status: StatusCode, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    let kind = hyper::header::HeaderValue::from_static(metrics::CONTENT_TYPE);
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn probes_and_metrics_are_answered() {
        let readiness = Readiness::default();
        let any = "127.0.0.1:0".parse().expect("an address");
        let address = listen(any, readiness.clone()).await.expect("a port is free");
        let get = async |path: &str| {
            let answer = reqwest::get(format!("http://{address}{path}")).await.expect("it answers");
            (answer.status().as_u16(), answer.text().await.expect("the body comes whole"))
        };
        assert_eq!(get("/livez").await, (200, "ok\n".to_owned()));
        assert_eq!(get("/readyz").await, (503, "starting\n".to_owned()));
        readiness.waits("loading the model");
        assert_eq!(get("/readyz").await, (503, "loading the model\n".to_owned()));
        readiness.ready_while(|| Ok(()));
        assert_eq!(get("/readyz").await, (200, "ready\n".to_owned()));
        let (code, metrics) = get("/metrics").await;
        assert!(code == 200 && metrics.contains("process_resident_memory_bytes"), "{metrics}");
        assert_eq!(get("/").await.0, 404);
    }
}
