-- Who may do what, once authentication is on. Passwords are argon2id hashes, tokens SHA-256.
CREATE TABLE IF NOT EXISTS serin_users (
    name VARCHAR(256) PRIMARY KEY NOT NULL,
    password_hash TEXT,
    is_admin BOOLEAN NOT NULL,
    permission VARCHAR(20) NOT NULL,
    created_at BIGINT NOT NULL
);
CREATE TABLE IF NOT EXISTS serin_tokens (
    hash VARCHAR(64) PRIMARY KEY NOT NULL,
    user_name VARCHAR(256) NOT NULL,
    created_at BIGINT NOT NULL,
    expires_at BIGINT,
    FOREIGN KEY (user_name) REFERENCES serin_users (name) ON DELETE CASCADE
);
CREATE TABLE IF NOT EXISTS serin_grants (
    user_name VARCHAR(256) NOT NULL,
    kind VARCHAR(20) NOT NULL,
    resource VARCHAR(256) NOT NULL,
    permission VARCHAR(20) NOT NULL,
    PRIMARY KEY (user_name, kind, resource),
    FOREIGN KEY (user_name) REFERENCES serin_users (name) ON DELETE CASCADE
);
