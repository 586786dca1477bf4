//! The sandbox as a client sees it: over HTTP.

mod faults;
mod heart;
mod keys;
mod memory;
mod schedules;

use serde_json::{Value, json};

use super::{IMP_KEY, IMP_SECRET, Options, Running, start};

/// A sandbox and a client with a token.
struct Bench {
    running: Running,
    client: reqwest::Client,
    token: String,
}

impl Bench {
    async fn start() -> Self {
        Self::with(Options::default()).await
    }

    async fn with(options: Options) -> Self {
        // Fails when another test was first, which is as good.
        rustls::crypto::ring::default_provider()
            .install_default()
            .ok();
        let running = start(options).await.unwrap();
        let mut bench = Self {
            running,
            client: reqwest::Client::builder().no_proxy().build().unwrap(),
            token: String::new(),
        };
        bench.token = bench.log_in().await;
        bench
    }

    async fn log_in(&self) -> String {
        let keys = json!({"imp_key": IMP_KEY, "imp_secret": IMP_SECRET});
        let request = self.client.post(self.url("/users/getToken")).json(&keys);
        let (status, body) = read(request.send().await.unwrap()).await;
        assert_eq!(status, 200);
        body["response"]["access_token"]
            .as_str()
            .unwrap()
            .to_owned()
    }

    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.running.base_url())
    }

    async fn send(&self, body: &Value) -> reqwest::Result<reqwest::Response> {
        let request = self.client.post(self.url("/subscribe/payments/again"));
        request.bearer_auth(&self.token).json(body).send().await
    }

    /// Charges 9,900 KRW.
    async fn again(&self, merchant_uid: &str, customer_uid: &str) -> (u16, Value) {
        read(self.send(&order(merchant_uid, customer_uid)).await.unwrap()).await
    }

    async fn get(&self, path: &str) -> (u16, Value) {
        let request = self.client.get(self.url(path)).bearer_auth(&self.token);
        read(request.send().await.unwrap()).await
    }

    async fn post(&self, path: &str, body: &Value) -> (u16, Value) {
        let request = self.client.post(self.url(path)).bearer_auth(&self.token);
        read(request.json(body).send().await.unwrap()).await
    }
}

async fn read(response: reqwest::Response) -> (u16, Value) {
    let status = response.status().as_u16();
    let body = response.bytes().await.unwrap();
    (status, serde_json::from_slice(&body).unwrap_or_default())
}

fn order(merchant_uid: &str, customer_uid: &str) -> Value {
    json!({
        "merchant_uid": merchant_uid, "customer_uid": customer_uid,
        "amount": 9900, "name": "프리미엄 월간",
    })
}
