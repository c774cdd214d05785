-- What was said about transactions, in the order in which it was learnt; nothing is ever changed.
CREATE TABLE IF NOT EXISTS serin_labels (
    id VARCHAR(32) PRIMARY KEY NOT NULL,
    subject VARCHAR(300) NOT NULL,
    fraud BOOLEAN NOT NULL,
    source VARCHAR(32) NOT NULL,
    occurred_at BIGINT,
    known_at BIGINT NOT NULL,
    received_at BIGINT NOT NULL,
    amount DOUBLE PRECISION
);
CREATE INDEX IF NOT EXISTS serin_labels_by_subject ON serin_labels (subject);
CREATE INDEX IF NOT EXISTS serin_labels_by_time ON serin_labels (known_at);
-- What data planes saw of the traffic, an hour each; a replica's later word about an hour replaces its earlier one.
CREATE TABLE IF NOT EXISTS serin_panes (
    id VARCHAR(200) PRIMARY KEY NOT NULL,
    model_name VARCHAR(256) NOT NULL,
    version VARCHAR(64) NOT NULL,
    from_at BIGINT NOT NULL,
    sequence BIGINT NOT NULL,
    body TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS serin_panes_by_time ON serin_panes (model_name, from_at);
-- Alerts, firing and over.
CREATE TABLE IF NOT EXISTS serin_alerts (
    id VARCHAR(36) PRIMARY KEY NOT NULL,
    model_name VARCHAR(256) NOT NULL,
    rule VARCHAR(64) NOT NULL,
    subject VARCHAR(256) NOT NULL,
    severity VARCHAR(16) NOT NULL,
    fired_at BIGINT NOT NULL,
    resolved_at BIGINT,
    message TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS serin_alerts_by_time ON serin_alerts (model_name, fired_at);
-- Retrainings: why, and what came of it.
CREATE TABLE IF NOT EXISTS serin_retrainings (
    id VARCHAR(36) PRIMARY KEY NOT NULL,
    model_name VARCHAR(256) NOT NULL,
    cause VARCHAR(64) NOT NULL,
    reason TEXT NOT NULL,
    started_at BIGINT NOT NULL,
    ended_at BIGINT,
    outcome VARCHAR(32),
    version BIGINT,
    verdict TEXT
);
CREATE INDEX IF NOT EXISTS serin_retrainings_by_time ON serin_retrainings (model_name, started_at);
