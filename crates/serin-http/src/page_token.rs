//! Page tokens: base64 of `{"offset": N}`, opaque to clients, as MLflow makes them.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// The token of the page that begins `offset` results in.
#[must_use]
pub fn encode(offset: i64) -> String {
    STANDARD.encode(format!("{{\"offset\": {offset}}}"))
}

/// The offset of a token; none for anything that [`encode`] does not make.
#[must_use]
pub fn decode(token: &str) -> Option<i64> {
    let json: serde_json::Value = serde_json::from_slice(&STANDARD.decode(token).ok()?).ok()?;
    json.get("offset")?.as_i64().filter(|offset| *offset >= 0)
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_token_is_its_offset_and_anything_else_is_none() {
        assert_eq!(super::decode(&super::encode(120)), Some(120));
        for bad in ["", "!!", "e30=", &super::encode(-1)] {
            assert_eq!(super::decode(bad), None, "{bad}");
        }
    }
}
