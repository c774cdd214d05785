-- Which version held which alias or stage when, by whom and why. Rows are only ever added.
CREATE TABLE IF NOT EXISTS serin_ledger (
    id VARCHAR(36) PRIMARY KEY NOT NULL,
    at BIGINT NOT NULL,
    model_name VARCHAR(256) NOT NULL,
    version INTEGER,
    change VARCHAR(32) NOT NULL,
    target VARCHAR(256) NOT NULL,
    actor VARCHAR(256) NOT NULL,
    reason TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS serin_ledger_model ON serin_ledger (model_name, at);
