//! The sandbox's own endpoints, for those who direct it from outside its process.
//!
//! They ask for no credential: the sandbox holds nothing worth one, and hands out its pair here.

use std::io;

use bytes::Bytes;
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::json;

use super::act::{Act, Refusal};
use super::answer::{self, Answer};
use super::pair::Pair;
use super::state::State;
use super::webhooks::JsonOrder;

/// What all paths of this module begin with.
pub(super) const PREFIX: &str = "/_sandbox/";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SetAct {
    act: Act,
    #[serde(default)]
    times: Option<u32>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SetRefusal {
    refusal: Refusal,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SetPair {
    #[serde(rename = "appKey")]
    app_key: String,
    authorization: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SetPath {
    path: String,
}

/// Why an order was not followed.
enum Misunderstood {
    Path,
    Method,
    Body(String),
    /// It was understood; there is no place for it now.
    Later(String),
}

/// Does what it is told and answers JSON.
pub(super) async fn answer(request: Request<Incoming>, state: &State) -> Answer {
    match follow(request, state).await {
        Ok(answer) => answer,
        Err(Misunderstood::Path) => {
            answer::failure(StatusCode::NOT_FOUND, "404", "sandbox: no such order")
        }
        Err(Misunderstood::Method) => {
            let status = StatusCode::METHOD_NOT_ALLOWED;
            answer::failure(status, "405", "sandbox: POST orders, GET counts")
        }
        Err(Misunderstood::Body(why)) => {
            answer::failure(StatusCode::BAD_REQUEST, "400", &format!("sandbox: {why}"))
        }
        Err(Misunderstood::Later(why)) => {
            answer::failure(StatusCode::SERVICE_UNAVAILABLE, "503", &format!("sandbox: {why}"))
        }
    }
}

async fn follow(request: Request<Incoming>, state: &State) -> Result<Answer, Misunderstood> {
    let order = request.uri().path().strip_prefix(PREFIX).unwrap_or("").to_owned();
    let expected = match order.as_str() {
        "calls" | "webhooks" => Method::GET,
        "token" | "expire" | "pair" | "application" | "kill-applications" | "forbid" | "allow"
        | "act" | "refusal" | "reset-counts" | "webhook" => Method::POST,
        _ => return Err(Misunderstood::Path),
    };
    if *request.method() != expected {
        return Err(Misunderstood::Method);
    }
    match order.as_str() {
        "calls" => return Ok(answer::json(StatusCode::OK, &state.calls())),
        "webhooks" => return Ok(answer::json(StatusCode::OK, &state.webhooks())),
        "webhook" => {
            let webhook = JsonOrder::parse(&read_bytes(request).await?)
                .and_then(JsonOrder::webhook)
                .map_err(Misunderstood::Body)?;
            let sending = state.send_webhooks(webhook).map_err(|error| {
                if error.kind() == io::ErrorKind::InvalidInput {
                    Misunderstood::Body(error.to_string())
                } else {
                    Misunderstood::Later(error.to_string())
                }
            })?;
            return Ok(answer::json(StatusCode::OK, &json!({ "order": sending.order() })));
        }
        "token" => {
            let pair = state.new_token();
            let pair = json!({ "appKey": pair.app_key(), "authorization": pair.authorization() });
            return Ok(answer::json(StatusCode::OK, &pair));
        }
        "expire" => state.expire_token(),
        "pair" => state.set_pair(read_pair(request).await?),
        "application" => state.add_application(read_pair(request).await?),
        "kill-applications" => state.kill_applications(),
        "forbid" => {
            let SetPath { path } = read(request).await?;
            state.forbid(path);
        }
        "allow" => {
            let SetPath { path } = read(request).await?;
            state.allow(&path);
        }
        "act" => {
            let SetAct { act, times } = read(request).await?;
            state.set_act(act, times);
        }
        "refusal" => {
            let SetRefusal { refusal } = read(request).await?;
            state.set_refusal(refusal);
        }
        _ => state.reset_counts(),
    }
    Ok(answer::json(StatusCode::OK, &json!({ "done": order })))
}

async fn read_pair(request: Request<Incoming>) -> Result<Pair, Misunderstood> {
    // The parser's own words may quote a value, and these values are a secret's.
    let SetPair { app_key, authorization } = read(request).await.map_err(|_| {
        let form = r#"the body is not {"appKey": "…", "authorization": "…"}"#;
        Misunderstood::Body(form.to_owned())
    })?;
    Ok(Pair::new(app_key, authorization))
}

async fn read<T: DeserializeOwned>(request: Request<Incoming>) -> Result<T, Misunderstood> {
    let body = read_bytes(request).await?;
    serde_json::from_slice(&body).map_err(|error| Misunderstood::Body(error.to_string()))
}

async fn read_bytes(request: Request<Incoming>) -> Result<Bytes, Misunderstood> {
    const LARGEST: usize = 64 * 1024;
    let body = Limited::new(request.into_body(), LARGEST)
        .collect()
        .await
        .map_err(|_| Misunderstood::Body("the body is too large or broke off".to_owned()))?;
    Ok(body.to_bytes())
}
