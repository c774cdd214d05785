//! Users, their tokens and permissions, in MLflow's words: `READ`, `EDIT`, `MANAGE`, `NO_PERMISSIONS`.

use crate::names::limit;
use crate::sql::args;
use crate::{Store, StoreError};
use argon2::Argon2;
use argon2::password_hash::{PasswordHash, PasswordHasher, PasswordVerifier, SaltString};
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::str::FromStr;

/// Permission of a user on a resource; each includes those before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Permission {
    /// No access: the user may not even read the resource.
    None,
    /// The user may read the resource.
    Read,
    /// The user may also change what is in the resource.
    Edit,
    /// The user may also delete and rename the resource.
    Manage,
}

impl Permission {
    const ALL: [Self; 4] = [Self::None, Self::Read, Self::Edit, Self::Manage];

    /// MLflow's name of the permission, such as `READ`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "NO_PERMISSIONS",
            Self::Read => "READ",
            Self::Edit => "EDIT",
            Self::Manage => "MANAGE",
        }
    }
}

/// Name of no permission.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no permission {0:?}; choose from READ, EDIT, MANAGE, NO_PERMISSIONS")]
pub struct UnknownPermission(String);

impl FromStr for Permission {
    type Err = UnknownPermission;

    /// Reads MLflow's name of a permission in upper or lower case; the error lists the names.
    fn from_str(text: &str) -> Result<Self, UnknownPermission> {
        let found = Self::ALL.into_iter().find(|permission| permission.as_str().eq_ignore_ascii_case(text));
        found.ok_or_else(|| UnknownPermission(text.to_owned()))
    }
}

/// Resource that a permission is granted on.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Resource {
    /// Experiment with this id.
    Experiment(i64),
    /// Registered model with this name.
    RegisteredModel(String),
}

impl Resource {
    fn columns(&self) -> (&'static str, String) {
        match self {
            Self::Experiment(id) => ("experiment", id.to_string()),
            Self::RegisteredModel(name) => ("registered_model", name.clone()),
        }
    }
}

/// A user and all they may do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// Unique user name, not empty, without `:`.
    pub name: String,
    /// True if the user is an administrator, who has `Manage` on every resource.
    pub is_admin: bool,
    /// Permission on every resource that `grants` does not name.
    pub permission: Permission,
    /// Permissions granted on single resources; each replaces `permission` there.
    pub grants: HashMap<Resource, Permission>,
}

impl User {
    /// Permission that the user has on a resource: the grant on it, or else the user's own.
    #[must_use]
    pub fn may(&self, resource: &Resource) -> Permission {
        if self.is_admin {
            return Permission::Manage;
        }
        self.grants.get(resource).copied().unwrap_or(self.permission)
    }
}

/// Credentials that a caller proves its identity with.
#[derive(Clone)]
pub enum Credentials {
    /// User name and password, in this order.
    Password(String, String),
    /// A token that [`Store::create_token`] gave out.
    Token(String),
}

impl std::fmt::Debug for Credentials {
    /// Writes the user name or the kind, never the password or token.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Password(name, _) => write!(f, "Password({name})"),
            Self::Token(_) => f.write_str("Token"),
        }
    }
}

/// A password nobody can guess: 122 random bits.
#[must_use]
pub fn new_password() -> String {
    uuid::Uuid::new_v4().simple().to_string()
}

fn random_bytes() -> [u8; 32] {
    // Two version-4 UUIDs: 244 bits from the system's generator.
    let mut bytes = [0; 32];
    bytes[..16].copy_from_slice(uuid::Uuid::new_v4().as_bytes());
    bytes[16..].copy_from_slice(uuid::Uuid::new_v4().as_bytes());
    bytes
}

fn hex(bytes: impl AsRef<[u8]>) -> String {
    bytes.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

fn token_hash(token: &str) -> String {
    hex(Sha256::digest(token.as_bytes()))
}

fn missing(name: &str) -> StoreError {
    StoreError::NotFound(format!("User with username={name} not found"))
}

async fn password_hash(password: &str) -> Result<String, StoreError> {
    if password.chars().count() < 12 {
        return Err(StoreError::invalid("a password has at least 12 characters"));
    }
    let password = password.to_owned();
    let hash = tokio::task::spawn_blocking(move || {
        let salt = SaltString::encode_b64(&random_bytes()[..16]).map_err(|error| error.to_string())?;
        Argon2::default()
            .hash_password(password.as_bytes(), &salt)
            .map(|hash| hash.to_string())
            .map_err(|e| e.to_string())
    })
    .await;
    hash.map_err(|error| error.to_string()).and_then(|hash| hash).map_err(StoreError::Schema)
}

impl Store {
    /// True if the store has any user.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn has_users(&self) -> Result<bool, StoreError> {
        Ok(self.reader().row("SELECT name FROM serin_users LIMIT 1", args![]).await?.is_some())
    }

    /// Creates a user, or sets password and permissions of one that is there; without a password only tokens let
    /// them in.
    ///
    /// # Errors
    /// When the name or the password does not fit.
    pub async fn put_user(
        &self,
        name: &str,
        password: Option<&str>,
        is_admin: bool,
        permission: Permission,
        now_ms: i64,
    ) -> Result<(), StoreError> {
        limit("username", name, 256)?;
        if name.is_empty() || name.contains(':') || name.chars().any(char::is_control) {
            return Err(StoreError::InvalidInput(format!("user name {name:?}: a name is not empty and has no ':'")));
        }
        let hash = match password {
            Some(password) => Some(password_hash(password).await?),
            None => None,
        };
        let name = name.to_owned();
        self.write(move |connection| {
            Box::pin(async move {
                let sql = "INSERT INTO serin_users (name, password_hash, is_admin, permission, created_at) VALUES ($1, $2, $3, $4, $5) \
                           ON CONFLICT (name) DO UPDATE SET password_hash = COALESCE(excluded.password_hash, serin_users.password_hash), \
                           is_admin = excluded.is_admin, permission = excluded.permission";
                connection.execute(sql, args![name, hash, is_admin, permission.as_str(), now_ms]).await.map(drop)
            })
        })
        .await
    }

    /// Removes a user with their tokens and permissions.
    ///
    /// # Errors
    /// When there is none of that name.
    pub async fn delete_user(&self, name: &str) -> Result<(), StoreError> {
        let name = name.to_owned();
        self.write(move |connection| {
            Box::pin(async move {
                for sql in
                    ["DELETE FROM serin_tokens WHERE user_name = $1", "DELETE FROM serin_grants WHERE user_name = $1"]
                {
                    connection.execute(sql, args![&name]).await?;
                }
                match connection.execute("DELETE FROM serin_users WHERE name = $1", args![&name]).await? {
                    0 => Err(missing(&name)),
                    _ => Ok(()),
                }
            })
        })
        .await
    }

    /// All users, by name.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn users(&self) -> Result<Vec<User>, StoreError> {
        let rows = self.reader().rows("SELECT name FROM serin_users ORDER BY name", args![]).await?;
        let mut users = Vec::with_capacity(rows.len());
        for row in rows {
            users.extend(self.user(&row.text(0)?).await?);
        }
        Ok(users)
    }

    async fn user(&self, name: &str) -> Result<Option<User>, StoreError> {
        let mut reader = self.reader();
        let row = reader.row("SELECT is_admin, permission FROM serin_users WHERE name = $1", args![name]).await?;
        let Some(row) = row else { return Ok(None) };
        let mut user = User {
            name: name.to_owned(),
            is_admin: row.bool(0)?,
            permission: row.text(1)?.parse().unwrap_or(Permission::None),
            grants: HashMap::new(),
        };
        let sql = "SELECT kind, resource, permission FROM serin_grants WHERE user_name = $1";
        for row in reader.rows(sql, args![name]).await? {
            let (kind, resource) = (row.text(0)?, row.text(1)?);
            let resource = match (kind.as_str(), resource.parse()) {
                ("experiment", Ok(id)) => Resource::Experiment(id),
                _ => Resource::RegisteredModel(resource),
            };
            user.grants.insert(resource, row.text(2)?.parse().unwrap_or(Permission::None));
        }
        Ok(Some(user))
    }

    /// Says what a user may do with one resource, whatever their own permission is.
    ///
    /// # Errors
    /// When there is no such user.
    pub async fn grant(&self, name: &str, resource: &Resource, permission: Permission) -> Result<(), StoreError> {
        let (name, (kind, resource)) = (name.to_owned(), resource.columns());
        self.write(move |connection| {
            Box::pin(async move {
                let known = connection.row("SELECT name FROM serin_users WHERE name = $1", args![&name]).await?;
                known.ok_or_else(|| missing(&name))?;
                let sql = "INSERT INTO serin_grants (user_name, kind, resource, permission) VALUES ($1, $2, $3, $4) \
                           ON CONFLICT (user_name, kind, resource) DO UPDATE SET permission = excluded.permission";
                connection.execute(sql, args![&name, kind, resource, permission.as_str()]).await.map(drop)
            })
        })
        .await
    }

    /// A new token of a user; it is shown once and only its hash is kept.
    ///
    /// # Errors
    /// When there is no such user.
    pub async fn create_token(&self, name: &str, expires_at: Option<i64>, now_ms: i64) -> Result<String, StoreError> {
        let token = format!("serin_{}", hex(random_bytes()));
        let (hash, name) = (token_hash(&token), name.to_owned());
        self.write(move |connection| {
            Box::pin(async move {
                let known = connection.row("SELECT name FROM serin_users WHERE name = $1", args![&name]).await?;
                known.ok_or_else(|| missing(&name))?;
                let sql = "INSERT INTO serin_tokens (hash, user_name, created_at, expires_at) VALUES ($1, $2, $3, $4)";
                connection.execute(sql, args![hash, &name, now_ms, expires_at]).await.map(drop)
            })
        })
        .await?;
        Ok(token)
    }

    /// User whom the credentials belong to; `None` when they are wrong or expired.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn authenticate(&self, credentials: &Credentials, now_ms: i64) -> Result<Option<User>, StoreError> {
        let mut reader = self.reader();
        match credentials {
            Credentials::Token(token) => {
                let sql =
                    "SELECT user_name FROM serin_tokens WHERE hash = $1 AND (expires_at IS NULL OR expires_at > $2)";
                match reader.row(sql, args![token_hash(token), now_ms]).await? {
                    Some(row) => self.user(&row.text(0)?).await,
                    None => Ok(None),
                }
            }
            Credentials::Password(name, password) => {
                let row = reader.row("SELECT password_hash FROM serin_users WHERE name = $1", args![name]).await?;
                let stored = row.map(|row| row.opt_text(0)).transpose()?.flatten();
                let password = password.clone();
                let right = tokio::task::spawn_blocking(move || match stored {
                    Some(stored) => PasswordHash::new(&stored)
                        .is_ok_and(|hash| Argon2::default().verify_password(password.as_bytes(), &hash).is_ok()),
                    None => {
                        // As much work as for a user who is there: the time tells nothing.
                        let salt = SaltString::encode_b64(&[0; 16]);
                        drop(salt.map(|salt| {
                            Argon2::default().hash_password(password.as_bytes(), &salt).map(|h| h.to_string())
                        }));
                        false
                    }
                })
                .await
                .unwrap_or(false);
                if right { self.user(name).await } else { Ok(None) }
            }
        }
    }
}
