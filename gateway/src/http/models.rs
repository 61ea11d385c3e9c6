//! `GET /apiv1/models`: what can be asked for.

use axum::Json;
use axum::extract::State;
use serde_json::{Value, json};

use super::Shared;

pub(crate) async fn models(State(gateway): Shared) -> Json<Value> {
    let describe = |(place, model): (usize, &separation::Model)| {
        json!({
            "name": model.name,
            "sources": model.sources,
            "licence": model.licence,
            "about": model.about,
            "default": place == 0,
        })
    };
    let models: Vec<Value> =
        gateway.catalogue().models().iter().enumerate().map(describe).collect();
    Json(json!({
        "models": models,
        "formats": ["mp3", "flac", "wav"],
        "max_upload_bytes": gateway.limits().song_bytes,
    }))
}
