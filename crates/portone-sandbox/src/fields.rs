//! What a request carries, whether it came as JSON or as a form.

use std::borrow::Cow;

use serde_json::{Map, Value};

use super::amount::Amount;

/// The named values of a body or a query.
#[derive(Debug, Clone, Default)]
pub(super) struct Fields(Map<String, Value>);

impl Fields {
    /// A JSON object; anything else has no fields.
    pub(super) fn from_json(bytes: &[u8]) -> Self {
        serde_json::from_slice(bytes).map(Self).unwrap_or_default()
    }

    /// Name and value pairs; `list[]=a&list[]=b` and `outer[0][inner]=c` build what they spell.
    pub(super) fn from_pairs(pairs: Vec<(String, String)>) -> Self {
        let mut fields = Map::new();
        for (name, value) in pairs {
            let mut path = name.split('[').map(|part| part.trim_end_matches(']'));
            let first = path.next().unwrap_or_default().to_owned();
            let path: Vec<_> = path.collect();
            insert(&mut fields, first, &path, value);
        }
        Self(fields)
    }

    /// A text that is not empty; a number counts as its digits.
    pub(super) fn text(&self, name: &str) -> Option<Cow<'_, str>> {
        text(self.0.get(name)?)
    }

    /// Whether the field was sent with any value but null and the empty text.
    pub(super) fn has(&self, name: &str) -> bool {
        match self.0.get(name) {
            None | Some(Value::Null) => false,
            Some(Value::String(text)) => !text.is_empty(),
            Some(Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_)) => true,
        }
    }

    pub(super) fn owned(&self, name: &str) -> Option<Box<str>> {
        self.text(name).map(|text| Box::from(&*text))
    }

    pub(super) fn integer(&self, name: &str) -> Option<i64> {
        self.text(name)?.parse().ok()
    }

    pub(super) fn amount(&self, name: &str) -> Option<Amount> {
        Amount::parse(&self.text(name)?)
    }

    /// Every text of a list; a single text is a list of one.
    pub(super) fn texts(&self, name: &str) -> Vec<Cow<'_, str>> {
        match self.0.get(name) {
            Some(Value::Array(list)) => list.iter().filter_map(text).collect(),
            Some(value) => text(value).into_iter().collect(),
            None => Vec::new(),
        }
    }

    /// Every object of a list, in JSON or as a form numbers them.
    pub(super) fn objects(&self, name: &str) -> Vec<Self> {
        let object = |value: &Value| match value {
            Value::Object(fields) => Some(Self(fields.clone())),
            Value::Null
            | Value::Bool(_)
            | Value::Number(_)
            | Value::String(_)
            | Value::Array(_) => None,
        };
        match self.0.get(name) {
            Some(Value::Array(list)) => list.iter().filter_map(object).collect(),
            Some(Value::Object(numbered)) => numbered.values().filter_map(object).collect(),
            Some(Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_)) | None => {
                Vec::new()
            }
        }
    }

    pub(super) fn flag(&self, name: &str) -> bool {
        match self.0.get(name) {
            Some(Value::Bool(flag)) => *flag,
            Some(Value::String(text)) => matches!(text.as_str(), "true" | "1"),
            Some(Value::Null | Value::Number(_) | Value::Array(_) | Value::Object(_)) | None => {
                false
            }
        }
    }
}

fn text(value: &Value) -> Option<Cow<'_, str>> {
    match value {
        Value::String(text) if !text.is_empty() => Some(Cow::Borrowed(text)),
        Value::Number(number) => Some(Cow::Owned(number.to_string())),
        Value::Null | Value::Bool(_) | Value::String(_) | Value::Array(_) | Value::Object(_) => {
            None
        }
    }
}

fn insert(fields: &mut Map<String, Value>, name: String, path: &[&str], value: String) {
    match path {
        [] => {
            fields.insert(name, Value::String(value));
        }
        [""] => {
            let list = fields.entry(name).or_insert_with(|| Value::Array(vec![]));
            if let Value::Array(list) = list {
                list.push(Value::String(value));
            }
        }
        [next, rest @ ..] => {
            let inner = fields
                .entry(name)
                .or_insert_with(|| Value::Object(Map::new()));
            if let Value::Object(inner) = inner {
                insert(inner, (*next).to_owned(), rest, value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_spells_lists_and_objects() {
        let pairs = [("a", "1"), ("b[]", "2"), ("b[]", "3"), ("c[0][d]", "4")];
        let pairs = pairs.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let Fields(fields) = Fields::from_pairs(pairs.to_vec());
        let expected = r#"{"a":"1","b":["2","3"],"c":{"0":{"d":"4"}}}"#;
        assert_eq!(
            Value::Object(fields),
            serde_json::from_str::<Value>(expected).unwrap()
        );
    }

    #[test]
    fn numbers_and_texts_are_read_alike() {
        let json = Fields::from_json(br#"{"amount":9900,"n":"x","total":{"total":1},"e":""}"#);
        let form = Fields::from_pairs(vec![("amount".to_owned(), "9900".to_owned())]);
        assert_eq!(json.amount("amount"), form.amount("amount"));
        assert_eq!(json.amount("total"), None);
        assert_eq!(
            (json.has("total"), json.has("e"), json.has("z")),
            (true, false, false)
        );
    }
}
