-- What runs by itself on the tracking server: when each job last began, ended, succeeded and failed. A job that is not about
-- one model has an empty model_name.
CREATE TABLE IF NOT EXISTS serin_jobs (
    name VARCHAR(64) NOT NULL,
    model_name VARCHAR(256) NOT NULL,
    started_at BIGINT NOT NULL,
    ended_at BIGINT,
    succeeded_at BIGINT,
    failed_at BIGINT,
    error TEXT,
    runs BIGINT NOT NULL,
    failures BIGINT NOT NULL,
    PRIMARY KEY (name, model_name)
);
-- How far a job has looked at the hours of a model, and what it must know of them at its next look (JSON).
CREATE TABLE IF NOT EXISTS serin_looks (
    job VARCHAR(64) NOT NULL,
    model_name VARCHAR(256) NOT NULL,
    until_at BIGINT NOT NULL,
    state TEXT NOT NULL,
    PRIMARY KEY (job, model_name)
);
-- Number of looks that the guard has done at a promotion, named by its row of the ledger.
CREATE TABLE IF NOT EXISTS serin_guard_looks (
    promotion VARCHAR(36) PRIMARY KEY NOT NULL,
    model_name VARCHAR(256) NOT NULL,
    looks BIGINT NOT NULL,
    looked_at BIGINT NOT NULL
);
-- Alerts that began or ended, to be told; written in the transaction of the alert.
CREATE TABLE IF NOT EXISTS serin_notices (
    id VARCHAR(36) PRIMARY KEY NOT NULL,
    model_name VARCHAR(256) NOT NULL,
    rule VARCHAR(64) NOT NULL,
    subject VARCHAR(256) NOT NULL,
    severity VARCHAR(16) NOT NULL,
    began BOOLEAN NOT NULL,
    fired_at BIGINT NOT NULL,
    at BIGINT NOT NULL,
    message TEXT NOT NULL,
    created_at BIGINT NOT NULL
);
CREATE INDEX IF NOT EXISTS serin_notices_by_time ON serin_notices (created_at);
-- A notice's way to one receiver: open until it was taken or given up.
CREATE TABLE IF NOT EXISTS serin_deliveries (
    notice_id VARCHAR(36) NOT NULL,
    receiver VARCHAR(64) NOT NULL,
    tries BIGINT NOT NULL,
    next_at BIGINT NOT NULL,
    taken_at BIGINT,
    given_up_at BIGINT,
    error TEXT,
    PRIMARY KEY (notice_id, receiver)
);
CREATE INDEX IF NOT EXISTS serin_deliveries_open ON serin_deliveries (taken_at, given_up_at, next_at);
-- New labels are found by when they came.
CREATE INDEX IF NOT EXISTS serin_labels_by_arrival ON serin_labels (received_at);
