//! Reads the body of an answer, within bounds.

/// Reads up to `bytes_max`; the rest is dropped, and then it won't parse.
pub(crate) async fn read_up_to(
    mut answer: reqwest::Response,
    bytes_max: usize,
) -> Result<Vec<u8>, reqwest::Error> {
    let mut body = Vec::new();
    while let Some(chunk) = answer.chunk().await? {
        let room = bytes_max.saturating_sub(body.len());
        body.extend_from_slice(chunk.get(..room).unwrap_or(&chunk));
        if room == 0 {
            break;
        }
    }
    Ok(body)
}
