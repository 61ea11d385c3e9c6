//! The HTTP surface as such: what there is, what there is not, and what there is without NATS.

#![allow(clippy::unwrap_used, reason = "a test may fail")]

mod support;

use std::collections::{BTreeMap, BTreeSet};

use axum::Router;
use axum::body::Body;
use axum::http::{Method, Request, StatusCode};
use serde_json::Value;
use support::{Reply, Stand, closed_gateway, send};
use tokio_util::sync::CancellationToken;

fn router() -> Router {
    gateway::router(closed_gateway(&CancellationToken::new()))
}

async fn request(method: Method, path: &str) -> Reply {
    let request = Request::builder().method(method).uri(path).body(Body::empty()).unwrap();
    send(router(), request).await
}

/// The paths that `router` names.
fn routes() -> BTreeSet<String> {
    let source = include_str!("../src/lib.rs");
    let routes = source.split(".route(\"").skip(1);
    routes.map(|rest| rest.split('"').next().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn the_description_has_every_route_and_no_other() {
    let openapi: Value =
        serde_json::from_slice(&request(Method::GET, "/openapi.json").await.body).unwrap();
    let described: BTreeMap<&str, &Value> = openapi["paths"]
        .as_object()
        .unwrap()
        .iter()
        .map(|(path, of)| (path.as_str(), of))
        .collect();
    for path in routes() {
        // Two ways to write the same; and a path whose last part has an ending.
        let path = match path.as_str() {
            "/apiv1/queue/" => "/apiv1/queue",
            "/apiv1/stems/{file}" => "/apiv1/stems/{hash}.zip",
            other => other,
        };
        let operations = described.get(path).unwrap_or_else(|| panic!("{path} is not described"));
        let methods = operations.as_object().unwrap().keys();
        let methods: BTreeSet<String> =
            methods.map(|key| key.to_uppercase()).filter(|key| key != "PARAMETERS").collect();
        let refused = request(Method::PATCH, path).await;
        assert_eq!(refused.status, StatusCode::METHOD_NOT_ALLOWED, "{path}");
        let allowed = refused.header("allow").split(',').filter(|method| *method != "HEAD");
        let allowed: BTreeSet<String> = allowed.map(str::to_owned).collect();
        assert_eq!(methods, allowed, "{path}");
    }
    assert_eq!(described.len(), routes().len() - 1, "a path is described that is not there");
}

#[tokio::test]
async fn every_reference_in_the_description_leads_somewhere() {
    let openapi: Value =
        serde_json::from_slice(&request(Method::GET, "/openapi.json").await.body).unwrap();
    let text = openapi.to_string();
    for reference in text.split("\"$ref\":\"#").skip(1) {
        let pointer = reference.split('"').next().unwrap();
        assert!(openapi.pointer(pointer).is_some(), "{pointer}");
    }
    for path in openapi["paths"].as_object().unwrap().values() {
        for (method, operation) in path.as_object().unwrap() {
            if method != "parameters" {
                assert!(operation["summary"].is_string() && operation["responses"].is_object());
            }
        }
    }
}

#[tokio::test]
async fn what_is_not_there_is_said_in_json() {
    let no_path = request(Method::GET, "/apiv2/anything").await;
    assert_eq!(no_path.status, StatusCode::NOT_FOUND);
    assert!(no_path.error().contains("/openapi.json"));
    let no_method = request(Method::DELETE, "/apiv1/queue").await;
    assert_eq!(no_method.status, StatusCode::METHOD_NOT_ALLOWED);
    assert!(no_method.error().contains("/openapi.json"));
    assert!(no_method.header("allow").contains("GET"));
}

#[tokio::test]
async fn without_nats_the_process_lives_and_is_not_ready() {
    assert_eq!(request(Method::GET, "/livez").await.status, StatusCode::OK);
    assert_eq!(request(Method::GET, "/readyz").await.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(request(Method::GET, "/metrics").await.status, StatusCode::OK);
    assert_eq!(request(Method::GET, "/apiv1/models").await.json()["models"][0]["name"], "mini");
    let page = request(Method::GET, "/").await;
    assert_eq!(page.status, StatusCode::OK);
    assert!(page.header("content-type").starts_with("text/html"));
    for (method, path) in [
        (Method::POST, "/apiv1/separate"),
        (Method::GET, "/apiv1/queue/"),
        (Method::GET, "/apiv1/status/0123456789abcdef0123456789abcdef"),
    ] {
        let reply = request(method, path).await;
        assert_eq!(reply.status, StatusCode::SERVICE_UNAVAILABLE, "{path}");
        assert_eq!((reply.header("retry-after"), reply.error().contains("starting")), ("5", true));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn with_nats_it_is_ready_and_without_it_no_longer() {
    let mut stand = Stand::start().await;
    assert_eq!(stand.get("/readyz").await.status, StatusCode::OK);
    stand.nats.crash_and_restart();
    let deadline = tests::Deadline::after(std::time::Duration::from_secs(15));
    while stand.get("/readyz").await.status != StatusCode::OK {
        deadline.pause_async(|| "not ready again".to_owned()).await;
    }
}
