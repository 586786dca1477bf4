//! Pages of PortOne's lists: what is an answer, what is none, and what is nothing.

use serde::{Deserialize, Deserializer};
use serde_json::{Number, Value};

use crate::domain::attempt::bounded_message;
use crate::gateway::GatewayError;
use crate::gateway::portone_v1::client::{Answer, Call, PortOne};
use crate::gateway::portone_v1::wire::{Envelope, Outside};

/// Largest page that is read. A record is some two kilobytes, but a merchant's `custom_data` can
/// make it thirty.
const PAGE_BYTES_MAX: usize = 32 << 20;

impl PortOne {
    /// Reads a page whole, or not at all: half a page would pass for a short one. `None` if it is too
    /// large.
    pub(super) async fn read_page(&self, call: Call) -> Result<Option<Answer>, GatewayError> {
        let (status, body) = self.send(&call.with_answer_up_to(PAGE_BYTES_MAX)).await?;
        Ok((body.len() <= PAGE_BYTES_MAX).then_some((status, body)))
    }
}

pub(super) fn too_large() -> GatewayError {
    GatewayError::Unreadable(format!("a page of more than {PAGE_BYTES_MAX} bytes"))
}

/// Whether PortOne itself says that there is nothing: none in the window, or a page behind the last
/// one, for the list became shorter while it was read. Any other complaint about the first page must
/// be heard, and so must a proxy's own 404: what is gone from a list counts as put right.
pub(super) fn is_none((status, body): &Answer, page: u32) -> bool {
    let is_said = serde_json::from_slice::<Outside>(body).is_ok_and(|outside| outside.code != 0);
    is_said && (*status == 404 || (*status == 400 && page > 1))
}

/// The list of an answer.
pub(super) fn response<T: for<'de> Deserialize<'de>>(
    (status, body): &Answer,
) -> Result<T, GatewayError> {
    let outside = serde_json::from_slice::<Outside>(body).ok();
    if *status != 200 || outside.as_ref().is_none_or(|outside| outside.code != 0) {
        let words = match &outside {
            Some(outside) => {
                let message = outside.message.as_deref().unwrap_or_default();
                format!("code {}: {}", outside.code, bounded_message(message))
            }
            None => format!("{} bytes that are not the contract's JSON", body.len()),
        };
        return Err(GatewayError::Unreadable(format!(
            "HTTP {status} to a page of the books: {words}"
        )));
    }
    serde_json::from_slice::<Envelope<T>>(body)
        .ok()
        .and_then(|envelope| envelope.response)
        .ok_or_else(|| GatewayError::Unreadable("a page of the books without a list".to_owned()))
}

/// What is not text counts as empty; the record may still be worth reading.
pub(super) fn text_or_none<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    Ok(match Value::deserialize(deserializer)? {
        Value::String(text) => text,
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
            String::new()
        }
    })
}

pub(super) fn number_or_none<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Number>, D::Error> {
    Ok(match Value::deserialize(deserializer)? {
        Value::Number(number) => Some(number),
        Value::Null | Value::Bool(_) | Value::String(_) | Value::Array(_) | Value::Object(_) => {
            None
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_portones_own_words_make_an_empty_page() {
        let said = r#"{"code":-1,"message":"없음","response":null}"#;
        for (status, page, body, expected) in [
            (404, 1, said, true),
            (400, 2, said, true),
            (400, 1, said, false),
            (500, 2, said, false),
            (404, 1, "<html><h1>404 Not Found</h1></html>", false),
            (404, 1, "", false),
            (404, 1, r#"{"message":"no Route matched"}"#, false),
            (
                404,
                1,
                r#"{"code":0,"message":null,"response":null}"#,
                false,
            ),
            (400, 2, "<html>", false),
        ] {
            let none = is_none(&(status, body.as_bytes().to_vec()), page);
            assert_eq!(none, expected, "{status} {page} {body}");
        }
    }

    #[test]
    fn an_answer_outside_the_contract_is_no_empty_page() {
        for (status, body) in [
            (200, r#"{"code":1,"message":"아니오","response":null}"#),
            (200, r#"{"code":0,"message":null,"response":null}"#),
            (200, "<html>"),
            (200, ""),
            (500, r#"{"code":0,"message":null,"response":[]}"#),
            (404, r#"{"code":-1,"message":"없음","response":null}"#),
        ] {
            let answer = response::<Vec<Value>>(&(status, body.as_bytes().to_vec()));
            assert!(
                matches!(answer, Err(GatewayError::Unreadable(_))),
                "{status} {body}"
            );
        }
    }
}
