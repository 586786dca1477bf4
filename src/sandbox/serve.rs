//! One request from end to end: faults first, then the token, then the turn, then the endpoint,
//! and at last whatever spoils the answer.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::{get, post};

use super::answer::{self, Answer, Ending, Reply};
use super::call::Call;
use super::fault::{Before, Lie};
use super::route::Route;
use super::wire::Line;
use super::{Sandbox, admin, charge, look_up, users};

/// Answers one kind of request. Never waits: all waiting is done before it is called.
type Endpoint = fn(&Sandbox, &Call, Lie) -> Reply;

/// The whole surface.
pub(super) fn router(sandbox: Arc<Sandbox>) -> Router {
    let at = |route: Route, endpoint: Endpoint| {
        async move |State(sandbox): State<Arc<Sandbox>>, call: Call| {
            serve(sandbox, route, endpoint, call).await
        }
    };
    Router::new()
        .route(
            "/users/getToken",
            post(at(Route::GetToken, users::get_token)),
        )
        .route(
            "/subscribe/payments/again",
            post(at(Route::Again, |sandbox, call, _| {
                charge::again(sandbox, call)
            })),
        )
        .route(
            "/payments/findAll/{merchant_uid}",
            get(at(Route::FindAll, look_up::find_all)),
        )
        .route(
            "/payments/findAll/{merchant_uid}/{status}",
            get(at(Route::FindAll, look_up::find_all)),
        )
        .route(
            "/payments/find/{merchant_uid}",
            get(at(Route::Find, look_up::find)),
        )
        .route(
            "/payments/find/{merchant_uid}/{status}",
            get(at(Route::Find, look_up::find)),
        )
        .route(
            "/payments/status/{status}",
            get(at(Route::Status, look_up::by_status)),
        )
        .route(
            "/payments/{imp_uid}",
            get(at(Route::Payment, look_up::payment)),
        )
        .merge(admin::router())
        .with_state(sandbox)
}

async fn serve(sandbox: Arc<Sandbox>, route: Route, endpoint: Endpoint, call: Call) -> Response {
    let line = call.line.clone();
    let (plan, delay) = sandbox.plan(route, &call);
    let work = {
        let sandbox = Arc::clone(&sandbox);
        async move {
            if let Some(before) = plan.before {
                tokio::time::sleep(delay).await;
                return spoilt_before(before);
            }
            let admitted = route == Route::GetToken || sandbox.admits(&call);
            if !admitted {
                return Answer::unauthorized().into();
            }
            let turn = match Turn::take(&sandbox, route, &call) {
                Ok(turn) => turn,
                Err(refused) => return refused.into(),
            };
            if !delay.is_zero() {
                tokio::time::sleep(delay).await;
            }
            let mut reply = endpoint(&sandbox, &call, plan.lie);
            drop(turn);
            if let Some(ending) = plan.after {
                reply.ending = ending;
            }
            reply
        }
    };
    let reply = if delay.is_zero() {
        work.await
    } else {
        // A caller who hangs up does not stop a charge: the work lives on without its connection.
        let work = tokio::spawn(work);
        let ended = tokio::select! {
            ended = work => ended.ok(),
            () = sandbox.stop.cancelled() => None,
        };
        let silent = || Reply {
            answer: Answer::bad_request(""),
            ending: Ending::Cut,
        };
        ended.unwrap_or_else(silent)
    };
    deliver(&sandbox, &line, reply).await
}

/// The right to charge under one `merchant_uid`, given back when the charge is done.
struct Turn<'a> {
    sandbox: &'a Sandbox,
    merchant_uid: Option<Box<str>>,
}

impl<'a> Turn<'a> {
    fn take(sandbox: &'a Sandbox, route: Route, call: &Call) -> Result<Self, Answer> {
        let merchant_uid = if route.is_charge() {
            call.fields.owned("merchant_uid")
        } else {
            None
        };
        if let Some(merchant_uid) = &merchant_uid {
            charge::enter(sandbox, merchant_uid)?;
        }
        Ok(Self {
            sandbox,
            merchant_uid,
        })
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        if let Some(merchant_uid) = &self.merchant_uid {
            self.sandbox.book().leave(merchant_uid);
        }
    }
}

fn spoilt_before(before: Before) -> Reply {
    let answer = |status, message: &str| Reply::from(Answer::refuse(status, -1, message));
    let ending = |ending| Reply {
        answer: Answer::bad_request(""),
        ending,
    };
    match before {
        Before::Drop => ending(Ending::Cut),
        Before::Error500 => ending(Ending::Error500),
        Before::Silence => ending(Ending::Silence),
        Before::Status401 => Answer::unauthorized().into(),
        Before::Status429 => answer(StatusCode::TOO_MANY_REQUESTS, "Too Many Requests"),
        Before::Maintenance => answer(
            StatusCode::SERVICE_UNAVAILABLE,
            "시스템 점검 중입니다. 잠시 후 다시 시도해 주세요.",
        ),
    }
}

async fn deliver(sandbox: &Sandbox, line: &Line, reply: Reply) -> Response {
    let Reply { answer, ending } = reply;
    match ending {
        Ending::Answer | Ending::WrongAmount | Ending::WrongMerchantUid => {}
        Ending::Cut => line.cut(),
        Ending::CutBody => line.cut_after(answer::half_way(&answer)),
        Ending::Error500 => return answer::internal_error(),
        Ending::Garbage => return answer::garbage(),
        Ending::Html => return answer::html(),
        Ending::Empty => return answer::empty(),
        Ending::Silence => {
            sandbox.stop.cancelled().await;
            line.cut();
        }
    }
    answer.into_response()
}
