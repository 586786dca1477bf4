//! `POST /users/getToken`.

use axum::http::StatusCode;
use serde::Serialize;

use super::Sandbox;
use super::answer::{Answer, Reply};
use super::call::Call;
use super::clock::seconds;
use super::fault::Lie;

#[derive(Serialize)]
struct Login {
    access_token: String,
    now: i64,
    expired_at: i64,
}

pub(super) fn get_token(sandbox: &Sandbox, call: &Call, _lie: Lie) -> Reply {
    let (key, secret) = (call.fields.text("imp_key"), call.fields.text("imp_secret"));
    let (Some(key), Some(secret)) = (key, secret) else {
        let message = "imp_key, imp_secret 파라메터가 누락되었습니다.";
        return Answer::bad_request(message).into();
    };
    if key != sandbox.options.imp_key || secret != sandbox.options.imp_secret {
        let message = "인증에 실패하였습니다. API키와 secret을 확인하세요.";
        return Answer::refuse(StatusCode::UNAUTHORIZED, -1, message).into();
    }
    let now_us = sandbox.clock.now_us();
    let (access_token, expired_at) = sandbox.tokens().get(now_us);
    let now = seconds(now_us);
    Answer::ok(Login {
        access_token,
        now,
        expired_at,
    })
    .into()
}
