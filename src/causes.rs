//! Errors as one line for a row or a log: what failed, and what lay behind it.

/// An error and its causes, outermost first, joined by colons. A cause that stands in the text already is not said
/// twice: some libraries quote it and give it, too.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let said = error.to_string();
        if !text.ends_with(&said) {
            text.push_str(": ");
            text.push_str(&said);
        }
        cause = error.source();
    }
    text
}
