//! Files that clients exchange with S3 itself, by URLs that this server signs: the bytes never pass through it, and
//! the keys never leave it.

use crate::artifacts::{ArtifactPath, Artifacts};
use crate::error::ArtifactError;
use object_store::ObjectStoreExt;
use object_store::aws::AmazonS3;
use object_store::multipart::{MultipartStore, PartId};
use object_store::path::Path as ObjectPath;
use object_store::signer::{Method, SignedUrlOptions, Signer};
use std::time::Duration;

// Clients look at the beginning of these, and go through the server then.
const NO_UPLOAD: &str = "Multipart upload is not supported for the current artifact repository";
const NO_DOWNLOAD: &str = "Multipart download is not supported for the current artifact repository";
/// Parts of one upload; S3's own limit.
const MOST_PARTS: i64 = 10_000;
/// Seconds for which a part may be sent.
const PART_TTL_S: u64 = 3600;

impl Artifacts {
    /// True if the store can sign URLs: S3 can, a folder cannot.
    #[must_use]
    pub fn signs(&self) -> bool {
        self.s3.is_some()
    }

    fn signer(&self, refusal: &'static str) -> Result<&AmazonS3, ArtifactError> {
        self.s3.as_deref().ok_or(ArtifactError::Unsupported(refusal))
    }

    /// Begins an upload in `parts` parts: its id, and the URL to PUT each part to.
    ///
    /// # Errors
    /// When the root is a folder, the number of parts is not one of S3's, or S3 fails.
    pub async fn start_upload(&self, path: &ArtifactPath, parts: i64) -> Result<(String, Vec<String>), ArtifactError> {
        let s3 = self.signer(NO_UPLOAD)?;
        if !(1..=MOST_PARTS).contains(&parts) {
            return Err(ArtifactError::InvalidInput(format!(
                "num_parts must be between 1 and {MOST_PARTS}, got {parts}"
            )));
        }
        let object = self.object(path)?;
        let failed = |source| ArtifactError::io(path.as_str(), source);
        let id = s3.create_multipart(&object).await.map_err(failed)?;
        let mut urls = Vec::new();
        for part in 1..=parts {
            let options =
                SignedUrlOptions::new().with_query([("partNumber", part.to_string()), ("uploadId", id.clone())]);
            let url = s3.signed_url_opts(Method::PUT, &object, Duration::from_secs(PART_TTL_S), &options).await;
            urls.push(url.map_err(failed)?.to_string());
        }
        Ok((id, urls))
    }

    /// Makes one file of the parts that were sent: their numbers, from 1, and the ETags that S3 answered.
    ///
    /// # Errors
    /// When a part is missing, or S3 does not know the upload or a part; nothing appears then.
    pub async fn finish_upload(
        &self,
        path: &ArtifactPath,
        upload: &str,
        mut parts: Vec<(i64, String)>,
    ) -> Result<(), ArtifactError> {
        let s3 = self.signer(NO_UPLOAD)?;
        parts.sort_by_key(|(number, _)| *number);
        if parts.is_empty() || parts.iter().zip(1..).any(|((number, _), expected)| *number != expected) {
            return Err(ArtifactError::invalid("parts must name every part of the upload once, numbered from 1"));
        }
        let parts = parts.into_iter().map(|(_, content_id)| PartId { content_id }).collect();
        let done = s3.complete_multipart(&self.object(path)?, &upload.to_owned(), parts).await;
        done.map(drop).map_err(|source| unknown_upload(path, source))
    }

    /// Gives an upload up.
    ///
    /// # Errors
    /// When S3 does not know it.
    pub async fn abort_upload(&self, path: &ArtifactPath, upload: &str) -> Result<(), ArtifactError> {
        let s3 = self.signer(NO_UPLOAD)?;
        let done = s3.abort_multipart(&self.object(path)?, &upload.to_owned()).await;
        done.map_err(|source| unknown_upload(path, source))
    }

    /// A URL to GET a file from, and its size.
    ///
    /// # Errors
    /// When the root is a folder or there is no such file.
    pub async fn signed_download(&self, path: &ArtifactPath, seconds: u64) -> Result<(String, u64), ArtifactError> {
        let s3 = self.signer(NO_DOWNLOAD)?;
        let object = self.object(path)?;
        let size = match s3.head(&object).await {
            Ok(found) => found.size,
            Err(object_store::Error::NotFound { .. }) => {
                return Err(ArtifactError::NotFound(format!("No such artifact: '{}'", path.as_str())));
            }
            Err(source) => return Err(ArtifactError::io(path.as_str(), source)),
        };
        // A browser saves it instead of showing it, as where the server sends the file itself.
        let name = path.as_str().rsplit('/').next().unwrap_or_default();
        let quoted = percent_encoding::utf8_percent_encode(name, percent_encoding::NON_ALPHANUMERIC);
        let disposition = format!("attachment; filename*=UTF-8''{quoted}");
        let options = SignedUrlOptions::new().with_query([("response-content-disposition", disposition)]);
        Ok((self.sign(s3, Method::GET, &object, seconds, &options).await?, size))
    }

    /// A URL to PUT a file to.
    ///
    /// # Errors
    /// When the root is a folder.
    pub async fn signed_upload(&self, path: &ArtifactPath, seconds: u64) -> Result<String, ArtifactError> {
        let s3 = self.signer(NO_UPLOAD)?;
        let object = self.object(path)?;
        self.sign(s3, Method::PUT, &object, seconds, &SignedUrlOptions::new()).await
    }

    async fn sign(
        &self,
        s3: &AmazonS3,
        method: Method,
        object: &ObjectPath,
        seconds: u64,
        options: &SignedUrlOptions,
    ) -> Result<String, ArtifactError> {
        let url = s3.signed_url_opts(method, object, Duration::from_secs(seconds), options).await;
        url.map(|url| url.to_string()).map_err(|source| ArtifactError::io(object, source))
    }
}

/// What S3 refuses of an upload's end is the caller's to mend: an upload that is over, a part that never came.
fn unknown_upload(path: &ArtifactPath, source: object_store::Error) -> ArtifactError {
    match source {
        object_store::Error::NotFound { .. } => {
            ArtifactError::NotFound(format!("no such upload of '{}', or not all of its parts", path.as_str()))
        }
        source => ArtifactError::io(path.as_str(), source),
    }
}
