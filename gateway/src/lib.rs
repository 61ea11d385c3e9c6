//! The gateway: songs in, stems out.
//!
//! ```text
//! HTTP ─► http/ ─► upload/ ─┐
//!                           ├─► desk/ ─► workflow
//! NATS ─► micro.rs ─────────┘
//! ```
//!
//! Two doors and one desk behind them. A song comes in over HTTP (`upload/` streams it into the
//! bucket `queue`) or lies in that bucket already, put there with the `nats` CLI; from there on
//! both doors do the same. Who wants to be told of the end is called from `callback/`.

pub mod callback;
mod config;
pub mod desk;
mod download;
mod error;
mod gateway;
mod http;
mod metrics;
mod micro;
mod serve;
mod trace;
mod upload;

use std::sync::Arc;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware::from_fn_with_state;
use axum::routing::{delete, get, post};

use http::{events, health, jobs, models, observe, page, separate, stems, tracks};

pub use config::Config;
pub use desk::Desk;
pub use error::ApiError;
pub use gateway::{Gateway, Limits};
pub use micro::Micro;
pub use serve::serve;

/// The whole HTTP surface.
pub fn router(gateway: Arc<Gateway>) -> Router {
    Router::new()
        .route("/apiv1/separate", post(separate::separate))
        .route("/apiv1/queue", get(jobs::queue))
        .route("/apiv1/queue/", get(jobs::queue))
        .route("/apiv1/status/{hash}", get(jobs::status))
        .route("/apiv1/events/{hash}", get(events::events))
        .route("/apiv1/job/{hash}", delete(jobs::end))
        .route("/apiv1/track/{hash}/{track}", get(tracks::track))
        .route("/apiv1/remove/{hash}/{track}", get(tracks::remove).delete(tracks::remove))
        .route("/apiv1/stems/{file}", get(stems::stems))
        .route("/apiv1/models", get(models::models))
        .route("/", get(page::page))
        .route("/openapi.json", get(page::openapi))
        .route("/livez", get(health::livez))
        .route("/readyz", get(health::readyz))
        .route("/metrics", get(health::metrics))
        .fallback(http::no_path)
        .method_not_allowed_fallback(http::no_method)
        // The limit is the upload's own: it counts what it stores.
        .layer(DefaultBodyLimit::disable())
        .layer(from_fn_with_state(Arc::clone(&gateway), observe::observe))
        .with_state(gateway)
}
