//! Artifacts: files below one root, a local folder or an S3 bucket.
//!
//! A file appears whole or not at all: local ones are written beside their place, synced and renamed, S3 ones by
//! a single put or a multipart upload that is completed last. Nothing but this root is ever opened: a URI that
//! names another place is stored and shown, never followed.

use crate::error::ArtifactError;
use bytes::{Bytes, BytesMut};
use futures_util::{Stream, StreamExt, TryStreamExt};
use object_store::aws::{AmazonS3, AmazonS3Builder, AmazonS3ConfigKey};
use object_store::local::LocalFileSystem;
use object_store::path::Path as ObjectPath;
use object_store::{Certificate, ClientOptions, ObjectStore, ObjectStoreExt, WriteMultipart};
use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Scheme of what the server keeps and hands out itself.
const PROXIED: &str = "mlflow-artifacts:";
/// Bytes held of an upload; a larger one goes to the store in parts of this size.
const PART: usize = 8 << 20;

/// The artifact root. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Artifacts {
    objects: Arc<dyn ObjectStore>,
    /// The same, where it is S3 and can sign.
    pub(crate) s3: Option<Arc<AmazonS3>>,
    local: Option<PathBuf>,
    prefix: String,
    /// Root in URIs of the store itself: a path or `s3://bucket/prefix`.
    root: String,
    /// Prefix of new locations.
    locations: String,
}

/// A relative path below the root that cannot leave it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArtifactPath(String);

impl ArtifactPath {
    /// `text` has been percent-decoded once.
    ///
    /// # Errors
    /// When it is absolute or leaves its folder after any number of further decodings, or has a part that no file
    /// name should have.
    pub fn new(text: &str) -> Result<Self, ArtifactError> {
        let refused = || ArtifactError::invalid("Invalid path");
        let mut decoded = text.to_owned();
        for _ in 0..16 {
            let plain = |part: &str| !part.is_empty() && part != "." && part != "..";
            let fits = |c: char| !c.is_control() && !matches!(c, '\\' | '#' | '\0');
            let safe = decoded.is_empty() || (decoded.split('/').all(plain) && decoded.chars().all(fits));
            if !safe {
                return Err(refused());
            }
            let next =
                percent_encoding::percent_decode_str(&decoded).decode_utf8().map_err(|_| refused())?.into_owned();
            if next == decoded {
                return Ok(Self(text.to_owned()));
            }
            decoded = next;
        }
        Err(refused())
    }

    /// The path of something in this folder.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn join(&self, path: &str) -> Result<Self, ArtifactError> {
        match (self.0.is_empty(), path.is_empty()) {
            (_, true) => Ok(self.clone()),
            (true, false) => Self::new(path),
            (false, false) => Self::new(&format!("{}/{path}", self.0)),
        }
    }

    /// Path as text; empty for the root.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Entry of a folder: a file or a folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArtifactEntry {
    /// Name of the entry in its folder.
    pub name: String,
    /// Size of a file in bytes; `None` for a folder.
    pub size: Option<u64>,
}

/// File that is being read, as a stream.
pub struct ArtifactFile {
    /// Size of the file, bytes.
    pub size: u64,
    /// Content of the file as a stream of chunks; a chunk is an error if the read failed.
    pub content: futures_util::stream::BoxStream<'static, Result<Bytes, ArtifactError>>,
}

impl std::fmt::Debug for ArtifactFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ArtifactFile").field("size", &self.size).finish_non_exhaustive()
    }
}

impl Artifacts {
    /// A local folder, created where it is missing.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn local(root: &Path) -> Result<Self, ArtifactError> {
        let failed = |source: std::io::Error| ArtifactError::io(root.display(), source);
        std::fs::create_dir_all(root).map_err(failed)?;
        let root = root.canonicalize().map_err(failed)?;
        let objects = LocalFileSystem::new_with_prefix(&root)
            .map_err(|source| ArtifactError::io(root.display(), source))?
            .with_fsync(true)
            .with_automatic_cleanup(true);
        Ok(Self {
            objects: Arc::new(objects),
            s3: None,
            root: root.display().to_string(),
            local: Some(root),
            prefix: String::new(),
            locations: PROXIED.to_owned(),
        })
    }

    /// An S3 bucket, `s3://bucket/prefix`. `settings` are the usual variables of the environment, `AWS_*` and
    /// MLflow's `MLFLOW_S3_ENDPOINT_URL` and `MLFLOW_S3_IGNORE_TLS`; `AWS_CA_BUNDLE` names a PEM file.
    ///
    /// # Errors
    /// When the URI names no bucket or a setting is wrong.
    pub fn s3(uri: &str, settings: impl IntoIterator<Item = (String, String)>) -> Result<Self, ArtifactError> {
        let failed = |source| ArtifactError::io(uri, source);
        let rest = uri.strip_prefix("s3://").unwrap_or_default();
        let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        if bucket.is_empty() {
            return Err(ArtifactError::InvalidInput(format!("{uri:?} names no bucket: write s3://bucket/prefix")));
        }
        let mut client =
            ClientOptions::new().with_timeout_disabled().with_connect_timeout(std::time::Duration::from_secs(5));
        // Every S3 has this region when none is named, and most that are not Amazon's ignore it.
        let mut builder = AmazonS3Builder::new().with_bucket_name(bucket).with_region("us-east-1");
        for (name, value) in settings {
            match name.as_str() {
                "MLFLOW_S3_ENDPOINT_URL" => {
                    client = client.with_allow_http(value.starts_with("http://"));
                    // Path style, as every S3 that is reached by an endpoint understands it.
                    builder =
                        builder.with_endpoint(value.trim_end_matches('/')).with_virtual_hosted_style_request(false);
                }
                "MLFLOW_S3_IGNORE_TLS" if value == "true" || value == "1" => {
                    client = client.with_allow_invalid_certificates(true);
                }
                "AWS_CA_BUNDLE" => {
                    let pem = std::fs::read(&value).map_err(|source| ArtifactError::io(&value, source))?;
                    for certificate in Certificate::from_pem_bundle(&pem).map_err(failed)? {
                        client = client.with_root_certificate(certificate);
                    }
                }
                other => {
                    if let Ok(key) = other.to_ascii_lowercase().parse::<AmazonS3ConfigKey>() {
                        builder = builder.with_config(key, value);
                    }
                }
            }
        }
        let s3 = Arc::new(builder.with_client_options(client).build().map_err(failed)?);
        Ok(Self {
            objects: s3.clone(),
            s3: Some(s3),
            local: None,
            prefix: prefix.trim_matches('/').to_owned(),
            root: uri.trim_end_matches('/').to_owned(),
            locations: PROXIED.to_owned(),
        })
    }

    /// Clients go to the store themselves instead of through the server: new locations name the root.
    #[must_use]
    pub fn direct(mut self) -> Self {
        self.locations = self.root.clone();
        self
    }

    /// True if clients read and write artifacts through the server.
    #[must_use]
    pub fn is_proxied(&self) -> bool {
        self.locations == PROXIED
    }

    /// The root, for people.
    #[must_use]
    pub fn root(&self) -> &str {
        &self.root
    }

    /// Location of `path` for the database.
    #[must_use]
    pub fn location(&self, path: &str) -> String {
        format!("{}/{path}", self.locations)
    }

    /// A location that a client chose: any store it can reach itself, never one that only a server would.
    ///
    /// # Errors
    /// [`ArtifactError::InvalidInput`] for a URL of the web, a query, a fragment or a `..`.
    pub fn allowed_location(&self, location: &str) -> Result<String, ArtifactError> {
        let scheme = location.split_once(':').map_or("", |(scheme, _)| scheme);
        let refused = matches!(scheme, "http" | "https" | "ftp" | "sftp" | "javascript" | "data");
        if refused || leaves_its_folder(location) || location.contains(['#', '?']) {
            return Err(ArtifactError::InvalidInput(format!(
                "Invalid artifact_location {location:?}: name a folder of an artifact store, without query, fragment or '..'"
            )));
        }
        Ok(location.to_owned())
    }

    /// The path below this root that a URI names; none when it names another place.
    #[must_use]
    pub fn path_of(&self, uri: &str) -> Option<ArtifactPath> {
        let rest = if let Some(rest) = uri.strip_prefix(PROXIED) {
            // `mlflow-artifacts://host:port/path` names a server, which this one is taken to be.
            rest.strip_prefix("//").map_or(rest, |rest| rest.split_once('/').map_or("", |(_, path)| path))
        } else {
            let uri = uri.strip_prefix("file://").unwrap_or(uri);
            uri.strip_prefix(self.root.as_str()).filter(|rest| rest.is_empty() || rest.starts_with('/'))?
        };
        ArtifactPath::new(rest.trim_matches('/')).ok()
    }

    pub(crate) fn object(&self, path: &ArtifactPath) -> Result<ObjectPath, ArtifactError> {
        let full = match (self.prefix.as_str(), path.as_str()) {
            ("", path) => path.to_owned(),
            (prefix, "") => prefix.to_owned(),
            (prefix, path) => format!("{prefix}/{path}"),
        };
        if let Some(root) = &self.local {
            // Nothing here makes links; one that somebody else made does not lead out.
            let mut at = root.clone();
            for part in full.split('/') {
                at.push(part);
                if at.symlink_metadata().is_ok_and(|found| found.is_symlink()) {
                    return Err(ArtifactError::invalid("Invalid path"));
                }
            }
        }
        ObjectPath::parse(full).map_err(|_| ArtifactError::invalid("Invalid path"))
    }

    /// Stores a file as it arrives; it appears when all of it has.
    ///
    /// # Errors
    /// When the stream breaks off or the store fails; nothing is left then.
    pub async fn put<E: Display>(
        &self,
        path: &ArtifactPath,
        content: impl Stream<Item = Result<Bytes, E>> + Send,
    ) -> Result<(), ArtifactError> {
        let object = self.object(path)?;
        let failed = |source: object_store::Error| ArtifactError::io(path.as_str(), source);
        let broken =
            |error: E| ArtifactError::InvalidInput(format!("the upload of {:?} broke off: {error}", path.as_str()));
        let mut content = std::pin::pin!(content);
        let mut held = BytesMut::new();
        let mut upload: Option<WriteMultipart> = None;
        while let Some(bytes) = content.next().await {
            let step = async {
                let bytes = bytes.map_err(broken)?;
                match &mut upload {
                    Some(upload) => {
                        upload.wait_for_capacity(2).await.map_err(failed)?;
                        upload.put(bytes);
                    }
                    None if held.len() + bytes.len() <= PART => held.extend_from_slice(&bytes),
                    None => {
                        let parts =
                            self.objects.put_multipart_opts(&object, Default::default()).await.map_err(failed)?;
                        let mut started = WriteMultipart::new_with_chunk_size(parts, PART);
                        started.put(held.split().freeze());
                        started.put(bytes);
                        upload = Some(started);
                    }
                }
                Ok(())
            };
            if let Err(error) = step.await {
                if let Some(upload) = upload {
                    drop(upload.abort().await);
                }
                return Err(error);
            }
        }
        match upload {
            Some(upload) => upload.finish().await.map(drop).map_err(failed),
            None => self.objects.put(&object, held.freeze().into()).await.map(drop).map_err(failed),
        }
    }

    /// Stores a file that is in memory.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn put_bytes(&self, path: &ArtifactPath, bytes: Vec<u8>) -> Result<(), ArtifactError> {
        let object = self.object(path)?;
        let failed = |source: object_store::Error| ArtifactError::io(path.as_str(), source);
        self.objects.put(&object, bytes.into()).await.map(drop).map_err(failed)
    }

    /// Opens a stored file for reading, without reading it.
    ///
    /// # Errors
    /// When there is no such file.
    pub async fn get(&self, path: &ArtifactPath) -> Result<ArtifactFile, ArtifactError> {
        let object = self.object(path)?;
        let missing = || ArtifactError::NotFound(format!("No such artifact: '{}'", path.as_str()));
        if path.as_str().is_empty() {
            return Err(missing());
        }
        let name = path.as_str().to_owned();
        match self.objects.get(&object).await {
            Ok(found) => Ok(ArtifactFile {
                size: found.meta.size,
                content: found.into_stream().map_err(move |source| ArtifactError::io(&name, source)).boxed(),
            }),
            Err(object_store::Error::NotFound { .. }) => Err(missing()),
            Err(source) => Err(ArtifactError::io(path.as_str(), source)),
        }
    }

    /// A whole file, at most `limit` bytes.
    ///
    /// # Errors
    /// When there is no such file or it is larger.
    pub async fn get_bytes(&self, path: &ArtifactPath, limit: u64) -> Result<Vec<u8>, ArtifactError> {
        let mut file = self.get(path).await?;
        if file.size > limit {
            return Err(ArtifactError::InvalidInput(format!(
                "{}: {} bytes; the limit is {limit}",
                path.as_str(),
                file.size
            )));
        }
        let mut all = Vec::with_capacity(file.size as usize);
        while let Some(bytes) = file.content.next().await {
            all.extend_from_slice(&bytes?);
        }
        Ok(all)
    }

    /// Entries of a folder, ordered by name; empty when there is no such folder.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn list(&self, path: &ArtifactPath) -> Result<Vec<ArtifactEntry>, ArtifactError> {
        let object = self.object(path)?;
        let prefix = (!object.as_ref().is_empty()).then_some(&object);
        let found = match self.objects.list_with_delimiter(prefix).await {
            Ok(found) => found,
            Err(object_store::Error::NotFound { .. }) => return Ok(Vec::new()),
            Err(source) => return Err(ArtifactError::io(path.as_str(), source)),
        };
        let name = |path: &ObjectPath| path.filename().map(str::to_owned);
        let folders =
            found.common_prefixes.iter().filter_map(|folder| Some(ArtifactEntry { name: name(folder)?, size: None }));
        let files = found
            .objects
            .iter()
            // The root of the listing itself is no entry of it.
            .filter(|file| file.location != object)
            .filter_map(|file| Some(ArtifactEntry { name: name(&file.location)?, size: Some(file.size) }));
        let mut entries: Vec<ArtifactEntry> = folders.chain(files).collect();
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(entries)
    }

    /// Removes a file, or a folder with all that is in it; what is not there is no error.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn delete(&self, path: &ArtifactPath) -> Result<(), ArtifactError> {
        let object = self.object(path)?;
        if path.as_str().is_empty() {
            return Err(ArtifactError::invalid("Invalid path"));
        }
        let failed = |source: object_store::Error| ArtifactError::io(path.as_str(), source);
        let below = self.objects.list(Some(&object)).map_ok(|meta| meta.location).boxed();
        let mut gone = self.objects.delete_stream(below);
        while let Some(deleted) = gone.next().await {
            match deleted {
                Ok(_) | Err(object_store::Error::NotFound { .. }) => {}
                Err(source) => return Err(failed(source)),
            }
        }
        match self.objects.delete(&object).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => {}
            // A folder that is left of a local tree.
            Err(_) if self.local.is_some() => {}
            Err(source) => return Err(failed(source)),
        }
        if let Some(root) = &self.local {
            let folder = root.join(path.as_str());
            if folder.is_dir() {
                std::fs::remove_dir_all(&folder).map_err(|source| ArtifactError::io(path.as_str(), source))?;
            }
        }
        Ok(())
    }

    /// The folder of a local root that `path` is; none for S3.
    #[must_use]
    pub fn local_folder(&self, path: &ArtifactPath) -> Option<PathBuf> {
        self.local.as_ref().map(|root| root.join(path.as_str()))
    }

    /// Copies everything below `path` into the local folder `target`.
    ///
    /// # Errors
    /// When there is nothing, or a file cannot be copied.
    pub async fn download(&self, path: &ArtifactPath, target: &Path) -> Result<(), ArtifactError> {
        let mut folders = vec![(path.clone(), target.to_owned())];
        let mut files = 0;
        while let Some((folder, target)) = folders.pop() {
            let failed = |source: std::io::Error| ArtifactError::io(target.display(), source);
            std::fs::create_dir_all(&target).map_err(failed)?;
            for entry in self.list(&folder).await? {
                let from = folder.join(&entry.name)?;
                if entry.size.is_none() {
                    folders.push((from, target.join(&entry.name)));
                    continue;
                }
                let mut file = std::fs::File::create(target.join(&entry.name)).map_err(failed)?;
                let mut content = self.get(&from).await?.content;
                while let Some(bytes) = content.next().await {
                    std::io::Write::write_all(&mut file, &bytes?).map_err(failed)?;
                }
                files += 1;
            }
        }
        if files == 0 {
            return Err(ArtifactError::NotFound(format!("No such artifact: '{}'", path.as_str())));
        }
        Ok(())
    }
}

/// True if a path or URI has a `..`, after any number of decodings.
#[must_use]
pub fn leaves_its_folder(source: &str) -> bool {
    let mut decoded = source.to_owned();
    for _ in 0..16 {
        if decoded.split(['/', '\\']).any(|part| part == "..") || decoded.contains('\0') {
            return true;
        }
        let next = percent_encoding::percent_decode_str(&decoded).decode_utf8_lossy().into_owned();
        if next == decoded {
            return false;
        }
        decoded = next;
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parents_are_found_through_any_number_of_encodings() {
        for bad in ["a/../b", "..", "%2e%2e/x", "%252e%252e/x", "a\\..\\b", "a%5c..%5cb", "a%2F..%2Fb"] {
            assert!(leaves_its_folder(bad), "{bad}");
        }
        for good in ["a/b", "a..b/c", "s3://b/k%20x", "100%"] {
            assert!(!leaves_its_folder(good), "{good}");
        }
    }

    #[test]
    fn paths_that_leave_the_root_are_refused_however_they_are_spelled() {
        for bad in [
            "..",
            "a/../b",
            "/a",
            "a//b",
            "a/",
            "./a",
            "%2e%2e/x",
            "%252e%252e/x",
            "%25252e%25252e/x",
            "a%2f..%2fb",
            "a\\b",
            "a%5cb",
            "h#sh",
            "h%23sh",
            "a\0b",
            "a%00b",
            "a\nb",
            "%2fetc",
        ] {
            assert!(ArtifactPath::new(bad).is_err(), "{bad}");
        }
        for good in ["", "a", "a/b c/d.txt", "100%", "a+b&c=d", "größe/ü.png", "x=1/y"] {
            assert!(ArtifactPath::new(good).is_ok(), "{good}");
        }
    }

    #[test]
    fn a_uri_is_below_the_root_or_not() {
        let folder = std::env::temp_dir().join(format!("serin-artifacts-{}", std::process::id()));
        let artifacts = Artifacts::local(&folder).expect("made");
        let path = |uri: &str| artifacts.path_of(uri).map(|path| path.as_str().to_owned());
        assert_eq!(path("mlflow-artifacts:/1/a").as_deref(), Some("1/a"));
        assert_eq!(path("mlflow-artifacts://host:5000/1/a").as_deref(), Some("1/a"));
        let root = artifacts.root().to_owned();
        assert_eq!(path(&format!("{root}/1/a")).as_deref(), Some("1/a"));
        assert_eq!(path(&format!("file://{root}/1")).as_deref(), Some("1"));
        for other in [
            format!("{root}-other/x"),
            "s3://b/k".into(),
            "/etc".into(),
            format!("{root}/../x"),
            "mlflow-artifacts:/../x".into(),
        ] {
            assert_eq!(path(&other), None, "{other}");
        }
        std::fs::remove_dir_all(folder).expect("removed");
    }
}
