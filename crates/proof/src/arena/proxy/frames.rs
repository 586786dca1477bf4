//! As much of PostgreSQL's protocol as it takes to know which statement a client runs, and how it
//! ended.

use std::collections::HashMap;

use bytes::{Buf, BufMut, Bytes, BytesMut};

/// Requests without a tag that a client may begin with; each ends the need for one, or asks for
/// encryption, which the proxy refuses by itself.
const SSL_REQUEST: u32 = 80_877_103;
const GSS_REQUEST: u32 = 80_877_104;

/// What a client sends.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Request {
    /// It asks for an encrypted connection, before all else. The answer is one byte.
    Encryption,
    /// It runs a statement of ours, under the name that the statement's first line gives.
    Runs(String, Bytes),
    /// Anything else.
    Other(Bytes),
}

/// Follows what one client sends.
#[derive(Debug, Default)]
pub(super) struct Requests {
    has_begun: bool,
    /// Statements that were prepared on this connection and have a name of ours.
    prepared: HashMap<Bytes, String>,
}

impl Requests {
    /// Takes the next whole message off the front.
    pub(super) fn next(&mut self, buffer: &mut BytesMut) -> Option<Request> {
        if !self.has_begun {
            let frame = take(buffer, 0)?;
            let code = frame.get(4..8).map(number);
            if matches!(code, Some(SSL_REQUEST | GSS_REQUEST)) {
                return Some(Request::Encryption);
            }
            self.has_begun = true;
            return Some(Request::Other(frame));
        }
        let frame = take(buffer, 1)?;
        Some(match self.statement_run_by(&frame) {
            Some(name) => Request::Runs(name, frame),
            None => Request::Other(frame),
        })
    }

    fn statement_run_by(&mut self, frame: &Bytes) -> Option<String> {
        let tag = *frame.first()?;
        let body = frame.slice(5..);
        match tag {
            b'Q' => name_in(&body),
            // Parse: the statement's name and its text.
            b'P' => {
                let (name, text) = split_at_zero(&body)?;
                match name_in(&text) {
                    Some(ours) => self.prepared.insert(name, ours),
                    None => self.prepared.remove(&name),
                };
                None
            }
            // Bind: the portal's name and the statement's.
            b'B' => {
                let (_portal, rest) = split_at_zero(&body)?;
                let (name, _values) = split_at_zero(&rest)?;
                self.prepared.get(&name).cloned()
            }
            _ => None,
        }
    }
}

/// A message that prepares a statement of ours.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Parse {
    /// The name in its first line.
    pub(super) statement: String,
    pub(super) text: String,
    prepared: Bytes,
    parameters: Bytes,
}

impl Parse {
    pub(super) fn read(frame: &Bytes) -> Option<Self> {
        let body = (frame.first() == Some(&b'P')).then(|| frame.slice(5..))?;
        let (prepared, rest) = split_at_zero(&body)?;
        let (text, parameters) = split_at_zero(&rest)?;
        Some(Self {
            statement: name_in(&text)?,
            text: String::from_utf8(text.to_vec()).ok()?,
            prepared,
            parameters,
        })
    }

    pub(super) fn write(&self) -> Bytes {
        let strings = [&self.prepared, self.text.as_bytes()];
        let length = strings
            .map(|string| string.len().saturating_add(1))
            .iter()
            .sum::<usize>();
        let length = length
            .saturating_add(self.parameters.len())
            .saturating_add(4);
        let mut frame = BytesMut::new();
        frame.put_u8(b'P');
        frame.put_u32(u32::try_from(length).unwrap_or(u32::MAX));
        for string in strings {
            frame.extend_from_slice(string);
            frame.put_u8(0);
        }
        frame.extend_from_slice(&self.parameters);
        frame.freeze()
    }
}

/// What a server answers.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Reply {
    /// All is answered; a transaction is open, or not.
    Ready {
        /// Whether one is open.
        in_transaction: bool,
    },
    /// The statement was refused.
    Refused,
    /// A transaction was undone, as asked or because of an error before.
    RolledBack,
    /// Anything else.
    Other,
}

/// Takes the next whole message off the front.
pub(super) fn next_reply(buffer: &mut BytesMut) -> Option<(Reply, Bytes)> {
    let frame = take(buffer, 1)?;
    let reply = match (frame.first(), frame.get(5..)) {
        (Some(b'Z'), Some(state)) => Reply::Ready {
            in_transaction: state != b"I",
        },
        (Some(b'E'), _) => Reply::Refused,
        (Some(b'C'), Some(b"ROLLBACK\0")) => Reply::RolledBack,
        _ => Reply::Other,
    };
    Some((reply, frame))
}

/// A message is its tag, if it has one, then a length that counts itself, then the rest.
fn take(buffer: &mut BytesMut, tag: usize) -> Option<Bytes> {
    let length = buffer.get(tag..tag.checked_add(4)?).map(number)?;
    let length = usize::try_from(length).ok()?.max(4).checked_add(tag)?;
    if buffer.remaining() < length {
        buffer.reserve(length.saturating_sub(buffer.remaining()));
        return None;
    }
    Some(buffer.split_to(length).freeze())
}

fn number(bytes: &[u8]) -> u32 {
    bytes
        .iter()
        .fold(0, |sum, byte| (sum << 8) | u32::from(*byte))
}

/// Reads `store::record` out of `-- store::record: writes …`.
fn name_in(text: &[u8]) -> Option<String> {
    let rest = text.trim_ascii_start().strip_prefix(b"-- ")?;
    let name = rest
        .iter()
        .take_while(|byte| byte.is_ascii_alphanumeric() || b"_:".contains(byte))
        .map(|byte| char::from(*byte))
        .collect::<String>();
    Some(name.trim_end_matches(':').to_owned())
}

fn split_at_zero(bytes: &Bytes) -> Option<(Bytes, Bytes)> {
    let end = bytes.iter().position(|byte| *byte == 0)?;
    Some((bytes.slice(..end), bytes.slice(end.checked_add(1)?..)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(tag: &[u8], body: &[u8]) -> Vec<u8> {
        let length = u32::try_from(body.len()).unwrap().strict_add(4);
        [tag, &length.to_be_bytes(), body].concat()
    }

    fn begun() -> Requests {
        Requests {
            has_begun: true,
            ..Requests::default()
        }
    }

    fn runs(requests: &mut Requests, tag: &[u8], body: &[u8]) -> Option<String> {
        let mut buffer = BytesMut::from(&*frame(tag, body));
        match requests.next(&mut buffer).unwrap() {
            Request::Runs(name, _) => Some(name),
            Request::Other(_) => None,
            Request::Encryption => panic!("this is no request for encryption"),
        }
    }

    #[test]
    fn a_prepared_statement_is_known_by_its_name_until_another_takes_it() {
        let mut requests = begun();
        let parse = b"s1\0-- store::record: writes outcomes\nselect 1\0\0\0";
        assert_eq!(runs(&mut requests, b"P", parse), None);
        let bind = b"portal\0s1\0\0\0\0\0\0\0";
        assert_eq!(
            runs(&mut requests, b"B", bind).as_deref(),
            Some("store::record")
        );
        assert_eq!(runs(&mut requests, b"B", b"\0s2\0"), None);
        assert_eq!(runs(&mut requests, b"P", b"s1\0select 1\0\0\0"), None);
        assert_eq!(runs(&mut requests, b"B", bind), None);
    }

    #[test]
    fn the_text_of_a_statement_is_changed_and_nothing_else() {
        let old = frame(b"P", b"s1\0-- store::record\nselect $1\0\0\x01\0\0\x03\xf7");
        let new = frame(
            b"P",
            b"s1\0-- store::record\nselect 1, $1\0\0\x01\0\0\x03\xf7",
        );
        let mut parse = Parse::read(&Bytes::from(old)).unwrap();
        assert_eq!(parse.statement, "store::record");
        parse.text = parse.text.replace("$1", "1, $1");
        assert_eq!(parse.write(), new);
        assert_eq!(Parse::read(&Bytes::from(frame(b"Q", b"commit\0"))), None);
    }

    #[test]
    fn an_unnamed_statement_and_a_simple_query_are_known_by_their_text() {
        let mut requests = begun();
        let parse = b"\0-- store::claim_open_refund\nselect 1\0\0\0";
        assert_eq!(runs(&mut requests, b"P", parse), None);
        assert_eq!(
            runs(&mut requests, b"B", b"\0\0").as_deref(),
            Some("store::claim_open_refund"),
            "which is not `store::claim_open`"
        );
        let query = b"\n -- store::audit, paid twice\nselect\0";
        assert_eq!(
            runs(&mut requests, b"Q", query).as_deref(),
            Some("store::audit")
        );
        assert_eq!(runs(&mut requests, b"Q", b"COMMIT\0"), None);
    }

    #[test]
    fn messages_are_cut_where_they_end_however_they_arrive() {
        let mut requests = Requests::default();
        let sent = [
            frame(b"", &SSL_REQUEST.to_be_bytes()),
            frame(b"", b"\0\x03\0\0user\0daemon_1\0\0"),
            frame(b"Q", b"select 1\0"),
            frame(b"S", b""),
        ];
        let mut buffer = BytesMut::new();
        let mut seen = Vec::new();
        for byte in sent.concat() {
            buffer.extend_from_slice(&[byte]);
            seen.extend(requests.next(&mut buffer));
        }
        let [_, others @ ..] = &sent;
        let others = others
            .iter()
            .map(|frame| Request::Other(Bytes::copy_from_slice(frame)));
        let expected: Vec<Request> = [Request::Encryption].into_iter().chain(others).collect();
        assert_eq!(seen, expected);
        assert!(buffer.is_empty());
    }

    #[test]
    fn a_reply_tells_how_the_statement_ended() {
        let check = |tag: &[u8], body: &[u8], expected| {
            let mut buffer = BytesMut::from(&*frame(tag, body));
            assert_eq!(next_reply(&mut buffer).unwrap().0, expected);
        };
        let ready = |in_transaction| Reply::Ready { in_transaction };
        check(b"Z", b"I", ready(false));
        check(b"Z", b"T", ready(true));
        check(b"Z", b"E", ready(true));
        check(b"C", b"ROLLBACK\0", Reply::RolledBack);
        check(b"C", b"COMMIT\0", Reply::Other);
        check(b"E", b"SERROR\0\0", Reply::Refused);
    }
}
