//! Reading an order out of a request, and refusing one in PortOne's manner.

use super::answer::Answer;
use super::fields::Fields;
use super::payment::Order;

/// Longest values, in characters.
const LENGTHS: [(&str, usize); 8] = [
    ("customer_uid", 80),
    ("merchant_uid", 40),
    ("name", 40),
    ("buyer_name", 16),
    ("buyer_email", 64),
    ("buyer_tel", 16),
    ("buyer_addr", 128),
    ("buyer_postcode", 8),
];

/// Refuses a request that lacks one of these fields.
pub(super) fn require(fields: &Fields, names: &[&str]) -> Result<(), Answer> {
    let missing: Vec<_> = names.iter().filter(|name| !fields.has(name)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let missing = missing.into_iter().copied().collect::<Vec<_>>().join(", ");
    let message = format!("{missing} 파라메터가 누락되었습니다.");
    Err(Answer::bad_request(&message))
}

/// Refuses a field that holds something else than it should.
pub(super) fn wrong(name: &str) -> Answer {
    Answer::bad_request(&format!("{name} 파라메터가 올바르지 않습니다."))
}

/// Reads an order; `fallback` is the `customer_uid` of an order that names none.
pub(super) fn read(fields: &Fields, fallback: Option<&str>) -> Result<Order, Answer> {
    for (name, longest) in LENGTHS {
        let value = fields.text(name);
        if value.is_some_and(|value| value.chars().count() > longest) {
            return Err(wrong(name));
        }
    }
    let merchant_uid = fields.owned("merchant_uid");
    let amount = fields.amount("amount").filter(|a| a.is_positive());
    Ok(Order {
        merchant_uid: merchant_uid.ok_or_else(|| wrong("merchant_uid"))?,
        customer_uid: fields.owned("customer_uid").or(fallback.map(Into::into)),
        amount: amount.ok_or_else(|| wrong("amount"))?,
        currency: fields.owned("currency"),
        name: fields.owned("name"),
        buyer_name: fields.owned("buyer_name"),
        buyer_email: fields.owned("buyer_email"),
        buyer_tel: fields.owned("buyer_tel"),
        buyer_addr: fields.owned("buyer_addr"),
        buyer_postcode: fields.owned("buyer_postcode"),
        card_quota: fields.integer("card_quota").unwrap_or_default(),
        custom_data: fields.owned("custom_data"),
        notice_url: fields.owned("notice_url"),
    })
}
