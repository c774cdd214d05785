//! Secrets of webhooks, sealed as MLflow seals them: Fernet tokens (<https://github.com/fernet/spec>).

use aws_lc_rs::cipher::{
    AES_128, DecryptionContext, PaddedBlockDecryptingKey, PaddedBlockEncryptingKey, UnboundCipherKey,
};
use aws_lc_rs::hmac;
use aws_lc_rs::iv::FixedLength;
use base64::Engine;
use base64::engine::general_purpose::{URL_SAFE, URL_SAFE_NO_PAD};

const VERSION: u8 = 0x80;
/// Length of a token's header, bytes: version, seconds and IV.
const HEADER: usize = 1 + 8 + 16;
const TAG: usize = 32;

/// The key of `MLFLOW_WEBHOOK_SECRET_ENCRYPTION_KEY`.
#[derive(Clone)]
pub struct SecretKey {
    signing: [u8; 16],
    encryption: [u8; 16],
}

impl std::fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SecretKey")
    }
}

/// Text that is no Fernet key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("it is not a Fernet key, 32 bytes in URL-safe base64; make one with: openssl rand -base64 32 | tr '+/' '-_'")]
pub struct InvalidSecretKey;

/// Failure of the cipher, which says no more of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the secret cannot be encrypted")]
pub(crate) struct SealError;

impl std::str::FromStr for SecretKey {
    type Err = InvalidSecretKey;

    /// Reads 32 bytes in URL-safe base64.
    fn from_str(text: &str) -> Result<Self, InvalidSecretKey> {
        let bytes = decode(text).filter(|bytes| bytes.len() == 32).ok_or(InvalidSecretKey)?;
        let half = |at: usize| std::array::from_fn(|i| bytes[at + i]);
        Ok(Self { signing: half(0), encryption: half(16) })
    }
}

fn decode(text: &str) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(text.trim().trim_end_matches('=')).ok()
}

impl SecretKey {
    /// Seals `secret`; `now_ms` is written into the token.
    ///
    /// # Errors
    /// When the system has no random numbers.
    pub(crate) fn seal(&self, secret: &str, now_ms: i64) -> Result<String, SealError> {
        let failed = |_| SealError;
        let key = UnboundCipherKey::new(&AES_128, &self.encryption).map_err(failed)?;
        let mut content = secret.as_bytes().to_vec();
        let context =
            PaddedBlockEncryptingKey::cbc_pkcs7(key).and_then(|key| key.encrypt(&mut content)).map_err(failed)?;
        let DecryptionContext::Iv128(iv) = &context else { return Err(SealError) };
        let mut token = vec![VERSION];
        token.extend_from_slice(&(now_ms / 1000).to_be_bytes());
        token.extend_from_slice(iv.as_ref());
        token.extend_from_slice(&content);
        let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &self.signing), &token);
        token.extend_from_slice(tag.as_ref());
        Ok(URL_SAFE.encode(token))
    }

    /// Secret in a token; `None` if the token was not made with this key.
    pub(crate) fn open(&self, token: &str) -> Option<String> {
        let token = decode(token)?;
        let (signed, tag) = token.split_at_checked(token.len().checked_sub(TAG)?)?;
        hmac::verify(&hmac::Key::new(hmac::HMAC_SHA256, &self.signing), signed, tag).ok()?;
        let (header, content) = signed.split_at_checked(HEADER)?;
        if header[0] != VERSION {
            return None;
        }
        let iv: [u8; 16] = header[9..].try_into().ok()?;
        let key = UnboundCipherKey::new(&AES_128, &self.encryption).ok()?;
        let key = PaddedBlockDecryptingKey::cbc_pkcs7(key).ok()?;
        let mut content = content.to_vec();
        let plain = key.decrypt(&mut content, DecryptionContext::Iv128(FixedLength::from(&iv))).ok()?;
        String::from_utf8(plain.to_vec()).ok()
    }
}

/// `v1,` and the base64 of HMAC-SHA256 over delivery, time and body (<https://www.standardwebhooks.com>).
pub(crate) fn signature(secret: &str, delivery: &str, timestamp: &str, body: &str) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
    let tag = hmac::sign(&key, format!("{delivery}.{timestamp}.{body}").as_bytes());
    format!("v1,{}", base64::engine::general_purpose::STANDARD.encode(tag))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_of_the_specification_open() {
        // https://github.com/fernet/spec/blob/master/verify.json
        let key: SecretKey = "cw_0x689RpI-jtRR7oE8h_eQsKImvJapLeSbXpwF4e4=".parse().expect("a key");
        let token =
            "gAAAAAAdwJ6wAAECAwQFBgcICQoLDA0ODy021cpGVWKZ_eEwCGM4BLLF_5CV9dOPmrhuVUPgJobwOz7JcbmrR64jVmpU4IwqDA==";
        assert_eq!(key.open(token).as_deref(), Some("hello"));
        let sealed = key.seal("s€cret", 1_764_000_000_000).expect("sealed");
        assert_eq!(key.open(&sealed).as_deref(), Some("s€cret"));
        assert_ne!(sealed, key.seal("s€cret", 1_764_000_000_000).expect("sealed"), "each has its own IV");
        let other: SecretKey = "dw_0x689RpI-jtRR7oE8h_eQsKImvJapLeSbXpwF4e4=".parse().expect("a key");
        for bad in ["", "gAAA", "not base64!", &token[..60], &token.replace("021c", "021d")] {
            assert_eq!(key.open(bad), None, "{bad}");
        }
        assert_eq!(other.open(token), None, "another key");
        assert!("c2hvcnQ=".parse::<SecretKey>().is_err());
        assert_eq!(format!("{key:?}"), "SecretKey");
    }
}
