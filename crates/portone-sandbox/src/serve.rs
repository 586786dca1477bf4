//! One request from end to end: faults first, then the token, then the turn, then the endpoint,
//! and at last whatever spoils the answer.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::{MethodFilter, MethodRouter};

use super::answer::{self, Answer, Ending, Reply};
use super::call::Call;
use super::fault::{Before, Lie};
use super::route::Route;
use super::wire::Line;
use super::{Sandbox, admin, cancel, charge, customers, look_up, schedule, users};

/// Answers one kind of request. Never waits: all waiting is done before it is called.
type Endpoint = fn(&Sandbox, &Call, Lie) -> Reply;

/// The whole surface.
pub(super) fn router(sandbox: Arc<Sandbox>) -> Router {
    Router::new()
        .route("/users/getToken", post(Route::GetToken, users::get_token))
        .merge(payments())
        .merge(keys())
        .merge(reservations())
        .merge(admin::router())
        .with_state(sandbox)
}

fn payments() -> Router<Arc<Sandbox>> {
    let find_all = || get(Route::FindAll, look_up::find_all);
    let find = || get(Route::Find, look_up::find);
    Router::new()
        .route(
            "/subscribe/payments/again",
            post(Route::Again, charge::again),
        )
        .route(
            "/subscribe/payments/onetime",
            post(Route::Onetime, charge::onetime),
        )
        .route("/payments", get(Route::Payments, look_up::batch))
        .route("/payments/{imp_uid}", get(Route::Payment, look_up::payment))
        // A client that fills an empty status into the path leaves a slash at its end.
        .route("/payments/findAll/{merchant_uid}", find_all())
        .route("/payments/findAll/{merchant_uid}/", find_all())
        .route("/payments/findAll/{merchant_uid}/{status}", find_all())
        .route("/payments/find/{merchant_uid}", find())
        .route("/payments/find/{merchant_uid}/", find())
        .route("/payments/find/{merchant_uid}/{status}", find())
        .route(
            "/payments/status/{status}",
            get(Route::Status, look_up::by_status),
        )
        .route("/payments/cancel", post(Route::Cancel, cancel::cancel))
}

fn keys() -> Router<Arc<Sandbox>> {
    let of_one = Router::new()
        .route(
            "/",
            get(Route::Customers, customers::show)
                .merge(post(Route::Customers, customers::issue))
                .merge(on(
                    MethodFilter::DELETE,
                    Route::Customers,
                    customers::delete,
                )),
        )
        .route(
            "/payments",
            get(Route::CustomerPayments, customers::payments),
        )
        .route(
            "/schedules",
            get(Route::Schedule, schedule::list_of_customer),
        );
    Router::new()
        .route(
            "/subscribe/customers",
            get(Route::Customers, customers::batch),
        )
        .nest("/subscribe/customers/{customer_uid}", of_one)
}

fn reservations() -> Router<Arc<Sandbox>> {
    let of_one = Router::new()
        .route(
            "/",
            get(Route::Schedule, schedule::show).merge(on(
                MethodFilter::PUT,
                Route::Schedule,
                schedule::change,
            )),
        )
        .route("/reschedule", post(Route::Schedule, schedule::reschedule))
        .route("/retry", post(Route::Retry, schedule::retry));
    let of_customer = get(Route::Schedule, schedule::list_of_customer);
    Router::new()
        .route(
            "/subscribe/payments/schedule",
            get(Route::Schedule, schedule::list).merge(post(Route::Schedule, schedule::create)),
        )
        .route(
            "/subscribe/payments/schedule/customers/{customer_uid}",
            of_customer,
        )
        .route(
            "/subscribe/payments/unschedule",
            post(Route::Unschedule, schedule::revoke),
        )
        .nest("/subscribe/payments/schedule/{merchant_uid}", of_one)
}

fn get(route: Route, endpoint: Endpoint) -> MethodRouter<Arc<Sandbox>> {
    on(MethodFilter::GET, route, endpoint)
}

fn post(route: Route, endpoint: Endpoint) -> MethodRouter<Arc<Sandbox>> {
    on(MethodFilter::POST, route, endpoint)
}

fn on(method: MethodFilter, route: Route, endpoint: Endpoint) -> MethodRouter<Arc<Sandbox>> {
    let handler = async move |State(sandbox): State<Arc<Sandbox>>, call: Call| {
        serve(sandbox, route, endpoint, call).await
    };
    axum::routing::on(method, handler)
}

async fn serve(sandbox: Arc<Sandbox>, route: Route, endpoint: Endpoint, call: Call) -> Response {
    let line = call.line.clone();
    let mut exchange = sandbox.requests.open(route, &call);
    let note = exchange.note();
    let (plan, delay) = sandbox.plan(route, &call);
    let work = {
        let sandbox = Arc::clone(&sandbox);
        async move {
            if let Some(before) = plan.before {
                tokio::time::sleep(delay).await;
                return note.done(spoilt_before(before));
            }
            let admitted = route == Route::GetToken || sandbox.admits(&call);
            if !admitted {
                return note.done(Answer::unauthorized().into());
            }
            let turn = match Turn::take(&sandbox, route, &call) {
                Ok(turn) => turn,
                Err(refused) => return note.refused_duplicate(refused.into()),
            };
            if !delay.is_zero() {
                tokio::time::sleep(delay).await;
            }
            let mut reply = note.done(endpoint(&sandbox, &call, plan.lie));
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
    exchange.will_end(&reply);
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
            let in_path = call.part("merchant_uid").map(Box::from);
            in_path.or_else(|| call.fields.owned("merchant_uid"))
        } else {
            None
        };
        if let Some(merchant_uid) = &merchant_uid {
            // Trying a failed reservation again under its number is what `retry` is for.
            let failed_is_final = route != Route::Retry && !sandbox.switches().failed_reusable;
            let entered = charge::enter(sandbox, call, merchant_uid, failed_is_final);
            entered.map_err(|refused| {
                if route == Route::Retry {
                    schedule::not_ended()
                } else {
                    refused
                }
            })?;
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
