//! One callback, told once.

use std::sync::Arc;
use std::time::Duration;

use axum::http::StatusCode;
use jiff::Timestamp;
use opentelemetry::trace::FutureExt;
use reqwest::redirect::Policy;
use reqwest::{Client, header};
use telemetry::context;
use workflow::Job;

use super::guard::is_refused;
use super::{Callback, Guard, Secret};
use crate::trace;

/// From the lookup of the name to the head of the answer.
const TIMEOUT: Duration = Duration::from_secs(10);

/// What those who are called make of it.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// They have heard it.
    Heard,
    /// They do not want to hear of it, now or later: 410.
    Gone,
    /// They are where nobody is called.
    Refused(String),
    /// They have not heard it, and may another time.
    Failed(String),
}

/// Who tells.
pub(super) struct Sender {
    http: Client,
    secret: Option<Secret>,
}

impl Sender {
    pub(super) fn new(guard: Guard, secret: Option<Secret>) -> reqwest::Result<Self> {
        let http = Client::builder()
            .timeout(TIMEOUT)
            // Where that would lead, nobody has checked.
            .redirect(Policy::none())
            // A proxy would look names up by itself.
            .no_proxy()
            .dns_resolver(Arc::new(guard))
            // The next one looks its name up anew.
            .pool_max_idle_per_host(0)
            .user_agent(concat!("stemflow/", env!("CARGO_PKG_VERSION")))
            .build()?;
        Ok(Self { http, secret })
    }

    /// Tells `body` to those whom the client of `job` wants told; `id` is the same each time.
    pub(super) async fn send(
        &self,
        callback: &Callback,
        job: &Job,
        id: &str,
        body: String,
    ) -> Answer {
        let context = trace::callback(job, callback);
        let sent = self.post(callback, id, body).with_context(context.clone()).await;
        let status = sent.as_ref().ok().map(reqwest::Response::status);
        trace::end_callback(&context, status);
        match sent {
            Ok(answer) if answer.status().is_success() => Answer::Heard,
            Ok(answer) if answer.status() == StatusCode::GONE => Answer::Gone,
            Ok(answer) => Answer::Failed(format!("the answer is {}", answer.status())),
            Err(error) if is_refused(&error) => Answer::Refused(reason(error)),
            Err(error) => Answer::Failed(reason(error)),
        }
    }

    /// Nothing of the answer is read past its head.
    async fn post(
        &self,
        callback: &Callback,
        id: &str,
        body: String,
    ) -> reqwest::Result<reqwest::Response> {
        let timestamp = Timestamp::now().as_second();
        let mut request = self
            .http
            .post(callback.url.clone())
            .header(header::CONTENT_TYPE, "application/json")
            .header("webhook-id", id)
            .header("webhook-timestamp", timestamp);
        if let Some(secret) = &self.secret {
            let signature = secret.sign(id, timestamp, body.as_bytes());
            request = request.header("webhook-signature", signature);
        }
        if let Some(traceparent) = context::current() {
            request = request.header(context::TRACEPARENT, traceparent);
        }
        request.body(body).send().await
    }
}

/// The innermost cause, mostly the one that says something; without the URL, which may hold a password.
fn reason(error: reqwest::Error) -> String {
    let error = error.without_url();
    let mut cause: &dyn std::error::Error = &error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    if error.is_timeout() {
        return format!("no answer in {} s", TIMEOUT.as_secs());
    }
    cause.to_string()
}
